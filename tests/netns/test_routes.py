"""Proves that each flow's prefix lengths, next hop and way out are those of `ip route get`, and where its packets went.

a ─ lan ┌────────┐ wan1 ─ x
        │ router │
b ─ lan2└────────┘ wan2 ─ y
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from lab.agent import COMMAND, write_configuration
from lab.flow import ICMP, UDP
from lab.namespaces import Namespace, namespaces
from lab.process import Process, wait_until
from lab.traffic import capture_packets
from lab.wireshark import Capture


@dataclass(frozen=True)
class Link:
    """A link of the router: its interface, its and its neighbour's addresses."""

    interface: str
    index: int
    router4: str
    host4: str
    router6: str
    host6: str


LINKS = {
    "a": Link("lan", 1001, "198.51.100.1", "198.51.100.2", "2001:db8:a::1", "2001:db8:a::2"),
    "b": Link("lan2", 1002, "198.18.0.1", "198.18.0.2", "2001:db8:b::1", "2001:db8:b::2"),
    "x": Link("wan1", 1003, "192.0.2.1", "192.0.2.2", "2001:db8:1::1", "2001:db8:1::2"),
    "y": Link("wan2", 1004, "203.0.113.1", "203.0.113.2", "2001:db8:2::1", "2001:db8:2::2"),
}
OTHER4, OTHER6 = "10.66.0.2", "2001:db8:66::2"  # what else a has
X, Y = LINKS["x"], LINKS["y"]

ROUTES = (
    f"route add default via {X.host4}",
    f"route add 10.0.0.0/8 via {X.host4}",
    f"route add 10.1.0.0/16 via {Y.host4}",
    f"route add 10.1.2.0/24 via {X.host4}",
    f"route add 10.1.2.3/32 via {Y.host4}",
    "route add blackhole 10.3.0.0/16",
    "route add unreachable 10.4.0.0/16",
    "route add 10.5.0.0/16 dev wan1",
    "route add throw 10.6.0.0/16",
    "route add 10.6.6.0/24 via 192.0.2.2 table default",
    "route add 10.66.0.0/20 via 198.51.100.2",
    f"route add 10.7.0.0/16 metric 10 via {X.host4}",
    "route add unreachable 10.7.0.0/16 metric 20",
    f"route add default via {X.host6}",
    f"route add 2001:db8:100::/40 via {Y.host6}",
    f"route add 2001:db8:101::/48 via {X.host6}",
    f"route add 2001:db8:101::1/128 via {Y.host6}",
    "route add blackhole 2001:db8:103::/48",
    "route add 2001:db8:66::/60 via 2001:db8:a::2",
)
#: Tables of their own: by source, by where the packet came in, by ports.
POLICY = (
    f"rule add from {OTHER4}/32 lookup 100 priority 100",
    "rule add iif lan2 lookup 200 priority 200",
    "rule add ipproto udp dport 5353 lookup 300 priority 300",
    "rule add to 10.9.0.0/16 blackhole priority 400",
    f"route add 10.1.0.0/20 via {X.host4} table 100",
    f"route add default via {Y.host4} table 100",
    f"route add 10.1.2.0/25 via {Y.host4} table 200",
    f"route add 10.0.0.0/12 via {Y.host4} table 300",
    f"route add {OTHER4}/31 via 198.51.100.2 table 200",
)
POLICY6 = (
    f"-6 rule add from {OTHER6}/128 lookup 100 priority 100",
    "-6 rule add iif lan2 lookup 200 priority 200",
    f"-6 route add 2001:db8:100::/44 via {X.host6} table 100",
    f"-6 route add 2001:db8:101::/52 via {Y.host6} table 200",
)
DESTINATIONS = (
    *("8.8.8.8", "10.200.0.1", "10.1.200.1", "10.1.2.200", "10.1.2.3", "10.1.2.4", "10.3.0.1", "10.4.0.1"),
    *("10.5.0.1", "10.6.0.1", "10.6.6.6", "10.7.0.1", "10.9.0.1", "192.0.2.2", "192.0.2.77", "198.51.100.1"),
    *("203.0.113.1", "2001:db8:ffff::1", "2001:db8:100::1", "2001:db8:101::2", "2001:db8:101::1"),
    *("2001:db8:103::1", "2001:db8:1::2", "2001:db8:a::1", "2001:db8:2::1"),
)

