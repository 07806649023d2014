"""Where log lines go: to standard error, to the journal behind it, or to syslog. One line an event."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from xflowd.notices import Repeats

DEV_LOG = Path("/dev/log")
#: Of a line that answers somebody: it is told however often it is asked for.
ANSWER = {"is_answer": True}
#: Of a line that says how something stands from now on: without it, the one before it would seem to hold.
CHANGE = {"is_answer": True}
#: Of a line that ends the command: a terminal is told who it is that speaks.
_LAST_WORD = {"is_answer": True, "is_last_word": True}

_DAEMON = 3 << 3  # the facility (RFC 5424 6.2.1)
#: From the level on: the severity (RFC 5424 6.2.1), which is the priority of sd-daemon(3) too.
_SEVERITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))

log = logging.getLogger(__name__)


def severity(level: int) -> int:
    """The number that syslog and the journal have for a level of Python's."""
    return next((number for least, number in _SEVERITIES if level >= least), 7)


class OneLine(logging.Formatter):
    """The message and nothing else; a fault in it as one line, control characters as Python writes them."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text}: {_in_one_line(record.exc_info[1])}"
        return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


class _Plain(OneLine):
    """For whoever reads standard error."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"xflowd: {text}" if getattr(record, "is_last_word", False) else text


class _ForJournal(OneLine):
    """`<4>text`: the journal takes the priority off (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{severity(record.levelno)}>{super().format(record)}"


class Syslog(logging.Handler):
    """Datagrams to the host's syslog (RFC 3164 4.1). Its trouble is never the agent's: no line is waited for.

    Not `logging.handlers.SysLogHandler`: that one's sockets block, and a syslog that hangs would hold up the agent.
    What syslog does not take goes to `otherwise`.
    """

    def __init__(self, path: Path, otherwise: logging.Handler) -> None:
        """Raises OSError if nobody listens at `path`."""
        super().__init__()
        self.setFormatter(OneLine())
        self._path, self._otherwise = path, otherwise
        self._socket = self._connected()

    def emit(self, record: logging.LogRecord) -> None:
        head = f"<{_DAEMON | severity(record.levelno)}>xflowd[{os.getpid()}]: "
        datagram = (head + self.format(record)).encode(errors="backslashreplace")
        try:
            self._send(datagram)
        except OSError:
            self._otherwise.emit(record)  # it has passed the filter

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except BlockingIOError:  # it does not read
            raise
        except OSError:  # it was started anew
            again = self._connected()
            self._socket.close()
            self._socket = again
            self._socket.send(datagram)

    def _connected(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.setblocking(False)
        try:
            made.connect(str(self._path))
        except OSError:
            made.close()
            raise
        return made


class Sparing(logging.Filter):
    """Keeps back what was said within the last minute already, and says later how often that was."""

    def __init__(self) -> None:
        super().__init__()
        self._repeats: Repeats[tuple[int, str]] = Repeats()
        self._lock = threading.Lock()  # names are resolved beside the loop

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "is_answer", False):
            return True
        text = record.getMessage()
        with self._lock:
            kept = self._repeats.admit((record.levelno, text), time.monotonic_ns())
        if kept:
            record.msg, record.args = _summed(text, kept), None
        return kept is not None

    def due(self, now_ns: int) -> list[logging.LogRecord]:
        """What was kept back, told once for all times."""
        with self._lock:
            kept = list(self._repeats.due(now_ns))
        return [_record(level, _summed(text, count)) for (level, text), count in kept]


def begin(stream: TextIO | None = None, environment: Mapping[str, str] = os.environ) -> None:
    """Log to standard error: as the journal wants it where that reads it, and plainly for anybody else."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    is_journal = behind(stream, environment)
    handler.setFormatter(_ForJournal() if is_journal else _Plain())
    handler.addFilter(Sparing())
    _install(handler)
    if is_journal:
        sys.excepthook = _tell_fault


def to_syslog(path: Path = DEV_LOG) -> None:
    """From now on to syslog, and to where it went before what that does not take. Raises OSError."""
    before = logging.getLogger().handlers[0]
    handler = Syslog(path, before)
    for spared in before.filters:  # what was said within the last minute was said there
        handler.addFilter(spared)
    _install(handler)
    sys.excepthook = _tell_fault


def catch_up(now_ns: int) -> None:
    """Say how often what was kept back would have been said. To be called each second or so."""
    for handler in logging.getLogger().handlers:
        for sparing in (each for each in handler.filters if isinstance(each, Sparing)):
            for record in sparing.due(now_ns):
                handler.emit(record)


def fail(text: object) -> None:
    """The line that says why the command ends."""
    log.error("%s", text, extra=_LAST_WORD)


def behind(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether the journal reads a stream: $JOURNAL_STREAM has the device and inode of that (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _summed(text: str, count: int) -> str:
    return f"{text} ({'once' if count == 1 else f'{count:,} times'} more in the last minute)"


def _record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord(log.name, level, __file__, 0, text, None, None)


def _install(handler: logging.Handler) -> None:
    root = logging.getLogger()
    for earlier in root.handlers[:]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _tell_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What would be many lines on a terminal."""
    log.critical("ended by a fault of its own", exc_info=(kind, error, trace))


def _in_one_line(error: BaseException) -> str:
    """`KeyError: 'x' (loop.py:71 run, daemon.py:112 look)`: the last place last."""
    places = traceback.extract_tb(error.__traceback__)
    where = ", ".join(f"{Path(place.filename).name}:{place.lineno} {place.name}" for place in places)
    return f"{type(error).__name__}: {error} ({where})" if where else f"{type(error).__name__}: {error}"
