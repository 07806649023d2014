"""The host's clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from xflowd.metering.instant import Instant

#: Linux slews all its clocks together, so that what lies between two of them is constant: more than this, a
#: record's millisecond, and the wall clock was set, or the machine slept.
_STEP_NS = 1_000_000
_CLOSE_NS = 250_000  # readings that lie no further apart are of one moment
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """The clocks one after the other, in nanoseconds. The first is read again at the end: it runs while the machine
    sleeps, so it tells of everything that can come in between."""

    uptime_ns: int
    monotonic_ns: int
    unix_ns: int
    uptime_after_ns: int


def read_clocks() -> Reading:
    """CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, and CLOCK_BOOTTIME once more."""
    return Reading(
        time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        time.monotonic_ns(),
        time.time_ns(),
        time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    )


class Clock:
    """Reads the clocks, and keeps what lies between them exactly as it was until the wall clock is set."""

    def __init__(self, difference_ns: int | None = None, read: Callable[[], Reading] = read_clocks) -> None:
        """`difference_ns`: as a predecessor kept it, so that the boot time that collectors see stays the same."""
        self._read, self._asleep_ns = read, 0
        if difference_ns is None:
            reading = self._one_moment()
            difference_ns = reading.unix_ns - reading.uptime_after_ns
        #: The wall time of the boot.
        self.difference_ns = difference_ns

    def now(self) -> Instant:
        """This moment on both clocks."""
        reading = self._one_moment()
        before_ns, monotonic_ns, after_ns = reading.uptime_ns, reading.monotonic_ns, reading.uptime_after_ns
        self._asleep_ns = _kept(self._asleep_ns, before_ns - monotonic_ns, after_ns - monotonic_ns)
        self.difference_ns = _kept(self.difference_ns, reading.unix_ns - after_ns, reading.unix_ns - before_ns)
        return Instant(monotonic_ns, monotonic_ns + self._asleep_ns + self.difference_ns, self._asleep_ns)

    def _one_moment(self) -> Reading:
        """Who is interrupted between two clocks reads times that do not belong together, and reads again."""
        best = self._read()
        for _ in range(_TRIES - 1):
            if _apart_ns(best) <= _CLOSE_NS:
                break
            best = min(best, self._read(), key=_apart_ns)
        return best


def _apart_ns(reading: Reading) -> int:
    return reading.uptime_after_ns - reading.uptime_ns


def _kept(kept_ns: int, least_ns: int, most_ns: int) -> int:
    """A difference as it was, unless it cannot be any more; then the least of what it can be: never in the future."""
    if least_ns - _STEP_NS <= kept_ns <= most_ns + _STEP_NS:
        return kept_ns
    return least_ns


class TimeNamespaceError(Exception):
    """This process has clocks of its own; the message says what to do about it."""


def require_host_time() -> None:
    """Raise TimeNamespaceError where clocks are shifted: the programs' clock never is, so that times would not fit."""
    try:
        with open("/proc/self/timens_offsets", encoding="ascii") as file:
            shifted = [line.split()[0] for line in file if any(map(int, line.split()[1:]))]
    except FileNotFoundError:
        return  # this kernel has no time namespaces
    if shifted:
        raise TimeNamespaceError(
            f"this process is in a time namespace that shifts its {' and '.join(shifted)} clock:"
            " start it in the host's time namespace, for flows are timed by the host's clocks"
        )
