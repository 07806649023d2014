"""Proves that collectors do not depend on one another, and that exporting does not feed itself."""

from __future__ import annotations

import time

from lab import traffic
from lab.agent import Agent, Collector, write_configuration
from lab.flow import ICMP, Key, totals
from lab.nfdump import Nfcapd
from lab.topology import LINKS, Network
from lab.wireshark import Tshark

PORT, CLOSED = 2055, 2999
A, B, C = LINKS["a"], LINKS["b"], LINKS["collector"]
PING = Key(A.host4, B.host4, ICMP, 0, 0)


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


def _let_pass(seconds: int) -> None:
    """The silence itself is what is observed: there is no event to wait for."""
    time.sleep(seconds)
