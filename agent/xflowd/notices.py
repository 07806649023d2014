"""What goes wrong while running: told when it changes, and at most once a minute."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

_PAUSE_NS = 60_000_000_000
_MOST_REMEMBERED = 1_000  # things that were told within a minute; beyond, the one told first is forgotten

Told = TypeVar("Told", bound=Hashable)


def counted(count: int, noun: str) -> str:
    """`1 flow`, `1,234 flows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


class Notice:
    """One thing that may have to be told again and again, as a text that grows or changes."""

    def __init__(self, level: int = logging.WARNING) -> None:
        self._level = level
        self._told = ""
        self._next_ns = 0

    def know(self, text: str) -> None:
        """`text` was told already, by whoever was here before."""
        self._told = text

    def tell(self, text: str, now_ns: int) -> None:
        """Log `text`, unless it is empty, was told already, or something was told within the last minute."""
        if text and text != self._told and now_ns >= self._next_ns:
            self._told, self._next_ns = text, now_ns + _PAUSE_NS
            log.log(self._level, "%s", text)


class Repeats(Generic[Told]):
    """What was told within the last minute, and how often it was kept back since."""

    def __init__(self) -> None:
        self._told: dict[Told, tuple[int, int]] = {}  # when (ns), and how often it was kept back; the oldest first

    def admit(self, thing: Told, now_ns: int) -> int | None:
        """How often it was kept back since it was told; None: it is kept back now."""
        when_ns, kept = self._told.get(thing, (now_ns - _PAUSE_NS, 0))
        if now_ns - when_ns < _PAUSE_NS:
            self._told[thing] = when_ns, kept + 1
            return None
        self._remember(thing, now_ns)
        return kept

    def due(self, now_ns: int) -> Iterator[tuple[Told, int]]:
        """Things that were kept back, and how often, a minute after they were told: that is telling them again."""
        over = [thing for thing, (when_ns, _) in self._told.items() if now_ns - when_ns >= _PAUSE_NS]
        for thing in over:
            _, kept = self._told.pop(thing)
            if kept:
                self._remember(thing, now_ns)
                yield thing, kept

    def _remember(self, thing: Told, now_ns: int) -> None:
        self._told.pop(thing, None)
        if len(self._told) >= _MOST_REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[thing] = now_ns, 0
