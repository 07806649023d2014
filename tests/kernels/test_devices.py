"""Proves that veth, VLAN, QinQ, bridge, WireGuard, PPP and dummy devices are metered to the packet.

The agent is killed in between and started again: packets of three thirds pass before, while there is none, and after.
"""

from __future__ import annotations

import json
import re
import socket
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from kernel.namespace import inside
from kernel.running import release
from kernels.devices import ADDRESSES, CUSTOMER_TAG, SERVICE_TAG, TAG, add_devices
from lab import traffic
from lab.agent import Agent, Collector, write_configuration
from lab.flow import UDP, Count, Flow, Key, total
from lab.namespaces import Namespace
from lab.nfdump import Nfcapd
from lab.remains import held, remains, wait_until_clean
from lab.topology import LINKS, Network, router_network
from xflowd.metering.flow import EGRESS, INGRESS

COLLECTOR_PORT = 2055
PARTS, PACKETS, PAYLOAD = 3, 100, 100
A, B = LINKS["a"], LINKS["b"]
_LONGEST_SECONDS = 120  # for the agent to start, in an emulator

#: An Observation Point and what it sees of the link layer: interface, flowDirection, vlanId.
Point = tuple[str, int, int]


@dataclass(frozen=True)
class Stream:
    """Datagrams of one five-tuple, and every point that they pass."""

    device: str
    source: str
    destination: str
    port: int
    points: tuple[Point, ...]

    @property
    def key(self) -> Key:
        return Key(self.source, self.destination, UDP, self.port, self.port)

    @property
    def count(self) -> Count:
        headers = 48 if ":" in self.source else 28
        return Count(PARTS * PACKETS, PARTS * PACKETS * (headers + PAYLOAD))


def _to_router(device: str, port: int, *points: Point) -> Stream:
    here, there = ADDRESSES[device]
    return Stream(device, there, here, port, points)


def _from_router(device: str, port: int, *points: Point) -> Stream:
    here, there = ADDRESSES[device]
    return Stream(device, here, there, port, points)


STREAMS = [
    Stream("veth", A.host4, B.host4, 4001, (("lan", INGRESS, 0), ("wan", EGRESS, 0))),
    Stream("veth", A.host6, B.host6, 4002, (("lan", INGRESS, 0), ("wan", EGRESS, 0))),
    _to_router("vlan", 4003, ("lan", INGRESS, TAG), ("tagged", INGRESS, 0)),
    _from_router("vlan", 4004, ("lan", EGRESS, TAG), ("tagged", EGRESS, 0)),
    _to_router("wireguard", 4005, ("tunnel", INGRESS, 0)),
    _from_router("wireguard", 4006, ("tunnel", EGRESS, 0)),
    _from_router("dummy", 4007, ("dummy", EGRESS, 0)),
    _to_router("bridge", 4008, ("port", INGRESS, 0), ("bridge", INGRESS, 0)),
    _from_router("bridge", 4009, ("bridge", EGRESS, 0), ("port", EGRESS, 0)),
    _to_router("ppp", 4010, ("lan", INGRESS, 0), ("ppp0", INGRESS, 0)),
    _from_router("ppp", 4011, ("ppp0", EGRESS, 0), ("lan", EGRESS, 0)),
    _to_router(
        "qinq", 4012, ("lan", INGRESS, SERVICE_TAG), ("service", INGRESS, CUSTOMER_TAG), ("customer", INGRESS, 0)
    ),
    _from_router(
        "qinq", 4013, ("customer", EGRESS, 0), ("service", EGRESS, CUSTOMER_TAG), ("lan", EGRESS, SERVICE_TAG)
    ),
]


@dataclass(frozen=True)
class Outcome:
    """Two lives of the agent over all devices that this kernel has."""

    devices: frozenset[str]
    names: dict[int, str]  # of the router's interfaces, by index
    flows: list[Flow]
    exit_code: int
    logs: tuple[str, str]

    def point(self, flow: Flow) -> Point:
        index = flow.egress_interface if flow.flow_direction == EGRESS else flow.ingress_interface
        return self.names.get(index or 0, "?"), flow.flow_direction or 0, flow.vlan_id or 0


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    with router_network(tmp_path_factory.mktemp("devices")) as network, ExitStack() as stack:
        yield _run(network, add_devices(stack, network))


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: f"{stream.device}-{stream.port}")
def test_each_point_exports_every_packet_once(outcome: Outcome, stream: Stream) -> None:
    if stream.device not in outcome.devices:
        pytest.skip(f"this kernel has no {stream.device}")
    seen: dict[Point, list[Flow]] = defaultdict(list)
    for flow in outcome.flows:
        if flow.key == stream.key:
            seen[outcome.point(flow)].append(flow)
    counted = {point: total(flows) for point, flows in seen.items()}
    assert counted == dict.fromkeys(stream.points, stream.count)


