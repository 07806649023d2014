"""Datagrams to one collector: a name that may not resolve, a socket that may fail, and what came of each."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

_RETRY_NS = 5_000_000_000
_SEND_BUFFER = 4 << 20  # octets; the kernel gives what net.core.wmem_max allows
_SEND_TIMEOUT_SECONDS = 0.1
#: Failures of one datagram, not of the socket.
_PASSING = (errno.EMSGSIZE, errno.ENOBUFS, errno.EPERM)

#: Local address and port, the collector's address and port, as numbers and octets.
Flow = tuple[bytes, int, bytes, int]


@dataclass(slots=True)
class SendingCounters:
    """What was done with datagrams."""

    sent_datagrams: int = 0
    sent_octets: int = 0
    dropped_datagrams: int = 0
    failures: dict[str, int] = field(default_factory=dict)  # by reason


class Destination:
    """A UDP socket to a collector. It is made when the name has resolved, and made again after it failed.

    Names are looked up in a thread of their own: a name server that does not answer keeps nothing waiting.
    """

    def __init__(self, host: str, port: int, source_host: str = "", source_port: int = 0) -> None:
        self._host, self._port = host, port
        self._source = (source_host, source_port)
        self._socket: socket.socket | None = None
        self._lookup: threading.Thread | None = None
        self._found: list[tuple[socket.AddressFamily, tuple[str, int]]] | str | None = None
        self._retry_ns = 0
        self._stuck = False
        self._flow: Flow | None = None
        self.counters = SendingCounters()

    def ready(self, now_ns: int) -> bool:
        """Whether datagrams can be sent. Where not, this sets about to make it so: ask again later."""
        if self._socket is None and now_ns >= self._retry_ns:
            self._open(now_ns)
        return self._socket is not None

    def wait(self, seconds: float) -> None:
        """Wait for a name to resolve, at most so long; at start, so that the first flows have somewhere to go."""
        if self._lookup is not None:
            self._lookup.join(seconds)

    def send(self, datagrams: Iterable[memoryview | bytes], now_ns: int) -> None:
        """Send in order. A failure is counted and the rest tried all the same, but nothing waits twice.

        A socket whose local address or route is gone is made anew, from the name on, after a while.
        """
        self._stuck = False
        for datagram in datagrams:
            if self._socket is not None and not self._stuck and self._send_one(datagram, now_ns):
                self.counters.sent_datagrams += 1
                self.counters.sent_octets += len(datagram)
            else:
                self.counters.dropped_datagrams += 1

    def flow(self) -> Flow | None:
        """The flow that our own datagrams make, while there is a socket."""
        return self._flow if self._socket is not None else None

    def close(self) -> None:
        """Drop the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_one(self, datagram: memoryview | bytes, now_ns: int) -> bool:
        assert self._socket is not None
        for _ in range(2):
            try:
                self._socket.send(datagram)
                return True
            except ConnectionRefusedError:  # the answer to an earlier datagram: this one was not sent yet
                self._failed("port unreachable")
            except TimeoutError:
                self._failed("send buffer full")
                self._stuck = True
                return False
            except OSError as error:
                self._failed(error.strerror or str(error))
                if error.errno not in _PASSING:
                    self.close()
                    self._retry_ns = now_ns + _RETRY_NS
                return False
        return False

    def _failed(self, reason: str) -> None:
        self.counters.failures[reason] = self.counters.failures.get(reason, 0) + 1

    def _open(self, now_ns: int) -> None:
        if self._found is None:
            self._start_lookup()
            if self._lookup is not None:
                return
        found, self._found = self._found, None
        try:
            if isinstance(found, str):
                raise OSError(errno.ENOENT, f"name {self._host} does not resolve: {found}")
            assert found
            self._socket = self._connected(*found[0])
            self._flow = _flow_of(self._socket)
            self._source = (self._source[0], self._flow[1])  # the same port if it has to be made again
        except OSError as error:
            self._failed(error.strerror or str(error))
            self._retry_ns = now_ns + _RETRY_NS

    def _connected(self, family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            if any(self._source):
                made.bind(self._source)
            made.connect(address)
            made.settimeout(_SEND_TIMEOUT_SECONDS)
        except OSError:
            made.close()
            raise
        return made

    def _start_lookup(self) -> None:
        """An address needs no thread, a name gets one; while it looks up, self._lookup is set."""
        if self._lookup is not None:
            if not self._lookup.is_alive():
                self._lookup = None
            return
        try:
            self._found = _resolve(self._host, self._port, socket.AI_NUMERICHOST)
        except OSError:
            self._lookup = threading.Thread(target=self._look_up, name=f"resolve {self._host}", daemon=True)
            self._lookup.start()

    def _look_up(self) -> None:
        try:
            self._found = _resolve(self._host, self._port, 0)
        except OSError as error:
            self._found = error.strerror or str(error)


def _flow_of(connected: socket.socket) -> Flow:
    family, here, there = connected.family, connected.getsockname(), connected.getpeername()
    source, destination = (socket.inet_pton(family, end[0].split("%")[0]) for end in (here, there))
    return source, here[1], destination, there[1]


def _resolve(host: str, port: int, flags: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]