#: Sends a datagram for each line "source port destination port", one after the other.
SEND = """
import socket, sys
for line in sys.stdin:
    source, source_port, destination, port = line.split()
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sending:
        sending.bind((source, int(source_port)))
        try:
            sending.sendto(b"x", (destination, int(port)))
        except OSError:
            pass
"""


@dataclass(frozen=True)
class Network:
    a: Namespace
    b: Namespace
    router: Namespace
    x: Namespace
    y: Namespace
    directory: Path


@dataclass(frozen=True)
class Told:
    """What a flow's record says of its way; next hops as text, "" for none."""

    source_prefix_length: int
    destination_prefix_length: int
    next_hop: str
    egress: int


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with routers(tmp_path) as standing:
        yield standing


@contextmanager
def routers(directory: Path) -> Iterator[Network]:
    with namespaces(directory, *"abrxy") as (a, b, router, x, y):
        for space in (router, a, b, x, y):
            space.sysctl(
                ipv6__conf__default__accept_dad=0,
                ipv6__conf__default__accept_ra=0,
                ipv6__conf__default__router_solicitations=0,
                ipv6__conf__default__addr_gen_mode=1,
                ipv4__conf__all__rp_filter=0,
                ipv4__conf__default__rp_filter=0,
            )
        for name, host in {"a": a, "b": b, "x": x, "y": y}.items():
            connect(router, host, LINKS[name])
        a.ip(f"address add {OTHER4}/32 dev eth0", f"address add {OTHER6}/128 dev eth0 nodad")
        router.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        yield Network(a, b, router, x, y, directory)


def connect(router: Namespace, host: Namespace, link: Link) -> None:
    number = link.index - 1000
    here, there = f"02:00:00:00:{number:02}:01", f"02:00:00:00:{number:02}:02"
    router.ip(
        f"link add name {link.interface} index {link.index} address {here} "
        f"type veth peer name eth0 address {there} netns {host.name}",
        *end(link.interface, (link.router4, link.router6), (link.host4, link.host6), there),
    )
    host.ip(
        *end("eth0", (link.host4, link.host6), (link.router4, link.router6), here),
        f"route add default via {link.router4}",
        f"route add default via {link.router6}",
    )


def end(device: str, addresses: tuple[str, str], neighbours: tuple[str, str], mac: str) -> list[str]:
    return [
        f"address add {addresses[0]}/24 dev {device}",
        f"address add {addresses[1]}/64 dev {device} nodad",
        f"link set {device} up",
        *(f"neighbour add {address} lladdr {mac} nud permanent dev {device}" for address in neighbours),
    ]


