"""Which flows of the table a filter means, and which of them are the largest: by columns, a piece at a time."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.metering.expiry import QUIET_AFTER_END_NS, Numbers, Timeouts
from xflowd.metering.filtertree import All, AnyOf, Compare, Filter, FilterError, Flags, Network, Not, Station
from xflowd.metering.table import Records, SlotState

_CHUNK = 16384  # slots whose columns fit into a core's second-level cache
_ICMP_PROTOCOLS = (1, 58)  # of IPv4 and IPv6
_SECOND_NS = 10**9  # a flow's rate is over its life, and over a second at least

Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
#: What flows can be sorted by, and the column that it is.
ORDERS = {
    "octets": "octets",
    "packets": "packets",
    "rate": "rate",
    "packet-rate": "packet_rate",
    "age": "age",
    "idle": "idle",
}


class Columns:
    """What a filter asks of slots, as signed 64-bit numbers; times in nanoseconds before `now_ns`, rates a second.

    Programs go on counting meanwhile: each figure was true at some moment of the look.
    """

    def __init__(self, slots: Records, now_ns: int) -> None:
        self._slots, self._key, self._now_ns = slots, slots["key"], now_ns

    def column(self, name: str, rows: Rows) -> npt.NDArray[np.int64]:
        """A column by the name that filters and ORDERS use."""
        special = getattr(self, f"_{name}", None)
        if special is not None:
            made: npt.NDArray[np.int64] = special(rows)
            return made
        source = self._slots if name in (self._slots.dtype.names or ()) else self._key  # both have a class of service
        plain: npt.NDArray[np.int64] = source[name][rows].astype(np.int64)
        return plain

    def flags(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """tcpControlBits of all CPUs."""
        own, others = (self._slots[half]["tcp_control_bits"][rows] for half in ("own", "others"))
        seen = np.packbits(self._slots["tcp_control_bit_seen"][rows] != 0, axis=1, bitorder="little")[:, 0]
        bits: npt.NDArray[np.uint8] = own | others | seen
        return bits

    def in_network(self, network: Network, rows: Rows) -> Mask:
        """Whose address is in it; not one of the other IP version."""
        words = "u4" if len(network.network) == 4 else "u8"
        version = 4 if len(network.network) == 4 else 6
        field = self._key[f"{network.end}_ipv{version}_address"][rows]
        address = np.ascontiguousarray(field).view(words).reshape(len(rows), -1)
        wanted, mask = (np.frombuffer(octets, words) for octets in (network.network, network.mask))
        inside: Mask = ((address & mask) == wanted).all(axis=1) & (self._key["ip_version"][rows] == version)
        return inside

    def is_station(self, station: Station, rows: Rows) -> Mask:
        """Whose MAC address it is."""
        address = np.frombuffer(station.address, np.uint8)
        equal: Mask = (self._key[f"{station.end}_mac_address"][rows] == address).all(axis=1)
        return equal

    def _source_transport_port(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self._port("source", rows)

    def _destination_transport_port(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self._port("destination", rows)

    def _port(self, end: str, rows: Rows) -> npt.NDArray[np.int64]:
        """ICMP has its type and code there, and no port."""
        ports: npt.NDArray[np.int64] = self._key[f"{end}_transport_port"][rows].astype(np.int64)
        ports[np.isin(self._key["protocol_identifier"][rows], _ICMP_PROTOCOLS)] = 0
        return ports

    def _packets(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self._sum("packet_delta_count", rows)

    def _octets(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self._sum("octet_delta_count", rows)

    def _sum(self, name: str, rows: Rows) -> npt.NDArray[np.int64]:
        own, others = (self._slots[half][name][rows] for half in ("own", "others"))
        total: npt.NDArray[np.int64] = (own + others).view(np.int64)
        return total

    def _age(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self._since(self._slots["flow_start_ns"][rows])

    def _idle(self, rows: Rows) -> npt.NDArray[np.int64]:
        own, others = (self._slots[half]["flow_end_ns"][rows] for half in ("own", "others"))
        return self._since(np.maximum(own, others))

    def _duration(self, rows: Rows) -> npt.NDArray[np.int64]:
        lasted: npt.NDArray[np.int64] = np.maximum(self._age(rows) - self._idle(rows), 0)
        return lasted

    def _since(self, times: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """A packet may have come after `now_ns` was read; a slot may be LIVE before its times are there."""
        since = self._now_ns - times.view(np.int64)
        since[times == 0] = 0
        return np.maximum(since, 0)

    def _rate(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self._a_second(8.0 * self._octets(rows), rows)

    def _packet_rate(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self._a_second(self._packets(rows), rows)

    def _a_second(self, total: npt.NDArray[Any], rows: Rows) -> npt.NDArray[np.int64]:
        seconds = np.maximum(self._age(rows), _SECOND_NS) / _SECOND_NS
        a_second: npt.NDArray[np.int64] = (total / seconds).astype(np.int64)
        return a_second


def matching(tree: Filter, columns: Columns, rows: Rows) -> Mask:
    """Which of the rows a filter means. The more parts have spoken, the fewer rows the others look at."""
    if isinstance(tree, Compare):
        mask: Mask = _SIGNS[tree.sign](columns.column(tree.column, rows), tree.value)
        return mask
    if isinstance(tree, All | AnyOf):
        return _joined(tree, columns, rows)
    if isinstance(tree, Not):
        return ~matching(tree.part, columns, rows)
    if isinstance(tree, Network):
        return columns.in_network(tree, rows)
    if isinstance(tree, Station):
        return columns.is_station(tree, rows)
    if isinstance(tree, Flags):
        seen: Mask = (columns.flags(rows) & tree.bits) == tree.bits
        return seen
    raise FilterError(f"interface {tree.name}: not looked up")


def _joined(tree: All | AnyOf, columns: Columns, rows: Rows) -> Mask:
    undecided_is = isinstance(tree, All)
    mask = np.full(len(rows), undecided_is)
    for part in tree.parts:
        undecided = np.flatnonzero(mask == undecided_is)
        if not len(undecided):
            break
        mask[undecided] = matching(part, columns, rows[undecided])
    return mask


@dataclass(frozen=True, slots=True)
class Look:
    """At which slots (the first `used` of them), for the flows that a filter means, at which monotonic time."""

    slots: Records
    used: int
    tree: Filter
    now_ns: int

    def pieces(self, begin: int = 0) -> Iterator[tuple[int, Columns, Rows, Rows]]:
        """Where each piece begins, its columns, its live rows, and those of them that the filter means."""
        for at in range(begin, self.used, _CHUNK):
            part = self.slots[at : min(at + _CHUNK, self.used)]
            columns, live = Columns(part, self.now_ns), np.flatnonzero(part["state"] == SlotState.LIVE)
            yield at, columns, live, live[matching(self.tree, columns, live)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Slots in the order asked for; how many flows the filter means, and how many there are in all."""

    numbers: Numbers
    matching: int
    live: int


