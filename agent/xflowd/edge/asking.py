"""The asking side of the control socket: one question to a running agent, and its answer."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 5.0
_LONGEST_ANSWER = 16 << 20  # octets
_RETRY_SECONDS = 0.02


#: `code` of an answer: what was asked for is wrong, and nothing else is.
WRONG_ARGUMENTS = "wrong arguments"


class ControlError(OSError):
    """No answer; the message says why and how to mend it."""

    exit_code = 1


class RequestError(ControlError):
    """No answer to this: a filter, or another argument, is wrong."""

    exit_code = 2


def ask(path: Path, what: str, arguments: dict[str, Any] | None = None, patience: float = PATIENCE_SECONDS) -> Any:
    """What the agent at `path` answers to `what`, decoded. Raises ControlError; waits at most `patience` seconds."""
    deadline = time.monotonic() + patience
    request = json.dumps({"ask": what, **(arguments or {})}).encode() + b"\n"
    try:
        with connected(path, deadline) as connection:
            connection.sendall(request)
            line = _line(connection, deadline)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        mend = "start it with xflowd run, or ask from within its network namespace"
        raise ControlError(f"no agent answers at {path}: {mend}") from None
    except PermissionError:
        raise ControlError(f"{path}: permission denied: be root, or in the group that the socket belongs to") from None
    except (TimeoutError, BlockingIOError):
        raise ControlError(f"{path}: no answer within {patience:g} s: the agent is stopped or overloaded") from None
    except (ConnectionResetError, BrokenPipeError):
        raise ControlError(f"{path}: the agent has ended before it answered") from None
    return _understood(path, what, line)


def connected(path: Path, deadline: float) -> socket.socket:
    """A connection to the socket at `path`. While its backlog is full it is tried again, until `deadline` (monotonic).

    Raises OSError: FileNotFoundError and ConnectionRefusedError where nobody listens, BlockingIOError when it is late.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        while True:
            _wait_until(connection, deadline)
            try:
                connection.connect(str(path))
            except BlockingIOError:
                time.sleep(_RETRY_SECONDS)
            else:
                return connection
    except BaseException:
        connection.close()
        raise


def _wait_until(connection: socket.socket, deadline: float) -> None:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    connection.settimeout(remaining)


def _line(connection: socket.socket, deadline: float) -> bytes:
    """What comes until the end of the line, or until the other side closes."""
    got = bytearray()
    while not got.endswith(b"\n") and len(got) <= _LONGEST_ANSWER:
        _wait_until(connection, deadline)
        more = connection.recv(1 << 16)
        if not more:
            break
        got += more
    return bytes(got)


def _understood(path: Path, what: str, line: bytes) -> Any:
    if not line:
        raise ControlError(f"{path}: the agent has ended before it answered")
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not (what in answer or "error" in answer):
        raise ControlError(f"{path}: the answer cannot be read: is this the control socket of xflowd?")
    if what not in answer:
        kind = RequestError if answer.get("code") == WRONG_ARGUMENTS else ControlError
        raise kind(f"{path}: {answer['error']}")
    return answer[what]
