"""A flow's way out: found by a scan, detached, read, given to every sink, committed, and its slot given back."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from xflowd.edge.journal import Journal
from xflowd.edge.kernel import Kernel
from xflowd.metering import expiry
from xflowd.metering.flow import FLOW, INGRESS, FlowEndReason, Place
from xflowd.metering.instant import Instant
from xflowd.metering.overflow import OverflowFlows
from xflowd.metering.pressure import Pressure
from xflowd.metering.table import Records, SlotState, flows
from xflowd.notices import Notice, counted

log = logging.getLogger(__name__)

_AT_ONCE = 8192  # flows in memory outside the table, and in one transaction
_MOST_OWN_FLOWS = 64  # more than our collectors make: other flows are among them

#: Tells of flows whether they are our own export traffic.
OwnTraffic = Callable[[Records], npt.NDArray[np.bool_]]


class Sink(Protocol):
    """Where ended flows go. A transaction is take(), the journal's commit, commit()."""

    @property
    def portion(self) -> int:
        """The most flows of one transaction."""

    def take(self, ended: Records, now: Instant) -> None:
        """Flows of type FLOW, perhaps none: a sink has its own business once a second too."""

    def commit(self) -> None:
        """What was taken is in the journal: it may leave."""

    def rollback(self) -> None:
        """What was taken is not in the journal, and never will be."""

    def due(self, now: Instant) -> bool:
        """Whether take() would send something even without flows."""


class Lookup(Protocol):
    """What knows of ended flows more than their packets tell."""

    def fill(self, flows: Records) -> None:
        """Set columns of flows (of FLOW)."""


@dataclass(slots=True)
class FlowCounters:
    """What became of flows and their packets."""

    flows: dict[FlowEndReason, int] = field(default_factory=lambda: dict.fromkeys(FlowEndReason, 0))
    packet_total_count: int = 0
    octet_total_count: int = 0
    packets_by_place: Counter[Place] = field(default_factory=Counter)
    sink_failures: int = 0


