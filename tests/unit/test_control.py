"""Proves that the control socket answers, and that no client can stop it, fill the memory or hold up the loop.

The server's time is an argument; the sockets are real.
"""

from __future__ import annotations

import json
import os
import random
import resource
import select
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xflowd.edge import asking, instance
from xflowd.edge.asking import ControlError, ask
from xflowd.edge.control import LONGEST_REQUEST, MOST_BUFFERED, MOST_CLIENTS, Server, Steering, UnableError

#: How long a turn takes is measured.
pytestmark = pytest.mark.alone

SECOND = 1_000_000_000
TURN_SECONDS = 0.05  # what one turn may take from the loop
STATUS = b'{"ask": "status"}\n'
LARGE = "x" * (2 << 20)


def _fail(_request: dict[str, Any]) -> object:
    raise KeyError("slots")


def _full(_request: dict[str, Any]) -> object:
    raise UnableError("flows stay in the table: no room")


def _argument(request: dict[str, Any]) -> object:
    if "top" not in request:
        raise ValueError("how many? say top")
    return list(range(request["top"]))


ANSWERS: dict[str, Callable[[dict[str, Any]], object] | Steering] = {
    "status": lambda _: {"pid": 1},
    "columns": lambda _: {"sum": np.uint64(2**64 - 1), "share": np.float32(0.5)},
    "large": lambda _: LARGE,
    "too large": lambda _: "x" * MOST_BUFFERED,
    "object": lambda _: object(),
    "failing": _fail,
    "full": _full,
    "top": _argument,
    "steer": Steering(lambda request: {"steered": request.get("to")}),
}


class Loop:
    """The daemon's loop, as far as the server sees it: its turns, the time, and how long a turn took at most."""

    def __init__(self, path: Path) -> None:
        self.server = Server(path, ANSWERS)
        self.now_ns = 1_000 * SECOND
        self.longest_seconds = 0.0
        self._clients: list[socket.socket] = []

    def turn(self) -> None:
        start = time.monotonic()
        self.server.serve(self.now_ns)
        self.longest_seconds = max(self.longest_seconds, time.monotonic() - start)

    def turns(self) -> None:
        """As many as there is something to do for; a server that always has is caught here."""
        for _ in range(10_000):
            if not self.wakes():
                return
            self.turn()
        raise AssertionError("the server never comes to rest")

    def wakes(self) -> bool:
        return bool(select.select([self.server], [], [], 0)[0])

    def later(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)
        self.turn()
        self.turns()

    def client(self, sends: bytes = b"") -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._clients.append(client)
        client.setblocking(False)
        client.connect(str(self.server.path))
        if sends:
            client.send(sends)
        return client

    def fill_backlog(self) -> None:
        """Clients that nobody takes in, until there is no place to wait for it any more."""
        with suppress(BlockingIOError):
            for _ in range(1000):
                self.client()
            raise AssertionError("the backlog has no end")

    def close(self) -> None:
        self.server.close()
        for client in self._clients:
            client.close()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = Loop(tmp_path / "control.sock")
    try:
        yield made
        assert made.longest_seconds < TURN_SECONDS
    finally:
        made.close()


def received(client: socket.socket) -> bytes:
    """What is there for the client now."""
    got = bytearray()
    try:
        while more := client.recv(1 << 16):
            got += more
    except (BlockingIOError, ConnectionResetError):
        pass
    return bytes(got)


def closed(client: socket.socket) -> bool:
    """Whether the server has let go of the client."""
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def answer(loop: Loop, request: bytes) -> Any:
    client = loop.client(request)
    loop.turns()
    return json.loads(received(client))


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        (STATUS, {"status": {"pid": 1}}),
        (b'{"ask":"status","more":[1,2]}\r\n', {"status": {"pid": 1}}),
        (STATUS + STATUS, {"status": {"pid": 1}}),  # one answer a connection
        (b'{"ask": "columns"}\n', {"columns": {"sum": 2**64 - 1, "share": 0.5}}),
        (b'{"ask": "top", "top": 3}\n', {"top": [0, 1, 2]}),
        (b'{"ask": "top"}\n', {"error": "top: how many? say top", "code": "wrong arguments"}),
    ],
)
def test_a_request_is_answered(loop: Loop, request_line: bytes, expected: object) -> None:
    assert answer(loop, request_line) == expected
    assert loop.server.requests == 1


