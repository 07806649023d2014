"""What a datagram is made of: Information Elements, Templates, Messages. Bytes out, and in for `collect`."""
