"""Proves that what was sent is what three collectors of one agent got, to the packet and in every field."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lab import traffic
from lab.agent import Agent, Collector, write_configuration
from lab.flow import ICMP, ICMPV6, TCP, UDP, Count, Flow, Folded, Key, disagreements, fold, total, totals
from lab.nfdump import Nfcapd
from lab.pmacct import Nfacctd
from lab.topology import LAN, LINKS, WAN, Network, router_network
from lab.wireshark import Capture, Tshark

NFCAPD, NFACCTD, SILENT = 2055, 2056, 2057
A, B = LINKS["a"], LINKS["b"]
HOSTS = {A.host4, A.host6, B.host4, B.host6}
#: Ethernet captures of whole packets: tunnels, VLAN tags, fragments, VoIP, web, discovery by multicast, IPv6.
REPLAYED = (
    "4in4tunnel.pcap",
    "6in4tunnel.pcap",
    "6in6tunnel.pcap",
    "bittorrent.pcap",
    "capwap.pcap",
    "dhcp.pcap",
    "gtp-u.pcap",
    "ja3_lots_of_cipher_suites.pcap",
    "malware.pcap",
    "mongodb.pcap",
    "skype-conference-call.pcap",
    "ssdp-m-search.pcap",
    "teredo.pcap",
    "viber.pcap",
)


@dataclass(frozen=True)
class Outcome:
    """One run of the agent: what was sent, and what each collector got."""

    protocol: str
    replayed: dict[Key, Count]
    exact: dict[Key, Count]  # of the hosts' own traffic, as ping and the SCTP sender know it
    captured: dict[Key, Count]  # of all the hosts' own traffic, as tcpdump saw it leave them
    counters: dict[int, Count]  # the same by the hosts' own counters; ifIndex where the router takes it in
    exit_code: int
    log: str
    nfcapd: Nfcapd
    nfacctd: Nfacctd
    tshark: Tshark

    def collected(self) -> dict[str, list[Flow]]:
        return {"nfdump": self.nfcapd.flows(), "pmacct": self.nfacctd.flows(), "tshark": self.tshark.flows()}

    def as_read_by(self, reader: str, sent: dict[Key, Count]) -> dict[Key, Count]:
        return {_as_read(key, self.protocol, reader): count for key, count in sent.items()}


@pytest.fixture(scope="module", params=["netflow5-tc", "netflow9-xdp", "ipfix-auto", "ipfix-xdp"])
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, captures: Path
) -> Iterator[Outcome]:
    protocol, _, hook = request.param.partition("-")
    directory = tmp_path_factory.mktemp(request.param)
    with router_network(directory, ipv6=protocol != "netflow5") as network:
        yield _run(network, protocol, hook, [captures / name for name in REPLAYED])


def test_replayed_captures_are_exported_to_the_packet(outcome: Outcome) -> None:
    for reader, flows in outcome.collected().items():
        got = totals(flow for flow in flows if not _of_the_hosts(flow))
        assert got == outcome.replayed, reader


def test_what_the_sender_knows_is_exported_to_the_packet(outcome: Outcome) -> None:
    for reader, flows in outcome.collected().items():
        got = totals(flows)
        exact = outcome.as_read_by(reader, outcome.exact)
        assert {key: got.get(key) for key in exact} == exact, reader


def test_what_left_the_hosts_is_exported_to_the_packet(outcome: Outcome) -> None:
    for reader, flows in outcome.collected().items():
        got = totals(flow for flow in flows if _of_the_hosts(flow))
        assert got == outcome.as_read_by(reader, outcome.captured), reader


def test_every_packet_that_the_hosts_counted_is_in_a_record(outcome: Outcome) -> None:
    for reader, flows in outcome.collected().items():
        for index, count in outcome.counters.items():
            got = total(flow for flow in flows if _of_the_hosts(flow) and flow.ingress_interface == index)
            assert got == count, f"{reader}, interface {index}"


def test_every_field_is_the_same_in_all_collectors(outcome: Outcome) -> None:
    collected = outcome.collected()
    assert disagreements(collected["nfdump"], collected["tshark"], clock_ms=1) == []
    whole_seconds = 1000  # pmacct 1.7.7 cuts the times of v5 and v9
    told = collected["tshark"]
    decoded = [replace(flow, key=_as_read(flow.key, outcome.protocol, "pmacct")) for flow in told]
    assert disagreements(collected["pmacct"], decoded, clock_ms=whole_seconds) == []


def test_records_name_interfaces_and_stations(outcome: Outcome) -> None:
    flows = [flow for flow in outcome.tshark.flows() if flow.key.source_address == A.host4]
    assert {(flow.ingress_interface, flow.egress_interface) for flow in flows} == {(LAN, WAN)}
    if outcome.protocol != "netflow5":
        assert {flow.source_mac_address for flow in flows} == {A.host_mac}
        assert {flow.destination_mac_address for flow in flows} == {A.router_mac}


def test_vlan_tags_are_told(outcome: Outcome, captures: Path) -> None:
    if outcome.protocol == "netflow5":
        pytest.skip("v5 has no field for them")
    tagged = traffic.capture_totals(captures / "mongodb.pcap")
    vlans = {flow.vlan_id for flow in outcome.tshark.flows() if flow.key in tagged}
    assert vlans == {50, 100, 300}


def test_a_tcp_connection_shows_its_flags(outcome: Outcome) -> None:
    connections = {
        key: folded.tcp_control_bits
        for key, folded in fold(outcome.tshark.flows()).items()
        if key.protocol_identifier == TCP and key.source_address == A.host4
    }
    assert len(connections) >= 2  # iperf3's control and its data
    fin, syn_ack = 0x01, 0x12
    assert all((bits or 0) & syn_ack == syn_ack for bits in connections.values()), connections
    assert any((bits or 0) & fin for bits in connections.values()), connections


def test_pings_show_type_and_code(outcome: Outcome) -> None:
    shown = fold(outcome.tshark.flows())
    assert _icmp(shown[Key(A.host4, B.host4, ICMP, 0, 0)]) == {8 * 256}
    if outcome.protocol != "netflow5":
        assert _icmp(shown[Key(A.host6, B.host6, ICMPV6, 0, 0)]) == {128 * 256}
        assert _icmp(shown[Key(B.host6, A.host6, ICMPV6, 0, 0)]) == {129 * 256}


def test_first_is_before_last_and_both_before_the_export(outcome: Outcome) -> None:
    assert [flow for flow in outcome.tshark.flows() if flow.flow_start_ms > flow.flow_end_ms] == []


def test_no_sequence_number_is_missing(outcome: Outcome) -> None:
    assert outcome.nfacctd.sequence_jumps() == []
    if outcome.protocol != "ipfix":  # nfdump 1.7.1 does not count options data in IPFIX
        assert outcome.nfcapd.sequence_failures() == 0


def test_no_collector_has_anything_to_say(outcome: Outcome) -> None:
    assert outcome.tshark.expert() == []
    assert outcome.nfcapd.bad_packets() == 0
    assert outcome.nfcapd.complaints() == []
    assert outcome.nfacctd.complaints() == []


def test_no_datagram_is_longer_than_the_path_carries(outcome: Outcome) -> None:
    assert max(int(datagram["octets"]) for datagram in outcome.tshark.datagrams()) <= 1400


def test_sampling_rate_is_told_when_not_sampled(outcome: Outcome) -> None:
    if outcome.protocol == "netflow5":
        assert {datagram["cflow.samplerate"] for datagram in outcome.tshark.datagrams()} == {"1"}
        return
    assert {flow.sampling_interval for flow in outcome.tshark.flows()} == {1}
    first = outcome.tshark.records()[0]
    assert "cflow.sampler_name" in first, "the sampler's options come before any flow"


def test_the_agent_ends_well(outcome: Outcome) -> None:
    assert outcome.exit_code == 0
    assert "Traceback" not in outcome.log


def _run(network: Network, protocol: str, hook: str, replayed: list[Path]) -> Outcome:
    nfcapd, nfacctd = Nfcapd(network.collector, NFCAPD), Nfacctd(network.collector, NFACCTD)
    tshark = Tshark(network.collector, SILENT, listen=True)
    ports = {"nfcapd": NFCAPD, "nfacctd": NFACCTD, "silent": SILENT}
    host = LINKS["collector"].host4
    collectors = [Collector(name, f"{host}:{port}", protocol) for name, port in ports.items()]
    configuration = write_configuration(network.directory / "xflowd.conf", collectors, hook=hook)
    agent = Agent(network.router, "-c", configuration)
    traffic.play(network.a, *replayed)
    before = network.settled()
    leaving = [Capture(host, "eth0", "ip or ip6", snaplen=128, only="out") for host in (network.a, network.b)]
    exact = _host_traffic(network, ipv6=protocol != "netflow5")
    counters = {index: _less(after, before[index]) for index, after in network.settled().items()}
    exit_code = agent.stop()
    network.collector.wait_until_read(NFCAPD, NFACCTD)
    for collector in (nfcapd, nfacctd):
        collector.stop()
    for capture in (tshark, *leaving):
        capture.stop()
    return Outcome(
        protocol,
        _sum(traffic.capture_totals(file, ipv6=protocol != "netflow5") for file in replayed),
        exact,
        _sum(traffic.capture_totals(seen.path) for seen in leaving),
        counters,
        exit_code,
        agent.log,
        nfcapd,
        nfacctd,
        tshark,
    )


def _host_traffic(network: Network, *, ipv6: bool) -> dict[Key, Count]:
    """TCP both ways, UDP, pings, SCTP. Returns what is known exactly of it."""
    traffic.tcp(network.a, network.b, B.host4, 3_000_000)
    traffic.udp(network.a, network.b, B.host4, datagrams=1000)
    asked = traffic.ping(network.a, B.host4, 7)
    key, sent = traffic.sctp(network.a, A.host4, B.host4, 5)
    exact = {Key(A.host4, B.host4, ICMP, 0, 0): asked, key: sent}
    if ipv6:
        traffic.tcp(network.b, network.a, A.host6, 1_000_000)
        asked = traffic.ping(network.a, B.host6, 9, payload=900)
        exact |= {Key(A.host6, B.host6, ICMPV6, 0, 0): asked, Key(B.host6, A.host6, ICMPV6, 0, 0): asked}
    return exact


def _as_read(key: Key, protocol: str, reader: str) -> Key:
    """pmacct reads the ports of a v5 record only when the protocol is TCP or UDP."""
    if (protocol, reader) != ("netflow5", "pmacct") or key.protocol_identifier in (TCP, UDP):
        return key
    return key._replace(source_transport_port=0, destination_transport_port=0)


def _less(after: Count, before: Count) -> Count:
    return Count(after.packets - before.packets, after.octets - before.octets)


def _icmp(folded: Folded) -> set[int | str]:
    return set(folded.distinct["icmp_type_code"] or ())


def _of_the_hosts(flow: Flow) -> bool:
    return flow.key.source_address in HOSTS


def _sum(parts: Iterator[dict[Key, Count]]) -> dict[Key, Count]:
    sums: dict[Key, Count] = {}
    for key, count in itertools.chain.from_iterable(part.items() for part in parts):
        packets, octets = sums.get(key, Count(0, 0))
        sums[key] = Count(packets + count.packets, octets + count.octets)
    return sums