@pytest.mark.parametrize(
    ("request_line", "text", "fault"),
    [
        (b"\n", "a line of JSON", "not a request"),
        (b"status\n", "a line of JSON", "not a request"),
        (b"GET / HTTP/1.1\r\n\r\n", "a line of JSON", "not a request"),
        (b"\xff\xfe\x00\n", "a line of JSON", "not a request"),
        (b"[" * 4000 + b"\n", "a line of JSON", "not a request"),
        (b'{"a":' * 800 + b"\n", "a line of JSON", "not a request"),
        (b"9" * 4000 + b"\n", "a line of JSON", "not a request"),
        (b"null\n", "a line of JSON", "not a request"),
        (b'["ask", "status"]\n', "a line of JSON", "not a request"),
        (b'{"ask": ["status"]}\n', "a line of JSON", "not a request"),
        (b'{"ask": null}\n', "a line of JSON", "not a request"),
        (b'{"ask": "__class__"}\n', "can be asked: status, columns", "unknown request"),
        (b'{"ask": "failing"}\n', "failing failed: KeyError: 'slots'", "failing failed: KeyError"),
        (b'{"ask": "object"}\n', "object in an answer", "object failed: TypeError"),
        (b'{"ask": "full"}\n', "full: flows stay in the table", "not possible now"),
        (b'{"ask": "too large"}\n', "the answer is too long", "answer too long"),
        (b'{"ask": "top", "top": 0}'.ljust(LONGEST_REQUEST + 1) + b"\n", "at most 4096", "request too long"),
        (b"x" * (LONGEST_REQUEST + 1), "at most 4096", "request too long"),
    ],
)
def test_rubbish_gets_an_error_and_is_counted(loop: Loop, request_line: bytes, text: str, fault: str) -> None:
    got = answer(loop, request_line)
    assert list(got) == ["error"]
    assert text in got["error"]
    assert loop.server.faults == {fault: 1}
    assert loop.server.told() == f"{fault} (1)"
    assert answer(loop, STATUS) == {"status": {"pid": 1}}, "it goes on"


def test_the_longest_request_is_one(loop: Loop) -> None:
    assert answer(loop, STATUS.strip().ljust(LONGEST_REQUEST - 1) + b"\n") == {"status": {"pid": 1}}


def test_a_request_may_come_octet_by_octet(loop: Loop) -> None:
    client = loop.client()
    for octet in STATUS:
        assert received(client) == b""
        client.send(bytes([octet]))
        loop.turns()
    assert json.loads(received(client)) == {"status": {"pid": 1}}


@pytest.mark.parametrize("sent", [b"", b'{"ask": "sta', b"x" * LONGEST_REQUEST])
def test_half_a_request_and_silence_end_after_five_seconds(loop: Loop, sent: bytes) -> None:
    client = loop.client(sent)
    loop.turns()
    loop.later(4.9)
    assert not closed(client)
    loop.later(0.2)
    assert closed(client)
    assert loop.server.faults == {"no request in time": 1}


@pytest.mark.parametrize(
    ("sent", "faults"),
    [
        (b"", {}),  # nothing was asked: somebody looked whether there is an agent
        (b'{"ask": "sta', {"gone before the request was complete": 1}),
        (STATUS, {"gone before the answer": 1}),
    ],
)
def test_a_client_may_go_at_any_time(loop: Loop, sent: bytes, faults: dict[str, int]) -> None:
    loop.client(sent).close()
    loop.turns()
    assert loop.server.faults == faults
    assert answer(loop, STATUS) == {"status": {"pid": 1}}


