"""Proves what the meter does when its table runs full: timelines of tables of all sizes."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from xflowd.metering.pressure import LOOK_NS, Pressure

SECOND, MILLISECOND = 10**9, 10**6
IDLE = 15 * SECOND


def looked(pressure: Pressure, at_ns: int, took_ns: int = 0, cpu_ns: int = 0) -> int:
    """When it wants to look again, in nanoseconds from now."""
    return pressure.looked(at_ns, at_ns + took_ns, cpu_ns) - at_ns


# How often it looks


def test_looks_come_as_often_as_is_configured_while_there_is_room() -> None:
    pressure = Pressure(IDLE, 5 * SECOND)
    pressure.look(1000, 1000, 0, 0, 0)
    assert looked(pressure, 0) == 5 * SECOND
    pressure.configure(IDLE, 2 * SECOND)
    pressure.look(1000, 1000, 0, 0, 5 * SECOND)
    assert looked(pressure, 5 * SECOND) == 2 * SECOND


def test_looks_come_sooner_than_is_configured_where_slots_run_out() -> None:
    pressure = Pressure(IDLE, 10 * SECOND)
    pressure.look(1000, 1000, 0, 0, 0)
    pressure.look(1000, 500, 0, 0, SECOND)  # 500 slots a second: half of what is free, for the look takes as long again
    assert looked(pressure, SECOND) == SECOND // 2
    pressure = Pressure(IDLE, 10 * SECOND)
    pressure.look(160, 160, 0, 0, 0)
    pressure.look(160, 9, 0, 0, 3 * SECOND)
    assert looked(pressure, 3 * SECOND) <= pressure.idle_ns // 8


# What one look decides


@pytest.mark.parametrize(
    ("slots", "free", "ending", "room"),
    [
        (160, 160, 0, 0),
        (160, 10, 0, 0),
        (160, 9, 0, 11),
        (160, 0, 0, 20),
        (160, 0, 10, 0),  # what ends anyway makes room enough
        (160, 0, 9, 11),
        (160, 9, 1, 0),
        (16, 1, 0, 0),
        (16, 0, 0, 2),
        (1024, 63, 0, 65),
        (4 << 20, (1 << 18) - 1, 0, 8192),  # as many as one look may end at first
    ],
)
def test_room_is_made_below_the_low_water_mark(slots: int, free: int, ending: int, room: int) -> None:
    """At once where the idle timeout is as short as can be, or no slot is left."""
    assert Pressure(SECOND).look(slots, free, ending, 0, 0) == room
    assert Pressure(IDLE).look(slots, free, ending, 0, 0) == (0 if free + ending else room)


@pytest.mark.parametrize(("free", "room"), [(4096, False), (4095, False), (1700, False), (1500, True), (1, True)])
def test_lower_timeout_may_make_room_enough(free: int, room: bool) -> None:
    """It has its chance before flows end early, if what is free lasts for a tenth of a second."""
    pressure = Pressure(IDLE)
    pressure.look(65_536, 65_536, 0, 0, 0)
    assert (pressure.look(65_536, free, 0, 0, 4 * SECOND) > 0) == room
    assert pressure.lowered == (free < 4096)
    assert (pressure.look(65_536, free, 0, 0, 4 * SECOND + 10 * MILLISECOND) > 0) == pressure.lowered


def test_low_water_mark_of_a_fast_load() -> None:
    """A quarter of the table is as good as used up when that takes a tenth of a second."""
    for free, short in ((1000, False), (999, True)):
        pressure = Pressure(IDLE)
        pressure.look(4096, 4096, 0, 0, 0)
        pressure.look(4096, free, 0, 0, round((4096 - free) * SECOND / 10_000))
        assert pressure.lowered == short


@pytest.mark.parametrize("slots", [1, 2, 7, 8, 15])
def test_small_table_makes_room_for_packets_that_found_none(slots: int) -> None:
    """A table of a few slots may be full for years without lacking one."""
    pressure = Pressure(IDLE)
    assert [pressure.look(slots, 0, 0, overflow, at * SECOND) for at, overflow in enumerate((0, 0, 1, 1))] == [
        0,
        0,
        1,
        0,
    ]


def test_room_doubles_while_packets_overflow_up_to_half_of_the_table() -> None:
    pressure = Pressure(IDLE)
    pressure.look(1024, 100, 0, 0, -SECOND)
    made = [pressure.look(1024, 0, 0, 1000 * (at + 1), at * SECOND) for at in range(4)]
    assert made == [128, 256, 512, 512]
    assert pressure.look(1024, 512, 0, 4000, 4 * SECOND) == 0
    assert pressure.look(1024, 0, 0, 5000, 5 * SECOND) == 128


def test_room_is_made_for_what_comes() -> None:
    """In a fifth of a second as many flows come as in the one before, and packets need not overflow first."""
    pressure = Pressure(SECOND)
    assert pressure.look(10_000, 3000, 0, 0, 0) == 0
    assert pressure.look(10_000, 500, 0, 0, SECOND // 5) == 2500 - 500
    assert pressure.look(10_000, 2000, 0, 0, 2 * SECOND // 5) == 0
    assert pressure.look(10_000, 0, 0, 0, 2 * SECOND // 5 + MILLISECOND) == 5000  # a burst: half of the table at most


def test_what_overflowed_before_the_start_is_no_pressure() -> None:
    """An agent that takes over a table finds what the one before it has counted."""
    pressure = Pressure(IDLE)
    for at in range(3):
        assert pressure.look(1024, 100, 0, 12_345, at * SECOND) == 0
    assert not pressure.lowered


def test_other_table_begins_to_count_anew() -> None:
    pressure = Pressure(IDLE)
    pressure.look(1024, 1024, 0, 0, 0)
    pressure.look(1024, 512, 0, 500, SECOND)
    assert pressure.look(64, 64, 0, 0, 2 * SECOND) == 0
    assert looked(pressure, 2 * SECOND) == pressure.idle_ns // 8


# The idle timeout in force


def in_force(pressure: Pressure, free: int, begin: int, seconds: int) -> list[float]:
    """What it is after each look, once a second, at a table of 1,024 slots of which so many are free."""
    seen = []
    for at in range(begin, begin + seconds):
        pressure.look(1024, free, 0, 0, at * SECOND)
        seen.append(pressure.idle_ns / SECOND)
    return seen


def test_idle_timeout_goes_down_step_by_step_and_comes_back() -> None:
    pressure = Pressure(IDLE)
    assert in_force(pressure, 100, 0, 3) == [15, 15, 15]
    assert in_force(pressure, 63, 3, 6) == [7.5, 3.75, 1.875, 1, 1, 1]
    assert pressure.lowered
    assert in_force(pressure, 614, 9, 20) == [1] * 20  # room, but a longer timeout might use it up
    assert in_force(pressure, 615, 29, 9) == [1.5, 1.5, 2.25, 2.25, 2.25, 3.375, 3.375, 3.375, 3.375]
    assert in_force(pressure, 1024, 38, 30)[-1] == 15
    assert not pressure.lowered


def test_a_short_burst_costs_one_step() -> None:
    """Looks that follow each other closely do not lower the timeout further than looks at leisure."""
    pressure = Pressure(IDLE)
    for at in range(50):
        pressure.look(1024, 0, 0, at, at * 19 * MILLISECOND)
    assert pressure.idle_ns == 7.5 * SECOND


def test_no_step_while_the_last_one_is_still_at_work() -> None:
    """More flows have ended than one look can see off: how much room they make is not known yet."""
    pressure = Pressure(IDLE)
    for at in range(5):
        pressure.look(1 << 20, 0, 200_000, 0, at * SECOND)
    assert pressure.idle_ns == IDLE


@pytest.mark.parametrize(("configured", "least"), [(3600, 1), (2, 1), (1, 1), (0.5, 0.5)])
def test_least_idle_timeout(configured: float, least: float) -> None:
    pressure = Pressure(round(configured * SECOND))
    assert in_force(pressure, 0, 0, 20)[-1] == least


def test_configuration_read_again() -> None:
    pressure = Pressure(IDLE)
    pressure.configure(30 * SECOND)
    assert (pressure.idle_ns, pressure.lowered) == (30 * SECOND, False)
    in_force(pressure, 0, 0, 2)
    pressure.configure(60 * SECOND)
    assert (pressure.idle_ns, pressure.lowered) == (7.5 * SECOND, True)
    pressure.configure(5 * SECOND)
    assert (pressure.idle_ns, pressure.lowered) == (5 * SECOND, False)


# When to look again


def test_looks_at_leisure() -> None:
    pressure = Pressure(IDLE)
    for at in range(3):
        assert pressure.look(1024, 900, 0, 0, at * SECOND) == 0
        assert looked(pressure, at * SECOND, 30 * MILLISECOND, 20 * MILLISECOND) == LOOK_NS


def test_next_look_comes_before_the_table_is_full() -> None:
    pressure = Pressure(IDLE)
    pressure.look(10_000, 9000, 0, 0, 0)
    pressure.look(10_000, 4000, 0, 0, SECOND)  # 5,000 flows a second, 4,000 slots left
    assert looked(pressure, SECOND) == SECOND * 4 // 10


def test_a_burst_is_remembered_for_two_seconds() -> None:
    pressure = Pressure(IDLE)
    pressure.look(10_000, 9000, 0, 0, 0)
    for at, next_look in ((1.0, 0.4), (1.5, 0.4 / 0.75), (3.5, 1)):
        pressure.look(10_000, 4000, 0, 0, round(at * SECOND))
        assert looked(pressure, round(at * SECOND)) == pytest.approx(next_look * SECOND, rel=1e-6)


@pytest.mark.parametrize(
    ("took", "cpu", "next_look"),
    [(0, 0, 10), (30, 10, 40), (30, 15, 40), (30, 30, 60), (400, 100, 410), (700, 700, 1400)],
)
def test_looks_follow_each_other_with_pauses(took: int, cpu: int, next_look: int) -> None:
    """Packets overflow: no pause is longer than half of a CPU asks for, and none shorter than 10 ms."""
    pressure = Pressure(IDLE)
    pressure.look(1024, 0, 0, 0, -SECOND)
    pressure.look(1024, 0, 0, 1, 0)
    assert looked(pressure, 0, took * MILLISECOND, cpu * MILLISECOND) == next_look * MILLISECOND


def test_table_that_takes_long_to_look_at_takes_half_of_a_cpu_at_most() -> None:
    pressure = Pressure(IDLE)
    pressure.look(4 << 20, 4 << 20, 0, 0, 0)
    assert looked(pressure, 0, 800 * MILLISECOND, 800 * MILLISECOND) == 1600 * MILLISECOND


# How many flows end at one look


def test_a_look_ends_as_many_flows_as_it_has_time_for() -> None:
    pressure, most = Pressure(IDLE), []
    for at, took in enumerate((100, 100, 100, 500, 250, 2500, 2500, 2500)):
        assert pressure.look(65_536, 0, 60_000, 0, at * SECOND) == 0
        looked(pressure, at * SECOND, took * MILLISECOND)
        most.append(pressure.most)
    assert most == [16384, 32768, 65536, 32768, 32768, 3276, 1024, 1024]


def test_few_flows_say_nothing_of_how_many_there_is_time_for() -> None:
    pressure = Pressure(IDLE)
    most = pressure.most
    pressure.look(65_536, 60_000, 100, 0, 0)
    looked(pressure, 0, SECOND)
    assert pressure.most == most


def test_flows_that_wait_are_looked_for_soon() -> None:
    pressure = Pressure(IDLE)
    pressure.look(65_536, 0, pressure.most + 1, 0, 0)
    assert looked(pressure, 0, 100 * MILLISECOND, 50 * MILLISECOND) == 110 * MILLISECOND


# A whole table, with flows of one packet that come at a rate of the time


@dataclass
class Table:
    """A table that knows of its flows only when they came. A look costs what it costs of a real one."""

    slots: int
    pressure: Pressure = field(default_factory=lambda: Pressure(IDLE))
    cohorts: deque[tuple[int, int]] = field(default_factory=deque)  # when, how many
    live: int = 0
    overflow: int = 0
    lacking: int = 0  # ended for lack of resources
    now_ns: int = 0
    part: float = 0.0  # of a flow that is still to come
    timeouts: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, IDLE / SECOND)])

    def run(self, until: float, rate: Callable[[float], float]) -> None:
        """Go on until that second; `rate` is that of new flows, at a second."""
        while self.now_ns < until * SECOND:
            ended, ends_ns = self._look()
            next_ns = self.pressure.looked(self.now_ns, ends_ns, 1200 * ended)
            pieces = 1 + (next_ns - self.now_ns) // (20 * MILLISECOND)
            piece = (next_ns - self.now_ns) / SECOND / pieces
            self.part += sum(rate(self.now_ns / SECOND + at * piece) * piece for at in range(pieces))
            self._come(int(self.part), next_ns)
            self.part %= 1

    def _look(self) -> tuple[int, int]:
        idle_ns, most = self.pressure.idle_ns, self.pressure.most
        old = sum(count for when, count in self.cohorts if when <= self.now_ns - idle_ns)
        room = self.pressure.look(self.slots, self.slots - self.live, old, self.overflow, self.now_ns)
        if self.pressure.idle_ns != idle_ns:
            self.timeouts.append((self.now_ns / SECOND, self.pressure.idle_ns / SECOND))
        ended = min(old, most) + room
        assert 0 <= room <= self.live - min(old, most)
        self._end(ended)
        self.lacking += room
        return ended, self.now_ns + 20 * MILLISECOND + 1200 * ended

    def _end(self, count: int) -> None:
        self.live -= count
        while count:
            when, flows = self.cohorts.popleft()
            if flows > count:
                self.cohorts.appendleft((when, flows - count))
            count -= min(count, flows)

    def _come(self, count: int, next_ns: int) -> None:
        taken = min(count, self.slots - self.live)
        self.overflow += count - taken
        self.live += taken
        if taken:
            self.cohorts.append(((self.now_ns + next_ns) // 2, taken))
        self.now_ns = next_ns


SIZES = [64, 1024, 65_536, 4 << 20]
FASTEST = 400_000  # new flows a second: half of a CPU for what each of them costs


@pytest.mark.parametrize("slots", SIZES)
@pytest.mark.parametrize("needed", [0.3, 0.7, 0.9, 1.0, 1.1, 1.5, 2, 3, 4, 5, 8, 10, 12])
def test_steady_load_finds_a_steady_timeout(slots: int, needed: float) -> None:
    """Of flows that with the configured timeout would need so many tables: down as far as it must, and it stays."""
    table, rate = Table(slots), min(FASTEST, needed * slots / 15)
    table.run(300, lambda _: rate)
    settled = table.lacking, table.overflow, table.timeouts[-1]
    values = [value for _, value in table.timeouts]
    assert values == sorted(values, reverse=True)
    assert table.timeouts[-1][0] < 30
    assert values[-1] == 15 or values[-1] > 15 / needed / 3
    table.run(900, lambda _: rate)
    assert (table.lacking, table.overflow, table.timeouts[-1]) == settled


@pytest.mark.parametrize("needed", [1, 2, 3, 4, 5, 6, 7, 8])
def test_uneven_load_does_not_make_it_swing(needed: float) -> None:
    """A fifth more or less, from second to second."""
    table, draw = Table(65_536), random.Random(1)
    table.run(900, lambda _: draw.uniform(0.8, 1.2) * needed * 65_536 / 15)
    values = [value for _, value in table.timeouts]
    assert values == sorted(values, reverse=True), table.timeouts
    assert table.overflow == 0


@pytest.mark.parametrize("pause", [0.1, 0.5, 0.9])
def test_bursts_do_not_overflow(pause: float) -> None:
    """Flows come at 24,000 a second and then none, second by second: a look into a pause says little."""
    table = Table(65_536)
    table.run(20, lambda at: 24_000 * (at % 1 >= pause))
    first = table.overflow
    assert first < 24_000 * 20 / 50
    table.run(120, lambda at: 24_000 * (at % 1 >= pause))
    assert table.overflow == first


@pytest.mark.parametrize("slots", [1024, 65_536])
def test_flood_and_after(slots: int) -> None:
    """A million new flows a second for ten seconds, into a table with its usual load; then as if nothing had been."""
    table, usual = Table(slots), slots / 60  # a quarter of the table
    table.run(60, lambda _: usual)
    assert table.timeouts == [(0, 15)]
    table.run(70, lambda _: 1_000_000)
    assert table.overflow > 0
    assert table.pressure.idle_ns == SECOND
    lacking, overflow = table.lacking, table.overflow
    table.run(120, lambda _: usual)
    assert (table.lacking - lacking, table.overflow - overflow) <= (slots, 20_000)
    assert table.pressure.idle_ns == IDLE
    assert table.live < slots / 3


def test_a_load_that_grows_slowly_never_overflows() -> None:
    """From nothing to 40,000 new flows a second in ten minutes: 65,536 slots are enough for a second of each."""
    table = Table(65_536)
    table.run(600, lambda at: 40_000 * at / 600)
    assert (table.overflow, table.lacking) == (0, 0)
    values = [value for _, value in table.timeouts]
    assert values == sorted(values, reverse=True)
