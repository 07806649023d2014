"""Proves that interfaces are metered as soon as they come, that their flows are exported as soon as they go, and that
one which takes the place of another, by name or by index, is not mistaken for it."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernel.frames import dns
from kernel.namespace import inside
from lab.agent import COMMAND, Agent, Collector, write_configuration
from lab.flow import Flow
from lab.process import wait_until
from lab.remains import held, remains, wait_until_clean
from lab.topology import LINKS, Network, router_network
from lab.wireshark import Tshark

PORT = 2055
HOT = 7001  # ifIndex of the interface that comes and goes
SECOND = 1.0
#: The links that the agent has pinned: index, direction, program.
PINNED = ("find", "/sys/fs/bpf", "-path", "*/links/*", "-printf", "%f\n")


class Place:
    """A router whose agent meters what is called hot*, unless told otherwise; no timeout ends a flow of a test."""

    def __init__(self, network: Network) -> None:
        self.network, self.space = network, network.router
        self.sent = 0  # frames that have to be counted
        self._tshark = Tshark(network.collector, PORT, listen=True)
        self._before = remains(self.space)
        self._made: set[str] = set()
        self._sockets: dict[str, socket.socket] = {}

    def start(self, **meter: str) -> None:
        collectors = [Collector("only", f"{LINKS['collector'].host4}:{PORT}", "ipfix")]
        fields = {"interfaces": "hot*", "direction": "auto", "active_timeout": "600", "idle_timeout": "600", **meter}
        path = write_configuration(self.network.directory / "xflowd.conf", collectors, **fields)
        self.agent = Agent(self.space, "-c", path, metering=())
        wait_until(self._answers, "an answer")

    def stop(self) -> None:
        """All that was sent has been counted, and arrives; nothing is left."""
        during = held(self.space)
        totals = self.status()["totals"]
        assert (totals["seen"], totals["difference"]) == (self.sent, 0)
        assert self.agent.stop() == 0
        assert "Traceback" not in self.agent.log
        for name in list(self._made):
            self.delete(name)
        wait_until_clean(self.space, self._before, during)
        wait_until(lambda: sum(flow.packet_delta_count for flow in self.flows()) == self.sent, "all that was sent", 5)

    def add(self, name: str = "hot0", index: int = HOT, *, metered: bool = True) -> None:
        """A device, and its other end: what leaves that comes in."""
        self.space.ip(
            f"link add {name} index {index} type veth peer name end-{name}",
            f"link set {name} up",
            f"link set end-{name} up",
        )
        self._made.add(name)
        if metered:
            self.wait_for(name)

    def delete(self, name: str = "hot0") -> None:
        self.space.ip(f"link delete {name}")
        self.unmake(name)

    def unmake(self, name: str) -> None:
        """It is not in this namespace any more, or has another name."""
        self._made.discard(name)
        if name in self._sockets:
            self._sockets.pop(name).close()

    def send(self, port: int, times: int = 1, name: str = "hot0") -> None:
        """Frames of one flow into a device."""
        if name not in self._sockets:
            with inside(self.space):
                self._sockets[name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                self._sockets[name].bind((f"end-{name}", 0))
        for _ in range(times):
            self._sockets[name].send(dns(port))
        self.sent += times

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.space.run(*COMMAND, "status", "--json", timeout=10))
        return document

    def metered(self) -> list[str]:
        return [point["name"] for point in self.status()["interfaces"]]

    def wait_for(self, *names: str) -> None:
        wait_until(lambda: sorted(self.metered()) == sorted(names), f"{names} metered, and nothing else", 5)

    def seen(self) -> dict[str, int]:
        """Packets at each interface. All equations hold."""
        document = self.status()
        points = document["interfaces"]
        differences = {point["name"]: point["placed"]["difference"] for point in points}
        assert differences == dict.fromkeys(differences, 0)
        assert document["totals"]["difference"] == 0
        return {point["name"]: int(point["packets"]["seen"]) for point in points}

    def flows(self) -> list[Flow]:
        return self._tshark.flows()

    def exported(self, port: int) -> dict[int | None, int]:
        """The packets of a flow by ifIndex, as soon as the collector has any: no timeout is waited for."""
        packets: Counter[int | None] = Counter()
        for flow in wait_until(lambda: [one for one in self.flows() if _port(one) == port], f"flow {port}", 5):
            packets[flow.ingress_interface] += flow.packet_delta_count
        return dict(packets)

    def told(self, index: int) -> list[str]:
        """The names that the collector was told of an interface, in order."""
        records = [one for one in self._tshark.records() if "cflow.if_descr" in one]
        names = [one["cflow.if_descr"] for one in records if one["cflow.inputint"] == str(index)]
        return list(dict.fromkeys(names))

    def pinned(self) -> list[str]:
        return self.space.run(*PINNED).split()

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()

    def _answers(self) -> bool:
        try:
            return bool(self.status())
        except RuntimeError:
            return False


def _port(flow: Flow) -> int:
    return flow.key.source_transport_port


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """IPv4 alone: nothing comes in but what is sent."""
    with router_network(tmp_path, ipv6=False) as network:
        place = Place(network)
        yield place
        place.close()


# What comes


@pytest.mark.parametrize("hook", ["auto", "xdp"])
def test_what_matches_is_metered_within_a_second(place: Place, hook: str) -> None:
    """There is nothing at the start. Then frames come, each a flow of its own: the first one counted tells when."""
    place.start(hook=hook)
    assert "no interface matches hot* now" in place.agent.log
    assert place.metered() == []
    began = time.monotonic()
    place.add(metered=False)
    times = []
    while time.monotonic() < began + 2 * SECOND:
        times.append(time.monotonic() - began)
        place.send(len(times))
        time.sleep(0.01)
    place.sent = place.seen()["hot0"]
    place.stop()
    counted = {_port(flow) for flow in place.flows()}
    assert counted == set(range(min(counted), len(times) + 1)), "all, from the first one on"
    assert times[min(counted) - 1] < SECOND


def test_what_comes_from_another_namespace_is_metered(place: Place) -> None:
    place.start()
    there, here = place.network.b, place.space
    there.ip(f"link add hot0 index {HOT} type veth peer name end-hot0")
    there.ip(f"link set hot0 netns {here.name}", f"link set end-hot0 netns {here.name}")
    here.ip("link set hot0 up", "link set end-hot0 up")
    place.wait_for("hot0")
    place.send(1, 3)
    assert place.seen() == {"hot0": 3}
    place.delete()
    place.wait_for()
    assert place.exported(1) == {HOT: 3}
    place.stop()


def test_what_refuses_hinders_nothing_else(place: Place) -> None:
    """The driver of the loopback runs no XDP. That is told once, however often interfaces change."""
    place.add(metered=False)
    place.start(interfaces="lo*, hot*", hook="xdp")
    place.add("hot1", HOT + 1, metered=False)
    place.wait_for("hot0", "hot1")
    place.send(1, 2)
    place.send(2, 3, "hot1")
    assert place.seen() == {"hot0": 2, "hot1": 3}
    assert [(one["name"], one["direction"]) for one in place.status()["refused"]] == [("lo", "ingress")]
    assert place.agent.log.count("cannot meter lo ingress") == 1
    place.delete("hot1")
    place.delete("hot0")
    place.stop()


@pytest.mark.parametrize(
    ("interfaces", "ways"),
    [("hot0", ["egress", "ingress"]), ("hot*", ["ingress"]), ("hot0, hot1", ["ingress"])],
)
def test_directions_do_not_depend_on_what_is_present(place: Place, interfaces: str, ways: list[str]) -> None:
    place.start(interfaces=interfaces)
    place.add(metered=False)
    points = wait_until(lambda: place.status()["interfaces"], "a point", 5)
    assert sorted(point["direction"] for point in points) == ways
    place.stop()


def test_a_name_is_no_command_to_a_terminal(place: Place) -> None:
    place.start()
    place.space.run("ip", "link", "add", "hot\x1b[31m\udcff", "type", "veth", "peer", "name", "cold")
    place.agent.wait_for_log(r"metering hot\\x1b\[31m")
    place.space.run("ip", "link", "delete", "cold")
    place.agent.wait_for_log(r"no longer metering hot\\x1b\[31m")
    assert "\x1b" not in place.agent.log
    place.stop()


# What goes


@pytest.mark.parametrize("hook", ["auto", "xdp"])
def test_what_goes_has_its_flows_exported(place: Place, hook: str) -> None:
    place.start(hook=hook)
    place.add()
    place.add("hot1", HOT + 1, metered=False)
    place.wait_for("hot0", "hot1")
    place.send(1, 5)
    place.send(2, 7, "hot1")
    place.delete()
    assert place.exported(1) == {HOT: 5}
    assert place.told(HOT) == ["hot0"]
    assert place.seen() == {"hot1": 7}
    assert [_port(flow) for flow in place.flows()] == [1]
    place.stop()


def test_what_has_gone_to_another_namespace_is_let_go(place: Place) -> None:
    """Links of programs go along with a device: ours has to be taken off there."""
    place.start(direction="both", interfaces="hot0, hot1")
    place.add(metered=False)
    place.wait_for("hot0", "hot0")
    place.send(1, 4)
    place.space.ip(f"link set hot0 netns {place.network.b.name}")
    assert place.exported(1) == {HOT: 4}
    place.wait_for()
    place.network.b.ip("link set hot0 up")
    place.send(2, 4)
    place.sent -= 4
    assert place.status()["totals"]["seen"] == place.sent
    assert place.pinned() == []
    place.network.b.ip("link delete hot0")
    place.unmake("hot0")
    place.stop()


def test_a_name_that_matches_no_more_is_let_go(place: Place) -> None:
    place.start()
    place.add()
    place.send(1, 4)
    place.space.ip("link set hot0 name warm0")
    assert place.exported(1) == {HOT: 4}
    assert place.told(HOT)[0] == "hot0"
    place.wait_for()
    place.space.ip("link delete warm0")
    place.unmake("hot0")
    place.stop()


# What changes


def test_down_and_up_change_nothing(place: Place) -> None:
    place.start()
    place.add()
    place.send(1, 4)
    for _ in range(3):
        place.space.ip("link set hot0 down")
        time.sleep(0.3)
        place.space.ip("link set hot0 up")
    place.send(1, 4)
    assert place.seen() == {"hot0": 8}
    assert place.agent.log.count("metering hot0") == 1
    place.stop()
    assert [flow.packet_delta_count for flow in place.flows()] == [8]


def test_another_name_that_matches_is_told(place: Place) -> None:
    place.start()
    place.add()
    place.send(1, 4)
    place.space.ip("link set hot0 name hot9")
    place.wait_for("hot9")
    place.send(1, 4)
    assert place.seen() == {"hot9": 8}
    place.space.ip("link delete hot9")
    place.unmake("hot0")
    assert place.exported(1) == {HOT: 8}
    assert "hot0 is called hot9 now" in place.agent.log
    assert place.told(HOT)[-1] == "hot9"
    place.stop()


@pytest.mark.parametrize("hook", ["auto", "xdp"])
@pytest.mark.parametrize(("index", "pause"), [(HOT + 1, 0.0), (HOT + 64, 0.0), (HOT, 1.0), (HOT, 0.0)])
def test_what_is_made_anew_counts_from_zero(place: Place, hook: str, index: int, pause: float) -> None:
    """With an index of its own, or that of the one before, also where the agent has not looked in between."""
    place.start(hook=hook)
    place.add()
    place.send(1, 5)
    place.delete()
    time.sleep(pause)
    place.add(index=index, metered=False)
    wait_until(lambda: place.agent.log.count("metering hot0 ingress by") == 2, "metering for the second time", 5)
    place.send(2, 3)
    assert place.seen() == {"hot0": 3}
    assert place.exported(1) == {HOT: 5}
    place.delete()
    assert place.exported(2) == {index: 3}
    assert place.told(index) == ["hot0"]
    place.stop()


def test_another_one_with_the_index_of_one_that_moved_away(place: Place) -> None:
    """The link that the agent holds has that index still: of a device in another namespace."""
    place.start()
    place.add()
    place.send(1, 5)
    place.space.ip(f"link set hot0 netns {place.network.b.name}", "link delete end-hot0")
    place.unmake("hot0")
    place.add(metered=False)
    wait_until(lambda: place.agent.log.count("metering hot0 ingress by") == 2, "metering for the second time", 5)
    place.send(2, 3)
    assert place.seen() == {"hot0": 3}
    assert place.exported(1) == {HOT: 5}
    place.stop()


def test_fifty_come_and_go(place: Place) -> None:
    """What is not seen in time is not metered; what is metered, is counted and exported."""
    place.start()
    for number in range(50):
        place.add(index=HOT + number % 3, metered=False)
        time.sleep(0.02 * (number % 4))
        place.send(1)
        place.delete()
    place.wait_for()
    place.sent = place.status()["totals"]["seen"]
    assert place.pinned() == []
    place.add()
    place.send(2, 3)
    assert place.seen() == {"hot0": 3}
    assert "cannot meter" not in place.agent.log
    place.stop()


def test_a_port_of_a_bridge_goes_on(place: Place) -> None:
    try:
        place.space.ip("link add bridge0 type bridge", "link delete bridge0")
    except RuntimeError:
        pytest.skip("no bridges in this kernel")
    place.start()
    place.add()
    place.send(1, 3)
    place.space.ip("link add bridge0 type bridge", "link set hot0 master bridge0", "link set bridge0 up")
    time.sleep(0.5)
    place.send(1, 3)
    assert place.seen() == {"hot0": 6}
    place.space.ip("link set hot0 nomaster", "link delete bridge0")
    time.sleep(0.5)
    place.send(1, 3)
    assert place.seen() == {"hot0": 9}
    place.stop()