def test_a_client_that_says_it_has_no_more_to_say_is_answered(loop: Loop) -> None:
    client = loop.client(STATUS)
    client.shutdown(socket.SHUT_WR)
    loop.turns()
    assert json.loads(received(client)) == {"status": {"pid": 1}}


def test_ten_megabytes_of_request_are_not_read(loop: Loop) -> None:
    client, sent = loop.client(), 0
    try:
        for _ in range(10 << 4):
            sent += client.send(b"x" * (64 << 10))
            loop.turns()
    except (BlockingIOError, BrokenPipeError):
        pass
    assert sent < 1 << 20
    assert b"at most 4096 octets" in received(client)
    assert loop.server.faults == {"request too long": 1}


def test_an_answer_waits_for_its_reader_and_hinders_nobody(loop: Loop) -> None:
    slow, got = loop.client(b'{"ask": "large"}\n'), b""
    loop.turns()
    assert not loop.wakes(), "a reader that does not read must not keep the loop awake"
    assert answer(loop, STATUS) == {"status": {"pid": 1}}
    for _ in range(1000):
        got += received(slow)
        loop.turns()
        if got.endswith(b"\n"):
            break
    assert json.loads(got) == {"large": LARGE}
    assert loop.server.faults == {}


def test_a_reader_that_never_reads_has_five_seconds(loop: Loop) -> None:
    slow = loop.client(b'{"ask": "large"}\n')
    loop.turns()
    loop.later(5)
    assert loop.server.faults == {"answer not taken in time": 1}
    assert not received(slow).endswith(b"\n")


def test_answers_that_nobody_reads_are_bounded(loop: Loop) -> None:
    readers = [loop.client(b'{"ask": "large"}\n') for _ in range(20)]
    loop.turns()
    assert loop.server.faults["busy"] == 18, "two wait, more than 4 MiB"
    assert sum(b"busy" in received(reader) for reader in readers) == 18
    loop.later(5)
    assert answer(loop, STATUS) == {"status": {"pid": 1}}, "and the room is there again"


def test_only_a_few_requests_a_turn(loop: Loop) -> None:
    clients = [loop.client(STATUS) for _ in range(20)]
    loop.turn()  # takes them in
    for turn in range(1, 6):
        loop.turn()
        assert loop.server.requests <= 4 * turn
    loop.turns()
    assert all(json.loads(received(client)) == {"status": {"pid": 1}} for client in clients)


def test_a_thousand_clients_at_once(loop: Loop) -> None:
    """All get their answer; whom the backlog does not hold tries again, as the command does."""
    path = str(loop.server.path)
    clients = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(1000)]
    try:
        waiting, connected, answers = set(clients), set(), 0
        for client in clients:
            client.setblocking(False)
        for _ in range(2000):
            for client in list(waiting):
                try:
                    client.connect(path)
                except BlockingIOError:
                    break
                client.send(STATUS)
                waiting.remove(client)
                connected.add(client)
            loop.turn()
            for client in list(connected):
                if got := received(client):
                    answers += json.loads(got) == {"status": {"pid": 1}}
                    connected.remove(client)
            if not waiting and not connected:
                break
        assert answers == 1000
        assert loop.server.faults == {}
    finally:
        for client in clients:
            client.close()


def test_clients_beyond_the_limit_wait_and_do_not_wake_the_loop(loop: Loop) -> None:
    silent = [loop.client() for _ in range(MOST_CLIENTS)]
    loop.turns()
    beyond = loop.client(STATUS)
    assert not loop.wakes()
    loop.later(0.4)
    assert received(beyond) == b""
    loop.later(0.2)  # they have had their time, now that somebody may be waiting
    assert json.loads(received(beyond)) == {"status": {"pid": 1}}
    assert all(closed(client) for client in silent)
    assert loop.server.faults == {"no request in time": MOST_CLIENTS}


