"""A text stream that may go away while it is written to."""

from __future__ import annotations

import errno
import os
import select
from typing import TextIO

NOT_A_TERMINAL = (200, 0)  # columns and lines: wide, and one header only
_MENDS = {
    errno.ENOSPC: "make room there, or write to another place",
    errno.EDQUOT: "raise the quota, or write to another place",
    errno.EFBIG: "raise the limit of files' sizes, or write several files",
}
#: What standard output did not take, though somebody wants it. A pipeline goes on past a sink that fails: whoever ends
#: the command asks for this.
_refused: list[OSError] = []


class Output:
    """Text goes out at once. Once the stream takes no more `closed` is true, and what is written goes nowhere.

    That the reader has gone is no fault. Any other is kept for require_written().
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.closed = False

    def write(self, text: str) -> None:
        if self.closed or not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            self.closed = True
            if not is_unread(self._stream, error):
                _refused.append(error)
            discard(self._stream)


def require_written() -> None:
    """Raises OSError, once, where an Output was not taken for another reason than a reader that has gone."""
    if _refused:
        fault = told(_refused[0])
        _refused.clear()
        raise fault


def told(error: OSError) -> OSError:
    """The fault of standard output with its name, and how to mend it where that is known."""
    mend = _MENDS.get(error.errno or 0, "write to another place")
    return OSError(error.errno, f"{error.strerror or error}: {mend}", "standard output")


def is_of_a_full_disk(error: OSError) -> bool:
    """Of a fault that names no file, that is of print(): nothing else writes what may fill a disk without a name."""
    return not error.filename and error.errno in _MENDS


def is_unread(stream: TextIO, error: OSError) -> bool:
    """Whether nobody reads the stream any more: of a pipe, a socket, or a terminal that is gone."""
    return isinstance(error, BrokenPipeError) or (error.errno == errno.EIO and not has_reader(stream))


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
