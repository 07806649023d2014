"""The host's clocks."""

from __future__ import annotations

import time

from xflowd.metering.instant import Instant

#: The wall clock is slewed together with the monotonic one: if they part by more than this, it was set.
_STEP_NS = 10_000_000


class Clock:
    """Reads both clocks, and keeps the difference of the two exactly as it was until the wall clock is set."""

    def __init__(self, difference_ns: int | None = None) -> None:
        """`difference_ns`: as a predecessor kept it, so that the boot time that collectors see stays the same."""
        self.difference_ns = time.time_ns() - time.monotonic_ns() if difference_ns is None else difference_ns

    def now(self) -> Instant:
        """This moment on both clocks."""
        monotonic_ns = time.monotonic_ns()
        difference_ns = time.time_ns() - monotonic_ns
        if abs(difference_ns - self.difference_ns) > _STEP_NS:
            self.difference_ns = difference_ns
        return Instant(monotonic_ns, monotonic_ns + self.difference_ns)