class Printing:
    """An agent in the router that prints its flows."""

    def __init__(self, network: Network, **meter: str | int) -> None:
        fields: dict[str, str | int] = {"interfaces": "lan, lan2", "active_timeout": 60, "idle_timeout": 60, **meter}
        path = write_configuration(network.directory / "xflowd.conf", [], **fields)
        self._process: Process = network.router.start(*COMMAND, "run", "-c", path, "--format", "json")
        for interface in str(fields["interfaces"]).split(", "):
            self._process.wait_for_log(rf"metering {interface}\b", timeout=20)

    @property
    def log(self) -> str:
        return self._process.log

    def hang_up(self, answer: str) -> None:
        """Let it read its configuration again, and wait for what it says of that."""
        self._process.send(signal.SIGHUP)
        self._process.wait_for_log(answer)

    def stop(self) -> list[dict[str, Any]]:
        assert self._process.stop() == 0
        assert "Traceback" not in self.log
        return self.flows()

    def flows(self, protocol: int = UDP) -> list[dict[str, Any]]:
        """Those of the protocol that were printed."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{") and line.endswith("}")]
        return [flow for flow in lines if flow["protocolIdentifier"] == protocol]


def send(host: Namespace, packets: list[tuple[str, int, str, int]]) -> None:
    text = "".join(f"{' '.join(map(str, packet))}\n" for packet in packets)
    command = host.argv(sys.executable, "-c", SEND)
    subprocess.run(command, input=text, text=True, check=True, timeout=30)


def ends(flow: dict[str, Any]) -> tuple[str, int, str, int]:
    version = flow["ipVersion"]
    source, destination = (str(ip_address(flow[f"{end}IPv{version}Address"])) for end in ("source", "destination"))
    return source, flow["sourceTransportPort"], destination, flow["destinationTransportPort"]


def told(flow: dict[str, Any]) -> Told:
    version = flow["ipVersion"]
    lengths = (flow[f"{end}IPv{version}PrefixLength"] for end in ("source", "destination"))
    next_hop = ip_address(flow[f"ipNextHopIPv{version}Address"])
    return Told(*lengths, "" if next_hop.is_unspecified else str(next_hop), flow["egressInterface"])


def right(network: Network, flow: dict[str, Any]) -> Told:
    """What `ip route get` says of the flow, and of the way back."""
    source, source_port, destination, port = ends(flow)
    came_in = next(link.interface for link in LINKS.values() if link.index == flow["ingressInterface"])
    ports = f"ipproto udp sport {source_port} dport {port}"
    way = route(network, f"{destination} from {source} iif {came_in} {ports}")
    prefix = route(network, f"fibmatch {destination} from {source} iif {came_in} {ports}")
    goes_out = way.get("dev", "")
    back_ports = f"ipproto udp sport {port} dport {source_port}"
    via = f"iif {goes_out}" if goes_out not in ("", "lo") else ""
    back = route(network, f"fibmatch {source} from {destination} {via} {back_ports}")
    back = back or route(network, f"fibmatch {source}")
    local = way.get("type") in ("local", "broadcast")
    egress = 0 if local else next((link.index for link in LINKS.values() if link.interface == goes_out), 0)
    return Told(length(back), length(prefix), way.get("gateway", ""), egress)


def route(network: Network, question: str) -> dict[str, Any]:
    """The kernel's answer, nothing where it has none."""
    command = network.router.argv("ip", "-j", "route", "get", *question.split())
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    answers: list[dict[str, Any]] = json.loads(done.stdout) if not done.returncode and done.stdout.strip() else [{}]
    return answers[0]


def length(answer: dict[str, Any]) -> int:
    prefix = answer.get("dst", "default")
    if prefix == "default":
        return 0
    address, _, bits = prefix.partition("/")
    return int(bits) if bits else ip_address(address).max_prefixlen


def batch(router: Namespace, *lines: str) -> None:
    """`ip -batch` takes no -6 in a line: these go one by one."""
    for line in lines:
        router.run("ip", *line.split())


def crossing() -> tuple[list[tuple[str, int, str, int]], list[tuple[str, int, str, int]]]:
    """What a and what b send: to each destination from each of their addresses, and to the port that has a rule."""
    from_a, from_b = [], []
    for number, destination in enumerate(DESTINATIONS, 4000):
        six = ":" in destination
        for port in (7, 5353):
            from_a.append((LINKS["a"].host6 if six else LINKS["a"].host4, number, destination, port))
            from_a.append((OTHER6 if six else OTHER4, number, destination, port))
            from_b.append((LINKS["b"].host6 if six else LINKS["b"].host4, number, destination, port))
    return from_a, from_b


@pytest.mark.parametrize("hook", ["tc", "xdp"])
@pytest.mark.parametrize("policy", [(), (*POLICY, *POLICY6)], ids=["tables", "policy"])
def test_every_flow_is_as_the_kernel_routes_it(network: Network, policy: tuple[str, ...], hook: str) -> None:
    network.router.ip(*ROUTES)
    batch(network.router, *policy)
    agent = Printing(network, hook=hook)
    from_a, from_b = crossing()
    send(network.a, from_a)
    send(network.b, from_b)
    flows = agent.stop()
    assert sorted(map(ends, flows)) == sorted(from_a + from_b)
    assert ("asked of the kernel" in agent.log) == bool(policy)
    wrong = {ends(flow): (told(flow), right(network, flow)) for flow in flows if told(flow) != right(network, flow)}
    assert wrong == {}
    lengths = {told(flow).destination_prefix_length for flow in flows}
    assert {0, 8, 16, 24, 32, 40, 48, 64, 128} | ({12, 20, 25, 44, 52} if policy else set()) <= lengths


ECMP = (
    f"route add 10.1.0.0/16 nexthop via {X.host4} nexthop via {Y.host4}",
    f"route add 2001:db8:100::/40 nexthop via {X.host6} nexthop via {Y.host6}",
)


