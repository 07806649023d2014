"""Proves that `xflowd top` shows real flows on a real terminal of any size, and leaves it as it was."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.agent import COMMAND
from lab.namespaces import Namespace
from lab.process import Process, wait_until
from lab.terminal import Terminal, terminal
from lab.topology import LINKS, Network, router_network

A, B = LINKS["a"], LINKS["b"]
#: 20 datagrams a second of 1,000 octets to one port, and of 100 octets to another.
LOAD = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind(("", 4000))
for _ in range(20 * 60):
    sender.sendto(bytes(1000), (sys.argv[1], 3000))
    sender.sendto(bytes(100), (sys.argv[1], 3001))
    time.sleep(0.05)
"""
METER = ("run", "-i", "lan", "-t", "idle=60", "-t", "active=600", "-n", f"{LINKS['collector'].host4}:2055")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with router_network(tmp_path, ipv6=False) as built:
        yield built


@pytest.fixture
def agent(network: Network) -> Process:
    process = network.router.start(*COMMAND, *METER)
    process.wait_for_log("metering lan", timeout=20)
    network.a.start(sys.executable, "-c", LOAD, B.host4)
    return process


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Terminal]:
    with terminal(tmp_path, 90, 24) as made:
        yield made


def top(space: Namespace, *arguments: str) -> list[str]:
    return space.argv(*COMMAND, "top", *arguments)


def port_order(text: str) -> list[str]:
    return re.findall(rf"{B.host4}:(300\d)", text)


def settings(screen: Terminal) -> str:
    """Of the terminal's line, as stty tells them."""
    screen.type("sh", "-c", "clear; echo its sum $(stty -g | cksum)")
    text = screen.wait_for(lambda text: re.search(r"^its sum \d+", text, re.MULTILINE), "stty's answer")
    return re.findall(r"^its sum (\d+)", text, re.MULTILINE)[0]


def test_the_largest_flows_are_shown_with_their_rates(network: Network, agent: Process, screen: Terminal) -> None:
    before = settings(screen)
    screen.type("clear")
    screen.type(*top(network.router, "-d", "0.5"))
    screen.wait_for(lambda text: "by rate" in text and len(port_order(text)) == 2, "both flows")

    def steady(text: str) -> bool:
        """20 a second of 1,028 and of 128 octets, give or take what a busy machine does to it."""
        found = dict(re.findall(rf"{B.host4}:(300\d) +\d+ +\S+ +(\d+k?) ", text))
        rates = {port: float(rate.replace("k", "e3")) for port, rate in found.items()}
        return len(rates) == 2 and 82_000 < rates["3000"] < 247_000 and 10_000 < rates["3001"] < 31_000

    text = screen.wait_for(steady, "their rates", timeout=20)
    assert port_order(text) == ["3000", "3001"]
    assert f"{A.host4}:4000" in text
    screen.press("v")
    screen.wait_for(lambda text: "reversed" in text and port_order(text) == ["3001", "3000"], "the other way round")
    for key, order in (("p", "packets"), ("o", "octets"), ("a", "age"), ("i", "idle"), ("k", "packet-rate")):
        screen.press(key)
        screen.wait_for(lambda text, order=order: f"by {order} " in text, f"the order of {order}")
    screen.press("C-z")
    screen.wait_for(lambda text: "Stopped" in text and B.host4 not in text, "the shell, while it is suspended")
    screen.type("fg")
    screen.wait_for(lambda text: len(port_order(text)) == 2, "both flows again")
    screen.press("q")
    text = screen.wait_for(lambda text: text.rstrip().endswith("prompt:"), "the shell")
    assert B.host4 not in text, "the screen is the one from before"
    assert settings(screen) == before
    assert agent.stop() == 0


def test_any_size_and_another_one(network: Network, agent: Process, screen: Terminal) -> None:
    screen.type(*top(network.router, "-d", "0.2"))
    screen.wait_for(lambda text: len(port_order(text)) == 2, "both flows")
    for columns, lines in ((40, 10), (20, 5), (1, 1), (2, 3), (200, 50), (90, 24)):
        screen.resize(columns, lines)

        def fits(text: str, columns: int = columns, lines: int = lines) -> bool:
            rows = text.rstrip("\n").split("\n")
            heading = rows[1] if lines > 1 and len(rows) > 1 else ""
            return len(rows) <= lines and (columns < 20 or heading.lstrip().startswith(("proto", "sourc")))

        text = screen.wait_for(fits, f"a screen of {columns} by {lines}")
        if columns == 40:
            assert re.search(r"…?:4000 +→ .*:3000 +\S+ +\S+$", text, re.MULTILINE), text
    assert len(port_order(screen.wait_for(lambda text: len(port_order(text)) == 2, "both flows again"))) == 2
    screen.press("q")
    screen.wait_for(lambda text: text.rstrip().endswith("prompt:"), "the shell")
    assert agent.stop() == 0


def test_an_agent_that_goes_and_comes_back(network: Network, agent: Process, screen: Terminal) -> None:
    screen.type(*top(network.router, "-d", "0.3"))
    screen.wait_for(lambda text: len(port_order(text)) == 2, "both flows")
    agent.kill()
    text = screen.wait_for(lambda text: "no agent answers" in text, "that it is away")
    assert len(port_order(text)) == 2, "what was there stays to be read"
    again = network.router.start(*COMMAND, *METER)
    screen.wait_for(lambda text: "by rate" in text and len(port_order(text)) == 2, "that it is back", timeout=20)
    again.send(signal.SIGSTOP)
    try:
        screen.wait_for(lambda text: "the agent is stopped or overloaded" in text, "that it does not answer")
        screen.press("q")
        screen.wait_for(lambda text: text.rstrip().endswith("prompt:"), "the shell, without its answer")
    finally:
        again.send(signal.SIGCONT)
    assert again.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_the_terminal_as_it_was(
    network: Network, agent: Process, screen: Terminal, tmp_path: Path, number: signal.Signals
) -> None:
    before, pid = settings(screen), tmp_path / "pid"
    screen.type("sh", "-c", f'echo $$ > {pid}; exec "$@"', "sh", *top(network.router, "-d", "0.3"))
    screen.wait_for(lambda text: len(port_order(text)) == 2, "both flows")
    wait_until(pid.exists, "its process")
    os.kill(int(pid.read_text()), number)
    screen.wait_for(lambda text: text.rstrip().endswith("prompt:"), "the shell")
    assert settings(screen) == before
    assert agent.stop() == 0


@pytest.mark.parametrize(
    ("variable", "told"),
    [("TERM=none-such", "TERM is 'none-such', which this system does not know"), ("TERM=", "TERM")],
)
def test_a_terminal_that_will_not_do_is_told(
    network: Network, agent: Process, screen: Terminal, variable: str, told: str
) -> None:
    screen.type("env", variable, *top(network.router))
    screen.wait_for(lambda text: told in text.replace("\n", ""), "why not")
    assert agent.stop() == 0
