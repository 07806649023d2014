"""What goes wrong while running: told when it changes, and at most once a minute."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

_PAUSE_NS = 60_000_000_000


def counted(count: int, noun: str) -> str:
    """`1 flow`, `1,234 flows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


class Notice:
    """One thing that may have to be told again and again, as a text that grows or changes."""

    def __init__(self) -> None:
        self._told = ""
        self._next_ns = 0

    def tell(self, text: str, now_ns: int) -> None:
        """Log `text`, unless it is empty, was told already, or something was told within the last minute."""
        if text and text != self._told and now_ns >= self._next_ns:
            self._told, self._next_ns = text, now_ns + _PAUSE_NS
            log.warning("%s", text)
