"""The parser of the kernel's programs against one written from the RFCs, on packets that have been spoilt."""
