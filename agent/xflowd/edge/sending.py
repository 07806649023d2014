"""A UDP socket to one collector: made when its name has resolved, made again after it failed, and what went wrong."""

from __future__ import annotations

import enum
import errno
import os
import socket
from collections import Counter, deque
from contextlib import suppress

from xflowd.edge.resolving import Address, Name

_MS, _S = 10**6, 10**9
_BUFFER_PAUSE_NS = 10 * _MS
_ROUTE_PAUSE_NS = 1 * _S
_NAME_POLL_NS = 100 * _MS  # while a look-up is under way
_NAME_PAUSE_NS = 5 * _S  # between look-ups of a name, whatever goes wrong
_REFUSED_NAME_PAUSE_NS = 60 * _S  # refused, the address is rarely wrong, and each query may be a flow to export
_NAME_REFRESH_NS = 300 * _S
_SEND_BUFFER = 4 << 20  # octets: room for what a busy second sends at one go
_TRIES = 4  # of a datagram at once: an error may be the answer to an earlier one
_MOST_ERRORS = 512  # read from a socket's error queue at once
_OWN_FLOWS = 4  # socket addresses remembered, of which flows may still be in the table
_IP_RECVERR, _IPV6_RECVERR, _SO_SNDBUFFORCE = 11, 25, 32

BUFFER_FULL, REFUSED, TOO_LONG, NO_NAME = "buffer full", "port unreachable", "message too long", "name not resolved"
_BUFFER_FULL = (errno.EAGAIN, errno.ENOBUFS)
#: How long nothing must come back before sending is believed to work again: what ICMP says, or that ARP is not
#: answered, comes late.
_REFUSED_SILENCE_NS, _ROUTE_SILENCE_NS = 3 * _S, 4 * _S

#: Local address and port, the collector's address and port, as numbers and octets.
Flow = tuple[bytes, int, bytes, int]


class Outcome(enum.Enum):
    """What became of a datagram: gone; gone, and in doubt; to be tried again from `retry_ns` on; impossible to send.

    A datagram in doubt has arrived if `trouble` is over when ready() is true again, and has to be sent again if not.
    """

    SENT = enum.auto()
    IN_DOUBT = enum.auto()
    LATER = enum.auto()
    NEVER = enum.auto()


