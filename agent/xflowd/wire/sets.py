"""Sets: what v9 (there FlowSets) and IPFIX messages consist of after the header (RFC 7011 section 3.3)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from construct import Int16ub, StreamError, Struct  # type: ignore[import-untyped]

from xflowd.wire.layout import Layout
from xflowd.wire.message import MalformedMessage

HEADER = Layout(Struct("set_id" / Int16ub, "length" / Int16ub))  # the length with this header and the padding
MINIMUM_DATA_SET = 256  # smaller numbers are of template sets, or reserved
SHORTEST_RECORD = 4  # octets: fewer than that after the last template are padding


def framed(set_id: int, content: bytes) -> bytes:
    """A set of this content, with the header before it and zeros up to a multiple of 4 octets after it."""
    padding = bytes(-len(content) % 4)
    length = HEADER.octets + len(content) + len(padding)
    return HEADER.build(set_id=set_id, length=length) + content + padding


def set_spans(datagram: bytes, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The sets from `offset` to `end`: set ID, and where its content begins and ends.

    Raises MalformedMessage at a length that leads nowhere: there is no way to find the next set then. A set
    that is cut off by `end` comes first, with what there is of it.
    """
    while end - offset >= HEADER.octets:
        header = HEADER.read(datagram, offset)
        length = header["length"]
        if length < HEADER.octets:
            raise MalformedMessage("set shorter than its header")
        yield header["set_id"], offset + HEADER.octets, min(offset + length, end)
        offset += length
        if offset > end:
            raise MalformedMessage("set longer than the message")


def parsed(record: Struct, octets: bytes) -> Iterator[Any]:
    """Records of one construct Struct, one after the other, until only padding is left."""
    stream, padding = io.BytesIO(octets), len(octets.rstrip(b"\0"))  # where zeros to the end begin
    while len(octets) - stream.tell() >= SHORTEST_RECORD and stream.tell() < padding:
        try:
            yield record.parse_stream(stream)
        except StreamError:
            raise MalformedMessage("template cut off") from None
