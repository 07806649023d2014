"""One instant on the clocks a flow exporter needs. Pure: whoever reads the clocks makes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instant:
    """`monotonic_ns` orders and measures; `unix_ns` is the same moment by the wall clock.

    `asleep_ns`: for how long the machine was suspended since its boot. The monotonic clock stood still then.
    """

    monotonic_ns: int
    unix_ns: int
    asleep_ns: int = 0

    @property
    def uptime_ns(self) -> int:
        """The time since the boot, sleep and all: what sysUptime is, and what leaves the time of the boot alone."""
        return self.monotonic_ns + self.asleep_ns

    @property
    def boot_unix_ns(self) -> int:
        """The wall time of the boot."""
        return self.unix_ns - self.uptime_ns

    @property
    def monotonic_zero_unix_ns(self) -> int:
        """What to add to a monotonic time for a wall time: the boot, but for the sleep since."""
        return self.unix_ns - self.monotonic_ns
