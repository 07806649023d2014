"""Proves that whatever clocks do, no flow begins before it did, or ends before that or in the future (tshark, nfdump).

Each timeline goes through the real clock and Exporting Process. Only what the host's clocks show is made up.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from test_exporting_nfdump import Nfcapd, nfcapd  # noqa: F401 - a fixture
from test_exporting_times import wall_ms
from wire_helpers import ALL, Seen, flow, many, process

from xflowd.edge.clock import Clock, Reading
from xflowd.edge.journal import OCTETS, Journal
from xflowd.exporting.announcing import MeterStatistics
from xflowd.metering.instant import Instant

MS, S = 1_000_000, 1_000_000_000
HOUR, DAY = 3600 * S, 86400 * S
WALL = 1_700_000_000 * S + 123_456_789
FOLD_MS = 1 << 30
SINCE_BOOT = 100 * S


@dataclass(frozen=True)
class Begun:
    """The first packet of a flow, on the monotonic and the wall clock."""

    monotonic_ns: int
    unix_ns: int


@dataclass(frozen=True)
class Expected:
    """One record: what was true when its flow began and ended, and when it was exported."""

    name: str
    begun: Begun
    ended: Begun
    exported: Begun
    asleep_ns: int  # since the flow began
    is_steady: bool  # nobody has set the wall clock, and the machine has not slept, since the flow began
    boot_moved_ns: int  # since the timeline began


@dataclass
class Host:
    """A machine's clocks, and one flow on it. A timeline is what happens to it: names of methods, and arguments."""

    protocol: str
    name: str
    uptime_ns: int = SINCE_BOOT
    wall_ns: int = WALL
    asleep_ns: int = 0
    moved_ns: int = 0
    pause_ns: int = 0
    datagrams: list[memoryview] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)

    def live(self, events: Iterable[tuple[Any, ...]]) -> None:
        events = list(events)
        if events[0][0] == "boot":
            _, self.uptime_ns, self.wall_ns = events.pop(0)
        self.clock = Clock(read=self.read)
        self.exporting = process(self.protocol)
        for what, *arguments in events:
            getattr(self, what)(*arguments)

    def read(self) -> Reading:
        self.run(self.pause_ns)
        return Reading(self.uptime_ns - self.pause_ns, self.monotonic_ns, self.wall_ns, self.uptime_ns)

    @property
    def monotonic_ns(self) -> int:
        return self.uptime_ns - self.asleep_ns

    def run(self, ns: int) -> None:
        self.uptime_ns += ns
        self.wall_ns += ns

    def slew(self, ns: int, parts_per_million: int) -> None:
        """True time passes; all clocks of Linux are slewed alike."""
        for _ in range(10):
            self.run(ns * (1_000_000 + parts_per_million) // 10_000_000)
            self.clock.now()

    def step(self, ns: int) -> None:
        self.wall_ns += ns
        self.moved_ns += ns

    def sleep(self, ns: int) -> None:
        self.run(ns)
        self.asleep_ns += ns

    def busy(self, ns: int) -> None:
        """From now on whoever reads the clocks is interrupted for so long."""
        self.pause_ns = ns

    def begin(self) -> None:
        self.begun, self.asleep_before, self.moved_before = self._now(), self.asleep_ns, self.moved_ns

    def end(self) -> None:
        self.ended = self._now()

    def restart(self) -> None:
        """Killed, and started again from the journal."""
        memory = memoryview(bytearray(OCTETS))
        journal = Journal(memory)
        journal.include("clock", lambda: self.clock.difference_ns)
        journal.include("process", self.exporting.state)
        journal.commit()
        journal = Journal(memory)
        self.clock, self.exporting = Clock(journal.remembered("clock"), self.read), process(self.protocol)
        self.exporting.restore(journal.remembered("process"))

    def leave(self) -> None:
        """Killed. What follows happens while no agent runs."""
        self.left = self.clock.difference_ns

    def take_over(self) -> None:
        self.clock = Clock(self.left, self.read)

    def export(self) -> None:
        made = flow(flow_start_ns=self.begun.monotonic_ns, flow_end_ns=self.ended.monotonic_ns)
        self.datagrams += self.exporting.export(made, self.clock.now(), {}, MeterStatistics())
        steady = (self.asleep_before, self.moved_before) == (self.asleep_ns, self.moved_ns)
        asleep = self.asleep_ns - self.asleep_before
        self.expected.append(
            Expected(self.name, self.begun, self.ended, self._now(), asleep, steady, self.moved_ns),
        )

    def _now(self) -> Begun:
        return Begun(self.monotonic_ns, self.wall_ns)


RUN = ("run", 1_700_300_000)
FLOW = [("begin",), RUN, ("end",), RUN, ("export",)]


def while_alive(*event: Any) -> list[tuple[Any, ...]]:
    """A flow that begins, something that happens, the flow's end; and another one after it."""
    return [*FLOW, ("begin",), RUN, event, RUN, ("end",), RUN, ("export",), *FLOW]


def before_export(*event: Any) -> list[tuple[Any, ...]]:
    return [*FLOW, ("begin",), RUN, ("end",), RUN, event, ("run", 5 * MS), ("export",), *FLOW]


def through(uptime_ms: int) -> list[tuple[Any, ...]]:
    """Flows before an uptime, across it, and after it."""
    boot = ("boot", uptime_ms * MS - 5 * S, WALL)
    across = [("begin",), ("run", 3 * S), ("end",), ("run", S), ("export",)]
    return [boot, *FLOW, *across, *across, *across, *FLOW]


TIMELINES = {
    "steady": [*FLOW, *FLOW, *FLOW],
    "exported as it ends": [("begin",), ("run", 7 * MS), ("end",), ("export",)] * 3,
    "of one instant": [("begin",), ("end",), ("export",)] * 2,
    "an hour on in a flow": while_alive("step", HOUR),
    "an hour back in a flow": while_alive("step", -HOUR),
    "an hour on before export": before_export("step", HOUR),
    "an hour back before export": before_export("step", -HOUR),
    "an hour on, twice": [*while_alive("step", HOUR), *before_export("step", HOUR)],
    "an hour back, twice": [*while_alive("step", -HOUR), *before_export("step", -HOUR)],
    "on and back": [*while_alive("step", HOUR), *before_export("step", -HOUR)],
    "back and on": [*while_alive("step", -HOUR), *before_export("step", HOUR)],
    "on and back in one flow": [
        *[*FLOW, ("begin",), RUN, ("step", HOUR), RUN, ("step", -HOUR), ("end",), RUN, ("export",), *FLOW],
    ],
    "8 ms back": [*while_alive("step", -8 * MS), *before_export("step", -8 * MS)],
    "8 ms on": [*while_alive("step", 8 * MS), *before_export("step", 8 * MS)],
    "a leap second": while_alive("step", -S),
    "slewed fast": while_alive("slew", HOUR, 500),
    "slewed slowly": while_alive("slew", HOUR, -500),
    "no battery": [("boot", 30 * S, 30 * S), *FLOW, *while_alive("step", WALL), *FLOW],
    "no battery, set between end and export": [("boot", 5 * S, 5 * S), *FLOW, *before_export("step", WALL), *FLOW],
    "24.8 days": through(1 << 31),
    "37.3 days": through(3 << 30),
    "49.7 days": through(1 << 32),
    "99.4 days": through(1 << 33),
    "ten years": through(10 * 365 * 86_400_000),
    "a day's flow at 49.7 days": [
        *[("boot", (1 << 32) * MS - DAY // 2, WALL), *while_alive("run", DAY), *before_export("step", -HOUR)],
    ],
    "a day's flow at 24.8 days": [("boot", (1 << 31) * MS - DAY // 2, WALL), *while_alive("run", DAY)],
    "an hour back at 49.7 days": [("boot", (1 << 32) * MS - 2 * S, WALL), *while_alive("step", -HOUR)],
    "a sleep in a flow": while_alive("sleep", 8 * HOUR),
    "a sleep before export": before_export("sleep", 8 * HOUR),
    "a sleep across 24.8 days": [("boot", (1 << 31) * MS - 4 * HOUR, WALL), *while_alive("sleep", 8 * HOUR)],
    "a sleep of two months": [*while_alive("sleep", 60 * DAY), *before_export("sleep", 60 * DAY)],
    "a sleep, and the clock set": [*while_alive("sleep", HOUR), *before_export("step", -HOUR)],
    "a take-over": [*while_alive("restart"), *before_export("restart")],
    "a take-over at 49.7 days": [("boot", (1 << 32) * MS - 2 * S, WALL), *while_alive("restart")],
    "a take-over after a sleep": [*while_alive("sleep", HOUR), *while_alive("restart")],
    "set while no agent ran": [
        *[*FLOW, ("begin",), RUN, ("leave",), ("step", -HOUR), RUN, ("take_over",), ("end",), RUN, ("export",), *FLOW],
    ],
    "slept while no agent ran": [
        *[*FLOW, ("begin",), RUN, ("leave",), ("sleep", HOUR), RUN, ("take_over",), ("end",), RUN, ("export",), *FLOW],
    ],
    "interrupted all the time": [("busy", 30 * MS), *FLOW, *while_alive("step", HOUR), *FLOW],
}


def lived(protocol: str) -> list[Host]:
    hosts = []
    for name, events in TIMELINES.items():
        host = Host(protocol, name)
        host.live(events)
        hosts.append(host)
    return hosts


def near(told_ms: int, true_ns: int, slack_ms: int = 1) -> bool:
    return abs(told_ms - true_ns // MS) <= slack_ms


@pytest.mark.parametrize("protocol", ALL)
def test_no_time_is_in_the_future_or_before_its_flow(protocol, tmp_path):
    hosts = lived(protocol)
    told = Seen(tmp_path, [datagram for host in hosts for datagram in host.datagrams]).flow_octets
    expected = [one for host in hosts for one in host.expected]
    for record, true in zip(told, expected, strict=True):
        first, last, header = wall_ms(record)
        late = 150 if "interrupted" in true.name else 1  # five tries
        slack = 31 if "interrupted" in true.name else 1  # what an interrupted reading cannot know
        rounded = 0 if protocol == "netflow5" else 999  # of a header of whole seconds
        assert first <= last <= header, true
        assert header <= true.exported.unix_ns // MS + rounded, true
        assert header >= true.exported.unix_ns // MS - rounded - late, true
        assert near(last - first, true.ended.monotonic_ns - true.begun.monotonic_ns), true
        assert near(first, true.exported.unix_ns - (true.exported.monotonic_ns - true.begun.monotonic_ns), slack), true
        if true.is_steady:
            assert near(first, true.begun.unix_ns, slack), true
            assert near(last, true.ended.unix_ns, slack), true
        if "cflow.sysuptime" in record:
            assert record["cflow.sysuptime"] < 1 << 31, true


@pytest.mark.parametrize("protocol", ["netflow5", "netflow9"])
def test_the_boot_moves_with_the_wall_clock_alone(protocol, tmp_path):
    """And, from 24.8 days on, by half of that time at once."""
    hosts = lived(protocol)
    told = iter(Seen(tmp_path, [datagram for host in hosts for datagram in host.datagrams]).flow_octets)
    for host in hosts:
        boots = []
        for true in host.expected:
            record = next(told)
            boots.append(wall_ms(record)[2] - record["cflow.sysuptime"] - true.boot_moved_ns // MS)
        slack = 30 if "interrupted" in host.name else 1
        folds = [round((boot - boots[0]) / FOLD_MS) for boot in boots]
        rest = [boot - boots[0] - fold * FOLD_MS for boot, fold in zip(boots, folds, strict=True)]
        assert max(rest) - min(rest) <= slack, host.name
        assert folds == sorted(folds), host.name
        assert not folds[-1] or "days" in host.name or "months" in host.name or "years" in host.name


@pytest.mark.skipif(shutil.which("nfcapd") is None, reason="nfcapd is not installed")
@pytest.mark.parametrize("protocol", ALL)
def test_another_collector_reads_the_same_times(protocol, nfcapd, tmp_path):  # noqa: F811
    hosts = lived(protocol)
    for host in hosts:
        nfcapd.send(host.datagrams)
    nfcapd.stop()
    stored = [(unix_ms(record["first"]), unix_ms(record["last"])) for record in nfcapd.records()]
    directory = tmp_path / "tshark"
    directory.mkdir()
    seen = Seen(directory, [datagram for host in hosts for datagram in host.datagrams]).flow_octets
    assert sorted(stored) == sorted(wall_ms(record)[:2] for record in seen)


def unix_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def exported_across(protocol: str, before: int, *, restart: bool) -> tuple[list[memoryview], int]:
    """Six seconds of a process whose next number is `before` under 2^32, as its journal has it; the number after."""
    exporting, datagrams = process(protocol), []
    exporting.restore(exporting.state() | {"sequence": (1 << 32) - before})
    for second in range(6):
        now = Instant(SINCE_BOOT + second * S, WALL + second * S)
        made = many(100, flow(flow_start_ns=SINCE_BOOT - 3 * S, flow_end_ns=SINCE_BOOT - 2 * S))
        datagrams += exporting.export(made, now, {2: "eth0"}, MeterStatistics())
        if restart:
            state, exporting = json.dumps(exporting.state()), process(protocol)
            exporting.restore(json.loads(state))
    return datagrams, exporting.sequence


def units(protocol: str, seen: Seen) -> int:
    """What a protocol's sequence numbers count: messages in v9, data records, of options too, elsewhere."""
    return len(seen.headers) if protocol == "netflow9" else len(seen.records)


@pytest.mark.parametrize(("before", "restart"), [(0, True), (1, False), (7, True), (31, False), (150, True)])
@pytest.mark.parametrize("protocol", ALL)
def test_a_sequence_goes_through_its_turn(protocol, before, restart, tmp_path):
    datagrams, after = exported_across(protocol, before, restart=restart)
    seen = Seen(tmp_path, datagrams)
    numbers = [int(number) for header in seen.headers for name, number in header.items() if "sequence" in name]
    assert seen.expert == []
    assert len(seen.flows) == 600
    assert numbers[0] == -before % (1 << 32)
    assert after == (numbers[0] + units(protocol, seen)) % (1 << 32)
    relative = [(number - numbers[0]) % (1 << 32) for number in numbers]
    assert relative == sorted(set(relative))
    assert len(relative) == len(datagrams)


@pytest.mark.skipif(shutil.which("nfcapd") is None, reason="nfcapd is not installed")
@pytest.mark.parametrize("before", [1, 31])
@pytest.mark.parametrize("protocol", ["netflow5", "netflow9"])
def test_another_collector_misses_nothing_at_the_turn(protocol, before, nfcapd):  # noqa: F811
    nfcapd.send(exported_across(protocol, before, restart=True)[0])
    nfcapd.stop()
    assert len(nfcapd.records()) == 600
    assert nfcapd.sequence_failures() == 0
