"""The little of HTTP/1.1 (RFC 9112) that a scrape takes: one GET a connection, answered from within the agent's loop.

No thread, nobody is waited for, and everything is bounded: clients and their time, the length of a request. All
clients of one answer share its octets.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xflowd.edge.clients import Client, Clients, Limits

LONGEST_REQUEST = 8192  # octets, headers included
MOST_CLIENTS = 16
_BACKLOG = 64
_LIMITS = Limits(MOST_CLIENTS, 10_000_000_000, 1_000_000_000)  # as long as Prometheus itself waits by default
_MOVES_A_TURN = 2 * MOST_CLIENTS
_PORTION = 1 << 18  # octets handed to the socket at once
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error"}
_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response's status, content type and body."""

    status: int
    kind: str
    body: bytes


@dataclass(slots=True, eq=False)
class _Client(Client):
    parts: list[memoryview] = field(default_factory=list)  # of the answer, still to be sent

    @property
    def is_answered(self) -> bool:
        return bool(self.parts)


class Server(Clients[_Client]):
    """`pages`: path → what answers a GET; it gets the headers, names in lower case, and the monotonic time.

    serve() is called when fileno() is readable, and about once a second besides.
    """

    def __init__(self, pages: Mapping[str, Callable[[Mapping[str, str], int], Answer]]) -> None:
        super().__init__(_Client, _LIMITS)
        self._pages = pages

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens: address and port."""
        return None if self._socket is None else self._socket.getsockname()[:2]

    def listen(self, made: socket.socket | None) -> None:
        """Take clients of another socket from now on, see listening(), or of none. Those that are there stay."""
        if self._socket is not None:
            if self._accepting:
                self._selector.unregister(self._socket)
            self._socket.close()
        self._socket, self._accepting = made, False
        self._accept_or_not(0)

    def serve(self, now_ns: int) -> None:
        """Do what can be done without waiting. `now_ns` is monotonic."""
        self._end_the_slow(now_ns)
        for key, _ in self._selector.select(0)[:_MOVES_A_TURN]:
            if key.data is None:
                self._accept(now_ns)
            else:
                self._move(key.data, now_ns)
        self._accept_or_not(now_ns)

    def close(self) -> None:
        """Stop answering."""
        self.listen(None)
        self._end_all()

    def _read(self, client: _Client, now_ns: int) -> None:
        got = client.connection.recv(LONGEST_REQUEST + 1 - len(client.request))
        client.request += got
        whole = b"\r\n\r\n" in client.request or b"\n\n" in client.request
        if whole or len(client.request) > LONGEST_REQUEST:
            self.requests += 1
            client.parts = self._answer(bytes(client.request) if whole else b"", now_ns)
            self._selector.modify(client.connection, selectors.EVENT_WRITE, client)
        elif not got:
            self._end(client, "gone before the request was complete" if client.request else "")

    def _write(self, client: _Client) -> None:
        sent = client.connection.send(client.parts[0][:_PORTION])
        client.parts[0] = client.parts[0][sent:]
        if not client.parts[0]:
            del client.parts[0]
        if not client.parts:
            self._end(client)

    def _answer(self, request: bytes, now_ns: int) -> list[memoryview]:
        method, path, headers = _parsed(request)
        answer = self._asked(method, path, headers, now_ns)
        if answer.status != 200:
            self.faults[_REASONS[answer.status].lower()] += 1
        head = _head(answer)
        body = b"" if method == "HEAD" else answer.body
        return [memoryview(part) for part in (head, body) if part]

    def _asked(self, method: str, path: str, headers: Mapping[str, str], now_ns: int) -> Answer:
        if not method:
            return Answer(400, _PLAIN, b"not a request of HTTP/1\n")
        if method not in ("GET", "HEAD"):
            return Answer(405, _PLAIN, b"only GET and HEAD are known here\n")
        if path not in self._pages:
            return Answer(404, _PLAIN, f"there is {', '.join(self._pages)}\n".encode())
        try:
            return self._pages[path](headers, now_ns)
        except Exception as error:  # whatever goes wrong with an answer, it does not end the metering
            return Answer(500, _PLAIN, f"{type(error).__name__}: {error}\n".encode(errors="replace"))


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address of this host. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        where = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][4]
        made.bind(where)
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _head(answer: Answer) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}",
        f"Content-Type: {answer.kind}",
        f"Content-Length: {len(answer.body)}",
        "Connection: close",
    ]
    if answer.status == 405:
        lines.append("Allow: GET, HEAD")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _parsed(request: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, path without its query, and headers by their names in lower case; "" of what is no request."""
    lines = request.decode("latin-1").replace("\r\n", "\n").split("\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "", "", {}
    fields = (line.partition(":") for line in lines[1:] if ":" in line)
    return words[0], words[1].partition("?")[0], {name.strip().lower(): value.strip() for name, _, value in fields}