def test_a_backlog_of_silent_clients_holds_a_good_one_up_for_less_than_its_patience(loop: Loop) -> None:
    for _ in range(MOST_CLIENTS + 100):
        loop.client()
        loop.turn()
    good, until_ns = loop.client(STATUS), loop.now_ns + asking.PATIENCE_SECONDS * SECOND
    while not (got := received(good)):
        loop.later(0.1)
        assert loop.now_ns < until_ns
    assert json.loads(got) == {"status": {"pid": 1}}


def test_without_descriptors_the_loop_rests_and_goes_on_later(loop: Loop) -> None:
    client = loop.client(STATUS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        loop.turn()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert loop.server.faults == {"not accepted: Too many open files": 1}
    assert not loop.wakes()
    loop.later(1)
    assert json.loads(received(client)) == {"status": {"pid": 1}}


def test_anything_in_any_pieces(loop: Loop) -> None:
    """300 clients of rubbish, cut anywhere, gone at any time; the seed is fixed."""
    chance = random.Random(1)
    alphabet = [b'{"ask":', b'"status"', b"}", b"\n", b"\0", b"\xff", b"[" * 50, b"9" * 300, b'"large"', b" " * 999]
    for _ in range(300):
        client = loop.client()
        for _ in range(chance.randrange(8)):
            try:
                client.send(chance.choice(alphabet))
            except (BrokenPipeError, ConnectionResetError):
                break
            if chance.random() < 0.5:
                loop.turn()
        if chance.random() < 0.8:
            client.close()
        loop.later(chance.random())
    loop.later(6)
    assert loop.server.faults
    assert answer(loop, STATUS) == {"status": {"pid": 1}}


def as_user(loop: Loop, request: bytes, user: int) -> Any:
    """The answer to a request by another user, who may write to the socket."""
    script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]); "
    script += "s.sendall(sys.stdin.buffer.read()); s.shutdown(socket.SHUT_WR); print(s.makefile().read())"
    loop.server.path.chmod(0o666)
    directory = loop.server.path.parent
    directory.chmod(0o711)  # it is entered before the user changes: those above it stay as they are
    python = ("/usr/bin/python3", "-I", "-c", script, loop.server.path.name)
    command = ["setpriv", f"--reuid={user}", "--clear-groups", *python]
    asking = subprocess.Popen(command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert asking.stdin is not None
    asking.stdin.write(request)
    asking.stdin.close()
    for _ in range(500):
        if asking.poll() is not None:
            break
        loop.turns()
        time.sleep(0.01)
    assert asking.wait(1) == 0
    assert asking.stdout is not None
    with asking.stdout as output:
        return json.loads(output.read())


STEER = b'{"ask": "steer", "to": "port"}\n'


def test_the_agents_own_user_may_steer(loop: Loop) -> None:
    assert answer(loop, STEER) == {"steer": {"steered": "port"}}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_who_is_in_the_group_alone_may_ask_and_not_steer(loop: Loop) -> None:
    assert as_user(loop, STATUS, 65534) == {"status": {"pid": 1}}
    assert as_user(loop, STEER, 65534) == {"error": "steer: not permitted: be root, or the agent's user"}
    assert loop.server.faults == {"not permitted": 1}
    assert as_user(loop, STEER, 0) == {"steer": {"steered": "port"}}


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_owner_and_group_may_ask(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "made" / "control.sock"
    with umask(mask):
        server = Server(path, ANSWERS)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    finally:
        server.close()
    assert list(path.parent.iterdir()) == []


def test_the_socket_of_a_killed_agent_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(path))
        killed.listen()
    server = Server(path, ANSWERS)
    server.close()
    assert not path.exists()


def test_the_socket_of_a_running_agent_is_not(loop: Loop) -> None:
    with pytest.raises(ControlError, match="an agent runs already in this network namespace: stop it first"):
        Server(loop.server.path, ANSWERS)
    assert answer(loop, STATUS) == {"status": {"pid": 1}}
    assert loop.server.faults == {}, "that was no client"


def test_nor_is_that_of_one_whose_backlog_is_full(loop: Loop) -> None:
    loop.fill_backlog()
    with pytest.raises(ControlError, match="an agent runs already"):
        Server(loop.server.path, ANSWERS)


@pytest.mark.parametrize(
    ("name", "text"), [("file", "remove it"), ("x" * 200, "too long"), ("file/control.sock", "control socket")]
)
def test_a_place_that_will_not_do_is_told_in_a_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "file").write_text("of somebody")
    with pytest.raises(ControlError, match=text) as told:
        Server(tmp_path / name, ANSWERS)
    assert "\n" not in str(told.value)
    assert (tmp_path / "file").read_text() == "of somebody"