def spread() -> list[tuple[str, int, str, int]]:
    """Many flows, of which hashes of addresses and those of ports make different choices."""
    packets = []
    for number in range(40):
        packets += [(LINKS["a"].host4, 5000 + number, f"10.1.{number % 10}.{number}", 7)]
        packets += [
            (LINKS["a"].host6, 5000 + number, str(ip_address(f"2001:db8:100:{number % 10}::{number + 1:x}")), 7)
        ]
    packets += [(LINKS["a"].host4, 6000 + number, "10.1.0.1", 9) for number in range(40)]
    return packets + [(LINKS["a"].host6, 6000 + number, "2001:db8:100::1", 9) for number in range(40)]


@pytest.mark.parametrize("policy", [0, 1], ids=["by address", "by port"])
@pytest.mark.parametrize(
    ("interfaces", "direction", "hook"),
    [("lan", "ingress", "tc"), ("lan", "ingress", "xdp"), ("wan1, wan2", "egress", "tc")],
)
def test_flows_over_two_next_hops_name_the_one_that_they_took(
    network: Network, interfaces: str, direction: str, hook: str, policy: int
) -> None:
    network.router.ip(*ECMP)
    network.router.sysctl(ipv4__fib_multipath_hash_policy=policy, ipv6__fib_multipath_hash_policy=policy)
    if (
        policy
    ):  # a hash that comes with the packet, of a network card or of a sender on a veth, would take the ports' place
        network.a.sysctl(ipv6__auto_flowlabels=0)
    agent = Printing(network, interfaces=interfaces, direction=direction, hook=hook)
    taps = {link: Capture(host, "eth0", "udp", only="in") for link, host in ((X, network.x), (Y, network.y))}
    packets = spread()
    send(network.a, packets)
    flows = agent.stop()
    went = arrived(taps)
    assert went.keys() == set(packets) == set(map(ends, flows))
    assert len(set(went.values())) == 2
    wrong = {}
    for flow in flows:
        link = went[ends(flow)]
        expected = (link.host6 if flow["ipVersion"] == 6 else link.host4, link.index)
        if (told(flow).next_hop, told(flow).egress) != expected:
            wrong[ends(flow)] = (told(flow), expected)
    assert wrong == {}
    assert {told(flow).destination_prefix_length for flow in flows} == {16, 40}


#: Sends an echo request, RFC 792, to each address named.
PING = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sending:
    for address in sys.argv[1:]:
        sending.sendto(bytes([8, 0, 0xF7, 0xFF]) + bytes(4), (address, 0))
"""


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_type_and_code_of_icmp_are_no_ports_to_the_kernel(network: Network, hook: str) -> None:
    """Neither where it spreads by ports, nor to a rule: this one has the port that an echo request's would be."""
    network.router.ip(*ECMP)
    batch(network.router, "rule add ipproto icmp dport 2048 lookup 300 priority 300")
    network.router.ip(f"route add 10.2.0.0/16 via {Y.host4} table 300", f"route add 10.2.0.0/16 via {X.host4}")
    network.router.sysctl(ipv4__fib_multipath_hash_policy=1)
    agent = Printing(network, hook=hook)
    taps = {link: Capture(host, "eth0", "icmp", only="in") for link, host in ((X, network.x), (Y, network.y))}
    asked = [*(f"10.1.{number}.{number}" for number in range(40)), "10.2.0.1"]
    network.a.run(sys.executable, "-c", PING, *asked)
    agent.stop()
    went = {destination: link.index for (_, _, destination, _), link in arrived(taps).items()}
    flows = {flow["destinationIPv4Address"]: flow["egressInterface"] for flow in agent.flows(ICMP)}
    assert len(set(went.values())) == 2
    assert {address: flows.get(address) for address in asked} == {address: went.get(address) for address in asked}


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_the_way_is_that_of_the_packet_where_the_key_has_no_source(network: Network, hook: str) -> None:
    """A rule looks at the address that the key leaves out: the first packet's way is told."""
    network.router.ip(*ROUTES)
    batch(network.router, *POLICY, *POLICY6)
    key = "destinationIPv4Address, protocolIdentifier, destinationTransportPort"
    agent = Printing(network, hook=hook, key=key)
    send(network.a, [(OTHER4, 4000, "8.8.8.8", 7), (OTHER6, 4001, "2001:db8:100::1", 7)])
    send(network.a, [(LINKS["a"].host4, 4002, "8.8.8.8", 8), (LINKS["a"].host6, 4003, "2001:db8:100::1", 8)])
    ways = {}
    for flow in agent.stop():
        assert ends(flow)[0] in ("0.0.0.0", "::")
        ways[ends(flow)[2:]] = told(flow).next_hop, told(flow).egress
    assert ways == {
        ("8.8.8.8", 7): (Y.host4, Y.index),
        ("8.8.8.8", 8): (X.host4, X.index),
        ("2001:db8:100::1", 7): (X.host6, X.index),
        ("2001:db8:100::1", 8): (Y.host6, Y.index),
    }


