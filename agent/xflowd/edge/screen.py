"""A terminal that is drawn on as a whole, by ncurses: it sends only what has changed, whatever terminal it is.

The terminal is as before when a Screen is left, however that comes about.
"""

from __future__ import annotations

import contextlib
import locale
import os
import select
import signal
import sys
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class ScreenError(OSError):
    """There is nothing to draw on; the message says how to mend it."""


class Screen:
    """A context: within it the terminal is ours. Raises ScreenError where it cannot be."""

    def __init__(self) -> None:
        try:
            import curses  # noqa: PLC0415
        except ImportError:
            mend = "install python3-ncurses (OpenWrt) or a Python built with curses"
            raise ScreenError(f"Python has no curses here: {mend}; xflowd flows does without") from None
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise ScreenError("standard input and output have to be a terminal; xflowd flows does without")
        locale.setlocale(locale.LC_ALL, "")
        self._curses: Any = curses
        self._window: Any = None
        self._before: dict[int, Any] = {}
        self.arrow = "→" if _shows("→") else ">"

    def __enter__(self) -> Screen:
        curses = self._curses
        try:
            curses.setupterm(os.environ.get("TERM", ""), sys.stdout.fileno())
        except curses.error:
            kind = os.environ.get("TERM", "")
            raise ScreenError(f"TERM is {kind!r}, which this system does not know: set TERM=vt100, say") from None
        self._before = {number: signal.signal(number, _end) for number in _SIGNALS}
        self._window = curses.initscr()
        try:
            curses.noecho()
            curses.cbreak()
            self._window.keypad(True)
            with contextlib.suppress(curses.error):
                curses.curs_set(0)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def size(self) -> tuple[int, int]:
        """Lines and columns, as they are now."""
        lines, columns = self._window.getmaxyx()
        return int(lines), int(columns)

    def draw(self, lines: list[tuple[str, str]]) -> None:
        """Lines from the top, each with a style: plain, bold, reverse, dim."""
        curses, (height, width) = self._curses, self.size()
        styles = {"plain": 0, "bold": curses.A_BOLD, "reverse": curses.A_REVERSE, "dim": curses.A_DIM}
        self._window.erase()
        for place, (text, style) in enumerate(lines[:height]):
            with contextlib.suppress(curses.error):  # behind the last cell the cursor has no place to go
                self._window.addnstr(place, 0, _encodable(text), width, styles[style])
        self._window.refresh()

    def key(self, seconds: float) -> str | None:
        """A key that is pressed within so many seconds: its character, or left, right, resize."""
        curses = self._curses
        self._window.timeout(max(1, round(seconds * 1000)))
        try:
            pressed = self._window.get_wch()
        except curses.error:
            _require_terminal()
            return None
        if pressed == curses.KEY_RESIZE:
            curses.update_lines_cols()
            return "resize"
        names = {curses.KEY_LEFT: "left", curses.KEY_RIGHT: "right"}
        return names.get(pressed, "") if isinstance(pressed, int) else str(pressed)

    def _leave(self) -> None:
        curses = self._curses
        with contextlib.suppress(curses.error):
            self._window.keypad(False)
            curses.nocbreak()
            curses.echo()
        with contextlib.suppress(curses.error):
            curses.endwin()
        for number, before in self._before.items():
            signal.signal(number, before)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _require_terminal() -> None:
    """One that has gone without a signal answers at once, again and again, that there is no key."""
    poll = select.poll()
    poll.register(sys.stdin.fileno(), 0)
    if any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0)):
        raise ScreenError("the terminal has gone")


def _shows(text: str) -> bool:
    try:
        text.encode(locale.getpreferredencoding(False))
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def _encodable(text: str) -> str:
    encoding = locale.getpreferredencoding(False)
    return text.encode(encoding, "replace").decode(encoding)