def largest(look: Look, order: str, limit: int, *, smallest: bool = False) -> Chosen:
    """The `limit` first flows by a column of ORDERS, the largest first. Memory is that of a piece, and of `limit`."""
    best_numbers, best = np.zeros(0, np.uint32), np.zeros(0, np.int64)
    count = live = 0
    for at, columns, rows, found in look.pieces():
        live, count = live + len(rows), count + len(found)
        values = columns.column(ORDERS[order], found)
        best = np.concatenate([best, values if smallest else -values])
        best_numbers = np.concatenate([best_numbers, (found + at).astype(np.uint32)])
        if len(best) > limit:
            kept = np.argpartition(best, limit - 1)[:limit]
            best, best_numbers = best[kept], best_numbers[kept]
    return Chosen(best_numbers[np.lexsort((best_numbers, best))], count, live)


def following(look: Look, after: int, limit: int) -> tuple[Numbers, bool]:
    """The next `limit` slots, of those behind slot `after` (-1: from the first), and whether these are the last."""
    found, count = [np.zeros(0, np.uint32)], 0
    for at, _, _, piece in look.pieces(after + 1):
        found.append((piece + at).astype(np.uint32))
        count += len(piece)
        if count > limit:
            return np.concatenate(found)[:limit], False
    return np.concatenate(found), True


def every(look: Look, begun_by_ns: int) -> Numbers:
    """All slots of the flows that began at `begun_by_ns` or before."""
    found = [np.zeros(0, np.uint32)]
    for at, _, _, piece in look.pieces():
        began = look.slots["flow_start_ns"][at : at + _CHUNK][piece]
        found.append((piece[began <= np.uint64(begun_by_ns)] + at).astype(np.uint32))
    return np.concatenate(found)


def ends_in_ns(slots: Records, rows: Rows | Numbers, timeouts: Timeouts, now_ns: int) -> npt.NDArray[np.int64]:
    """In how many nanoseconds each of these flows ends if no packet comes any more; 0: at the next look."""
    columns, rows = Columns(slots, now_ns), rows.astype(np.intp)
    quiet = np.where(slots["end_seen"][rows] != 0, min(QUIET_AFTER_END_NS, timeouts.idle_ns), timeouts.idle_ns)
    by_idle, by_age = quiet - columns.column("idle", rows), timeouts.active_ns - columns.column("age", rows)
    return np.maximum(np.minimum(by_idle, by_age), 0)


def count_ending(look: Look, timeouts: Timeouts, within_ns: Sequence[int]) -> list[int]:
    """How many flows end within each of these times if no packet comes any more."""
    counts = np.zeros(len(within_ns), np.int64)
    for at, _, _, piece in look.pieces():
        left = ends_in_ns(look.slots[at : at + _CHUNK], piece, timeouts, look.now_ns)
        counts += [np.count_nonzero(left <= within) for within in within_ns]
    return [int(count) for count in counts]
