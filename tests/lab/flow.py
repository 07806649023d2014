"""A flow as a collector tells it, whichever collector: what the readers give and the tests compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

ICMP, TCP, UDP, ICMPV6, DCCP, SCTP, UDP_LITE = 1, 6, 17, 58, 33, 132, 136
WITH_PORTS = frozenset((TCP, UDP, DCCP, SCTP, UDP_LITE))


class Key(NamedTuple):
    """The five-tuple. Addresses are as `ipaddress` writes them; without ports in the protocol, they are 0."""

    source_address: str
    destination_address: str
    protocol_identifier: int
    source_transport_port: int
    destination_transport_port: int


@dataclass(frozen=True)
class Flow:
    """One data record, under IANA's names. None: this collector does not tell, or the protocol does not."""

    key: Key
    packet_delta_count: int
    octet_delta_count: int
    flow_start_ms: int  # milliseconds of Unix time
    flow_end_ms: int
    ip_class_of_service: int | None = None
    tcp_control_bits: int | None = None
    icmp_type_code: int | None = None  # type * 256 + code
    ingress_interface: int | None = None
    egress_interface: int | None = None
    vlan_id: int | None = None
    source_mac_address: str | None = None
    destination_mac_address: str | None = None
    sampling_interval: int | None = None
    flow_direction: int | None = None
    bgp_source_as_number: int | None = None
    source_prefix_length: int | None = None


class Count(NamedTuple):
    """Packets, and their IP octets."""

    packets: int
    octets: int


#: Fields of which a five-tuple may show several values, one in each of its records.
DISTINCT = (
    "ip_class_of_service",
    "icmp_type_code",
    "ingress_interface",
    "egress_interface",
    "vlan_id",
    "source_mac_address",
    "destination_mac_address",
    "sampling_interval",
    "flow_direction",
    "bgp_source_as_number",
    "source_prefix_length",
)


@dataclass(frozen=True)
class Folded:
    """All records of one five-tuple in one."""

    count: Count
    flow_start_ms: int
    flow_end_ms: int
    tcp_control_bits: int | None
    distinct: dict[str, frozenset[int | str] | None]


def totals(flows: Iterable[Flow]) -> dict[Key, Count]:
    """Packets and octets of each five-tuple."""
    sums: dict[Key, Count] = defaultdict(lambda: Count(0, 0))
    for flow in flows:
        old = sums[flow.key]
        sums[flow.key] = Count(old.packets + flow.packet_delta_count, old.octets + flow.octet_delta_count)
    return dict(sums)


def total(flows: Iterable[Flow]) -> Count:
    """Packets and octets of all of them together."""
    counts = totals(flows).values()
    return Count(sum(count.packets for count in counts), sum(count.octets for count in counts))


def fold(flows: Iterable[Flow]) -> dict[Key, Folded]:
    """Join the records of each five-tuple, so that collectors which join or split them still compare."""
    records: dict[Key, list[Flow]] = defaultdict(list)
    for flow in flows:
        records[flow.key].append(flow)
    return {key: _folded(members) for key, members in records.items()}


def disagreements(one: Iterable[Flow], other: Iterable[Flow], *, clock_ms: int) -> list[str]:
    """What two collectors say differently of the same export, a line each. Times may differ by `clock_ms`."""
    left, right = fold(one), fold(other)
    lines = [f"{key} only in the one" for key in left.keys() - right.keys()]
    lines += [f"{key} only in the other" for key in right.keys() - left.keys()]
    for key in sorted(left.keys() & right.keys()):
        lines += [f"{key} {difference}" for difference in _differences(left[key], right[key], clock_ms)]
    return lines


def _folded(members: list[Flow]) -> Folded:
    return Folded(
        totals(members)[members[0].key],
        min(flow.flow_start_ms for flow in members),
        max(flow.flow_end_ms for flow in members),
        _union_of_bits([flow.tcp_control_bits for flow in members]),
        {name: _distinct([getattr(flow, name) for flow in members]) for name in DISTINCT},
    )


def _union_of_bits(values: list[int | None]) -> int | None:
    bits = 0
    for value in values:
        if value is None:
            return None
        bits |= value
    return bits


def _distinct(values: list[int | str | None]) -> frozenset[int | str] | None:
    known = frozenset(value for value in values if value is not None)
    return known if None not in values else None


def _differences(one: Folded, other: Folded, clock_ms: int) -> list[str]:
    found = []
    if one.count != other.count:
        found.append(f"{one.count} and {other.count}")
    for name in ("flow_start_ms", "flow_end_ms"):
        if abs(getattr(one, name) - getattr(other, name)) > clock_ms:
            found.append(f"{name}: {getattr(one, name)} and {getattr(other, name)}")
    pairs = {name: (one.distinct[name], other.distinct[name]) for name in DISTINCT}
    for name, pair in {"tcp_control_bits": (one.tcp_control_bits, other.tcp_control_bits), **pairs}.items():
        if None not in pair and pair[0] != pair[1]:
            found.append(f"{name}: {pair[0]} and {pair[1]}")
    return found
