"""Clients of a listening socket that are never waited for: what the control socket and the metrics have in common.

Everything is bounded: how many there are, and the time of each, which is shorter while others may be waiting.
"""

from __future__ import annotations

import selectors
import socket
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_PAUSE_NS = 1_000_000_000  # after a client could not be accepted


@dataclass(slots=True, eq=False)
class Client(ABC):
    """A connection, since when it is there, and what it has asked so far."""

    connection: socket.socket
    since_ns: int
    request: bytearray = field(default_factory=bytearray)

    @property
    @abstractmethod
    def is_answered(self) -> bool:
        """Whether there is an answer, of which something is still to be sent."""


Connected = TypeVar("Connected", bound=Client)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many clients there are at most, and for how long (ns): each in all, and while all places are taken."""

    clients: int
    patience_ns: int
    patience_when_full_ns: int


class Clients(ABC, Generic[Connected]):
    """Those of one listening socket. The agent's loop waits for fileno()."""

    def __init__(self, kind: type[Connected], limits: Limits) -> None:
        self._kind, self._limits = kind, limits
        self.requests = 0
        self.faults: Counter[str] = Counter()  # clients that did not get what they asked for, by reason
        self._clients: set[Connected] = set()
        self._selector = selectors.EpollSelector()
        self._socket: socket.socket | None = None
        self._accepting = False
        self._accept_from_ns = 0

    def fileno(self) -> int:
        """One descriptor for all clients: readable when there is something to do."""
        return self._selector.fileno()

    def told(self) -> str:
        """What went wrong with clients so far, in a line; empty when nothing did."""
        return ", ".join(f"{reason} ({count:,})" for reason, count in self.faults.items())

    @abstractmethod
    def _read(self, client: Connected, now_ns: int) -> None:
        """Take what the client has sent, and make the answer when that is all. May raise OSError."""

    @abstractmethod
    def _write(self, client: Connected) -> None:
        """Send some of the answer. May raise OSError."""

    def _accept_or_not(self, now_ns: int) -> None:
        """Take clients while there are places. The others wait in the backlog, where they do not wake the loop."""
        if self._socket is None:
            return
        accepting = len(self._clients) < self._limits.clients and now_ns >= self._accept_from_ns
        if accepting and not self._accepting:
            self._selector.register(self._socket, selectors.EVENT_READ)
        elif self._accepting and not accepting:
            self._selector.unregister(self._socket)
        self._accepting = accepting

    def _accept(self, now_ns: int) -> None:
        while self._socket is not None and len(self._clients) < self._limits.clients:
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor or memory to be had: it would be tried again without end
                self.faults[f"not accepted: {error.strerror}"] += 1
                self._accept_from_ns = now_ns + _PAUSE_NS
                return
            connection.setblocking(False)
            client = self._kind(connection, now_ns)
            self._clients.add(client)
            self._selector.register(connection, selectors.EVENT_READ, client)

    def _end_the_slow(self, now_ns: int) -> None:
        full = len(self._clients) >= self._limits.clients
        patience = self._limits.patience_when_full_ns if full else self._limits.patience_ns
        for client in [one for one in self._clients if now_ns - one.since_ns >= patience]:
            self._end(client, "answer not taken in time" if client.is_answered else "no request in time")

    def _end(self, client: Connected, fault: str = "") -> None:
        if fault:
            self.faults[fault] += 1
        self._selector.unregister(client.connection)
        self._clients.remove(client)
        client.connection.close()

    def _end_all(self) -> None:
        for client in list(self._clients):
            self._end(client)
        self._selector.close()

    def _move(self, client: Connected, now_ns: int) -> None:
        """One step with a client whose socket is ready."""
        try:
            if not client.is_answered:
                self._read(client, now_ns)
            if client.is_answered:
                self._write(client)
        except BlockingIOError:
            return
        except OSError:
            self._end(client, "gone before the answer")
