"""Elements that are no column of a flow as it stands: each has a filler, which makes its values of columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.exporting.clock import MS_PER_S, NS_PER_MS, NS_PER_S, NS_PER_US, MessageClock
from xflowd.metering.flow import EGRESS

Array = npt.NDArray[Any]
_UNSIGNED32 = 0xFFFF_FFFF
_NTP_UNIX_S = 2_208_988_800  # from 1900, where NTP counts from, to 1970
_MICROSECOND_BITS = 21  # of the fraction: the others are to be ignored (RFC 7011 section 6.1.9)


@dataclass(frozen=True, slots=True)
class RecordContext:
    """What a record tells that is not of the flow: times by which clock, one packet of how many, names."""

    clock: MessageClock
    sampling_interval: int
    interfaces: Mapping[int, str] = field(default_factory=dict)  # ifIndex → name


Filler = Callable[[Array, RecordContext], Array | int | bytes]


def snake_case(name: str) -> str:
    """IANA's spelling → that of code: `flowLabelIPv6` → `flow_label_ipv6`, `minimumTTL` → `minimum_ttl`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.replace("IPv", "Ipv").replace(":", "_"))
    return words.lower()


def _start_ns(flows: Array) -> Array:
    """Never after the end, which two CPUs can leave behind by the step of a coarse clock."""
    start: Array = np.minimum(flows["flow_start_ns"], flows["flow_end_ns"])
    return start


def _unix_ms(monotonic_ns: Array, clock: MessageClock) -> Array:
    """Signed: a flow that began before the clock of a device without battery was set can be before 1970."""
    milliseconds: Array = (monotonic_ns.astype(np.int64) + clock.monotonic_zero_unix_ns) // NS_PER_MS
    return milliseconds


def _uptime_ms(monotonic_ns: Array, clock: MessageClock) -> Array:
    uptime: Array = np.clip(_unix_ms(monotonic_ns, clock) - clock.uptime_zero_unix_ms, 0, _UNSIGNED32)
    return uptime


def _unix_s(monotonic_ns: Array, clock: MessageClock) -> Array:
    seconds: Array = _unix_ms(monotonic_ns, clock).clip(0) // MS_PER_S
    return seconds


def _unix_ntp(unit_ns: int, bits: int, monotonic_ns: Array, clock: MessageClock) -> Array:
    """Seconds since 1900 and a fraction of one, of which `bits` count: cut to whole units it is the time again.

    RFC 7011 sections 6.1.9 and 6.1.10: 64 bits, 32 of them of the second.
    """
    unix_ns = (monotonic_ns.astype(np.int64) + clock.monotonic_zero_unix_ns).clip(0).astype(np.uint64)
    seconds, ns = np.divmod(unix_ns, np.uint64(NS_PER_S))
    units, of_second = ns // np.uint64(unit_ns), np.uint64(NS_PER_S // unit_ns)
    parts = ((units << np.uint64(bits)) + of_second - np.uint64(1)) // of_second
    ntp: Array = ((seconds + np.uint64(_NTP_UNIX_S)) << np.uint64(32)) + (parts << np.uint64(32 - bits))
    return ntp


def _duration(flows: Array, context: RecordContext, unit_ns: int) -> Array:
    """From start to end as they are told in this unit, so that the three agree."""
    zero = context.clock.monotonic_zero_unix_ns
    start, end = ((times.astype(np.int64) + zero) // unit_ns for times in (_start_ns(flows), flows["flow_end_ns"]))
    duration: Array = np.minimum(end - start, _UNSIGNED32)
    return duration


def _interface_names(flows: Array, context: RecordContext) -> Array:
    """Of the interface observed: by the direction it is the one or the other."""
    observed = np.where(flows["flow_direction"] == EGRESS, flows["egress_interface"], flows["ingress_interface"])
    indexes, places = np.unique(observed, return_inverse=True)
    names: Array = np.array([context.interfaces.get(int(index), "").encode() for index in indexes], np.bytes_)[places]
    return names


def _label(column: str, flows: Array, _context: RecordContext) -> Array:
    """An entry of the MPLS label stack without its TTL: three octets (IANA 70 to 72)."""
    octets: Array = flows[column].astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    return np.ascontiguousarray(octets).view(np.dtype((np.void, 3))).reshape(-1)


def _time(unit: Callable[[Array, MessageClock], Array]) -> dict[str, Filler]:
    return {
        "flowStart": lambda flows, context: unit(_start_ns(flows), context.clock),
        "flowEnd": lambda flows, context: unit(flows["flow_end_ns"], context.clock),
    }


_TIME_UNITS: Mapping[str, Callable[[Array, MessageClock], Array]] = {
    "SysUpTime": _uptime_ms,
    "Seconds": _unix_s,
    "Milliseconds": lambda times, clock: _unix_ms(times, clock).clip(0),
    "Microseconds": partial(_unix_ntp, NS_PER_US, _MICROSECOND_BITS),
    "Nanoseconds": partial(_unix_ntp, 1, 32),
}
_LABELS = ("mplsTopLabelStackSection", "mplsLabelStackSection2", "mplsLabelStackSection3")

#: Element → its values, for all that a flow has no column of.
FILLERS: Mapping[str, Filler] = {
    **{which + unit: filler for unit, tell in _TIME_UNITS.items() for which, filler in _time(tell).items()},
    **{f"icmpType{ip}": lambda flows, context: flows["icmp_type_code"] >> 8 for ip in ("IPv4", "IPv6")},
    **{f"icmpCode{ip}": lambda flows, context: flows["icmp_type_code"] & 0xFF for ip in ("IPv4", "IPv6")},
    **{name: partial(_label, snake_case(name)) for name in _LABELS},
    "flowDurationMilliseconds": lambda flows, context: _duration(flows, context, NS_PER_MS),
    "flowDurationMicroseconds": lambda flows, context: _duration(flows, context, NS_PER_US),
    "systemInitTimeMilliseconds": lambda flows, context: context.clock.uptime_zero_unix_ms,
    "interfaceName": _interface_names,
    "dot1qVlanId": lambda flows, context: flows["vlan_id"],
    "samplingInterval": lambda flows, context: context.sampling_interval,
    "paddingOctets": lambda flows, context: b"",  # as many zeros as the field has octets
}