class Pipeline:
    """Moves flows from the kernel's table to the sinks. Time is an argument.

    Whoever is killed in here loses nothing: until its record is in the journal, a slot is there to be read again.
    """

    def __init__(  # noqa: PLR0913 - the parts it stands between
        self,
        kernel: Kernel,
        timeouts: expiry.Timeouts,
        sinks: Sequence[Sink],
        journal: Journal,
        *,
        own: OwnTraffic | None = None,
        lookups: Sequence[Lookup] = (),
        table: int = 1,
    ) -> None:
        """`table` numbers the kernel's table among all that this journal has known: see switch()."""
        self.kernel, self.sinks, self._journal, self._own = kernel, sinks, journal, own
        self.timeouts, self._lookups, self.table = timeouts, lookups, table
        self.pressure = Pressure(timeouts.idle_ns, timeouts.look_ns)
        self.counters = FlowCounters()
        self.live = 0
        self._failed = False
        self._troubles = Notice()
        self._retired: Counter[str] = Counter()
        self._overflow = OverflowFlows()
        self._restore(journal.remembered("meter") or {})
        journal.include("meter", self._state)

    def configure(self, timeouts: expiry.Timeouts, sinks: Sequence[Sink]) -> None:
        """Other timeouts and sinks from now on."""
        self.timeouts, self.sinks = timeouts, sinks
        self.pressure.configure(timeouts.idle_ns, timeouts.look_ns)

    def tick(self, now: Instant) -> None:
        """End the flows whose time has come, and more where the table runs full: see Pressure.looked()."""
        self._mend(now)
        slots = self.kernel.slots
        in_force = replace(self.timeouts, idle_ns=self.pressure.idle_ns)
        found = expiry.scan(slots, now.monotonic_ns, in_force, self.kernel.slots_used())
        free = found.free + len(found.discarded)
        unslotted = self.kernel.unslotted_packets()
        room = self.pressure.look(len(slots), free, len(found.numbers), unslotted, now.monotonic_ns)
        found = expiry.make_room(slots, expiry.at_most(found, self.pressure.most), room)
        if self._would_only_feed_itself(found, now):
            found = replace(found, numbers=found.numbers[:0], reasons=found.reasons[:0])
        self.live = found.live - len(found.numbers)
        self._end(found, now)

    def fail(self) -> None:
        """The last tick or flush did not come to its end: the next finds what is left, like that of a dead agent."""
        self._failed = True

    def flush(self, now: Instant) -> None:
        """End every flow there is (forced end)."""
        self.live = 0
        self._mend(now)
        self._end(expiry.everything(self.kernel.slots), now)

    def flush_chosen(self, numbers: expiry.Numbers, now: Instant) -> int:
        """End the flows of these slots (forced end), where they are LIVE; how many. Sends what else is due, too."""
        self._mend(now)
        numbers = numbers[self.kernel.slots["state"][numbers] == SlotState.LIVE]
        reasons = np.full(len(numbers), FlowEndReason.FORCED_END, np.uint8)
        self.live = max(0, self.live - len(numbers))
        self._end(expiry.Scan(numbers, reasons, numbers[:0], len(numbers), 0), now)
        return len(numbers)

    def flush_places(self, places: Collection[Place], now: Instant) -> None:
        """End the flows that were observed there (forced end), and forget these places: they are metered no more."""
        self._mend(now)
        found = expiry.everything(self.kernel.slots)
        key = self.kernel.slots["key"][found.numbers]
        chosen = np.isin(_places(key["interface"], key["flow_direction"]), [_place(*place) for place in places])
        self._end(replace(found, numbers=found.numbers[chosen], reasons=found.reasons[chosen]), now)
        for place in places:
            self.counters.packets_by_place.pop(place, None)

    def _mend(self, now: Instant) -> None:
        """Finish what has failed before; a flush would not see it."""
        if self._failed:
            self.recover(now)

    def recover(self, now: Instant) -> None:
        """Finish what an agent that was killed has left half done in this table."""
        left = self.kernel.left_over(self._journal.committed)
        self.kernel.release(np.concatenate([left.sent, left.empty]))
        reasons = self.kernel.slots["flow_end_reason"][left.pending]
        reasons[reasons == 0] = FlowEndReason.FORCED_END
        none = left.pending[:0]
        self._end(expiry.Scan(left.pending, reasons, none, len(left.pending), 0), now)

    def switch(self, kernel: Kernel, table: int) -> None:
        """Go on with another table, after flush() has emptied this one."""
        self._retired = self.outcomes()
        self._overflow = OverflowFlows()
        self.kernel, self.table = kernel, table
        self._journal.commit()

    def outcomes(self) -> Counter[str]:
        """Packets by enum packet_outcome of flow.h, of all interfaces, and of the tables before this one too."""
        current = {name: int(counts.sum()) for name, counts in self.kernel.outcomes().items()}
        return self._retired + Counter(current)

    def in_table(self) -> Counter[Place]:
        """Packets in flows that have not been exported. Piece by piece: a whole column more would be much memory."""
        slots, total = self.kernel.slots, Counter[Place]()
        for at in range(0, self.kernel.slots_used(), _AT_ONCE):
            part = slots[at : at + _AT_ONCE]
            packets = part["own"]["packet_delta_count"] + part["others"]["packet_delta_count"]
            packets[part["state"] == SlotState.FREE] = 0
            total.update(_by_place(_places(part["key"]["interface"], part["key"]["flow_direction"]), packets))
        return total

    def overflow_waiting(self) -> Counter[Place]:
        """Packets in overflow records that have not been exported."""
        waiting: Counter[Place] = Counter()
        for record in self.kernel.overflow() if self._has_overflowed() else ():
            place = int(record["key"]["interface"]), int(record["key"]["flow_direction"])
            waiting[place] += self._overflow.waiting(record)
        return waiting

    def _would_only_feed_itself(self, found: expiry.Scan, now: Instant) -> bool:
        """Our own export traffic is metered like any other. Were its flows sent alone, that would make the next
        flow to send, for ever: they wait for other flows or for templates, and go along with them."""
        if self._own is None or len(found.numbers) == 0 or any(sink.due(now) for sink in self.sinks):
            return False
        if len(found.numbers) > _MOST_OWN_FLOWS or FlowEndReason.LACK_OF_RESOURCES in found.reasons:
            return False
        return bool(self._own(flows(self.kernel.records(found.numbers), found.reasons)).all())

    def _end(self, found: expiry.Scan, now: Instant) -> None:
        self._failed = True  # until all of it is done: whoever has asked for it may go on after any fault
        numbers, reasons = found.numbers, found.reasons
        if len(numbers):
            self.kernel.detach(numbers, reasons)
        elif len(found.discarded):
            self.kernel.wait_grace_period()
        at_once = min([_AT_ONCE, *(sink.portion for sink in self.sinks)])
        for at in range(0, len(numbers), at_once):
            part = slice(at, at + at_once)
            ended = flows(self.kernel.records(numbers[part]), reasons[part])
            for lookup in self._lookups:
                lookup.fill(ended)
            self._give(numbers[part], ended, now)
        self._give_overflow(now, is_all=not len(numbers))
        self.kernel.release(np.concatenate([numbers, found.discarded]))
        self._failed = False

    def _give_overflow(self, now: Instant, is_all: bool) -> None:
        """After all flows: each commit says that what was asked for of these has gone out. `is_all`: there are none."""
        nothing = np.zeros(0, np.uint32)
        if not self._has_overflowed():
            if is_all:
                self._give(nothing, np.zeros(0, FLOW), now)
            return
        before = self._overflow.state()
        overflow = self._overflow.grown(self.kernel.overflow(), now.monotonic_ns)
        if not len(overflow) and not is_all:
            return
        try:
            self._give(nothing, overflow, now)
        except BaseException:
            self._overflow = OverflowFlows(before)
            raise

    def _has_overflowed(self) -> bool:
        return self.kernel.overflow_packets() != self._overflow.packets

    def _give(self, numbers: expiry.Numbers, ended: Records, now: Instant) -> None:
        """One transaction. Nothing is committed where there is nothing new to remember."""
        if not len(ended) and not any(sink.due(now) for sink in self.sinks):
            return
        before = copy.deepcopy(self.counters)
        self.kernel.stamp(numbers, self._journal.committed + 1)
        self._count(ended)
        taken = [sink for sink in self.sinks if self._taken(sink, ended, now)]
        try:
            self._journal.commit()
        except BaseException:
            for sink in taken:
                sink.rollback()
            self.kernel.stamp(numbers, 0)  # or another commit would say that they are gone
            self.counters = before
            raise
        for sink in taken:
            sink.commit()

    def _taken(self, sink: Sink, ended: Records, now: Instant) -> bool:
        """A sink that fails keeps no other from its flows, and the table from nothing."""
        try:
            sink.take(ended, now)
        except Exception as error:
            self.counters.sink_failures += len(ended)
            failed = counted(self.counters.sink_failures, "flow")
            self._troubles.tell(f"{failed} not exported: {error!r}", now.monotonic_ns)
            log.debug("a sink failed", exc_info=True)
            sink.rollback()
            return False
        return True

    def _count(self, ended: Records) -> None:
        for reason, count in zip(*np.unique(ended["flow_end_reason"], return_counts=True), strict=True):
            self.counters.flows[FlowEndReason(int(reason))] += int(count)
        self.counters.packet_total_count += int(ended["packet_delta_count"].sum())
        self.counters.octet_total_count += int(ended["octet_delta_count"].sum())
        interface = np.where(ended["flow_direction"] == INGRESS, ended["ingress_interface"], ended["egress_interface"])
        places = _places(interface, ended["flow_direction"])
        self.counters.packets_by_place.update(_by_place(places, ended["packet_delta_count"]))

    def _state(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "flows": {str(int(reason)): count for reason, count in self.counters.flows.items()},
            "packets": self.counters.packet_total_count,
            "octets": self.counters.octet_total_count,
            "places": [[*place, packets] for place, packets in self.counters.packets_by_place.items()],
            "retired": dict(self._retired),
            "overflow": self._overflow.state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Count on from where the agent before this one was."""
        if not state:
            return
        self.counters.flows.update({FlowEndReason(int(reason)): count for reason, count in state["flows"].items()})
        self.counters.packet_total_count, self.counters.octet_total_count = state["packets"], state["octets"]
        self.counters.packets_by_place.update({(place[0], place[1]): packets for *place, packets in state["places"]})
        self._retired = Counter(state["retired"])
        if state["table"] == self.table:
            self._overflow = OverflowFlows(state["overflow"])


def _place(interface: int, direction: int) -> int:
    return interface << 1 | direction


def _places(interfaces: npt.NDArray[Any], directions: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    numbers: npt.NDArray[np.int64] = interfaces.astype(np.int64) << 1 | directions
    return numbers


def _by_place(places: npt.NDArray[np.int64], packets: npt.NDArray[np.uint64]) -> Counter[Place]:
    """The sum of `packets` at each place."""
    known, which = np.unique(places, return_inverse=True)
    sums = np.zeros(len(known), np.uint64)
    np.add.at(sums, which, packets)
    return Counter({(int(one) >> 1, int(one) & 1): int(total) for one, total in zip(known, sums, strict=True)})
