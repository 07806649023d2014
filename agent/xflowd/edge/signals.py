"""Signals that the agent minds."""

from __future__ import annotations

import signal
import socket
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Signals:
    """SIGTERM, SIGINT, SIGQUIT and SIGHUP as things to look at, and a descriptor that becomes readable with them.

    `stop` is set by the first three, `leave` by SIGQUIT besides. One that was blocked, and has come, counts too.
    """

    def __init__(self) -> None:
        self.stop = self.leave = False
        self._reload = False
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        self._wakeup = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._read.close()
        self._write.close()

    def fileno(self) -> int:
        return self._read.fileno()

    def drain(self) -> None:
        """Forget the octets that made the descriptor readable."""
        try:
            self._read.recv(4096)
        except BlockingIOError:
            return

    def take_reload(self) -> bool:
        """Whether SIGHUP has come since the last call."""
        asked, self._reload = self._reload, False
        return asked

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self.stop = True
            self.leave = self.leave or number == signal.SIGQUIT
