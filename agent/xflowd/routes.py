"""The routing table as the agent knows it: read again when it changes, and not all the time while it keeps changing."""

from __future__ import annotations

from xflowd.edge import network
from xflowd.metering.instant import Instant
from xflowd.metering.prefixes import PrefixTable

_PAUSE_NS = 10_000_000_000


class Routes:
    """Prefix lengths by the main table."""

    def __init__(self) -> None:
        self._watch = network.Watch(network.ROUTES)
        self._read_ns: int | None = None

    def changed(self, now: Instant) -> PrefixTable | None:
        """The table, where it is another one now. Raises OSError where it cannot be read: it stays as it was."""
        recently = self._read_ns is not None and now.monotonic_ns < self._read_ns + _PAUSE_NS
        if recently or not (self._watch.changed() or self._read_ns is None):
            return None
        self._read_ns = now.monotonic_ns
        return PrefixTable(network.prefixes())

    def close(self) -> None:
        """Stop listening."""
        self._watch.close()
