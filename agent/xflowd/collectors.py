"""A collector as the pipeline sees it: an Exporting Process, an outbox that survives, the socket at its end.

Flows are taken in a transaction: take(), as often as there are flows; a journal gets state(); commit(). What was
committed, push() sends, a few datagrams at a time. What was not is forgotten when the agent is killed, and the flows
are still in the table.
"""

from __future__ import annotations

import logging
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.config import Collector, Sampling
from xflowd.edge.outbox import Outbox, frame_octets
from xflowd.edge.sending import Destination, Outcome
from xflowd.exporting.announcing import MeterStatistics, SamplingAnnouncement
from xflowd.exporting.process import ExportingProcess, Sent
from xflowd.exporting.protocols import PROTOCOLS
from xflowd.metering.instant import Instant
from xflowd.metering.table import Records
from xflowd.notices import Notice, counted
from xflowd.owntraffic import is_own
from xflowd.status import CollectorStatus

log = logging.getLogger(__name__)

_PACE_NS = 10_000_000
_SMALL_BURST = 8  # datagrams: what a receiver's smallest buffer holds
_BURSTS = 50  # so many bursts for any backlog: half a second
_PORTIONS = 8  # tries to fill what is left of the room
_FRAME = frame_octets(0)
_PADDING = frame_octets(1) - _FRAME - 1
QUEUE_FULL, TOO_LONG, STOPPED, CRASHED = (
    "queue full",
    "longer than the path allows",
    "stopped",
    "dropped before a crash",
)


