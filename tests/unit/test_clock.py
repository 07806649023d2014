"""Proves that the clock tells one moment on both clocks, whoever interrupts it, and that only a set clock moves it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from xflowd.edge.clock import Clock, Reading, read_clocks, require_host_time

US, MS, S = 1_000, 1_000_000, 1_000_000_000
BOOT = 1_700_000_000 * S


def reading(uptime_ns: int, *, asleep: int = 0, wall: int = BOOT, first: int = 0, last: int = 0) -> Reading:
    """The clocks at `uptime_ns`, with a pause of `first` before that moment and of `last` after it."""
    return Reading(uptime_ns - first, uptime_ns - asleep, wall + uptime_ns, uptime_ns + last)


def clock(*readings: Reading, difference_ns: int | None = None) -> Clock:
    """One that reads these, and then no more."""
    left: Iterator[Reading] = iter(readings)
    return Clock(difference_ns, lambda: next(left))


#: What is read after a minute of uptime → the wall time of the boot, and the sleep, that follow from it.
STEPS = {
    "nothing happened": (reading(61 * S), BOOT, 0),
    "a jitter": (reading(61 * S, first=50 * US, last=150 * US), BOOT, 0),
    "less than a record can tell": (reading(61 * S, wall=BOOT - MS // 2), BOOT, 0),
    "2 ms back": (reading(61 * S, wall=BOOT - 2 * MS), BOOT - 2 * MS, 0),
    "2 ms on": (reading(61 * S, wall=BOOT + 2 * MS), BOOT + 2 * MS, 0),
    "an hour back": (reading(61 * S, wall=BOOT - 3600 * S), BOOT - 3600 * S, 0),
    "an hour on": (reading(61 * S, wall=BOOT + 3600 * S), BOOT + 3600 * S, 0),
    "a sleep": (reading(8 * 3600 * S, asleep=7 * 3600 * S), BOOT, 7 * 3600 * S),
    "a sleep, and the clock set": (reading(9 * S, asleep=8 * S, wall=BOOT - S), BOOT - S, 8 * S),
}


@pytest.mark.parametrize(("read", "boot", "asleep"), STEPS.values(), ids=STEPS)
def test_only_a_set_clock_moves_the_boot(read, boot, asleep):
    one = clock(reading(60 * S), reading(60 * S), read)
    assert one.now().boot_unix_ns == BOOT
    now = one.now()
    assert (now.boot_unix_ns, now.asleep_ns, now.monotonic_ns) == (boot, asleep, read.monotonic_ns)
    assert now.unix_ns == boot + read.monotonic_ns + asleep
    assert one.difference_ns == boot


#: Interruptions of one reading: what came between its clocks.
INTERRUPTED = {
    "before the others": reading(61 * S, first=40 * MS),
    "after the others": reading(61 * S, last=40 * MS),
    "between monotonic and wall": Reading(61 * S, 61 * S, BOOT + 61 * S + 40 * MS, 61 * S + 40 * MS),
    "a sleep between monotonic and wall": Reading(61 * S, 61 * S, BOOT + 3661 * S, 3661 * S),
    "a sleep between uptime and monotonic": Reading(61 * S, 61 * S, BOOT + 3661 * S, 3661 * S),
}


@pytest.mark.parametrize("interrupted", INTERRUPTED.values(), ids=INTERRUPTED)
def test_an_interrupted_reading_is_read_again(interrupted):
    one = clock(reading(60 * S), interrupted, reading(62 * S))
    now = one.now()
    assert (now.boot_unix_ns, now.monotonic_ns, now.asleep_ns) == (BOOT, 62 * S, 0)


@pytest.mark.parametrize("interrupted", INTERRUPTED.values(), ids=INTERRUPTED)
def test_who_is_always_interrupted_sees_no_step(interrupted):
    one = clock(reading(60 * S), *[interrupted] * 5)
    now = one.now()
    assert (now.boot_unix_ns, now.asleep_ns) == (BOOT, 0)


def test_of_interrupted_readings_the_closest_counts():
    pauses = [50 * MS, 20 * MS, 3 * MS, 30 * MS, 40 * MS]
    one = clock(reading(60 * S), *(reading((61 + i) * S, last=pause) for i, pause in enumerate(pauses)))
    assert one.now().monotonic_ns == 63 * S


def test_a_first_reading_that_is_interrupted_is_not_ahead_of_the_wall_clock():
    one = clock(*[reading(60 * S, first=3 * MS, last=2 * MS)] * 10)
    assert one.now().unix_ns == BOOT + 60 * S - 2 * MS


def test_a_clock_set_while_all_readings_are_interrupted_is_not_ahead():
    set_clock = reading(61 * S, wall=BOOT + 3600 * S, first=3 * MS, last=2 * MS)
    one = clock(reading(60 * S), *[set_clock] * 5)
    assert one.now().unix_ns == set_clock.unix_ns - 2 * MS


#: How much the wall clock was set while no agent ran → what the successor makes of it.
SUCCESSORS = {
    "not": (0, 0),
    "imperceptibly": (300 * US, 0),
    "an hour on": (3600 * S, 3600 * S),
    "back": (-5 * S, -5 * S),
}


@pytest.mark.parametrize(("step", "moved"), SUCCESSORS.values(), ids=SUCCESSORS)
def test_a_successor_keeps_the_boot_unless_the_clock_was_set(step, moved):
    before = clock(reading(60 * S), reading(60 * S, last=100 * US))
    before.now()
    after = clock(reading(90 * S, wall=BOOT + step), difference_ns=before.difference_ns)
    assert after.now().boot_unix_ns == BOOT + moved


def test_the_clocks_of_this_host_do_not_part():
    """Unless somebody sets the clock meanwhile, which would have to be more than once to fail here."""
    one = Clock()
    instants = [one.now() for _ in range(2000)]
    assert len({now.boot_unix_ns for now in instants}) <= 2
    assert [now.monotonic_ns for now in instants] == sorted(now.monotonic_ns for now in instants)
    last, read = one.now(), read_clocks()
    assert abs(read.unix_ns - last.unix_ns - (read.monotonic_ns - last.monotonic_ns)) < 2 * MS
    assert abs(last.uptime_ns - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) < 10 * S


def test_the_host_has_its_own_time():
    require_host_time()


IN_NAMESPACE = "from xflowd.edge.clock import require_host_time; require_host_time()"


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None or not Path("/proc/self/timens_offsets").exists(),
    reason="needs root, unshare and a kernel with time namespaces",
)
@pytest.mark.parametrize("clock_name", ["monotonic", "boottime"])
@pytest.mark.parametrize("seconds", [4_294_960, -1])
def test_a_time_namespace_is_refused(clock_name, seconds):
    command = ["unshare", "--time", f"--{clock_name}", str(seconds), "--fork", sys.executable, "-c", IN_NAMESPACE]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert run.stderr.splitlines()[-1].startswith("xflowd.edge.clock.TimeNamespaceError: this process is in a time")
    assert f"shifts its {clock_name} clock" in run.stderr
    assert run.returncode == 1
