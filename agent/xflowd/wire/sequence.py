"""What a sequence number tells: how much was lost, what came late, that the exporter began anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

_MODULUS = 1 << 32
_HALF = 1 << 31
_MAXIMUM_GAP = 1 << 28  # more is not believed to have been lost between two messages
REORDERING = 2048  # flows or messages that a datagram may come late by
_SAME_BOOT_NS = 5_000_000_000  # what rounding and a slewed clock move a boot time by, at most


class Step(NamedTuple):
    """What one message's number means. `lost` is negative where a late message was counted as lost before."""

    lost: int = 0
    is_late: bool = False
    is_restart: bool = False


@dataclass(slots=True)
class Sequence:
    """Where the numbering of one stream stands: an exporter's observation domain in one protocol."""

    expected: int | None = None
    boot_unix_ns: int | None = None

    def step(self, number: int, units: int | None, boot_unix_ns: int | None) -> Step:
        """Take the next message's number; `units` is what it adds (None: not known), as the protocol counts.

        A number a little back is of a late message; far back, or far ahead, of an exporter that began anew.
        """
        ahead = 0 if self.expected is None else (number - self.expected) % _MODULUS
        if ahead >= _HALF and not self._is_anew(number, _MODULUS - ahead, boot_unix_ns):
            return Step(lost=-(units or 0), is_late=True)
        self.expected = None if units is None else (number + units) % _MODULUS
        self.boot_unix_ns = boot_unix_ns
        return Step(is_restart=True) if ahead > _MAXIMUM_GAP else Step(lost=ahead)

    def _is_anew(self, number: int, behind: int, boot_unix_ns: int | None) -> bool:
        """Too far back to be late; or the first number there is; or with another boot time."""
        if behind > REORDERING or number <= 1:
            return True
        if boot_unix_ns is None or self.boot_unix_ns is None:
            return False
        return abs(boot_unix_ns - self.boot_unix_ns) > _SAME_BOOT_NS
