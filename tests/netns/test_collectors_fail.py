"""Proves that what fails on the way to a collector costs neither its own flows nor another collector's, as far as
that can be, and that exporting does not feed itself."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from lab import traffic
from lab.agent import Agent, Collector, write_configuration
from lab.flow import ICMP, UDP, Key, totals
from lab.namespaces import Namespace
from lab.nfdump import Nfcapd
from lab.process import Process, wait_until
from lab.topology import LINKS, Network
from lab.wireshark import Tshark

PORT, CLOSED = 2055, 2999
A, B, C = LINKS["a"], LINKS["b"], LINKS["collector"]
PING = Key(A.host4, B.host4, ICMP, 0, 0)
ELSEWHERE = "192.0.2.20"  # on the collector's link

#: Sends one datagram to each of so many ports, not faster than what listens at the other end.
MANY_FLOWS = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
    sending.bind((sys.argv[1], 5000))
    for port in range(10000, 10000 + int(sys.argv[3])):
        sending.sendto(b"x", (sys.argv[2], port))
        if port % 50 == 0:
            time.sleep(0.005)
"""

#: Answers every question for an IPv4 address with the one that stands in a file (RFC 1035 4.1).
NAME_SERVER = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as serving:
    serving.bind(("127.0.0.1", 53))
    print("serving", flush=True)
    while True:
        query, client = serving.recvfrom(512)
        end = query.index(0, 12) + 5
        question, is_ipv4 = query[12:end], query[end - 4 : end - 2] == bytes([0, 1])
        address = socket.inet_aton(open(sys.argv[1]).read())
        answer = bytes([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]) + address if is_ipv4 else b""
        head = query[:2] + bytes([0x81, 0x80, 0, 1, 0, int(is_ipv4), 0, 0, 0, 0])
        serving.sendto(head + question + answer, client)
