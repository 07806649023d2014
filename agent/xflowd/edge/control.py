"""The control socket: a request and its answer, a line of JSON each, over a Unix stream socket.

The server lives in the agent's loop, never waits for anybody, and bounds everything: clients and their time, the
length of a request, the octets of answers that nobody reads.
"""

from __future__ import annotations

import contextlib
import json
import numbers
import os
import selectors
import socket
import stat
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xflowd.edge.asking import WRONG_ARGUMENTS, ControlError, connected
from xflowd.edge.clients import Client, Clients, Limits

#: Makes an answer: it gets the whole request and returns what JSON can hold. ValueError says what is wrong with the
#: request.
Answer = Callable[[dict[str, Any]], object]


class UnableError(Exception):
    """What was asked for cannot be done now; the message says why. The request is as it should be."""


@dataclass(frozen=True, slots=True)
class Steering:
    """An answer that changes what the agent does: root and the agent's own user may ask for it, and nobody else."""

    make: Answer


#: What can be asked, and what makes the answer.
Answers = Mapping[str, Answer | Steering]

LONGEST_REQUEST = 4096  # octets, with the end of the line
MOST_CLIENTS = 32
MOST_BUFFERED = 4 << 20  # octets of one answer; and of all that wait for their readers, before another is made
_BACKLOG = 128
_LIMITS = Limits(MOST_CLIENTS, 5_000_000_000, 500_000_000)
_REQUESTS_A_TURN = 4  # the loop has flows to see to
_TURN_NS = 20_000_000  # after this much of it no other request is read
_PROBE_SECONDS = 1.0
_CREDENTIALS = struct.Struct("iII")  # struct ucred: process, user, group


@dataclass(slots=True, eq=False)
class _Client(Client):
    answer: bytes = b""
    sent: int = 0

    @property
    def is_answered(self) -> bool:
        return bool(self.answer)


class Server(Clients[_Client]):
    """Answers at `path`. serve() is called when fileno() is readable, and about once a second besides."""

    def __init__(self, path: Path, answers: Answers) -> None:
        """Listen, in the place of an agent that is gone. Raises ControlError, also where one is running."""
        listening = _listening(path)
        super().__init__(_Client, _LIMITS)
        self.path, self._answers = path, answers
        self._buffered = 0
        self._listening = self._socket = listening
        self._identity = _identity(path)
        self._accept_or_not(0)

    def serve(self, now_ns: int) -> None:
        """Do what can be done without waiting, and only so much that the loop goes on. `now_ns` is monotonic."""
        self._end_the_slow(now_ns)
        last, until_ns = self.requests + _REQUESTS_A_TURN, time.monotonic_ns() + _TURN_NS
        for key, _ in self._selector.select(0):
            if self.requests >= last or time.monotonic_ns() >= until_ns:
                break
            if key.data is None:
                self._accept(now_ns)
            else:
                self._move(key.data, now_ns)
        self._accept_or_not(now_ns)

    def close(self) -> None:
        """Stop answering. The socket's file goes too, unless it is another agent's by now."""
        self._end_all()
        self._listening.close()
        with contextlib.suppress(OSError):
            if _identity(self.path) == self._identity:
                self.path.unlink()

    def _end(self, client: _Client, fault: str = "") -> None:
        self._buffered -= len(client.answer)
        super()._end(client, fault)

    def _read(self, client: _Client, now_ns: int) -> None:
        got = client.connection.recv(LONGEST_REQUEST + 1 - len(client.request))
        client.request += got
        line, end, _ = client.request.partition(b"\n")
        if end or len(client.request) > LONGEST_REQUEST:
            self.requests += 1
            client.answer = self._answer(bytes(line), client.connection)
            self._buffered += len(client.answer)
            self._selector.modify(client.connection, selectors.EVENT_WRITE, client)
        elif not got:
            self._end(client, "gone before the request was complete" if client.request else "")

    def _write(self, client: _Client) -> None:
        client.sent += client.connection.send(memoryview(client.answer)[client.sent :])
        if client.sent == len(client.answer):
            self._end(client)

    def _answer(self, line: bytes, connection: socket.socket) -> bytes:
        """The answer to a request, whatever it is."""
        if len(line) >= LONGEST_REQUEST:
            return self._refuse("request too long", f"a request has at most {LONGEST_REQUEST} octets")
        if self._buffered >= MOST_BUFFERED:
            return self._refuse("busy", "busy: others do not read their answers, ask again")
        request = _parsed(line)
        if request is None:
            return self._refuse("not a request", 'a request is a line of JSON such as {"ask": "status"}')
        return self._asked(request["ask"], request, connection)

    def _asked(self, asked: str, request: dict[str, Any], connection: socket.socket) -> bytes:
        if asked not in self._answers:
            return self._refuse("unknown request", f"this agent can be asked: {', '.join(self._answers)}")
        make = self._answers[asked]
        if isinstance(make, Steering):
            if not _may_steer(connection):
                return self._refuse("not permitted", f"{asked}: not permitted: be root, or the agent's user")
            make = make.make
        return self._made(asked, make, request)

    def _made(self, asked: str, make: Answer, request: dict[str, Any]) -> bytes:
        try:
            answer = _line({asked: make(request)})
        except ValueError as error:
            return self._refuse(WRONG_ARGUMENTS, f"{asked}: {error}", code=WRONG_ARGUMENTS)
        except UnableError as error:
            return self._refuse("not possible now", f"{asked}: {error}")
        except Exception as error:  # whatever goes wrong with an answer, it does not end the metering
            fault = f"{asked} failed: {type(error).__name__}"
            return self._refuse(fault, f"{fault}: {error}")
        if len(answer) > MOST_BUFFERED:
            return self._refuse("answer too long", f"{asked}: the answer is too long, {len(answer):,} octets")
        return answer

    def _refuse(self, fault: str, text: str, **more: str) -> bytes:
        self.faults[fault] += 1
        return _line({"error": text, **more})


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return request if isinstance(request, dict) and isinstance(request.get("ask"), str) else None


def _line(answer: object) -> bytes:
    return json.dumps(answer, default=_number).encode() + b"\n"


def _number(value: object) -> int | float:
    """Figures come out of numpy's columns as numbers of its own."""
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"{type(value).__name__} in an answer")


def _may_steer(connection: socket.socket) -> bool:
    """By who the client was when it connected: the kernel says that, not the client (unix(7), SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(credentials)[1] in (0, os.geteuid())


def _listening(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _make_way(path)
        os.fchmod(listening.fileno(), 0o660)  # before it has a name: nobody else comes in between
        listening.bind(str(path))
        os.chmod(path, 0o660)  # the umask may have taken the group's part
        listening.listen(_BACKLOG)
    except ControlError:
        listening.close()
        raise
    except OSError as error:
        listening.close()
        raise ControlError(f"control socket {path}: {error.strerror or error}") from None
    return listening


def _make_way(path: Path) -> None:
    """The directory is there, and at `path` nothing. Raises OSError where an agent listens, or it is no socket."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)
    try:
        connected(path, time.monotonic() + _PROBE_SECONDS).close()
    except FileNotFoundError:
        return
    except ConnectionRefusedError:  # a socket that an agent has left behind, or something that is none
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ControlError(f"control socket {path}: a file of another kind is there: remove it") from None
        path.unlink()
        return
    except (BlockingIOError, TimeoutError):
        pass  # one that listens and is slow to answer
    raise ControlError(f"control socket {path}: an agent runs already in this network namespace: stop it first")


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
