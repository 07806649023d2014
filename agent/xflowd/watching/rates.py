"""What passes now: rates of flows from what their counters have grown by between two looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xflowd.watching.document import LiveFlow

_SECOND_NS = 10**9
_LEAST_SECONDS = 0.1  # of a flow that has just begun: a packet alone is no rate
#: What makes two records the same flow, before and after an active timeout has cut it.
_KEY = (
    "flowDirection", "ingressInterface", "protocolIdentifier", "sourceIPv4Address", "destinationIPv4Address",
    "sourceIPv6Address", "destinationIPv6Address", "sourceTransportPort", "destinationTransportPort",
    "icmpTypeCodeIPv4", "icmpTypeCodeIPv6", "vlanId",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one flow, a second."""

    bits: float
    packets: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What one look has seen: counters by flow, and which keys there were."""

    monotonic_ns: int
    counters: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # id → octets, packets
    keys: frozenset[tuple[Any, ...]] = frozenset()


def sample(monotonic_ns: int, flows: Sequence[LiveFlow]) -> Sample:
    """To be compared with the next look."""
    counters = {flow["id"]: (flow["octetDeltaCount"], flow["packetDeltaCount"]) for flow in flows}
    return Sample(monotonic_ns, counters, frozenset(_key(flow) for flow in flows))


def rates(before: Sample | None, monotonic_ns: int, flows: Sequence[LiveFlow]) -> list[Rate]:
    """Of each flow since the look before; over its own life, where that look has not seen it."""
    return [_rate(before, monotonic_ns, flow) for flow in flows]


def _rate(before: Sample | None, monotonic_ns: int, flow: LiveFlow) -> Rate:
    octets, packets, age = flow["octetDeltaCount"], flow["packetDeltaCount"], flow["age_seconds"]
    since = (monotonic_ns - before.monotonic_ns) / _SECOND_NS if before else 0.0
    if before is None or since <= 0:
        return _a_second(octets, packets, max(age, 1.0))
    if flow["id"] in before.counters:
        octets_before, packets_before = before.counters[flow["id"]]
        return _a_second(octets - octets_before, packets - packets_before, since)
    if age > since:
        return _a_second(octets, packets, max(age, 1.0))
    # It has begun since. One that goes on after an active timeout was there before, in a record that is gone.
    return _a_second(octets, packets, max(age, _LEAST_SECONDS) if _key(flow) in before.keys else since)


def _a_second(octets: int, packets: int, seconds: float) -> Rate:
    return Rate(max(0, 8 * octets) / seconds, max(0, packets) / seconds)


def _key(flow: LiveFlow) -> tuple[Any, ...]:
    return tuple(flow.get(name) for name in _KEY)
