"""Data records out of a set: as a view where all have one length, else record by record."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.wire.elements import VARIABLE_LENGTH
from xflowd.wire.message import MalformedMessage
from xflowd.wire.template import Template

Array = npt.NDArray[Any]
_LONG = 255  # as the one octet of a length: two octets with the real one follow (RFC 7011 section 7)


def fixed_records(template: Template, datagram: bytes, start: int, end: int) -> Array:
    """The records in `datagram[start:end]`, without a copy. What is left over is padding."""
    count = (end - start) // template.octets
    return np.frombuffer(datagram, template.dtype, count, start)


def variable_records(template: Template, datagram: bytes, start: int, end: int) -> tuple[Array, bool]:
    """The records in `datagram[start:end]`, and False if the last one ends outside (it is then left out).

    Octets fewer than the shortest possible record are padding.
    """
    # Fields of no octets have no column: 255 of them in records of one octet would be 16 million values a datagram.
    lengths = [field.octets for field in template.all_fields if field.octets]
    rows, is_whole = [], True
    try:
        while end - start >= template.octets:
            row, start = _row(lengths, datagram, start, end)
            rows.append(row)
    except MalformedMessage:
        is_whole = False
    records = np.empty(len(rows), template.dtype)
    for place, (name, octets) in enumerate(zip(template.dtype.names or (), lengths, strict=True)):
        column = [row[place] for row in rows]
        if octets == VARIABLE_LENGTH:
            records[name][:] = column
        else:
            records[name] = np.frombuffer(b"".join(column), records.dtype[name], len(rows))
    return records, is_whole


def _row(lengths: list[int], datagram: bytes, offset: int, end: int) -> tuple[list[bytes], int]:
    values = []
    for length in lengths:
        octets = length
        if octets == VARIABLE_LENGTH:
            octets, offset = _length(datagram, offset, end)
        if offset + octets > end:
            raise MalformedMessage("record longer than its set")
        values.append(datagram[offset : offset + octets])
        offset += octets
    return values, offset


def _length(datagram: bytes, offset: int, end: int) -> tuple[int, int]:
    """The length of a value, and where the value begins."""
    if offset >= end:
        raise MalformedMessage("record longer than its set")
    if datagram[offset] < _LONG:
        return datagram[offset], offset + 1
    return int.from_bytes(datagram[offset + 1 : offset + 3], "big"), offset + 3
