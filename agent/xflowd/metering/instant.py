"""One instant on the two clocks a flow exporter needs. Pure: whoever reads the clocks makes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instant:
    """`monotonic_ns` orders and measures; `unix_ns` is the same moment by the wall clock."""

    monotonic_ns: int
    unix_ns: int

    @property
    def boot_unix_ns(self) -> int:
        """The wall time at which the monotonic clock was zero, seen from this instant."""
        return self.unix_ns - self.monotonic_ns
