"""Proves what the commands that steer an agent ask for, say, and end with, whatever the agent answers.

The agent's part is played by a real control socket with answers of the test's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from xflowd import cli
from xflowd.answering import require_known
from xflowd.edge.asking import ControlError
from xflowd.edge.control import Server, UnableError
from xflowd.watching import commanding, flows, top
from xflowd.watching.document import MOST_FLOWS


@contextmanager
def agent(path: Path, ask: str, answers: list[object]) -> Iterator[list[dict[str, Any]]]:
    """Somebody who gives these answers, the last one again and again. What was asked."""
    asked: list[dict[str, Any]] = []
    server, done = Server(path, {ask: lambda request: _next(request, asked, answers)}), threading.Event()

    def serve() -> None:
        while not done.is_set():
            server.serve(time.monotonic_ns())
            done.wait(0.002)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        done.set()
        thread.join()
        server.close()


def _next(request: dict[str, Any], asked: list[dict[str, Any]], answers: list[object]) -> object:
    require_known(request["ask"], request)
    asked.append(request)
    answer = answers[min(len(asked), len(answers)) - 1]
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def flushed(ended: int, left: int) -> dict[str, int]:
    return {"ended": ended, "left": left, "begun_by_ns": 77}


def test_a_flush_asks_until_none_is_left(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(path, "flush", [flushed(1000, 900), flushed(0, 900), flushed(900, 0)]) as asked:
        assert commanding.flush(path, "tcp") == 0
    assert capsys.readouterr().out == "1,900 flows ended\n"
    first, *others = asked
    assert first == {"ask": "flush", "filter": "tcp"}
    assert others == [{"ask": "flush", "filter": "tcp", "begun_by_ns": 77}] * 2, "flows that begin later are not meant"


def test_a_flush_that_does_not_get_on_says_so(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanding, "_PATIENCE_SECONDS", 0.2)
    with agent(path, "flush", [flushed(1, 9), flushed(0, 9)]) as asked:
        assert commanding.flush(path, "") == 1
    assert capsys.readouterr().err == "xflowd: 1 flow ended, 9 stay in the table: a queue is full: see xflowd status\n"
    assert 2 < len(asked) < 10


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (UnableError("flows stay in the table: no room"), 1),
        (RuntimeError("broken"), 1),
        (ValueError("interface wlan: there is none of this name: see ip link"), 2),
    ],
)
def test_a_fault_is_told_and_who_made_it_is_known_by_the_exit_code(
    path: Path, capsys: pytest.CaptureFixture[str], fault: Exception, code: int
) -> None:
    with agent(path, "flush", [fault]):
        with pytest.raises(ControlError, match=f"flush.*: {fault}"):
            commanding.flush(path, "")
        assert cli.main(["flush", "--socket", str(path), "interface", "wlan"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert str(fault) in line


@pytest.mark.parametrize("way", ["--reverse", "--limit=5"])
def test_all_flows_have_no_order_and_no_limit(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["flows", "--all", way, "--socket", "/nonexistent"]) == 2
    option = way.partition("=")[0]
    assert capsys.readouterr().err == f"xflowd: {option} does nothing beside --all: leave out one of the two\n"


def test_top_asks_for_nothing_that_is_not_known(path: Path) -> None:
    with agent(path, "flows", [page(None)]) as asked:
        for shown in (top.Top("tcp"), top.Top("tcp", order="octets"), top.Top(delay=0.1, order="packet-rate")):
            top.require_agent(path, shown)
    assert [request.get("idle_below_seconds") for request in asked] == [2.0, None, 2.0]
    assert {request["filter"] for request in asked} == {"tcp", ""}


@pytest.mark.parametrize(
    ("sent", "protocol", "reason", "code", "told"),
    [
        (True, "ipfix", None, 0, "collector office, ipfix: templates sent\n"),
        (False, "ipfix", "no route", 1, "collector office, ipfix: no templates sent: no route\n"),
        (False, "netflow5", "none", 0, "collector office, netflow5: no templates sent: none\n"),
    ],
)
def test_templates(  # noqa: PLR0913, PLR0917 - a table's columns
    path: Path, capsys: pytest.CaptureFixture[str], sent: bool, protocol: str, reason: str | None, code: int, told: str
) -> None:
    with agent(
        path, "templates", [[{"name": "office", "protocol": protocol, "sent": sent, "reason": reason}]]
    ) as asked:
        assert commanding.templates(path, "office") == code
    assert capsys.readouterr().out == told
    assert asked == [{"ask": "templates", "name": "office"}]


def test_timeouts(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collectors = [
        {"name": "office", "template_refresh": 60, "templates_sent_seconds_ago": 12},
        {"name": "new", "template_refresh": 60, "templates_sent_seconds_ago": None},
        {"name": "old", "template_refresh": None, "templates_sent_seconds_ago": None},
    ]
    answer = {
        "active": 60, "idle": 15, "idle_in_force": 7.5, "quiet_after_end": 1.0, "flows": 5120,
        "ending": [{"seconds": 1, "flows": 410}], "collectors": collectors,
    }  # fmt: skip
    with agent(path, "timeouts", [answer]):
        assert commanding.timeouts(path, "", as_json=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "active timeout       60 s",
        "idle timeout         15 s, now 7.5 s: the table is nearly full",
        "after FIN, RST        1 s without a packet",
        "templates            60 s to office, sent 12 s ago",
        "templates            60 s to new, not sent yet",
        "templates             none to old, by netflow5",
        "5,120 flows, of which end if no packet comes any more",
        "  within              1 s         410",
    ]


@pytest.mark.parametrize("answer", [{}, None, [], [1], {"flows": [{}]}, {"left": 1}, "text"])
def test_an_agent_of_another_version_is_told(path: Path, answer: object) -> None:
    everybody: list[tuple[str, Callable[[], int]]] = [
        ("flush", lambda: commanding.flush(path, "")),
        ("timeouts", lambda: commanding.timeouts(path, "", as_json=False)),
        ("flows", lambda: flows.run(path, flows.Wanted("", "octets", False, 20), as_json=False)),
        ("flows", lambda: flows.run(path, flows.Wanted("", "octets", False, 20), as_json=True)),
    ]
    for ask, command in everybody:
        if ask == "flows" and answer == {"flows": [{}]} and command is everybody[-1][1]:
            continue  # an object a line, whatever is in it
        with agent(path, ask, [answer]), pytest.raises(ControlError, match="an agent of another version answers"):
            command()


def page(after: int | None, *ids: str) -> dict[str, Any]:
    return {"flows": [{"id": name} for name in ids], "next": after, "interfaces": {}, "monotonic_ns": 1}


def test_all_flows_come_page_by_page(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(path, "flows", [page(7, "1-a", "7-b"), page(9, "9-c"), page(None)]) as asked:
        assert flows.run(path, flows.Wanted("udp", "", False, 20), as_json=True) == 0
    assert capsys.readouterr().out == '{"id": "1-a"}\n{"id": "7-b"}\n{"id": "9-c"}\n'
    assert [request["after"] for request in asked] == [-1, 7, 9]
    assert {(request["limit"], request["filter"]) for request in asked} == {(MOST_FLOWS, "udp")}
