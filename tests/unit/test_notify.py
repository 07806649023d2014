"""Proves that whoever starts the agent hears that it is ready and alive, in the words of sd_notify(3), and in time."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from xflowd.edge.notify import Supervisor

SECOND = 10**9


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's end, as systemd's is: a datagram socket with a name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.setblocking(False)
        yield made


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), "HOME": "/", **more}


def heard(manager: socket.socket) -> list[list[str]]:
    """The lines of each message that has come."""
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return messages


def test_the_life_of_a_service(manager: socket.socket) -> None:
    supervisor = Supervisor(environment(manager))
    supervisor.ready("metering lan")
    supervisor.status("metering lan")  # nothing new
    supervisor.status("metering lan, wan")
    supervisor.reloading(12_345_678)
    supervisor.ready("metering wan")
    supervisor.stopping("sending")
    assert heard(manager) == [
        ["READY=1", "STATUS=metering lan"],
        ["STATUS=metering lan, wan"],
        ["RELOADING=1", "MONOTONIC_USEC=12345"],
        ["READY=1", "STATUS=metering wan"],
        ["STOPPING=1", "STATUS=sending"],
    ]
    assert supervisor.told() == ""
    supervisor.close()


@pytest.mark.parametrize("period", ["60000000", "1"])
def test_alive_is_said_when_half_of_the_time_is_over(manager: socket.socket, period: str) -> None:
    """However often the loop comes round."""
    half_ns = int(period) * 1_000 // 2
    supervisor = Supervisor(environment(manager, WATCHDOG_USEC=period, WATCHDOG_PID=str(os.getpid())))
    start = 100 * SECOND
    for now_ns in (start, start + half_ns - 1, start + half_ns, start + half_ns + 1, start + 2 * half_ns):
        supervisor.alive(now_ns)
    assert heard(manager) == [["WATCHDOG=1"]] * 3
    assert supervisor.due_ns == start + 3 * half_ns
    supervisor.close()
    assert supervisor.due_ns is None


@pytest.mark.parametrize("meant", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}])
def test_no_watchdog_no_ping(manager: socket.socket, meant: dict[str, str]) -> None:
    """None is asked for, or it is asked of another process."""
    supervisor = Supervisor(environment(manager, **meant))
    supervisor.alive(SECOND)
    assert supervisor.due_ns is None
    assert heard(manager) == []
    supervisor.close()


def test_no_child_answers_for_the_agent(manager: socket.socket) -> None:
    variables = environment(manager, WATCHDOG_USEC="9", WATCHDOG_PID=str(os.getpid()))
    Supervisor(variables).close()
    assert variables == {"HOME": "/"}


def test_nobody_asks() -> None:
    supervisor = Supervisor({})
    supervisor.ready("metering")
    supervisor.alive(SECOND)
    assert not supervisor.is_there
    assert supervisor.told() == ""


def test_an_abstract_name() -> None:
    """`@` stands for an octet 0 (unix(7)), as containers' managers have it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # the kernel gives it an abstract name
        manager.setblocking(False)
        name = manager.getsockname().decode()
        supervisor = Supervisor({"NOTIFY_SOCKET": name.replace("\0", "@")})
        supervisor.ready("here")
        assert heard(manager) == [["READY=1", "STATUS=here"]]
        supervisor.close()


def test_a_status_is_one_line_and_cannot_say_anything_else(manager: socket.socket) -> None:
    supervisor = Supervisor(environment(manager))
    supervisor.status("bad name\nSTOPPING=1\x1b[31m" + "x" * 10_000)
    ((line,),) = heard(manager)
    assert line.startswith("STATUS=bad name STOPPING=1 [31mx")
    assert len(line) < 500
    supervisor.close()


def test_a_manager_that_is_gone_is_told_of_and_stops_nothing(manager: socket.socket, tmp_path: Path) -> None:
    supervisor = Supervisor(environment(manager))
    manager.close()
    supervisor.ready("metering")
    assert "READY=1 not delivered" in supervisor.told()
    assert supervisor.told() == "", "it is told once"
    supervisor.close()
    never = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert not never.is_there
    assert "nobody: No such file" in never.told()


def test_a_manager_that_does_not_read_holds_up_nothing(manager: socket.socket) -> None:
    supervisor = Supervisor(environment(manager))
    for number in range(10_000):
        supervisor.status(f"{number}")
    assert "not delivered" in supervisor.told()
    supervisor.close()


def test_what_a_busy_manager_did_not_take_is_said_again(manager: socket.socket) -> None:
    """Half of the watchdog's time later would be too late, and a service that is not ready is ended."""
    supervisor = Supervisor(environment(manager, WATCHDOG_USEC="60000000"))
    supervisor.alive(0)
    number = 0
    while not supervisor.told():
        supervisor.status(f"{number}")
        number += 1
    supervisor.ready("metering")
    supervisor.alive(30 * SECOND)
    heard(manager)
    supervisor.status("metering")
    supervisor.alive(31 * SECOND)
    supervisor.status("metering")
    assert heard(manager) == [["READY=1", "STATUS=metering"], ["WATCHDOG=1"]]
    assert supervisor.due_ns == 61 * SECOND
    supervisor.close()
