"""A flow's way out: found by a scan, detached, read, given to every sink, and its slot given back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from xflowd.edge.kernel import Kernel
from xflowd.metering import expiry
from xflowd.metering.flow import FLOW, FlowEndReason
from xflowd.metering.instant import Instant
from xflowd.metering.prefixes import PrefixTable
from xflowd.metering.table import Records, flows

_AT_ONCE = 8192  # flows in memory outside the table
_MOST_OWN_FLOWS = 64  # more than our collectors make: other flows are among them

#: Tells of flows whether they are our own export traffic.
OwnTraffic = Callable[[Records], npt.NDArray[np.bool_]]


class Sink(Protocol):
    """Where ended flows go."""

    def take(self, ended: Records, now: Instant) -> None:
        """Flows of type FLOW, perhaps none: a sink has its own business once a second too."""

    def due(self, now: Instant) -> bool:
        """Whether take() would send something even without flows."""


@dataclass(slots=True)
class FlowCounters:
    """What became of flows and their packets."""

    flows: dict[FlowEndReason, int] = field(default_factory=lambda: dict.fromkeys(FlowEndReason, 0))
    packet_total_count: int = 0
    octet_total_count: int = 0
    overflow_packets: int = 0


class Pipeline:
    """Moves flows from the kernel's table to the sinks. Time is an argument."""

    def __init__(
        self, kernel: Kernel, timeouts: expiry.Timeouts, sinks: Sequence[Sink], own: OwnTraffic | None = None
    ) -> None:
        self.kernel, self.timeouts, self.sinks, self._own = kernel, timeouts, sinks, own
        self.counters = FlowCounters()
        self.prefixes = PrefixTable([])
        self.live = 0
        self._retired: Counter[str] = Counter()
        self._overflow: dict[bytes, tuple[int, int, int]] = {}

    def tick(self, now: Instant) -> None:
        """End the flows whose time has come."""
        slots = self.kernel.slots
        found = expiry.scan(slots, now.monotonic_ns, self.timeouts, self.kernel.slots_used())
        found = expiry.make_room(slots, found)
        if self._would_only_feed_itself(found, now):
            found = replace(found, numbers=found.numbers[:0], reasons=found.reasons[:0])
        self.live = found.live - len(found.numbers)
        self._end(found, now)

    def flush(self, now: Instant) -> None:
        """End every flow there is (forced end)."""
        self.live = 0
        self._end(expiry.everything(self.kernel.slots), now)

    def switch(self, kernel: Kernel) -> None:
        """Go on with another table, after flush() has emptied this one."""
        self._retired = self.outcomes()
        self.kernel = kernel
        self._overflow.clear()
        self.counters.overflow_packets = 0

    def outcomes(self) -> Counter[str]:
        """Packets by enum packet_outcome of flow.h, of all interfaces, and of the tables before this one too."""
        current = {name: int(counts.sum()) for name, counts in self.kernel.outcomes().items()}
        return self._retired + Counter(current)

    def _would_only_feed_itself(self, found: expiry.Scan, now: Instant) -> bool:
        """Our own export traffic is metered like any other. Were its flows sent alone, that would make the next
        flow to send, for ever: they wait for other flows or for templates, and go along with them."""
        if self._own is None or len(found.numbers) == 0 or any(sink.due(now) for sink in self.sinks):
            return False
        if len(found.numbers) > _MOST_OWN_FLOWS or FlowEndReason.LACK_OF_RESOURCES in found.reasons:
            return False
        return bool(self._own(flows(self.kernel.records(found.numbers), found.reasons)).all())

    def _end(self, found: expiry.Scan, now: Instant) -> None:
        numbers, reasons = found.numbers, found.reasons
        if len(numbers):
            self.kernel.detach(numbers)
        elif len(found.discarded):
            self.kernel.wait_grace_period()
        overflow = self._overflow_flows(now)
        for at in range(0, len(numbers), _AT_ONCE):
            part = slice(at, at + _AT_ONCE)
            ended = flows(self.kernel.records(numbers[part]), reasons[part])
            self.prefixes.fill(ended)
            self._give(ended, now)
        if len(overflow) or not len(numbers):
            self._give(overflow, now)
        self.kernel.release(np.concatenate([numbers, found.discarded]))

    def _give(self, ended: Records, now: Instant) -> None:
        for reason, count in zip(*np.unique(ended["flow_end_reason"], return_counts=True), strict=True):
            self.counters.flows[FlowEndReason(int(reason))] += int(count)
        self.counters.packet_total_count += int(ended["packet_delta_count"].sum())
        self.counters.octet_total_count += int(ended["octet_delta_count"].sum())
        for sink in self.sinks:
            sink.take(ended, now)

    def _overflow_flows(self, now: Instant) -> Records:
        """What the overflow records have grown by, as flows without addresses and ports."""
        seen = self.kernel.overflow_packets()
        if seen == self.counters.overflow_packets:
            return np.zeros(0, FLOW)
        self.counters.overflow_packets = seen
        grown = [flow for record in self.kernel.overflow() if (flow := self._growth(record, now)) is not None]
        return np.concatenate(grown) if grown else np.zeros(0, FLOW)

    def _growth(self, record: np.void, now: Instant) -> Records | None:
        key, value = record["key"], record["value"]
        packets, octets = int(value["packet_total_count"]), int(value["octet_total_count"])
        before = self._overflow.get(key.tobytes(), (0, 0, now.monotonic_ns))
        if packets == before[0]:
            return None
        end = int(value["flow_end_ns"])
        self._overflow[key.tobytes()] = (packets, octets, end)
        flow = np.zeros(1, FLOW)
        for name in ("flow_direction", "ip_version", "protocol_identifier"):
            flow[name] = key[name]
        flow["egress_interface" if key["flow_direction"] else "ingress_interface"] = key["interface"]
        flow["packet_delta_count"], flow["octet_delta_count"] = packets - before[0], octets - before[1]
        flow["flow_start_ns"], flow["flow_end_ns"] = min(before[2], end), end
        flow["flow_end_reason"] = FlowEndReason.LACK_OF_RESOURCES
        return flow
