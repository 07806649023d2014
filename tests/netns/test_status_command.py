"""Proves that `xflowd status` finds the agent of its network namespace, and that its figures are the kernel's."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lab import traffic
from lab.agent import COMMAND, Agent, Collector, write_configuration
from lab.namespaces import Namespace
from lab.process import wait_until
from lab.topology import LINKS, Network

PORT = 2055
B = LINKS["b"]
NAME = "from xflowd.edge import instance; print(instance.control_socket())"
#: Rubbish, silence and readers that never read, from within the namespace; it keeps them open until it is killed.
ABUSE = """
import socket, sys, time
kept = []
for number in range(100):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(1)
    try:
        one.connect(sys.argv[1])
        one.send((b"", b"rubbish\\n", b"{" * 4000, b'{"ask": "status"}\\n', b"half")[number % 5])
    except OSError:
        pass
    kept.append(one)
print("abused", flush=True)
time.sleep(60)
"""


def ask(space: Namespace) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(space.run(*COMMAND, "status", "--json", timeout=10))
    return document


def control_socket(space: Namespace) -> Path:
    return Path(space.run(sys.executable, "-c", NAME).strip())


def exists(space: Namespace, path: Path) -> bool:
    return bool(space.run("find", path.parent, "-name", path.name))


def agent(network: Network, metering: Sequence[str] = ("lan", "wan"), **meter: str | int) -> Agent:
    """A running agent that answers: it does a moment after it has begun to meter."""
    collectors = [Collector("only", f"{LINKS['collector'].host4}:{PORT}", "ipfix")]
    path = write_configuration(network.directory / "xflowd.conf", collectors, **meter)
    running = Agent(network.router, "-c", path, metering=metering)
    wait_until(lambda: answers(network.router), "an answer")
    return running


def answers(space: Namespace) -> bool:
    try:
        return bool(ask(space))
    except RuntimeError as error:
        if "exited with 1: xflowd: no agent answers" in str(error):
            return False
        raise


def settled(space: Namespace) -> dict[str, Any]:
    """The document when nothing is on its way any more."""
    return wait_until(lambda: document if (document := ask(space))["totals"]["difference"] == 0 else None, "0 left")


def test_each_namespace_has_a_name_of_its_own(network: Network) -> None:
    names = {control_socket(space) for space in (network.a, network.b, network.router, network.router)}
    assert len(names) == 3


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_the_equation_holds_by_interface_and_the_coverage_is_whole(network: Network, hook: str) -> None:
    running = agent(network, hook=hook, active_timeout=60, idle_timeout=2)
    traffic.ping(network.a, B.host4, 20)
    document = settled(network.router)
    points = {point["name"]: point for point in document["interfaces"]}
    assert points.keys() == {"lan", "wan"}
    for name, point in points.items():
        assert (point["direction"], point["hook"]) == ("ingress", hook.upper())
        assert point["index"] == {link.interface: link.index for link in LINKS.values()}[name]
        assert point["packets"]["seen"] >= 20
        assert point["kernel"]["packets"] == point["packets"]["seen"]
        assert point["coverage_percent"] == 100.0
    totals = document["totals"]
    assert totals["seen"] == sum(point["packets"]["seen"] for point in points.values())
    assert totals["in_table"] + totals["exported"] >= 40
    assert document["flows"]["live"] + document["flows"]["free"] <= document["flows"]["slots"]
    assert running.stop() == 0


def test_flows_move_from_the_table_to_the_collector(network: Network) -> None:
    running = agent(network, active_timeout=60, idle_timeout=2)
    traffic.ping(network.a, B.host4, 5)
    before = settled(network.router)
    assert before["totals"]["in_table"] >= 10
    after = wait_until(
        lambda: document if not (document := ask(network.router))["totals"]["in_table"] else None, "an empty table"
    )
    assert after["totals"]["exported"] >= 10
    assert after["totals"]["difference"] == 0
    assert sum(after["flows"]["ended"].values()) >= 2
    only = wait_until(
        lambda: one if not (one := ask(network.router)["collectors"][0])["waiting_datagrams"] else None, "all sent"
    )
    assert only["name"] == "only"
    assert only["flows_exported"] == sum(after["flows"]["ended"].values())
    assert "collector only, ipfix to 192.0.2.10:2055" in network.router.run(*COMMAND, "status")
    assert running.stop() == 0


def test_the_end_takes_the_socket_away_and_a_crash_does_not_matter(network: Network) -> None:
    path = control_socket(network.router)
    try:
        agent(network).crash()
        assert exists(network.router, path)
        assert not answers(network.router)
        running = agent(network, metering=())  # it is metered already: the programs have stayed
        assert answers(network.router)
        assert not answers(network.a)
        assert running.stop() == 0
        assert not exists(network.router, path)
    finally:
        network.router.run("rm", "-f", path)


def test_one_agent_a_namespace(network: Network) -> None:
    running = agent(network)
    with pytest.raises(RuntimeError, match=r"network namespace already|already in this network"):
        network.router.run(*COMMAND, "run", "-i", "lan")
    assert answers(network.router)
    assert running.stop() == 0


def test_abuse_hinders_neither_metering_nor_a_good_client(network: Network) -> None:
    running = agent(network, active_timeout=60, idle_timeout=60)
    network.router.start(sys.executable, "-c", ABUSE, control_socket(network.router)).wait_for_log("abused", timeout=60)
    count = traffic.ping(network.a, B.host4, 20)
    document = settled(network.router)
    assert document["totals"]["seen"] >= 2 * count.packets
    assert running.stop() == 0