def arrived(taps: dict[Link, Capture]) -> dict[tuple[str, int, str, int], Link]:
    """Which link each flow of UDP was seen at the other end of."""
    went = {}
    for link, tap in taps.items():
        tap.stop()
        for key, _ in capture_packets(tap.path):
            here = (
                key.source_address,
                key.source_transport_port,
                key.destination_address,
                key.destination_transport_port,
            )
            went[here] = link
    return went


SECOND4, SECOND6, SECOND_MAC = "192.0.2.3", "2001:db8:1::3", "02:00:00:00:03:03"
ONE_LINK = (
    f"neighbour add {SECOND4} lladdr {SECOND_MAC} nud permanent dev wan1",
    f"neighbour add {SECOND6} lladdr {SECOND_MAC} nud permanent dev wan1",
    f"route add 10.1.0.0/16 nexthop via {X.host4} nexthop via {SECOND4}",
    f"route add 2001:db8:100::/40 nexthop via {X.host6} nexthop via {SECOND6}",
    f"route add 10.2.0.0/16 via {SECOND4} table 100",
    f"route add 10.2.0.0/16 via {X.host4}",
    "rule add iif lan lookup 100 priority 100",
)


@pytest.mark.parametrize("sender", ["forwarded", "own"])
def test_flows_that_go_out_name_the_gateway_whose_station_they_are_sent_to(network: Network, sender: str) -> None:
    """Of two on one link, and where a rule looks at the interface that a packet has come in by."""
    network.router.ip(*ONE_LINK)
    agent = Printing(network, interfaces="wan1", direction="egress")
    packets = [(*packet[:2], packet[2], 7) for packet in spread()]
    packets += [(LINKS["a"].host4, 7000, "10.2.0.1", 7)]
    if sender == "own":
        packets = [(X.router6 if ":" in source else X.router4, *rest) for source, *rest in packets]
    send(network.a if sender == "forwarded" else network.router, packets)
    flows = agent.stop()
    assert set(map(ends, flows)) == set(packets)
    gateways = {SECOND_MAC: {4: SECOND4, 6: SECOND6}, "02:00:00:00:03:02": {4: X.host4, 6: X.host6}}
    stations = {flow["destinationMacAddress"] for flow in flows}
    assert stations == gateways.keys()
    wrong = {}
    for flow in flows:
        expected = gateways[flow["destinationMacAddress"]][flow["ipVersion"]]
        if told(flow).next_hop != expected:
            wrong[ends(flow)] = (told(flow).next_hop, expected)
    assert wrong == {}


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_ipv4_by_an_ipv6_gateway(network: Network, hook: str) -> None:
    """RFC 5549: the next hop has no place in an IPv4 record, the way out and the prefix have."""
    network.router.ip(f"route add 10.1.0.0/16 via inet6 {Y.host6}")
    agent = Printing(network, hook=hook)
    send(network.a, [(LINKS["a"].host4, 4000, "10.1.2.3", 7)])
    (flow,) = agent.stop()
    assert told(flow) == Told(24, 16, "", Y.index)


def test_routes_that_change_under_traffic(network: Network) -> None:
    """A flow has the lengths of the routes as they are when it ends; the agent has a second or two to hear of them."""
    router = network.router
    router.ip(*ROUTES)
    agent = Printing(network, idle_timeout=1)
    steps = [
        ("route add 10.200.0.0/14 via 192.0.2.2", 14),
        ("route add 10.200.0.1/32 via 203.0.113.2", 32),
        ("route del 10.200.0.1/32", 14),
        ("rule add to 10.200.0.0/24 lookup 100 priority 50", 14),
        ("route add 10.200.0.0/29 via 203.0.113.2 table 100", 29),
        ("rule del priority 50", 14),
        ("link set wan1 down", 0),  # of the routes that go with it, the kernel says nothing
    ]
    for port, (line, expected) in enumerate(steps, 4000):
        router.run("ip", *line.split())
        send(network.a, [(LINKS["a"].host4, port, "10.200.0.1", 7)])
        (flow,) = wait_until(
            lambda port=port: [one for one in agent.flows() if one["sourceTransportPort"] == port], f"flow {port}"
        )
        assert (line, told(flow).destination_prefix_length) == (line, expected)
        assert told(flow) == right(network, flow)
    agent.stop()


