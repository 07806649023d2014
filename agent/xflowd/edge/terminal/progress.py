"""How far a long run has come, on a terminal only."""

from __future__ import annotations

from typing import TextIO

_BAR = 30
_PAUSE_NS = 100_000_000  # ten times a second is as much as anybody sees


class Progress:
    """A line on a terminal that is written over. `total` is in any unit, 0 where it is not known."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self._stream, self._total = stream, total
        self._shown_ns: int | None = None

    def show(self, done: int, note: str, now_ns: int) -> None:
        """Show how much is done, and `note` behind it; too soon after the last time, do nothing."""
        if not self._stream.isatty():
            return
        if self._shown_ns is not None and now_ns - self._shown_ns < _PAUSE_NS:
            return
        self._shown_ns = now_ns
        self._stream.write(f"\r\x1b[K{self._bar(done)}{note}")
        self._stream.flush()

    def clear(self) -> None:
        """Take the line away, if there is one."""
        if self._shown_ns is not None:
            self._shown_ns = None
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _bar(self, done: int) -> str:
        if self._total <= 0:
            return ""
        share = min(done / self._total, 1.0)
        return f"[{'#' * int(share * _BAR):{_BAR}}] {share:4.0%} "
