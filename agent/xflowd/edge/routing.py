"""The kernel's routes by netlink (rtnetlink(7)), as tables."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from xflowd.edge import netlink
from xflowd.metering.prefixes import LongestMatch, Octets, Prefixes, RoutingTables

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
MOST_ROUTES = 1_000_000  # in all tables: as many as the Internet has

#: <linux/rtnetlink.h>, <linux/fib_rules.h>
_RTA_DST, _RTA_TABLE = 1, 15
_RTNH_F_DEAD, _RTM_F_CLONED = 0x1, 0x200
_RTN_BLACKHOLE, _RTN_PROHIBIT, _RTN_THROW = 6, 8, 9
_FR_ACT_TO_TBL, _NO_LENGTH = 1, (0xFFFFFFFF).to_bytes(4, "little")
_FRA_PRIORITY, _FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE, _FRA_PROTOCOL = 6, 14, 15, 21
#: What a rule may say and still look up one table for every packet.
_SAYS_NOTHING = {_FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL, _FRA_SUPPRESS_PREFIXLEN}
_PORT_RULES = {22, 23, 24}  # FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE

_ROUTE = struct.Struct("=BBBBBBBBI")
_PAYLOAD = netlink.HEADER.size + _ROUTE.size
_PADDING = 64  # octets behind a block that may be looked at


class PolicyError(Exception):
    """Which route a packet takes is not a matter of its destination alone; `by_port`: its ports may have a say."""

    def __init__(self, what: str, *, by_port: bool = False) -> None:
        super().__init__(what)
        self.by_port = by_port


def tables() -> RoutingTables:
    """The host's routes. Raises PolicyError where tables cannot say, OSError where the kernel does not."""
    by_order: dict[int, list[Prefixes]] = {}
    count = 0
    for version, family in _FAMILIES.items():
        asked = _tables_asked(family)
        order = {table: place for place, table in reversed(list(enumerate(asked)))}
        for block in _dump(family, netlink.RTM_GETROUTE):
            prefixes, table_numbers = _prefixes(block, version, asked)
            count += len(prefixes.values)
            if count > MOST_ROUTES:
                raise PolicyError(f"there are more than {MOST_ROUTES:,} routes")
            for table, place in order.items():
                rows = table_numbers == table
                if rows.any():
                    by_order.setdefault(place, []).append(_taken(prefixes, rows))
    # Of two routes for one prefix the better comes first, and a LongestMatch takes the later.
    return RoutingTables([LongestMatch(_reversed(by_order[place])) for place in sorted(by_order)])


def _tables_asked(family: int) -> list[int]:
    """The tables that every packet is looked up in, first to last; raises PolicyError if it depends on the packet."""
    blocks = _dump(family, netlink.RTM_GETRULE)
    rules = [_rule(block, at) for block in blocks for at in netlink.messages(block, netlink.RTM_NEWRULE)]
    if not all(plain for _, _, plain, _ in rules):
        by_port = any(looks for _, _, _, looks in rules)
        raise PolicyError("there are rules beside those that look up a table for every packet", by_port=by_port)
    # Those of one priority are asked in the order in which they were made, and told in that order.
    return [table for _, table, _, _ in sorted(rules, key=lambda rule: rule[0])]


def _rule(block: bytes, at: int) -> tuple[int, int, bool, bool]:
    """A rule's priority and table, whether every packet is looked up there, and whether it looks at ports."""
    _, to, source, service, table, _, _, action, flags = _ROUTE.unpack_from(block, at + netlink.HEADER.size)
    said, end = {}, at + struct.unpack_from("=I", block, at)[0]
    at += _PAYLOAD
    while at + 4 <= end:
        length, kind = struct.unpack_from("=HH", block, at)
        said[kind] = block[at + 4 : at + length]
        at += max(length + 3 & ~3, 4)
    plain = not (to or source or service or flags or said.keys() - _SAYS_NOTHING) and action == _FR_ACT_TO_TBL
    plain &= said.get(_FRA_SUPPRESS_PREFIXLEN, _NO_LENGTH) == _NO_LENGTH
    priority, named = (int.from_bytes(said.get(kind, b""), sys.byteorder) for kind in (_FRA_PRIORITY, _FRA_TABLE))
    return priority, named or table, plain, bool(said.keys() & _PORT_RULES)


