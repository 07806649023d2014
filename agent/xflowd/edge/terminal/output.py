"""A text stream that may go away while it is written to."""

from __future__ import annotations

import os
import select
from typing import TextIO

NOT_A_TERMINAL = (200, 0)  # columns and lines: wide, and one header only


class Output:
    """Text goes out at once. Once the reader has gone `closed` is true, and what is written goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.closed = False

    def write(self, text: str) -> None:
        if self.closed or not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # nobody reads any more, or the disk is full
            self.closed = True
            discard(self._stream)


def can_show(stream: TextIO, text: str) -> bool:
    """True if the stream's encoding has every character of `text`."""
    try:
        text.encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def terminal_size(stream: TextIO) -> tuple[int, int]:
    """Columns and lines of the terminal that `stream` is, or NOT_A_TERMINAL, with $COLUMNS where that is set."""
    try:
        if stream.isatty():
            size = os.get_terminal_size(stream.fileno())
            return size.columns or 80, size.lines
    except (OSError, ValueError):  # ValueError: the stream is closed
        pass
    return wished_columns(NOT_A_TERMINAL[0]), NOT_A_TERMINAL[1]


def wished_columns(otherwise: int) -> int:
    """What $COLUMNS says, for a pipe has no width of its own."""
    text = os.environ.get("COLUMNS", "")
    return int(text) if text.isdecimal() and int(text) else otherwise


def has_reader(stream: TextIO) -> bool:
    """False once the other end of a pipe or socket is closed."""
    try:
        waiting = select.poll()
        waiting.register(stream.fileno(), 0)
    except (OSError, ValueError):
        return True
    return not any(event & (select.POLLERR | select.POLLHUP) for _, event in waiting.poll(0))


def discard(stream: TextIO) -> None:
    """What is still buffered must go somewhere, or the interpreter complains of it when it exits."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