def test_autonomous_systems_from_a_file(network: Network) -> None:
    """At SIGHUP the file is read again; one that is gone, or faulty lines, cost nothing that was known."""
    network.router.ip(*ROUTES)
    path = network.directory / "as.txt"
    path.write_text("198.51.100.0/24 64496\nnothing\n10.0.0.0/8 4200000000\n2001:db8:100::/40 AS64498\n")
    agent = Printing(network, as_table=path, idle_timeout=1)
    assert f"{path}:2 has no AS number" in agent.log

    def systems(port: int, destination: str) -> tuple[int, int]:
        source = LINKS["a"].host6 if ":" in destination else LINKS["a"].host4
        send(network.a, [(source, port, destination, 7)])
        (flow,) = wait_until(
            lambda: [one for one in agent.flows() if one["sourceTransportPort"] == port], f"flow {port}"
        )
        return flow["bgpSourceAsNumber"], flow["bgpDestinationAsNumber"]

    assert systems(4000, "10.1.1.1") == (64496, 4200000000)
    assert systems(4001, "2001:db8:100::1") == (0, 64498)
    assert systems(4002, "8.8.8.8") == (64496, 0)
    path.rename(path.with_suffix(".old"))
    agent.hang_up("as_table not read again")
    assert systems(4003, "10.1.1.1") == (64496, 4200000000)
    path.write_text("10.1.0.0/16 64499\n")
    agent.hang_up("1 line with an AS number")
    assert systems(4004, "10.1.1.1") == (0, 64499)
    agent.stop()


def test_no_start_without_the_file(network: Network) -> None:
    missing = network.directory / "none.txt"
    path = write_configuration(network.directory / "xflowd.conf", [], interfaces="lan", as_table=str(missing))
    agent = network.router.start(*COMMAND, "run", "-c", path)
    assert agent.wait() == 2
    assert f"xflowd: [meter] as_table: {missing}: No such file or directory" in agent.log
    assert "Traceback" not in agent.log


#: Prints of how many addresses the tables know another prefix length than the kernel, and which lengths there are.
COMPARE = """
import sys
import numpy as np
from xflowd.edge.answers import RouteAnswers
from xflowd.edge.routing import tables
from xflowd.metering.questions import QUESTION
random = np.random.default_rng(7)
asked = np.zeros(20_000, QUESTION)
asked["ip_version"] = random.choice([4, 6], len(asked))
four = asked["ip_version"] == 4
asked["destination_address"][:, :4] = random.integers(0, 4, (len(asked), 4))
asked["destination_address"][four, 0] = random.choice([10, 127, 192, 198], four.sum())
asked["destination_address"][~four] = 0
asked["destination_address"][~four, :4] = 0x20, 0x01, 0x0D, 0xB8
asked["destination_address"][~four, 4:] = random.choice([0, 0, 0, 1, 2, 255], ((~four).sum(), 12))
known = tables().lengths(asked["destination_address"], asked["ip_version"])
answers = RouteAnswers().lengths(asked).clip(0)
print(np.count_nonzero(known != answers), *np.unique(answers))
"""


#: Of one priority, which are asked in this order; a throw that is longer than 64 bits.
IN_TURN = (
    "rule add lookup 200 priority 100",
    "rule add lookup 101 priority 100",
    "route add 10.2.0.0/20 dev wan1 table 200",
    "route add 10.2.0.0/24 dev wan2 table 101",
    "-6 rule add lookup 200 priority 100",
    "-6 route add 2001:db8:101::/48 dev wan1 table 200",
    "-6 route add throw 2001:db8:101::/80 table 200",
)


def test_tables_say_of_any_address_what_the_kernel_answers(network: Network) -> None:
    network.router.ip(*ROUTES, *random_routes())
    batch(network.router, *IN_TURN)
    wrong, *lengths = map(int, network.router.run(sys.executable, "-c", COMPARE).split())
    assert wrong == 0
    assert len(lengths) > 30, lengths


