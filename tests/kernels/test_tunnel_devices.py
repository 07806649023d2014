"""Proves that what passes tunnel devices is metered to the packet: on the device, and on the link that it goes by.

One agent counts tunnels by their outer headers, the next by their inner ones; the far end's own counters say how much
it was. Datagrams, ping and iperf3 pass either way.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from kernel.namespace import inside
from kernel.running import release
from kernels.underlay import KINDS, TUN_ADDRESSES, Kind, add_tunnels, tun
from lab import traffic
from lab.agent import Agent, Collector, write_configuration
from lab.flow import Count, Flow, total
from lab.namespaces import Namespace, namespaces
from lab.nfdump import Nfcapd
from lab.seen import Seen, added, settled
from lab.topology import LINKS, Network, router_network
from xflowd.metering.flow import EGRESS, INGRESS

COLLECTOR_PORT, PORT = 2055, 4001
PACKETS, PAYLOAD, OCTETS = 50, 100, 100_000
_LONGEST_SECONDS = 120  # for the agent to start, in an emulator


@dataclass(frozen=True)
class Life:
    """One agent: what it exported, and what the far ends have seen meanwhile, by device."""

    flows: list[Flow]
    far: dict[str, Seen]
    names: dict[int, str]
    exit_code: int
    log: str

    def at(self, interface: str, direction: int) -> list[Flow]:
        return [flow for flow in self.flows if self._point(flow) == (interface, direction)]

    def _point(self, flow: Flow) -> tuple[str, int]:
        index = flow.egress_interface if flow.flow_direction == EGRESS else flow.ingress_interface
        return self.names.get(index or 0, "?"), flow.flow_direction or 0


Lives = dict[str, Life]


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    directory = tmp_path_factory.mktemp("tunnels")
    with ExitStack() as stack:
        network = stack.enter_context(router_network(directory))
        (far,) = stack.enter_context(namespaces(directory, "i"))
        far.sysctl(ipv6__conf__default__accept_dad=0, ipv6__conf__default__addr_gen_mode=1)
        addresses = {kind.name: kind.addresses for kind in add_tunnels(network, far)}
        if stack.enter_context(tun(network, far)):
            addresses["tun"] = TUN_ADDRESSES
        yield {tunnels: _live(network, far, addresses, tunnels) for tunnels in ("outer", "inner")}


each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
each_way = pytest.mark.parametrize("tunnels", ["outer", "inner"])


@each_way
@pytest.mark.parametrize("device", [*(kind.name for kind in KINDS), "tun"])
def test_device_exports_what_the_far_end_counted(lives: Lives, tunnels: str, device: str) -> None:
    life = lives[tunnels]
    far = _needed(life, device)
    if _shows_outer_headers(device):
        pytest.skip("before Linux 5.14 a tunnel's device hands its packets to TC with the outer headers")
    assert (total(life.at(device, INGRESS)), total(life.at(device, EGRESS))) == (far.sent, far.received)


@each_kind
def test_link_exports_the_outer_headers(lives: Lives, kind: Kind) -> None:
    """Each packet of the far end, with what the tunnel puts before it; devices of one outer flow together."""
    life = lives["outer"]
    _needed(life, kind.name)
    alike = [
        (one.overhead, life.far[one.name]) for one in KINDS if one.outside == kind.outside and one.name in life.far
    ]
    wanted = (
        added(_wrapped(far.sent, overhead) for overhead, far in alike),
        added(_wrapped(far.received, overhead) for overhead, far in alike),
    )
    assert (_outer(life.at("lan", INGRESS), kind), _outer(life.at("lan", EGRESS), kind)) == wanted
    assert not _inner(life.at("lan", INGRESS) + life.at("lan", EGRESS), kind)


@each_kind
def test_link_exports_the_inner_headers(lives: Lives, kind: Kind) -> None:
    life = lives["inner"]
    far = _needed(life, kind.name)
    found = tuple(total(_inner(life.at("lan", direction), kind)) for direction in (INGRESS, EGRESS))
    assert found == (far.sent, far.received)
    assert _outer(life.at("lan", INGRESS) + life.at("lan", EGRESS), kind) == (0, 0)


@each_way
def test_the_agent_ends_well(lives: Lives, tunnels: str) -> None:
    assert lives[tunnels].exit_code == 0
    assert "Traceback" not in lives[tunnels].log


def _needed(life: Life, device: str) -> Seen:
    if device not in life.far:
        pytest.skip(f"this kernel has no {device}")
    assert min(life.far[device].sent.packets, life.far[device].received.packets) >= PACKETS
    return life.far[device]


def _shows_outer_headers(device: str) -> bool:
    """What has no link layer of its own; each of these resets its MAC header since 5.14."""
    return release() < (5, 14) and device in ("gre", "ipip", "sit", "ip6tnl", "ip6gre")


def _wrapped(count: Count, overhead: int) -> Count:
    return Count(count.packets, count.octets + count.packets * overhead)


def _outer(flows: list[Flow], kind: Kind) -> Count:
    """Of the tunnel's own packets. The source ports of UDP are the kernel's choice."""
    ends, protocol, port = kind.outside
    return total(
        flow
        for flow in flows
        if {flow.key.source_address, flow.key.destination_address} == ends
        and flow.key.protocol_identifier == protocol
        and flow.key.destination_transport_port == port
    )


def _inner(flows: list[Flow], kind: Kind) -> list[Flow]:
    ends = set(kind.addresses)
    return [flow for flow in flows if {flow.key.source_address, flow.key.destination_address} == ends]


def _live(network: Network, far: Namespace, addresses: dict[str, tuple[str, str]], tunnels: str) -> Life:
    nfcapd = Nfcapd(network.collector, COLLECTOR_PORT)
    path = write_configuration(
        network.directory / f"{tunnels}.conf",
        [Collector("only", f"{LINKS['collector'].host4}:{COLLECTOR_PORT}", "ipfix")],
        interfaces=", ".join(["lan", *addresses]),
        direction="both",
        hook="tc",
        active_timeout=600,
        idle_timeout=600,
        tunnels=tunnels,
    )
    agent = Agent(network.router, "-c", path, metering=())
    for name in ("lan", *addresses):
        agent.wait_for_log(rf"metering {name} egress\b", timeout=_LONGEST_SECONDS)
    seen = {}
    for name, ends in addresses.items():
        before = settled(far)
        _pass(network.router, far, *ends, connect=tunnels == "outer")
        seen[name] = settled(far).since(before)
    exit_code = agent.stop()
    network.collector.wait_until_read(COLLECTOR_PORT)
    nfcapd.stop()
    return Life(nfcapd.flows(), seen, _names(network.router), exit_code, agent.log)


def _pass(router: Namespace, far: Namespace, here: str, there: str, *, connect: bool) -> None:
    """Datagrams either way, and iperf3 or ping: a process takes seconds in an emulator, so that each has its life."""
    _send(router, here, there)
    _send(far, there, here)
    if connect:
        traffic.tcp(far, router, here, OCTETS)
    else:
        traffic.ping(far, here, 3)


def _send(space: Namespace, source: str, destination: str) -> None:
    """Datagrams that nobody waits for: what comes back of ICMP is counted as all else."""
    with (
        inside(space),
        socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sender.bind((source, PORT))
        for _ in range(PACKETS):
            sender.sendto(bytes(PAYLOAD), (destination, PORT))


def _names(space: Namespace) -> dict[int, str]:
    return {link["ifindex"]: link["ifname"] for link in json.loads(space.run("ip", "-json", "link"))}