def test_the_tunnel_is_seen_from_outside_too(outcome: Outcome) -> None:
    """WireGuard adds 60 octets (IPv4, UDP, its own head and tag) and fills what it carries up to sixteen."""
    if "wireguard" not in outcome.devices:
        pytest.skip("this kernel has no wireguard")
    outer, packets = Key(A.host4, A.router4, UDP, 51820, 51820), PARTS * PACKETS
    padded = -(-(PAYLOAD + 28) // 16) * 16
    got = total(flow for flow in outcome.flows if flow.key == outer and outcome.point(flow) == ("lan", INGRESS, 0))
    assert got.packets >= packets
    assert got.octets >= packets * (padded + 60)


def test_programs_are_attached_as_the_kernel_allows(outcome: Outcome) -> None:
    """tcx came with Linux 6.6: before it, the programs are filters of clsact."""
    by = "TC" if release() >= (6, 6) else r"TC \(clsact\)"
    assert re.search(rf"metering wan egress by {by}$", outcome.logs[0], re.MULTILINE), outcome.logs[0]


def test_what_was_attached_is_taken_over(outcome: Outcome) -> None:
    """Nothing is attached anew: the packets in between were counted by what the first agent has left."""
    assert "taken over" in outcome.logs[1]
    assert not re.search(r"metering \w+ (in|e)gress by", outcome.logs[1]), outcome.logs[1]


def test_the_agent_ends_well(outcome: Outcome) -> None:
    assert outcome.exit_code == 0
    assert "Traceback" not in "".join(outcome.logs)


def _run(network: Network, added: dict[str, tuple[str, ...]]) -> Outcome:
    """Its end is checked here, while the network still stands: no program, map, filter, qdisc or pin remains."""
    metered = ["lan", "wan", *(name for names in added.values() for name in names)]
    before, nfcapd = remains(network.router), Nfcapd(network.collector, COLLECTOR_PORT)
    path, devices = _configuration(network, metered), frozenset({"veth", *added})
    first = Agent(network.router, "-c", path, metering=())
    for name in metered:
        first.wait_for_log(rf"metering {name} egress\b", timeout=_LONGEST_SECONDS)
    during = held(network.router)
    if "wireguard" in devices:
        traffic.ping(network.a, ADDRESSES["wireguard"][0], 1)  # only 128 packets wait for the keys
    _send(network, devices)
    first.crash()
    _send(network, devices)
    second = Agent(network.router, "-c", path, metering=())
    second.wait_for_log("taken over", timeout=_LONGEST_SECONDS)
    _send(network, devices)
    names, exit_code = _names(network.router), second.stop()
    network.collector.wait_until_read(COLLECTOR_PORT)
    nfcapd.stop()
    wait_until_clean(network.router, before, during)
    return Outcome(devices, names, nfcapd.flows(), exit_code, (first.log, second.log))


def _configuration(network: Network, metered: list[str]) -> Path:
    """Flows live longer than the test: each is one, from before the kill to after it."""
    collectors = [Collector("only", f"{LINKS['collector'].host4}:{COLLECTOR_PORT}", "ipfix")]
    return write_configuration(
        network.directory / "xflowd.conf",
        collectors,
        interfaces=", ".join(metered),
        direction="both",
        hook="tc",
        active_timeout=600,
        idle_timeout=600,
    )


def _send(network: Network, devices: frozenset[str]) -> None:
    """A third of all streams. Not by a process each: that takes seconds in an emulator."""
    routers = {here for here, _ in ADDRESSES.values()}
    for stream in STREAMS:
        if stream.device in devices:
            with inside(network.router if stream.source in routers else network.a):
                _send_stream(stream)


def _send_stream(stream: Stream) -> None:
    family = socket.AF_INET6 if ":" in stream.source else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.bind((stream.source, stream.port))
        for _ in range(PACKETS):
            sender.sendto(bytes(PAYLOAD), (stream.destination, stream.port))


def _names(space: Namespace) -> dict[int, str]:
    return {link["ifindex"]: link["ifname"] for link in json.loads(space.run("ip", "-json", "link"))}