def test_what_another_agent_has_put_there_stays(loop: Loop) -> None:
    loop.server.path.unlink()
    other = Server(loop.server.path, ANSWERS)
    try:
        loop.server.close()
        assert other.path.exists()
    finally:
        other.close()


@contextmanager
def listener(path: Path, speak: Callable[[socket.socket], object]) -> Iterator[None]:
    """Somebody who takes one connection at `path` and does with it as he likes."""

    def take() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(5)
            connection.recv(4096)
            speak(connection)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(5)
        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield
        finally:
            thread.join(5)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"", "has ended before it answered"),
        (b'{"status": {"pi', "the answer cannot be read"),
        (b"220 mail.example ESMTP\r\n", "the answer cannot be read"),
        (b"[]\n", "the answer cannot be read"),
        (b"{}\n", "the answer cannot be read"),
        (b"[" * 5000 + b"\n", "the answer cannot be read"),
        (b'{"error": "busy"}\n', ": busy"),
    ],
)
def test_an_answer_that_is_none_is_told(tmp_path: Path, said: bytes, text: str) -> None:
    path = tmp_path / "control.sock"
    with listener(path, lambda connection: connection.sendall(said)), pytest.raises(ControlError, match=text):
        ask(path, "status")


def test_the_command_does_not_wait_for_ever(tmp_path: Path) -> None:
    path, waiting = tmp_path / "control.sock", threading.Event()
    with listener(path, lambda _: waiting.wait(5)):
        try:
            with pytest.raises(ControlError, match=r"no answer within 0\.1 s"):
                ask(path, "status", patience=0.1)
        finally:
            waiting.set()


def test_nor_for_a_place_in_the_backlog(loop: Loop) -> None:
    loop.fill_backlog()
    with pytest.raises(ControlError, match=r"no answer within 0\.1 s"):
        ask(loop.server.path, "status", patience=0.1)


def test_an_answer_is_taken_in_pieces(tmp_path: Path) -> None:
    flows = list(range(100_000))
    line = json.dumps({"flows": flows}).encode() + b"\n"
    with listener(tmp_path / "control.sock", lambda connection: connection.sendall(line)):
        assert ask(tmp_path / "control.sock", "flows", {"top": 100_000}) == flows


@pytest.mark.parametrize("name", ["none", "none/control.sock", "file/control.sock", "left"])
def test_no_agent_is_told_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(tmp_path / "left"))
    with pytest.raises(ControlError, match=r"no agent answers at .*: start it with xflowd run"):
        ask(tmp_path / name, "status")


@contextmanager
def nobody() -> Iterator[None]:
    """Without rights, and of no group that has some."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_may_not_is_told_so(loop: Loop) -> None:
    for directory in (loop.server.path.parent, *loop.server.path.parents[1:3]):
        directory.chmod(0o755)
    with nobody(), pytest.raises(ControlError, match="permission denied: be root"):
        ask(loop.server.path, "status")


def test_one_agent_a_network_namespace() -> None:
    assert instance.name() == instance.name()
    assert instance.name().removeprefix("net-").isdecimal()
    assert instance.control_socket() == Path("/run/xflowd") / f"{instance.name()}.sock"
