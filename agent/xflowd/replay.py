"""`xflowd replay`: a capture file through the very same kernel program, on the clock of its packets."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xflowd.collectors import CollectorSink, drain, send_all
from xflowd.config import Config, ConfigError, Problem
from xflowd.edge.capture import CapturedPacket, CaptureError, NoFrame, ethernet_frame, packets
from xflowd.edge.clock import Clock
from xflowd.edge.journal import OCTETS, Journal
from xflowd.edge.kernel import Kernel
from xflowd.edge.terminal import Progress
from xflowd.edge.terminal.output import require_written
from xflowd.metering.instant import Instant
from xflowd.notices import counted
from xflowd.pipeline import Lookup, Pipeline, Sink
from xflowd.printing import Printer
from xflowd.settings import load_options, timeouts
from xflowd.summary import packets as packets_line
from xflowd.systems import Systems, fault

_TICK_NS = 1_000_000_000
_LONGEST_FRAME = 2048  # of a test run; octets are counted by the IP header, so no more is needed
_SHORTEST_FRAME = 14
_PROGRESS_EVERY = 4096  # packets
_LAST_NS = ((1 << 32) - 2) * 1_000_000_000  # in 2106: headers of messages tell whole seconds, rounded up, in 32 bits
_OUT_OF_RANGE = "the time is before 1970 or after 2106"
_RESOLVE_SECONDS = _SEND_SECONDS = 5.0
_ANSWER_SECONDS, _ANSWER_PAUSE_SECONDS = 0.5, 0.01
_TAKES_NOTHING = "the collector takes nothing"
_PROGRAMS = ("read_clocks", "xdp_ingress")
_INTERFACE = {1: "replay"}  # a test run has the loopback's index


class Replay:
    """One capture on its way through the meter."""

    def __init__(
        self,
        config: Config,
        sinks: list[Sink],
        collectors: Sequence[CollectorSink] = (),
        lookups: Sequence[Lookup] = (),
    ) -> None:
        self.kernel = Kernel(replace(load_options(config, []), replayed_clock=True, programs=_PROGRAMS))
        journal = Journal(memoryview(bytearray(OCTETS)))
        self.pipeline = Pipeline(self.kernel, timeouts(config), sinks, journal, lookups=lookups)
        self._collectors, self._clock = list(collectors), Clock()
        self._hopeless: list[CollectorSink] = []  # not waited for any more: what they do not take at once is dropped
        self.skipped: Counter[str] = Counter()
        self.read = 0
        self._program = self.kernel.program("xdp_ingress")
        self._now_ns = 0
        self._next_tick_ns = 0

    def feed(self, packet: CapturedPacket) -> None:
        """Meter one packet, after everything that was due before it."""
        self.read += 1
        if not 0 <= packet.time_ns <= _LAST_NS:
            self.skipped[_OUT_OF_RANGE] += 1
            return
        frame = ethernet_frame(packet.link_type, packet.data)
        if isinstance(frame, NoFrame):
            self.skipped[frame.value] += 1
            return
        if len(frame) < _SHORTEST_FRAME:
            self.skipped[NoFrame.TOO_SHORT.value] += 1
            return
        self._advance(packet.time_ns)
        self.kernel.test_run(self._program, frame[:_LONGEST_FRAME])

    def finish(self) -> None:
        """End the flows that are left."""
        self.pipeline.flush(Instant(self._now_ns, self._now_ns))
        drain(self._collectors, self._clock.now, _SEND_SECONDS)
        self._try_hopeless()
        self._hear()

    def _advance(self, time_ns: int) -> None:
        """The clock goes to the packet's time, second by second while there are flows; it never goes back."""
        if time_ns > self._now_ns:
            while self._next_tick_ns <= time_ns:
                self.pipeline.tick(Instant(self._next_tick_ns, self._next_tick_ns))
                self._send()
                self._next_tick_ns = self._next_tick_ns + _TICK_NS if self.pipeline.live else time_ns + _TICK_NS
            self._now_ns = time_ns
        self.kernel.set_replayed_clock(self._now_ns)

    def _send(self) -> None:
        """Send what waits. Whoever takes nothing at all is waited for once: a capture has many seconds."""
        taken = {each: each.outbox.sent_datagrams for each in self._collectors}
        send_all(self._collectors, self._clock.now, _SEND_SECONDS)
        for each, before in taken.items():
            if len(each.outbox) and each.outbox.sent_datagrams == before:
                self.give_up(each)
        self._try_hopeless()

    def _try_hopeless(self) -> None:
        for each in self._hopeless:
            each.push(self._clock.now())
            each.give_up(_TAKES_NOTHING)

    def _hear(self) -> None:
        """What comes back of the last datagram, within a round trip: UDP tells of a closed port in no other way."""
        until = time.monotonic() + _ANSWER_SECONDS
        silent = [each for each in self._collectors if each.outbox.sent_datagrams]
        while silent and time.monotonic() < until:
            for each in silent:
                each.ready(self._clock.now())
            silent = [each for each in silent if not each.destination.errors]
            time.sleep(_ANSWER_PAUSE_SECONDS if silent else 0)

    def give_up(self, collector: CollectorSink) -> None:
        """Go on without waiting for it, and say so."""
        self._collectors.remove(collector)
        self._hopeless.append(collector)
        why = "; ".join(collector.destination.errors) or "its name is not resolved"
        print(f"xflowd: collector {collector.config.name}: {why}: not waited for any more", file=sys.stderr)