class CollectorSink:
    """One collector: what it is told, and what came of it. Nothing here stops for it, and no other one either.

    `memory` is the outbox's: zeroes, or a predecessor's, with restore(). Raises ValueError if it is too small.
    """

    def __init__(self, config: Collector, sampling: Sampling, memory: bytearray | memoryview) -> None:
        self.config = config
        #: What has to be the same for a successor to go on with this one's outbox and state.
        self.identity = identity(config)
        self.interfaces: Mapping[int, str] = {}
        self.ignored_packets = 0
        self.unsent: Counter[str] = Counter()  # flows, by reason
        self.dropped: Counter[str] = Counter()  # datagrams, by reason
        self._lost, self._failed, self._recovery, self._moved = (
            Notice(level) for level in (logging.WARNING, logging.WARNING, logging.INFO, logging.INFO)
        )
        self._told_address: str | None = None
        self._is_in_doubt = False  # whether the next datagram of the outbox may have arrived already
        self._epoch = self._now_ns = self._next_ns = self._burst = 0
        self._announced_end: int | None = None  # where in the outbox the last templates end, until they are sent
        self._announced_ns: int | None = None
        source, self.domain = config.source, config.observation_domain or host_domain()
        self.destination = Destination(
            config.address.host,
            config.port,
            source.host if source else "",
            (source.port or 0) if source else 0,
        )
        self.process = ExportingProcess(
            config.protocol.name.lower(),
            observation_domain=self.domain,
            max_payload=config.max_payload,
            template_refresh_ns=config.template_refresh * 10**9,
            sampling=announcement(sampling),
            elements=config.elements,
        )
        self.outbox = Outbox(memory)
        if self.outbox.capacity < frame_octets(config.max_payload):
            raise ValueError(f"collector {config.name}: queue is too small for max_payload {config.max_payload}")

    @property
    def portion(self) -> int:
        """Flows that surely fit into an empty outbox: the most to take between two commits if none is to be lost."""
        return max(1, self._fitting(self.outbox.capacity))

    @property
    def room(self) -> int:
        """Flows that surely fit behind what waits now."""
        return max(0, self._fitting(self.outbox.room))

    @property
    def has_templates(self) -> bool:
        """NetFlow v5 has none."""
        return PROTOCOLS[self.config.protocol.name.lower()].announced is not None

    def announce(self) -> None:
        """Templates and options are due with the next transaction, not when their time comes."""
        self.process.announce_again()

    def take(self, ended: Records, now: Instant) -> None:
        """Encode flows, and whatever else is due, behind what waits. What there is no room for is counted and gone.

        Flows that do not fit are not encoded: the sequence number does not count what was never sent (RFC 7011 3.1).
        While there is nowhere to send to, flows wait in the outbox, and templates only with flows.
        """
        self._follow()
        if not len(ended) and not self.destination.connected:
            return
        rest = ended
        for _ in range(_PORTIONS):
            count = min(len(rest), self._room_made(len(rest)))
            if count < 0 or (count == 0 and len(rest)):
                break
            self._encode(rest[:count], now)
            rest = rest[count:]
            if not len(rest):
                return
        self._count_unsent(QUEUE_FULL, len(rest))

    def commit(self) -> None:
        """A journal has state(): what was taken may be sent."""
        self.outbox.commit()
        self._burst = max(self._burst, _SMALL_BURST, -(-len(self.outbox) // _BURSTS))

    def rollback(self) -> None:
        """What was taken since the last commit is gone; the sequence number shows it, like any loss."""
        self.outbox.rollback()
        self._announced_end = None
        self.process.announce_again()

    def push(self, now: Instant) -> int | None:
        """Send a few of the datagrams that wait. When to call again (monotonic ns), None if nothing waits.

        To be called once a second in any case: it is what follows the name, and sees what comes back.
        """
        self._now_ns = now.monotonic_ns
        if not len(self.outbox):
            self._ready()
            return None
        if now.monotonic_ns >= self._next_ns:
            self._send(self._burst)
            self._next_ns = max(now.monotonic_ns + _PACE_NS, self.destination.retry_ns)
        return self._next_ns if len(self.outbox) else None

    def give_up(self, reason: str = STOPPED) -> None:
        """Drop what waits, and count it."""
        while (datagram := self.outbox.peek()) is not None:
            self._drop(datagram, reason)

    def state(self) -> dict[str, Any]:
        """What a successor needs beside the outbox to go on, fit for JSON. It includes what is not yet committed."""
        return {
            "written": self.outbox.end,
            "process": self.process.state(),
            "unsent": dict(self.unsent),
            "dropped": dict(self.dropped),
            "errors": dict(self.destination.errors),
            "source_port": self.destination.source_port,
        }

    def replace(self, before: CollectorSink) -> None:
        """Go on where one of the same identity was, which has sent or given up all that waited."""
        self.restore({**before.state(), "written": self.outbox.read})
        self.outbox.count_on(before.outbox.totals)
        self._lost.know(before._losses())  # the log has it
        self._failed.know(before._errors())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where a predecessor of the same identity ended, however it did."""
        try:
            self._restore(state)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("collector %s: begins anew: the journal is not understood: %r", self.config.name, error)
            self.outbox.restore(-1)
        self.commit()

    def due(self, now: Instant) -> bool:
        """Whether templates go out even without flows."""
        return self.destination.connected and self.process.refresh_due(now)

    def ready(self, now: Instant) -> bool:
        """Whether the collector's name has resolved and there is a socket to it."""
        self._now_ns = now.monotonic_ns
        return self._ready()

    def wait(self, seconds: float) -> None:
        """Wait for the name to resolve, at most so long."""
        self.destination.wait(seconds)

    def resample(self, sampling: Sampling) -> None:
        """Packets are sampled otherwise from now on."""
        self.process.change_sampling(announcement(sampling))

    def own_traffic(self, ended: Records) -> npt.NDArray[np.bool_]:
        """Which flows are our datagrams to this collector, or its answers by ICMP; to its former addresses too."""
        return is_own(ended, self.destination.flows)

    def summary(self) -> str:
        """account(), with its name before it."""
        return f"collector {self.config.name}: {self.account()}"

    def account(self) -> str:
        """What this collector was sent, and what went wrong, in a line."""
        sent = self.outbox
        flows = counted(sent.sent_flows, "flow")
        parts = [f"{flows} in {counted(sent.sent_datagrams, 'datagram')} of {counted(sent.sent_octets, 'octet')}"]
        return "; ".join(filter(None, (*parts, self._losses(), self._errors())))

    def tell(self, now: Instant) -> None:
        """Log what goes wrong with this collector, and that it goes right again: what is new, once a minute at most."""
        name, destination = self.config.name, self.destination
        for notice, faults in ((self._lost, self._losses()), (self._failed, self._errors())):
            notice.tell(faults and f"collector {name}: {faults}", now.monotonic_ns)
        if destination.address != self._told_address:
            if self._told_address is not None:
                self._moved.tell(f"collector {name}: its address is {destination.address} now", now.monotonic_ns)
            self._told_address = destination.address
        if destination.interruptions and not destination.trouble:
            lasted, times = destination.trouble_ns // 10**9, counted(destination.interruptions, "interruption")
            self._recovery.tell(f"collector {name}: sending again after {lasted} s; {times} so far", now.monotonic_ns)

    def status(self, now: Instant) -> CollectorStatus:
        """Everything there is to know about this collector, fit for JSON. Ages are whole seconds."""
        outbox, destination = self.outbox, self.destination
        error = destination.last_error
        return {
            "name": self.config.name,
            "address": str(replace(self.config.address, port=self.config.port)),
            "resolved_address": destination.address,
            "protocol": self.config.protocol.name.lower(),
            "flows_exported": outbox.sent_flows,
            "datagrams_sent": outbox.sent_datagrams,
            "octets_sent": outbox.sent_octets,
            "waiting_datagrams": len(outbox),
            "waiting_octets": outbox.octets,
            "flows_not_sent": dict(self.unsent + self.process.counters.not_exportable_flows),
            "datagrams_dropped": dict(self.dropped),
            "errors": dict(destination.errors),
            "last_error": {"text": error[0], "seconds_ago": _age(error[1], now)} if error else None,
            "trouble": destination.trouble or None,
            "templates_sent_seconds_ago": None if self._announced_ns is None else _age(self._announced_ns, now),
            "sequence": self.process.sequence,
        }

    def close(self) -> None:
        """Drop the socket, and let go of the memory."""
        self.destination.close()
        self.outbox.close()

    def _restore(self, state: Mapping[str, Any]) -> None:
        unsent, dropped, errors = (Counter(state[name]) for name in ("unsent", "dropped", "errors"))
        self.process.restore(state["process"])
        if not self.outbox.restore(int(state["written"])):
            log.warning("collector %s: what waited to be sent is lost: it does not fit the journal", self.config.name)
        crashed = self.outbox.dropped_datagrams - (dropped.total() - dropped[QUEUE_FULL])
        if crashed > 0:
            dropped[CRASHED] += crashed
        self.unsent, self.dropped, self.destination.errors = unsent, dropped, errors
        self.destination.source_port = self.destination.source_port or int(state["source_port"])

    def _room_made(self, flows: int) -> int:
        """How many flows there is room for; with too little, what waits is sent now: pacing gives way before loss."""
        fitting = self._fitting(self.outbox.room)
        if fitting < flows and len(self.outbox):
            self._send(len(self.outbox))
            fitting = self._fitting(self.outbox.room)
        return fitting

    def _fitting(self, octets: int) -> int:
        return self.process.flows_within(octets, _FRAME + _PADDING, len(self.interfaces))

    def _encode(self, flows: Records, now: Instant) -> None:
        is_due, sent = self.process.refresh_due(now), self.outbox
        statistics = MeterStatistics(self.ignored_packets, self.unsent.total())
        totals = Sent(sent.sent_datagrams, sent.sent_flows, sent.sent_octets)
        for datagram in self.process.export(flows, now, self.interfaces, statistics, totals):
            if not self.outbox.put(datagram):  # counters that v5 had to split; it never was in the outbox
                self.dropped[QUEUE_FULL] += 1
                self._count_unsent(QUEUE_FULL, self.process.flow_records(datagram))
            elif is_due:
                is_due, self._announced_end = False, self.outbox.end

    def _send(self, most: int) -> None:
        """Send so many datagrams, in order, while nothing is in the way."""
        if not self._ready():
            return
        if self._is_in_doubt and not self.destination.trouble:
            self._sent(self.outbox.peek())
        self._is_in_doubt = False
        for _ in range(most):
            datagram = self.outbox.peek()
            if datagram is None:
                break
            outcome = self.destination.send(datagram, self._now_ns)
            if outcome is Outcome.SENT:
                self._sent(datagram)
            elif outcome is Outcome.NEVER:
                self._drop(datagram, TOO_LONG)
            else:
                self._is_in_doubt = outcome is Outcome.IN_DOUBT
                break
        self._follow()
        if self._announced_end is not None and self.outbox.read >= self._announced_end:
            self._announced_end, self._announced_ns = None, self._now_ns
        if not len(self.outbox):
            self._burst = 0

    def _sent(self, datagram: memoryview | None) -> None:
        if datagram is not None:
            self.outbox.sent(self.process.flow_records(datagram))

    def _ready(self) -> bool:
        ready = self.destination.ready(self._now_ns)
        self._follow()
        return ready

    def _follow(self) -> None:
        """Templates are due when those sent may be lost, or when the collector is another one now."""
        if self._epoch != self.destination.epoch:
            self._epoch = self.destination.epoch
            self.process.announce_again()

    def _drop(self, datagram: memoryview, reason: str) -> None:
        self.dropped[reason] += 1
        self._count_unsent(reason, self.process.flow_records(datagram))
        self.outbox.drop()

    def _count_unsent(self, reason: str, flows: int) -> None:
        if flows:
            self.unsent[reason] += flows

    def _losses(self) -> str:
        """What was not sent and will not be, by reason; empty where nothing was lost."""
        unsent = {f"not exportable: {why}": count for why, count in self.process.counters.not_exportable_flows.items()}
        unsent |= {f"not sent: {why}": count for why, count in self.unsent.items()}
        parts = [f"{counted(count, 'flow')} {why}" for why, count in unsent.items()]
        parts += [f"{counted(count, 'datagram')} dropped: {why}" for why, count in self.dropped.items()]
        return "; ".join(parts)

    def _errors(self) -> str:
        """What the network had to say, by reason."""
        return "; ".join(f"{why} ({counted(count, 'time')})" for why, count in self.destination.errors.items())


def drain(collectors: Sequence[CollectorSink], clock: Callable[[], Instant], seconds: float) -> None:
    """Send what waits for all of them, paced, at most so long. What is left then is dropped and counted."""
    for each in collectors:
        each.destination.risk()
    send_all(collectors, clock, seconds)
    for each in collectors:
        each.give_up()


def send_all(collectors: Sequence[CollectorSink], clock: Callable[[], Instant], seconds: float) -> None:
    """Send what waits for all of them, paced, at most so long."""
    now = clock()
    until_ns = now.monotonic_ns + round(seconds * 10**9)
    while now.monotonic_ns < until_ns:
        times = [next_ns for each in collectors if (next_ns := each.push(now)) is not None]
        if not times:
            break
        time.sleep(max(0, min(*times, until_ns) - clock().monotonic_ns) / 10**9)
        now = clock()


def identity(config: Collector) -> str:
    """What has to be the same for a successor to go on with a collector's outbox and state."""
    source, domain = config.source, config.observation_domain or host_domain()
    to = f"{config.name} {config.address.host} {config.port} {config.protocol.name.lower()} {domain}"
    return f"{to} {source.host if source else ''} {(source.port or 0) if source else 0}"


def announcement(sampling: Sampling) -> SamplingAnnouncement:
    """The configuration's sampling as collectors are told it."""
    return SamplingAnnouncement(sampling.mode.name.lower(), sampling.rate)


def host_domain() -> int:
    """An observation domain that stays the same on this host and is hardly another's; never 0."""
    try:
        identity = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        identity = b""
    return zlib.crc32(identity or uuid.getnode().to_bytes(8, "big")) or 1


def _age(then_ns: int, now: Instant) -> int:
    return max(0, now.monotonic_ns - then_ns) // 10**9