def _dump(family: int, kind: int) -> Iterator[bytes]:
    """All routes or rules of a family, as blocks of messages."""
    return netlink.dump_blocks(kind, _ROUTE.pack(family, *[0] * 8))


def _prefixes(block: bytes, version: int, asked: list[int]) -> tuple[Prefixes, npt.NDArray[np.uint32]]:
    """The routes of a block, and the table of each. Raises PolicyError for one that is not for every packet.

    A default route of the table that is `asked` last may be for some packets alone: its prefix length is 0, as where
    there is no route.
    """
    octets = np.frombuffer(block + bytes(_PADDING), np.uint8)
    places = np.array(list(netlink.messages(block, netlink.RTM_NEWROUTE)), np.intp)
    header = octets[places[:, None] + np.arange(_PAYLOAD)]
    lengths, source_lengths, service, kinds = (header[:, netlink.HEADER.size + at] for at in (1, 2, 3, 7))
    flags = _numbers(octets, places + _PAYLOAD - 4)
    usable = flags & (_RTNH_F_DEAD | _RTM_F_CLONED) == 0
    table, destination = _attributes(octets, places, (_RTA_TABLE, _RTA_DST))
    tables_of = np.where(table > 0, _numbers(octets, table), header[:, netlink.HEADER.size + 4])
    for_some = np.flatnonzero(usable & ((source_lengths > 0) | (service > 0)))  # as a rule there are none
    in_asked, in_last = (np.isin(tables_of[for_some], these) for these in (asked, asked[-1:]))
    if np.any(in_asked & ((lengths[for_some] > 0) | ~in_last)):
        raise PolicyError("there are routes for some sources, or for some classes of service")
    width = 4 if version == 4 else 16
    addresses = np.zeros((len(places), 16), np.uint8)
    given = destination > 0
    addresses[given, :width] = octets[destination[given][:, None] + np.arange(width)]
    values = lengths.astype(np.uint32) + 1
    values[(kinds >= _RTN_BLACKHOLE) & (kinds <= _RTN_PROHIBIT)] = RoutingTables.NOWHERE
    values[kinds == _RTN_THROW] = RoutingTables.THROW
    whole = Prefixes(np.full(len(places), version, np.uint8), addresses, lengths, values)
    return _taken(whole, usable), tables_of[usable]


def _attributes(octets: Octets, places: npt.NDArray[np.intp], wanted: tuple[int, ...]) -> list[npt.NDArray[np.intp]]:
    """Where the values of attributes begin, in all messages at once; 0 where there is none."""
    found = [np.zeros(len(places), np.intp) for _ in wanted]
    ends, at = places + _numbers(octets, places), places + _PAYLOAD
    rows = np.flatnonzero(at + 4 <= ends)
    while len(rows):
        here = at[rows]
        length, kind = _halves(octets, here), _halves(octets, here + 2)
        for values, number in zip(found, wanted, strict=True):
            mine = kind == number
            values[rows[mine]] = here[mine] + 4
        at[rows] += np.maximum(length + 3 & ~3, 4)
        rows = rows[at[rows] + 4 <= ends[rows]]
    return found


def _numbers(octets: Octets, at: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    numbers: npt.NDArray[np.intp] = octets[at[:, None] + np.arange(4)].view(np.uint32)[:, 0].astype(np.intp)
    return numbers


def _halves(octets: Octets, at: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    numbers: npt.NDArray[np.intp] = octets[at[:, None] + np.arange(2)].view(np.uint16)[:, 0].astype(np.intp)
    return numbers


def _taken(prefixes: Prefixes, rows: npt.NDArray[np.bool_]) -> Prefixes:
    return Prefixes(prefixes.versions[rows], prefixes.addresses[rows], prefixes.lengths[rows], prefixes.values[rows])


def _reversed(portions: list[Prefixes]) -> Iterator[Prefixes]:
    for portion in reversed(portions):
        yield _taken(portion, slice(None, None, -1))  # type: ignore[arg-type]
