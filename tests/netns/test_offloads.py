"""Proves that what passes in large packets through the router is counted as on the wire, to the packet and octet.

Host a and the router join and cut segments as they can (TSO, GSO, GRO, UDP_SEGMENT, BIG TCP); host b does nothing
of it, so that its IP counters (RFC 4293) are those of the wire. With a window this small no queue is ever full.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.agent import Agent, Collector, write_configuration
from lab.flow import TCP, UDP, Flow, total
from lab.namespaces import Namespace, namespaces
from lab.nfdump import Nfcapd
from lab.seen import NOTHING, Seen, added, settled
from lab.topology import LAN, LINKS, WAN, Network, router_network
from lab.wireshark import LISTEN, Capture

#: What they load the router with takes both CPUs of a small machine.
pytestmark = pytest.mark.alone

INGRESS, EGRESS = 0, 1
NFCAPD, VXLAN = 2055, 4789
A, B = LINKS["a"], LINKS["b"]
INNER, INNER_ROUTER = "198.18.0.2", "198.18.0.1"  # the ends of the tunnel
PCAP_HEADER = 24
OCTETS, WINDOW = "6M", "192K"
LEAST_JOINED = 2.0
MOST_TIMES = 4  # that a phase is sent: how well segments join is a matter of who else needs the CPU

#: Sends datagrams in trains by one system call each (UDP_SEGMENT, udp(7)), the last of a train shorter.
SEND_TRAINS = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.setsockopt(socket.IPPROTO_UDP, 103, 1200)
    for _ in range(20):
        sender.sendto(bytes(1200 * 30 + 77), (sys.argv[1], int(sys.argv[2])))
"""


@dataclass
class Phase:
    """Traffic of one kind, known by its port; what the far end has seen of it, and how it came to the router."""

    name: str
    port: int
    send: Callable[[Lab, int], object]
    protocol: int = TCP
    tunnel: bool = False
    far: Seen = NOTHING  # by host b
    inside: Seen = NOTHING  # by who the packets are for: host b, or the end of the tunnel
    joined: float = 0  # packets of the wire for each that the router's IP took in, the last time it was sent


@dataclass(frozen=True)
class Lab:
    """The network, and the namespace at the other end of the tunnel."""

    network: Network
    inner: Namespace


def iperf(lab: Lab, port: int, address: str, *options: str, server: Namespace | None = None) -> None:
    """TCP between host a and a server, this many octets either way."""
    listener = (server or lab.network.b).start("iperf3", "--server", "--one-off", "--forceflush", "--port", str(port))
    listener.wait_for_log("Server listening")
    command = ["iperf3", "--client", address, "--port", str(port), "--bytes", OCTETS, "--window", WINDOW]
    lab.network.a.run(*command, *options)
    listener.wait()


def trains(lab: Lab, port: int) -> None:
    lab.network.b.start(sys.executable, "-c", LISTEN, str(port))
    lab.network.b.wait_for_udp_port(port)
    lab.network.a.run(sys.executable, "-c", SEND_TRAINS, B.host4, str(port))


def big_tcp(lab: Lab, port: int) -> None:
    """Packets of more than 64 KB: their length does not fit into their header."""
    _largest(lab, 150_000)
    large = Capture(lab.network.router, "lan", "ip6 and greater 65600", snaplen=128)
    # The kernel takes the jumbo payload option for a part of each segment when it forwards: leave room for it.
    iperf(lab, port, B.host6, "--window", "400K", "--length", "300K", "--set-mss", "1300")
    large.stop()
    assert large.path.stat().st_size > PCAP_HEADER, "no packet was longer than 64 KB"
    _largest(lab, 65_536)


def _largest(lab: Lab, octets: int) -> None:
    for space, interface in ((lab.network.a, "eth0"), (lab.network.router, "lan"), (lab.network.router, "wan")):
        space.ip(f"link set dev {interface} gso_max_size {octets} gro_max_size {octets}")


def into_tunnel(lab: Lab, port: int) -> None:
    iperf(lab, port, INNER, server=lab.inner)


def from_tunnel(lab: Lab, port: int) -> None:
    iperf(lab, port, INNER, "--reverse", server=lab.inner)


