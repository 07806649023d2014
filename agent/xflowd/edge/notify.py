"""What the agent tells who has started it, by the protocol of sd_notify(3): that it is ready, and still alive.

A datagram of lines `NAME=value` to the socket that $NOTIFY_SOCKET names. Without one nobody asks, and nothing is said.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

_LONGEST_STATUS = 400  # characters; `systemctl status` shows one line
_AGAIN_NS = 1_000_000_000  # after a sign of life that did not get through: waiting half of the time again is too long


class Supervisor:
    """Who has started the agent. A message that does not get through is in `fault` until it is asked for."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Takes its variables out of `environment`, so that no child answers for the agent."""
        path = environment.pop("NOTIFY_SOCKET", "")
        period, process = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        self._fault = self._status = ""
        self._is_ready_owed = False
        self._socket = self._connected(path) if path else None
        is_meant = bool(self._socket) and process in ("", str(os.getpid()))
        self._half_ns = int(period) * 1_000 // 2 if is_meant and period.isdecimal() else 0
        #: When it wants to hear again that the agent lives (monotonic ns); None: it does not ask.
        self.due_ns: int | None = 0 if self._half_ns else None

    @property
    def is_there(self) -> bool:
        """Whether the agent runs as a service that is asked for."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """The agent meters; after `reloading`: it does so again."""
        self._status = _one_line(status)
        self._is_ready_owed = not self._send("READY=1", f"STATUS={self._status}")

    def reloading(self, now_ns: int) -> None:
        """The configuration is read again, from `now_ns` of the monotonic clock on; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_ns // 1_000}")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """What the agent is doing, if that is new. To be called now and then: what was lost is said again."""
        if self._is_ready_owed:
            self.ready(text)
        elif (text := _one_line(text)) != self._status:
            self._status = text if self._send(f"STATUS={text}") else ""

    def alive(self, now_ns: int) -> None:
        """To be said by the loop that does the work, whenever it comes round: sent when half of the time is over."""
        if self.due_ns is not None and now_ns >= self.due_ns:
            has_arrived = self._send("WATCHDOG=1")
            self.due_ns = now_ns + (self._half_ns if has_arrived else min(self._half_ns, _AGAIN_NS))

    def told(self) -> str:
        """What went wrong since it was asked last, or nothing."""
        fault, self._fault = self._fault, ""
        return fault

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket, self.due_ns = None, None

    def _connected(self, path: str) -> socket.socket | None:
        """Connected while the agent still is who it was started as; `@` stands for an abstract name (unix(7))."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.setblocking(False)
        try:
            made.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        except OSError as error:
            made.close()
            self._fault = f"{path}: {error.strerror or error}"
            return None
        return made

    def _send(self, *lines: str) -> bool:
        """Whether that got through, or nobody asks."""
        if self._socket is None:
            return True
        try:
            self._socket.send("\n".join(lines).encode(errors="replace"))
        except OSError as error:
            self._fault = f"{lines[0]} not delivered: {error.strerror or error}"
            return False
        return True


def _one_line(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text[:_LONGEST_STATUS])
