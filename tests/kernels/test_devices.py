"""Proves that veth, VLAN, WireGuard and dummy devices are metered to the packet, whatever the kernel."""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kernels.devices import ADDRESSES, DUMMY, TAG, TAGGED, TUNNEL, add_devices
from lab import traffic
from lab.agent import Agent, Collector, write_configuration
from lab.flow import UDP, Count, Flow, Key, total
from lab.namespaces import Namespace
from lab.nfdump import Nfcapd
from lab.remains import held, remains, wait_until_clean
from lab.topology import LAN, LINKS, WAN, Network, router_network
from xflowd.metering.flow import EGRESS, INGRESS

COLLECTOR_PORT = 2055
PACKETS, PAYLOAD = 300, 100
A, B = LINKS["a"], LINKS["b"]
_LONGEST_SECONDS = 120  # for the agent to start, in an emulator

SEND = f"""
import socket, sys
source, destination, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in source else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sender:
    sender.bind((source, port))
    for _ in range({PACKETS}):
        sender.sendto(bytes({PAYLOAD}), (destination, port))
"""

#: An Observation Point and what it sees of the link layer: ifIndex, flowDirection, vlanId.
Point = tuple[int, int, int]


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
        return Count(PACKETS, PACKETS * (headers + PAYLOAD))


def _between(device: str, port: int, points: tuple[Point, ...], outwards: bool = False) -> Stream:
    here, there = ADDRESSES[device]
    source, destination = (here, there) if outwards else (there, here)
    return Stream(device, source, destination, port, points)


STREAMS = [
    Stream("veth", A.host4, B.host4, 4001, ((LAN, INGRESS, 0), (WAN, EGRESS, 0))),
    Stream("veth", A.host6, B.host6, 4002, ((LAN, INGRESS, 0), (WAN, EGRESS, 0))),
    _between("vlan", 4003, ((LAN, INGRESS, TAG), (TAGGED, INGRESS, 0))),
    _between("vlan", 4004, ((LAN, EGRESS, TAG), (TAGGED, EGRESS, 0)), outwards=True),
    _between("wireguard", 4005, ((TUNNEL, INGRESS, 0),)),
    _between("wireguard", 4006, ((TUNNEL, EGRESS, 0),), outwards=True),
    _between("dummy", 4007, ((DUMMY, EGRESS, 0),), outwards=True),
]


@dataclass(frozen=True)
class Outcome:
    """One run of the agent over all devices that this kernel has."""

    devices: frozenset[str]
    flows: list[Flow]
    exit_code: int
    log: str


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    with router_network(tmp_path_factory.mktemp("devices")) as network:
        yield _run(network)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: f"{stream.device}-{stream.port}")
def test_each_point_exports_every_packet_once(outcome: Outcome, stream: Stream) -> None:
    if stream.device not in outcome.devices:
        pytest.skip(f"this kernel has no {stream.device}")
    seen: dict[Point, list[Flow]] = defaultdict(list)
    for flow in outcome.flows:
        if flow.key == stream.key:
            seen[_point(flow)].append(flow)
    counted = {point: total(flows) for point, flows in seen.items()}
    assert counted == dict.fromkeys(stream.points, stream.count)


def test_the_tunnel_is_seen_from_outside_too(outcome: Outcome) -> None:
    """WireGuard adds 60 octets (IPv4, UDP, its own head and tag) and fills what it carries up to sixteen."""
    if "wireguard" not in outcome.devices:
        pytest.skip("this kernel has no wireguard")
    outer = Key(A.host4, A.router4, UDP, 51820, 51820)
    padded = -(-(PAYLOAD + 28) // 16) * 16
    got = total(flow for flow in outcome.flows if flow.key == outer and _point(flow) == (LAN, INGRESS, 0))
    assert got.packets >= PACKETS
    assert got.octets >= PACKETS * (padded + 60)


def test_programs_are_attached_as_the_kernel_allows(outcome: Outcome) -> None:
    """tcx came with Linux 6.6: before it, the programs are filters of clsact."""
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    by = "TC" if release >= (6, 6) else r"TC \(clsact\)"
    assert re.search(rf"metering wan egress by {by}$", outcome.log, re.MULTILINE), outcome.log


def test_the_agent_ends_well(outcome: Outcome) -> None:
    assert outcome.exit_code == 0
    assert "Traceback" not in outcome.log


def _run(network: Network) -> Outcome:
    """Its end is checked here, while the network still stands: no program, map, filter or qdisc remains."""
    added = add_devices(network)
    before, metered = remains(network.router), ["lan", "wan", *added.values()]
    nfcapd = Nfcapd(network.collector, COLLECTOR_PORT)
    collectors = [Collector("only", f"{LINKS['collector'].host4}:{COLLECTOR_PORT}", "ipfix")]
    path = network.directory / "xflowd.conf"
    write_configuration(path, collectors, interfaces=", ".join(metered), direction="both", hook="tc")
    agent = Agent(network.router, "-c", path, metering=())
    for name in metered:
        agent.wait_for_log(rf"metering {name} egress\b", timeout=_LONGEST_SECONDS)
    during, devices = held(network.router), frozenset({"veth", *added})
    if "wireguard" in devices:
        traffic.ping(network.a, ADDRESSES["wireguard"][0], 1)  # only 128 packets wait for the keys
    for stream in STREAMS:
        if stream.device in devices:
            _send(network, stream)
    exit_code = agent.stop()
    network.collector.wait_until_read(COLLECTOR_PORT)
    nfcapd.stop()
    wait_until_clean(network.router, before, during)
    return Outcome(devices, nfcapd.flows(), exit_code, agent.log)


def _send(network: Network, stream: Stream) -> None:
    routers = {here for here, _ in ADDRESSES.values()}
    host: Namespace = network.router if stream.source in routers else network.a
    host.run(sys.executable, "-c", SEND, stream.source, stream.destination, str(stream.port))


def _point(flow: Flow) -> Point:
    index = flow.egress_interface if flow.flow_direction == EGRESS else flow.ingress_interface
    return index or 0, flow.flow_direction or 0, flow.vlan_id or 0