def phases() -> list[Phase]:
    return [
        Phase("IPv4 to the far end", 5201, lambda lab, port: iperf(lab, port, B.host4)),
        Phase("IPv4 from the far end", 5202, lambda lab, port: iperf(lab, port, B.host4, "--reverse")),
        Phase("IPv6 to the far end", 5203, lambda lab, port: iperf(lab, port, B.host6)),
        Phase("IPv6 from the far end", 5204, lambda lab, port: iperf(lab, port, B.host6, "--reverse")),
        Phase("sendfile", 5205, lambda lab, port: iperf(lab, port, B.host4, "--zerocopy")),
        Phase("a small segment size", 5206, lambda lab, port: iperf(lab, port, B.host4, "--set-mss", "536")),
        Phase("UDP_SEGMENT", 5207, trains, UDP),
        Phase("BIG TCP", 5208, big_tcp),
        Phase("tunnel to the far end", 5209, into_tunnel, tunnel=True),
        Phase("tunnel from the far end", 5210, from_tunnel, tunnel=True),
    ]


@dataclass(frozen=True)
class Outcome:
    """One run of the agent."""

    phases: list[Phase]
    flows: list[Flow]
    directions: tuple[int, ...]


SETTINGS = {"tc, mtu 1500": ("tc", 1500), "tc, mtu 9000": ("tc", 9000), "xdp, mtu 9000": ("xdp", 9000)}


@pytest.fixture(scope="module", params=SETTINGS)
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    hook, mtu = SETTINGS[request.param]
    with lab(tmp_path_factory.mktemp(request.param.replace(", ", "-").replace(" ", "")), mtu) as built:
        yield _run(built, hook)


@contextmanager
def lab(directory: Path, mtu: int) -> Iterator[Lab]:
    """Offloads are on but for host b, and for what leaves the router to it, behind its hooks."""
    with router_network(directory, offloads=True) as network, namespaces(directory, "i") as (inner,):
        ends = ((network.a, "eth0"), (network.router, "lan"), (network.router, "wan"), (network.b, "eth0"))
        for space, interface in ends:
            space.ip(f"link set dev {interface} mtu {mtu}")
        for interface in ("lan", "wan"):
            _join(network.router, interface)
        network.router.ip("link set dev wan gso_max_segs 1")
        _as_on_the_wire(network.b, "eth0")
        _tunnel(network, inner)
        yield Lab(network, inner)


def _as_on_the_wire(space: Namespace, interface: str) -> None:
    space.run("ethtool", "-K", interface, "tso", "off", "gso", "off", "gro", "off")
    space.ip(f"link set dev {interface} gso_max_segs 1")


def _join(space: Namespace, interface: str) -> None:
    """GRO, and a millisecond's patience for the next segment: those of a veth come one by one.

    By `ip netns exec`, because what /sys/class/net shows is of the namespace where it was mounted.
    """
    space.run("ethtool", "-K", interface, "gro", "on")
    wait = f"echo 1000000 > /sys/class/net/{interface}/gro_flush_timeout"
    subprocess.run(["ip", "netns", "exec", space.name, "sh", "-ec", wait], check=True, timeout=10)


def _tunnel(network: Network, inner: Namespace) -> None:
    """VXLAN from the router to host b, whose end has a namespace of its own: its counters are of what was within."""
    common = f"type vxlan id 7 dstport {VXLAN} udp6zerocsumtx"
    network.router.ip(f"link add vx address 02:00:00:00:0d:01 {common} local {B.router4} remote {B.host4} dev wan")
    network.b.ip(
        f"link add vx address 02:00:00:00:0d:02 {common} local {B.host4} remote {B.router4} dev eth0",
        f"link set vx netns {inner.name}",
    )
    for space, own, other, mac in (
        (network.router, INNER_ROUTER, INNER, "02:00:00:00:0d:02"),
        (inner, INNER, INNER_ROUTER, "02:00:00:00:0d:01"),
    ):
        space.sysctl(ipv6__conf__vx__disable_ipv6=1)
        space.ip(
            f"address add {own}/24 dev vx",
            "link set vx up",
            f"neighbour add {other} lladdr {mac} nud permanent dev vx",
        )
    inner.ip(f"route add default via {INNER_ROUTER}")
    _as_on_the_wire(inner, "vx")