def run(path: str, config: Config, style: str) -> int:
    """Replay a capture to the configuration's collectors, or to the terminal. The exit code."""
    collectors = [CollectorSink(one, config.sampling, bytearray(one.queue)) for one in config.collectors]
    printer = Printer(style, _INTERFACE, config.elements)
    printer.know_key(config.meter.key)
    sinks: list[Sink] = list(collectors) or [printer]
    for collector in collectors:
        collector.interfaces = _INTERFACE
        if not collector.ready(Instant(0, 0)):
            collector.wait(_RESOLVE_SECONDS)
    _require_readable(path)
    replay = Replay(config, sinks, collectors, [_systems(config)])
    for collector in collectors:
        if not collector.ready(Instant(0, 0)):
            replay.give_up(collector)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it tells how far it came, as at SIGINT
    faults = _feed(replay, path)
    replay.finish()
    _report(replay, collectors)
    for collector in collectors:
        collector.close()
    if faults:
        print(f"xflowd: {faults}", file=sys.stderr)
    require_written()
    return 1 if faults or any(one.unsent or one.destination.errors for one in collectors) else 0


def _systems(config: Config) -> Systems:
    """AS numbers are of a file; prefix lengths and next hops are not looked up: they would be this host's."""
    systems = Systems()
    try:
        systems.load(config.meter.as_table)
    except OSError as error:
        mend = "name a readable file, or leave it out"
        raise ConfigError([Problem("[meter] as_table", fault(error), mend)]) from None
    return systems


def _require_readable(path: str) -> None:
    """A file that is not there is wrong use; one that turns out to be no capture fails while it is read."""
    try:
        # A FIFO is opened once only: whoever writes to it has nobody left to write to when it is closed.
        if path != "-" and not Path(path).is_fifo():
            Path(path).open("rb").close()
    except OSError as error:
        raise ConfigError([Problem(path, error.strerror or str(error), "name a pcap or pcapng file")]) from None


def _feed(replay: Replay, path: str) -> CaptureError | str:
    """Every packet of the file; what stopped it before its end, if anything did."""
    size = 0 if path == "-" else Path(path).stat().st_size
    progress, octets = Progress(sys.stderr, size), 0
    try:
        for packet in packets(path):
            replay.feed(packet)
            octets += len(packet.data) + 16
            if replay.read % _PROGRESS_EVERY == 0:
                progress.show(octets, f" {replay.read:,} packets", time.monotonic_ns())
    except CaptureError as error:
        return error
    except KeyboardInterrupt:
        return f"{path}: stopped before its end"
    finally:
        progress.clear()
    return ""


def _report(replay: Replay, collectors: list[CollectorSink]) -> None:
    counters = replay.pipeline.counters
    flows = counted(sum(counters.flows.values()), "flow")
    print(f"{counted(replay.read, 'packet')} read; {packets_line(replay.pipeline)}", file=sys.stderr)
    print(f"{flows}, {counted(counters.octet_total_count, 'octet')}", file=sys.stderr)
    for reason, count in replay.skipped.items():
        print(f"{counted(count, 'packet')} skipped: {reason}", file=sys.stderr)
    for collector in collectors:
        print(collector.summary(), file=sys.stderr)