"""


def test_a_closed_port_and_a_name_without_address_stop_no_other_collector(network: Network) -> None:
    nfcapd = Nfcapd(network.collector, PORT)
    collectors = [
        Collector("nameless", f"collector.invalid:{PORT}", "ipfix"),
        Collector("closed", f"{C.host4}:{CLOSED}", "netflow9"),
        Collector("unreachable", "10.255.255.1:2055", "netflow5"),
        Collector("good", f"{C.host4}:{PORT}", "ipfix"),
    ]
    agent = Agent(network.router, "-c", write_configuration(network.directory / "xflowd.conf", collectors))
    count = traffic.ping(network.a, B.host4, 5)
    again = traffic.ping(network.a, B.host4, 5)
    assert agent.running
    assert agent.stop() == 0
    network.collector.wait_until_read(PORT)
    nfcapd.stop()
    assert totals(nfcapd.flows())[PING] == tuple(map(sum, zip(count, again, strict=True)))
    assert "Traceback" not in agent.log


def test_a_collector_may_have_an_ipv6_address(network: Network) -> None:
    nfcapd = Nfcapd(network.collector, PORT, C.host6)
    tshark = Tshark(network.collector, PORT)
    to_collector = ("-n", f"[{C.host6}]:{PORT}", "-v", "9", "-t", "idle=1")
    agent = Agent(network.router, "-i", "lan", "-i", "wan", *to_collector)
    count = traffic.ping(network.a, B.host4, 5)
    assert agent.stop() == 0
    network.collector.wait_until_read(PORT)
    nfcapd.stop()
    tshark.stop()
    assert totals(nfcapd.flows())[PING] == count
    assert nfcapd.sequence_failures() == 0
    assert tshark.expert() == []


def test_metering_the_link_of_the_export_does_not_feed_itself(network: Network) -> None:
    seconds, refresh = 40, 10
    tshark = Tshark(network.collector, PORT, listen=True)
    collectors = [Collector("only", f"{C.host4}:{PORT}", "ipfix", template_refresh=refresh)]
    path = network.directory / "xflowd.conf"
    settings = write_configuration(
        path, collectors, interfaces="exp", direction="both", active_timeout=5, idle_timeout=2
    )
    agent = Agent(network.router, "-c", settings, metering=("exp",))
    _let_pass(seconds)
    assert agent.stop() == 0
    tshark.stop()
    sent = tshark.datagrams()
    at_start_and_end = 3
    assert sent, "templates and options are sent in a quiet network too"
    assert len(sent) <= seconds // refresh + at_start_and_end, [one["cflow.timestamp"] for one in sent]
    assert tshark.expert() == []


def test_a_link_that_flaps_costs_no_flow(network: Network) -> None:
    nfcapd = Nfcapd(network.collector, PORT)
    agent = _agent(network, f"{C.host4}:{PORT}")
    count = 0
    for _ in range(3):
        network.router.ip("link set exp down")
        count += traffic.ping(network.a, B.host4, 3).packets
        _let_pass(4)  # until the flow has ended, and there is nowhere to send it to
        network.router.ip("link set exp up")
        count += traffic.ping(network.a, B.host4, 2).packets
        _let_pass(2)
    agent.wait_for_log("sending again")
    assert agent.stop() == 0
    network.collector.wait_until_read(PORT)
    nfcapd.stop()
    assert totals(nfcapd.flows())[PING].packets == count
    assert "Network is unreachable" in agent.log


def test_a_collector_that_starts_late_understands_soon_what_it_gets(network: Network) -> None:
    """Its templates are older than a minute by then, and the next ones would be due in ten."""
    agent = _agent(network, f"{C.host4}:{PORT}", template_refresh=600)
    traffic.ping(network.a, B.host4, 1)
    agent.wait_for_log("port unreachable")
    nfcapd = Nfcapd(network.collector, PORT)
    traffic.ping(network.a, B.host4, 1)
    agent.wait_for_log("sending again", 15)
    count = traffic.ping(network.a, B.host4, 7)
    assert agent.stop() == 0
    network.collector.wait_until_read(PORT)
    nfcapd.stop()
    assert count.packets <= totals(nfcapd.flows())[PING].packets <= count.packets + 1


def test_a_name_that_resolves_late_and_then_to_another_address(network: Network) -> None:
    answer = network.directory / "address"
    answer.write_text(C.host4)
    _resolve_by_ourselves(network.router, network.directory)
    first = Nfcapd(network.collector, PORT, C.host4)
    agent = _agent(network, f"collector.test:{PORT}")
    before = traffic.ping(network.a, B.host4, 3)
    agent.wait_for_log("name not resolved", 20)
    name_server = _name_server(network.router, answer)
    agent.wait_for_log("sending again", 20)
    wait_until(lambda: network.collector.udp_sockets()[PORT][0] == 0, "what has arrived to be read")
    name_server.kill()

    answer.write_text(ELSEWHERE)
    network.collector.ip(f"address del {C.host4}/24 dev eth0", f"address add {ELSEWHERE}/24 dev eth0")
    first.stop()
    network.router.ip(f"neighbour del {C.host4} dev exp")
    second = Nfcapd(network.collector, PORT, ELSEWHERE)
    traffic.ping(network.a, B.host4, 1)
    _let_pass(7)  # until the flow has ended and was sent to nobody, which is known three seconds later
    count = traffic.ping(network.a, B.host4, 4)
    _name_server(network.router, answer)
    agent.wait_for_log(f"its address is {ELSEWHERE} now", 20)
    assert agent.stop() == 0
    network.collector.wait_until_read(PORT)
    second.stop()
    assert totals(first.flows())[PING] == before
    assert totals(second.flows())[PING].packets >= count.packets
    assert "No route to host" in agent.log


def test_a_link_that_is_too_slow_delays_and_loses_nothing(network: Network) -> None:
    """A second's flows are more than the queue of the device takes: the socket says so, and they wait."""
    flows, slow = 4000, ("tbf", "rate", "2mbit", "burst", "3000", "limit", "10000")
    nfcapd = Nfcapd(network.collector, PORT)
    network.router.run("tc", "qdisc", "add", "dev", "exp", "root", *slow)
    agent = _agent(network, f"{C.host4}:{PORT}", "netflow9")
    network.a.run(sys.executable, "-c", MANY_FLOWS, A.host4, B.host4, str(flows))
    agent.wait_for_log("buffer full", 20)
    _let_pass(3)
    assert agent.stop() == 0
    network.collector.wait_until_read(PORT)
    nfcapd.stop()
    seen = totals(nfcapd.flows())
    sent = {Key(A.host4, B.host4, UDP, 5000, port) for port in range(10000, 10000 + flows)}
    assert {key: seen[key].packets for key in sent} == dict.fromkeys(sent, 1)
    assert nfcapd.sequence_failures() == 0
    assert "dropped" not in agent.log


def _agent(network: Network, address: str, protocol: str = "ipfix", template_refresh: int = 60) -> Agent:
    """An agent with one collector."""
    collectors = [Collector("only", address, protocol, template_refresh=template_refresh)]
    return Agent(network.router, "-c", write_configuration(network.directory / "xflowd.conf", collectors))


def _resolve_by_ourselves(space: Namespace, directory: Path) -> None:
    """Names are asked for at the namespace's own loopback; the mounts are the tests' own and end with them."""
    resolver = directory / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    space.run("mount", "--bind", resolver, "/etc/resolv.conf")


def _name_server(space: Namespace, answer: Path) -> Process:
    server = space.start(sys.executable, "-c", NAME_SERVER, answer)
    server.wait_for_log("serving")
    return server


def _let_pass(seconds: int) -> None:
    """The silence itself is what is observed: there is no event to wait for."""
    time.sleep(seconds)