class Destination:
    """Where the datagrams of one collector go. Nothing here waits, except wait().

    `epoch` grows whenever datagrams may have been lost on the way, or go elsewhere from now on: the collector has to
    be told templates again. `trouble` is why sending does not work just now, or empty.
    """

    def __init__(self, host: str, port: int, source_host: str = "", source_port: int = 0) -> None:
        self._name = Name(host, port)
        self._source_host, self._is_port_given = source_host, bool(source_port)
        self.source_port = source_port
        self._addresses: list[Address] = []
        self._socket: socket.socket | None = None
        self._peer: Address | None = None
        self.flows: deque[Flow] = deque(maxlen=_OWN_FLOWS)
        self.retry_ns = 0
        self._look_up_ns = self._looked_up_ns = -_NAME_PAUSE_NS
        self._in_doubt = False
        self.epoch = self.interruptions = 0
        self.trouble = ""
        self.trouble_ns = 0  # how long the last one took, once it is over
        self._trouble_since_ns = self._silence_ns = 0
        self._unanswered_ns: int | None = None
        self.errors: Counter[str] = Counter()
        self.last_error: tuple[str, int] | None = None  # text, monotonic time

    @property
    def address(self) -> str | None:
        """Where datagrams go now, or went last, in numbers."""
        return self._peer[1][0] if self._peer else None

    @property
    def connected(self) -> bool:
        """Whether there is a socket."""
        return self._socket is not None

    def ready(self, now_ns: int) -> bool:
        """Whether a datagram can be tried. Where not, this sets about to make it so: ask again at `retry_ns`.

        To be asked once a second in any case: this is where the name is followed, and where late errors are seen.
        """
        self._follow_name(now_ns)
        if self._socket is not None and (code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            self._failed(OSError(code, os.strerror(code)), now_ns)
        if self._socket is None and now_ns >= self.retry_ns:
            self._open(now_ns)
        self._settle(now_ns)
        return self._socket is not None and now_ns >= self.retry_ns

    def wait(self, seconds: float) -> None:
        """Wait for a name to resolve, at most so long; at start, so that the first flows have somewhere to go."""
        self._name.wait(seconds)
        self.retry_ns = 0

    def send(self, datagram: memoryview | bytes, now_ns: int) -> Outcome:
        """Send one datagram, if ready() said so. An answer to an earlier one is counted, and this one tried again."""
        lengths_refused = 0
        for _ in range(_TRIES):
            if self._socket is None:
                return Outcome.LATER
            try:
                self._socket.send(datagram)
            except OSError as error:
                self._failed(error, now_ns)
                lengths_refused += error.errno == errno.EMSGSIZE
                if lengths_refused == 2:  # the first may have been about another one
                    return Outcome.NEVER
                if error.errno in _BUFFER_FULL:
                    return Outcome.LATER
            else:
                return self._went(now_ns)
        self.retry_ns = now_ns + _BUFFER_PAUSE_NS
        return Outcome.LATER

    def risk(self) -> None:
        """Do not wait for what comes of a datagram: there will be no time to send it again."""
        if self._in_doubt and self._socket is not None:
            self.retry_ns = 0
        self._in_doubt = False

    def close(self) -> None:
        """Drop the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _failed(self, error: OSError, now_ns: int) -> None:
        """Count an error, and do what it asks for."""
        code = error.errno or 0
        self._drain_errors()
        if code in _BUFFER_FULL:
            self._count(BUFFER_FULL, BUFFER_FULL, now_ns)
            self.retry_ns = now_ns + _BUFFER_PAUSE_NS
            return
        if code == errno.EMSGSIZE:
            self._count(TOO_LONG, TOO_LONG, now_ns)
            return
        if code == errno.ECONNREFUSED:
            self._interrupted(REFUSED, _REFUSED_SILENCE_NS, now_ns)
            self._look_up_soon(now_ns, _REFUSED_NAME_PAUSE_NS)
            return
        self._no_way(_text(error), now_ns)

    def _no_way(self, reason: str, now_ns: int) -> None:
        """No route, or no host: a socket made anew takes route and source address as they are then."""
        self.close()
        self._interrupted(reason, _ROUTE_SILENCE_NS, now_ns)
        self._look_up_soon(now_ns)
        self._in_doubt = True
        self.retry_ns = now_ns + _ROUTE_PAUSE_NS

    def _went(self, now_ns: int) -> Outcome:
        """While it is not sure that there is a way, one datagram goes, and what comes of it is waited for."""
        if self.trouble and (self._unanswered_ns is None or self._in_doubt):
            self._unanswered_ns = now_ns
        if self._in_doubt:
            self.retry_ns = now_ns + self._silence_ns
            return Outcome.IN_DOUBT
        self._settle(now_ns)
        return Outcome.SENT

    def _settle(self, now_ns: int) -> None:
        """Trouble is over when a datagram went and for long enough nothing came back."""
        if not self.trouble or self._unanswered_ns is None or now_ns - self._unanswered_ns < self._silence_ns:
            return
        self.trouble, self.trouble_ns = "", now_ns - self._trouble_since_ns
        self._in_doubt = False
        self.epoch += 1

    def _interrupted(self, reason: str, silence_ns: int, now_ns: int, detail: str = "") -> None:
        self._count(reason, detail or reason, now_ns)
        self._unanswered_ns = None
        self._silence_ns = max(silence_ns, self._silence_ns if self.trouble else 0)
        if not self.trouble:
            self.trouble, self._trouble_since_ns = reason, now_ns
            self.interruptions += 1
            self.epoch += 1

    def _count(self, reason: str, text: str, now_ns: int) -> None:
        self.errors[reason] += 1
        self.last_error = text, now_ns

    def _drain_errors(self) -> None:
        """The error queue is of no interest, but it takes the room that reports of new errors need."""
        with suppress(OSError):
            for _ in range(_MOST_ERRORS):
                if self._socket is None:
                    return
                self._socket.recvmsg(1, 0, socket.MSG_ERRQUEUE)

    def _follow_name(self, now_ns: int) -> None:
        found = self._name.result()
        if isinstance(found, str):
            self._not_resolved(found, now_ns)
        elif found:
            self._addresses = found
            self.retry_ns = min(self.retry_ns, now_ns) if self._socket is None else self.retry_ns
            if self._socket is not None and self._peer not in found:
                self.close()
                self._unanswered_ns, self.retry_ns = None, now_ns  # what went to the old address is no witness
        if now_ns >= self._look_up_ns:
            self._name.look_up()
            self._looked_up_ns, self._look_up_ns = now_ns, now_ns + _NAME_REFRESH_NS

    def _not_resolved(self, why: str, now_ns: int) -> None:
        """While there is a socket, its address is as good as it was."""
        text = f"{self._name.host}: {why}"
        if self._socket is not None:
            self._count(NO_NAME, text, now_ns)
        else:
            self._interrupted(NO_NAME, 0, now_ns, text)
            self._look_up_soon(now_ns)

    def _look_up_soon(self, now_ns: int, pause_ns: int = _NAME_PAUSE_NS) -> None:
        self._look_up_ns = min(self._look_up_ns, max(now_ns, self._looked_up_ns + pause_ns))

    def _open(self, now_ns: int) -> None:
        """A socket to the first address that there is a route to."""
        self.retry_ns = now_ns + (_ROUTE_PAUSE_NS if self._addresses else _NAME_POLL_NS)
        failure: OSError | None = None
        for address in self._addresses:
            try:
                self._connect(address)
            except OSError as error:
                failure = error
            else:
                self.retry_ns = now_ns
                return
        if failure is not None:
            self._no_way(_text(failure), now_ns)

    def _connect(self, address: Address) -> None:
        made = socket.socket(address[0], socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            _ask_for_room(made)
            _report_all_errors(made)
            self._bind(made)
            made.connect(address[1])
            flow = _flow_of(made)
        except OSError:
            made.close()
            raise
        self._socket, self.source_port = made, flow[1]  # the same port if it has to be made again
        if flow not in self.flows:
            self.flows.append(flow)
        self.epoch += self._peer not in (None, address)
        self._peer = address

    def _bind(self, made: socket.socket) -> None:
        try:
            if self._source_host or self.source_port:
                made.bind((self._source_host, self.source_port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise OSError(error.errno, f"source {self._source_host} is no address of this host") from None
            if error.errno != errno.EADDRINUSE or self._is_port_given:
                raise
            made.bind((self._source_host, 0))


def _ask_for_room(made: socket.socket) -> None:
    """net.core.wmem_max allows some hundred datagrams as a rule; CAP_NET_ADMIN may ask for more."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    with suppress(PermissionError):
        made.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)


def _report_all_errors(made: socket.socket) -> None:
    """Without this UDP tells neither of hosts that are unreachable nor of datagrams that a full device drops."""
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def _text(error: OSError) -> str:
    return error.strerror or str(error)


def _flow_of(connected: socket.socket) -> Flow:
    family, here, there = connected.family, connected.getsockname(), connected.getpeername()
    source, destination = (socket.inet_pton(family, end[0].split("%")[0]) for end in (here, there))
    return source, here[1], destination, there[1]