#: Prints whether tables can say it.
CAN_SAY = """
from xflowd.edge.routing import PolicyError, tables
try:
    tables()
    print("tables")
except PolicyError as policy:
    print(policy)
"""


@pytest.mark.parametrize(("table", "told"), [("main", "tables"), ("300", "there are routes for some sources")])
def test_a_default_route_for_some_sources(network: Network, table: str, told: str) -> None:
    """In the last table its length is that of no route; before others it decides whether those are asked."""
    batch(
        network.router,
        f"-6 route add default from 2001:db8:a::/64 via {X.host6} table {table}",
        "-6 rule add lookup 300 priority 100",
    )
    assert network.router.run(sys.executable, "-c", CAN_SAY).startswith(told)


def random_routes() -> list[str]:
    """Nested ones, in three tables, some of them to nowhere; `replace`, since some are there twice."""
    random = np.random.default_rng(3)
    kinds = ("via 192.0.2.2", "via 203.0.113.2", "dev wan1", "table default dev wan2")
    nowhere = ("blackhole", "unreachable", "prohibit", "throw")
    lines = []
    for bits in random.integers(8, 33, 200).tolist():
        start = ip_network((f"10.{'.'.join(map(str, random.integers(0, 4, 3)))}", bits), strict=False)
        lines.append(f"route replace {start} {random.choice(kinds)}")
    for bits in random.integers(33, 129, 200).tolist():
        groups = ":".join(f"{one:x}" for one in random.choice([0, 0, 1, 2, 0x100, 0x101], 6))
        start6 = ip_network((f"2001:db8:{groups}", bits), strict=False)
        lines.append(f"route replace {start6} dev {random.choice(['wan1', 'wan2'])}")
    lines += [f"route replace {nowhere[number % 4]} 10.{number}.1.0/25" for number in range(4)]
    return lines


#: Prints how many of the flows of three seconds got a length: two seconds of many, one of few.
ASK_MUCH = """
import logging, sys, time
import numpy as np
from xflowd.metering.flow import FLOW
from xflowd.routes import Routes
logging.basicConfig(stream=sys.stderr, format="%(message)s")
routes = Routes()
for second, count in enumerate((30_000, 30_000, 2_000)):
    flows = np.zeros(count, FLOW)
    flows["ip_version"], flows["ingress_interface"] = 4, 1001
    flows["source_address"][:, :4] = 198, 51, 100, 2
    flows["destination_address"][:, :2] = 10, 1
    flows["destination_address"][:, 2:4] = np.arange(count, dtype=">u2").view(np.uint8).reshape(-1, 2)
    routes.fill(flows)
    print(*(np.count_nonzero(flows[f"{end}_prefix_length"]) for end in ("destination", "source")))
    routes.follow(second * 10**9)
routes.close()
"""


def test_the_kernel_is_not_asked_without_end(network: Network) -> None:
    """Flows beyond what is asked in a second have no lengths; that is told, and the next second begins anew.

    A flow counts once, also where both of its ends could not be asked about.
    """
    network.router.ip(*ROUTES)
    batch(network.router, *POLICY)
    asking = network.router.start(sys.executable, "-c", ASK_MUCH)
    assert asking.wait() == 0
    told_of = [tuple(map(int, line.split())) for line in asking.log.splitlines() if re.fullmatch(r"\d+ \d+", line)]
    assert told_of == [(10_000, 0), (10_000, 0), (2_000, 2_000)]
    assert re.findall(r"(.*) without prefix lengths", asking.log) == ["30,000 flows"]


@pytest.mark.parametrize(("mode", "code"), [(0o644, 0), (0o600, 2)])
def test_the_file_is_read_with_the_rights_that_are_left(network: Network, mode: int, code: int) -> None:
    """As at SIGHUP, so at the start."""
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "as.txt"
        path.write_text("10.0.0.0/8 64496\n")
        path.chmod(mode)
        configuration = write_configuration(network.directory / "xflowd.conf", [], interfaces="lan", as_table=str(path))
        configuration.write_text(f"{configuration.read_text()}\n[agent]\nuser = nobody\n")
        agent = network.router.start(*COMMAND, "run", "-c", configuration)
        if code:
            assert agent.wait() == code
            assert f"[meter] as_table: {path}: Permission denied" in agent.log
            return
        agent.wait_for_log("1 line with an AS number", timeout=20)
        assert agent.stop() == code
