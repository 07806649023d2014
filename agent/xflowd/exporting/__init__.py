"""The Exporting Process (RFC 5470): flows become Data Records, records become datagrams."""
