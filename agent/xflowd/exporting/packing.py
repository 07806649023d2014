"""Records into datagrams: each as full as the path allows, many of the same form at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.wire.layout import Layout

Array = npt.NDArray[Any]
_SEQUENCE_MODULUS = 1 << 32


@dataclass(frozen=True, slots=True)
class Framing:
    """How a protocol puts records into a message.

    `set_header`: None where records follow the header directly. `sequence_counts_messages`: else the sequence
    number counts data records.
    """

    header: Layout
    set_header: Layout | None
    record_limit: int
    sequence_counts_messages: bool

    @property
    def set_octets(self) -> int:
        """Octets before the records of a set."""
        return self.set_header.octets if self.set_header else 0


@dataclass(slots=True)
class _Open:
    """The datagram being filled."""

    parts: list[bytes]
    octets: int
    records: int = 0
    data_records: int = 0


class Packing:
    """The datagrams of one export: sets go in, in order, and `finish` gives what to send.

    `header_values` are the header's fields that all of them share; `sequence` is the first one's number, and
    after `finish` the next one's.
    """

    def __init__(self, framing: Framing, max_payload: int, header_values: Mapping[str, int], sequence: int) -> None:
        self.sequence = sequence
        self._framing, self._max_payload, self._header_values = framing, max_payload, header_values
        self._datagrams: list[memoryview] = []
        self._open = self._empty()

    def add_set(self, octets: bytes, records: int, data_records: int = 0) -> None:
        """One or more whole sets, ready made, of so many records (RFC 3954 counts templates too).

        They stay together: where they do not fit any more, the next datagram begins with them.
        """
        if self._open.octets + len(octets) > self._max_payload:
            self._close()
        self._put([octets], records, data_records)

    def add_records(self, set_id: int, records: Array) -> None:
        """Data records of one template: into the room that is left, then full datagrams, then a new one."""
        taken = min(len(records), self._room(records.itemsize))
        self._put_records(set_id, records[:taken])
        rest = records[taken:]
        if not len(rest):
            return
        self._close()
        each = self._room(records.itemsize)
        full = len(rest) // each
        self._put_full(set_id, rest[: full * each], each)
        self._put_records(set_id, rest[full * each :])

    def finish(self) -> list[memoryview]:
        """All datagrams, in the order to send them."""
        self._close()
        return self._datagrams

    def _room(self, record_octets: int) -> int:
        """How many more records of this size the open datagram takes, with their set header."""
        octets = self._max_payload - self._open.octets - self._framing.set_octets
        return max(0, min(octets // record_octets, self._framing.record_limit - self._open.records))

    def _put(self, parts: list[bytes], records: int, data_records: int) -> None:
        self._open.parts += parts
        self._open.octets += sum(map(len, parts))
        self._open.records += records
        self._open.data_records += data_records

    def _put_records(self, set_id: int, records: Array) -> None:
        if not len(records):
            return
        octets = records.tobytes()
        parts = [octets]
        if self._framing.set_header is not None:
            length = self._framing.set_octets + len(octets)
            parts.insert(0, self._framing.set_header.build(set_id=set_id, length=length))
        self._put(parts, len(records), len(records))

    def _put_full(self, set_id: int, records: Array, each: int) -> None:
        """Datagrams of `each` records, all at once: one array, a row for each datagram."""
        count, content = len(records) // each, each * records.itemsize
        if not count:
            return
        rows = np.zeros(count, self._row(content))
        self._stamp(rows["message"], each, rows.itemsize, np.arange(count) * self._step(each))
        if self._framing.set_header is not None:
            rows["set"]["set_id"] = set_id
            rows["set"]["length"] = self._framing.set_octets + content
        rows["records"] = np.ascontiguousarray(records).view(np.dtype((np.void, content)))
        octets, size = rows.view(np.uint8).data, rows.itemsize
        self._datagrams += [octets[start : start + size] for start in range(0, count * size, size)]
        self._advance(count * self._step(each))

    def _row(self, content: int) -> np.dtype[np.void]:
        parts: list[tuple[str, npt.DTypeLike]] = [("message", self._framing.header.dtype)]
        if self._framing.set_header is not None:
            parts.append(("set", self._framing.set_header.dtype))
        return np.dtype([*parts, ("records", np.dtype((np.void, content)))])

    def _close(self) -> None:
        """The open datagram gets its header and goes; an empty one does not."""
        if not self._open.parts:
            return
        header = np.zeros(1, self._framing.header.dtype)
        self._stamp(header, self._open.records, self._open.octets, 0)
        self._datagrams.append(memoryview(b"".join([header.tobytes(), *self._open.parts])))
        self._advance(self._step(self._open.data_records))
        self._open = self._empty()

    def _stamp(self, headers: Array, records: int, octets: int, steps: Array | int) -> None:
        varying = {
            "count": records,
            "length": octets,
            "sequence_number": (self.sequence + steps) % _SEQUENCE_MODULUS,
        }
        for name in self._framing.header.names:
            headers[name] = varying[name] if name in varying else self._header_values[name]

    def _step(self, data_records: int) -> int:
        return 1 if self._framing.sequence_counts_messages else data_records

    def _advance(self, steps: int) -> None:
        self.sequence = (self.sequence + steps) % _SEQUENCE_MODULUS

    def _empty(self) -> _Open:
        return _Open([], self._framing.header.octets)