def _run(built: Lab, hook: str) -> Outcome:
    network = built.network
    nfcapd = Nfcapd(network.collector, NFCAPD)
    collectors = [Collector("nfcapd", f"{LINKS['collector'].host4}:{NFCAPD}", "ipfix")]
    directions = (INGRESS,) if hook == "xdp" else (INGRESS, EGRESS)
    direction = "ingress" if hook == "xdp" else "both"
    path = write_configuration(
        network.directory / "xflowd.conf",
        collectors,
        hook=hook,
        direction=direction,
        active_timeout=60,
        idle_timeout=30,
    )
    agent = Agent(network.router, "-c", path)
    done = []
    for phase in phases():
        _send(built, phase, MOST_TIMES if EGRESS in directions else 1)
        done.append(phase)
    assert agent.stop() == 0, agent.log
    network.collector.wait_until_read(NFCAPD)
    nfcapd.stop()
    return Outcome(done, nfcapd.flows(), directions)


def _send(built: Lab, phase: Phase, most_times: int) -> None:
    """Send it, again if its packets came one by one; the far end's counts are of all times."""
    hosts = (built.network.b, built.inner, built.network.router)
    for _ in range(most_times):
        before = [settled(host) for host in hosts]
        phase.send(built, phase.port)
        far, inside, router = (settled(host).since(seen) for host, seen in zip(hosts, before, strict=True))
        phase.far = phase.far.and_then(far)
        phase.inside = phase.inside.and_then(inside if phase.tunnel else far)
        phase.joined = _joined(far, router.received.packets, phase.tunnel)
        if phase.joined > LEAST_JOINED:
            return


def _joined(far: Seen, taken_in: int, tunnel: bool) -> float:
    """Data alone: acknowledgements are never joined. What comes out of the tunnel IP counts twice."""
    to_far_end = far.received.packets > far.sent.packets
    data, acknowledgements = sorted((far.received.packets, far.sent.packets), reverse=True)
    if tunnel and to_far_end:
        acknowledgements *= 2
    elif tunnel:
        data *= 2
    return data / max(1, taken_in - acknowledgements)


def test_packets_and_octets_are_those_of_the_far_end(outcome: Outcome) -> None:
    wrong = [line for phase in outcome.phases for line in _differences(outcome, phase)]
    assert not wrong, "\n".join(wrong)


def test_tunnel_is_as_long_as_all_its_headers(outcome: Outcome) -> None:
    """The flows of its outer headers are the same in all phases that use it."""
    used = [phase.far for phase in outcome.phases if phase.tunnel]
    far = Seen(added(seen.received for seen in used), added(seen.sent for seen in used))
    flows = [flow for flow in outcome.flows if _has(flow, UDP, VXLAN)]
    wrong = list(_compared("tunnel", flows, outcome.directions, WAN, far))
    assert not wrong, "\n".join(wrong)


def test_packets_came_joined(outcome: Outcome) -> None:
    """Else this would prove nothing: the router's own IP counts a packet that stands for several as one."""
    if EGRESS not in outcome.directions:
        pytest.skip("XDP sees packets before they are joined, and the kernel leaves those of a veth apart")
    apart = {phase.name: phase.joined for phase in outcome.phases if phase.joined <= LEAST_JOINED}
    assert not apart, apart


def _differences(outcome: Outcome, phase: Phase) -> Iterator[str]:
    """By interface and direction, a line each."""
    flows = [flow for flow in outcome.flows if _has(flow, phase.protocol, phase.port)]
    yield from _compared(phase.name, flows, outcome.directions, LAN, phase.inside)
    if not phase.tunnel:
        yield from _compared(phase.name, flows, outcome.directions, WAN, phase.far)


def _compared(what: str, flows: Sequence[Flow], directions: Sequence[int], interface: int, far: Seen) -> Iterator[str]:
    for direction in directions:
        here = [flow for flow in flows if _metered_at(flow) == (interface, direction)]
        wire = far.received if (interface == LAN) == (direction == INGRESS) else far.sent
        if total(here) != wire:
            yield f"{what}: {total(here)}, interface {interface}, direction {direction}; the wire {wire}"


def _has(flow: Flow, protocol: int, port: int) -> bool:
    ports = (flow.key.source_transport_port, flow.key.destination_transport_port)
    return flow.key.protocol_identifier == protocol and port in ports


def _metered_at(flow: Flow) -> tuple[int | None, int | None]:
    where = flow.ingress_interface if flow.flow_direction == INGRESS else flow.egress_interface
    return where, flow.flow_direction
