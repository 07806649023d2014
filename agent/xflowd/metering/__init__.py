"""The Metering Process (RFC 5470): the flow table as columns, and which flows have ended."""
