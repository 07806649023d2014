"""Proves that a real agent tells what a template chooses as the wire had it, and that collectors read the same."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import traffic
from lab.agent import COMMAND, Agent, Collector, write_configuration, xflowd
from lab.flow import ICMP, ICMPV6, TCP
from lab.nfdump import Nfcapd
from lab.pmacct import Nfacctd
from lab.process import wait_until
from lab.topology import LINKS, Network, router_network
from lab.wireshark import Capture, Tshark
from xflowd.exporting.catalogue import OFFERED

NFCAPD, NFACCTD, SILENT = 2055, 2056, 2057
A, B = LINKS["a"], LINKS["b"]
LABEL = 0xABCDE

#: Element → tshark's field of a record, how records of one flow go together, and of a packet what it is made of.
CHOSEN = {
    "minimumTTL": ("ttl_min", min, "ttl"),
    "maximumTTL": ("ttl_max", max, "ttl"),
    "minimumIpTotalLength": ("length_min", min, "length"),
    "maximumIpTotalLength": ("length_max", max, "length"),
    "tcpSynTotalCount": ("total_tcp_syn", sum, "syn"),
    "tcpFinTotalCount": ("total_tcp_fin", sum, "fin"),
    "tcpRstTotalCount": ("total_tcp_rst", sum, "rst"),
    "tcpPshTotalCount": ("total_tcp_psh", sum, "psh"),
    "tcpAckTotalCount": ("total_tcp_ack", sum, "ack"),
    "tcpUrgTotalCount": ("total_tcp_urg", sum, "urg"),
}
ELEMENTS = ["default", *CHOSEN, "flowLabelIPv6", "interfaceName", "flowDurationMilliseconds", "tcpWindowSize"]
ELEMENTS += ["tcpWindowScale", "fragmentFlags", "ipv6ExtensionHeaders", "tcpOptions"]
#: What tshark is asked for of each packet on the wire.
_PACKET = {"ttl": ("ip.ttl", "ipv6.hlim"), "length": ("ip.len", "ipv6.plen")}
_PACKET |= {flag: (f"tcp.flags.{name}",) for flag, name in zip(
    ("syn", "fin", "rst", "psh", "ack", "urg"), ("syn", "fin", "reset", "push", "ack", "urg"), strict=True
)}  # fmt: skip
_ENDS = ("ip.src", "ipv6.src", "ip.dst", "ipv6.dst", "ip.proto", "ipv6.nxt", "tcp.srcport", "tcp.dstport")

Key = tuple[str, str, int, int, int]
Values = dict[str, int]


@dataclass(frozen=True)
class Outcome:
    """What left host a, packet by packet, and what each collector got."""

    protocol: str
    wire: dict[Key, list[dict[str, int]]]
    tshark: Tshark
    nfacctd: Nfacctd
    nfcapd: Nfcapd
    log: str


@pytest.fixture(scope="module", params=["netflow9", "ipfix"])
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    with router_network(tmp_path_factory.mktemp(request.param)) as network:
        yield _run(network, request.param)


def _run(network: Network, protocol: str) -> Outcome:
    numbers = {OFFERED[name].element.number: (OFFERED[name].octets, "u_int") for name in CHOSEN}
    nfcapd, nfacctd = Nfcapd(network.collector, NFCAPD), Nfacctd(network.collector, NFACCTD, elements=numbers)
    tshark = Tshark(network.collector, SILENT, listen=True)
    collectors = [
        Collector(f"c{port}", f"{LINKS['collector'].host4}:{port}", protocol, template="wide")
        for port in (NFCAPD, NFACCTD, SILENT)
    ]
    templates = {"wide": ", ".join(ELEMENTS)}
    agent = Agent(
        network.router, "-c", write_configuration(network.directory / "x.conf", collectors, templates=templates)
    )
    leaving = Capture(network.a, "eth0", "ip or ip6", only="out")
    traffic.tcp(network.a, network.b, B.host4, 300_000)
    traffic.tcp(network.a, network.b, B.host6, 300_000)
    for ttl, size in ((33, 100), (64, 1000)):
        network.a.run("ping", "-q", "-n", "-c", "3", "-i", "0.02", "-t", str(ttl), "-s", str(size), B.host4)
    network.a.run("ping", "-6", "-q", "-n", "-c", "3", "-i", "0.02", "-F", hex(LABEL), B.host6)
    network.settled()
    assert agent.stop() == 0
    network.collector.wait_until_read(NFCAPD, NFACCTD)
    for each in (nfcapd, nfacctd, tshark, leaving):
        each.stop()
    return Outcome(protocol, _packets(leaving.path), tshark, nfacctd, nfcapd, agent.log)


def test_extremes_and_counts_are_those_of_the_packets(outcome: Outcome) -> None:
    expected = {key: _folded_packets(packets) for key, packets in outcome.wire.items()}
    assert len(expected) >= 6  # two connections of each iperf3, two kinds of ping
    told = _folded([(_key(record), _numbers(record)) for record in _records(outcome)])
    assert {key: told.get(key) for key in expected} == expected


def test_pmacct_reads_the_same(outcome: Outcome) -> None:
    rows = [(_pmacct_key(record), _pmacct_numbers(record)) for record in outcome.nfacctd.records()]
    told = _folded([(_key(record), _numbers(record)) for record in _records(outcome)])
    got = _folded(rows)
    assert {key: got.get(key) for key in outcome.wire} == {key: told[key] for key in outcome.wire}
    assert outcome.nfacctd.complaints() == []


def test_nfdump_stores_every_packet_and_skips_what_it_does_not_know(outcome: Outcome) -> None:
    assert outcome.nfcapd.complaints() == []
    assert outcome.nfcapd.bad_packets() == 0
    stored = sum(flow.packet_delta_count for flow in outcome.nfcapd.flows())
    assert stored == sum(int(record["cflow.packets"]) for record in _records(outcome))


def test_the_first_syn_is_told(outcome: Outcome) -> None:
    for key, packets in outcome.wire.items():
        if key[2] != TCP:
            continue
        records = [record for record in _records(outcome) if _key(record) == key]
        first = min(
            records,
            key=lambda record: record["cflow.abstimestart" if "cflow.abstimestart" in record else "cflow.timestart"],
        )
        (syn,) = [packet for packet in packets if packet["syn"]]
        assert int(first["cflow.tcp_windows_size"]) == syn["window"]
        assert int(first["cflow.tcp_window_scale"]) == syn["scale"]
        first_octet = int(first["cflow.tcp_option_map"].split(":")[0], 16)  # kinds 7 to 0, in this order
        assert first_octet & 0b11100 == 0b11100  # MSS, window scale, SACK permitted


def test_labels_names_and_durations(outcome: Outcome) -> None:
    from_a = [record for record in _records(outcome) if _key(record)[0] in (A.host4, A.host6)]
    assert {record["cflow.if_name"] for record in from_a} == {"lan"}
    labels = {
        record["cflow.ipv6flowlabel"] for record in from_a if _key(record)[2] == ICMPV6 and _key(record)[1] == B.host6
    }
    assert labels == {str(LABEL)}
    assert all("cflow.ipv6flowlabel" not in record for record in from_a if "cflow.srcaddr" in record)
    for record in from_a:
        if "cflow.timestart" in record:
            lasted = float(record["cflow.timeend"]) - float(record["cflow.timestart"])
            assert lasted == pytest.approx(float(record["cflow.timedelta"]), abs=1e-6)


def test_nobody_has_anything_to_say(outcome: Outcome) -> None:
    assert outcome.tshark.expert() == []
    assert "Traceback" not in outcome.log
    assert "not exported" not in outcome.log


def test_a_template_that_changes_has_another_number_and_no_flow_is_lost(network: Network) -> None:
    tshark = Tshark(network.collector, SILENT, listen=True)
    path = network.directory / "x.conf"
    collector = Collector("one", f"{LINKS['collector'].host4}:{SILENT}", "ipfix", template="t")
    templates = ({"t": "default, maximumTTL"}, {"t": "default, maximumTTL, tcpSynTotalCount"}, {"t": "default"})
    write_configuration(path, [collector], templates=templates[0])
    agent = Agent(network.router, "-c", path)
    for number, each in enumerate(templates):
        if number:
            write_configuration(path, [collector], templates=each)
            _read_again(agent)
        before = _exported(network)
        traffic.ping(network.a, B.host4, 10)
        wait_until(lambda before=before: _exported(network) >= before + 2, "both flows are exported")
    assert agent.stop() == 0
    tshark.stop()
    assert tshark.expert() == []
    asked = [flow for flow in tshark.flows() if flow.key.source_address == A.host4]
    assert sum(flow.packet_delta_count for flow in asked) == 30
    sequences = [int(datagram["cflow.sequence"]) for datagram in tshark.datagrams()]
    assert sequences == sorted(sequences)
    records = [record for record in tshark.records() if "cflow.packets" in record]
    forms = {("cflow.ttl_max" in record, "cflow.total_tcp_syn" in record) for record in records}
    assert forms == {(True, False), (True, True), (False, False)}


def test_a_key_of_names(network: Network) -> None:
    """All that a host gets by one protocol is one flow, and what is not in the key is 0."""
    tshark = Tshark(network.collector, SILENT, listen=True)
    collector = Collector("one", f"{LINKS['collector'].host4}:{SILENT}", "ipfix")
    settings = {"key": "destinationIPv4Address, protocolIdentifier", "active_timeout": 60, "idle_timeout": 60}
    agent = Agent(network.router, "-c", write_configuration(network.directory / "x.conf", [collector], **settings))
    traffic.tcp(network.a, network.b, B.host4, 100_000)
    asked = traffic.ping(network.a, B.host4, 5)
    leaving = network.settled()
    assert leaving
    assert agent.stop() == 0
    tshark.stop()
    flows = [flow for flow in tshark.flows() if flow.key.destination_address in (A.host4, B.host4)]
    assert {flow.key[:1] + flow.key[3:] for flow in flows} == {("0.0.0.0", 0, 0)}
    assert sorted((flow.key.destination_address, flow.key.protocol_identifier) for flow in flows) == sorted(
        (host, protocol) for host in (A.host4, B.host4) for protocol in (ICMP, TCP)
    )
    pings = [flow for flow in flows if flow.key.protocol_identifier == ICMP]
    assert [(flow.packet_delta_count, flow.octet_delta_count) for flow in pings] == [asked] * 2
    assert {flow.icmp_type_code for flow in pings} == {0}
    assert {flow.egress_interface for flow in flows} == {A.index, B.index}


def test_check_tells_doubts_and_is_content(tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    collector = Collector("one", "192.0.2.1:2055", "ipfix", template="few")
    write_configuration(path, [collector], templates={"few": "octetDeltaCount"}, interfaces="lo")
    done = xflowd("check", "-c", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "warning: [template few] elements: without packetDeltaCount and octetDeltaCount" in done.stdout


def test_replay_prints_what_is_chosen(captures: Path) -> None:
    """Label 18, traffic class 6, bottom of the stack; the packet may not be fragmented."""
    elements = "packetDeltaCount,ipVersion,mplsTopLabelStackSection,mplsLabelStackDepth,fragmentFlags,tcpAckTotalCount"
    done = xflowd("replay", captures / "BGP_redist.pcap", "-k", "proto", "-e", elements, "--format", "json")
    assert done.returncode == 0, done.stderr
    flows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {tuple(flow) for flow in flows} == {tuple(elements.split(","))}
    (labelled,) = [flow for flow in flows if flow["mplsLabelStackDepth"]]
    assert labelled["mplsTopLabelStackSection"] == f"{18 << 4 | 6 << 1 | 1:06x}"
    assert (labelled["fragmentFlags"], labelled["tcpAckTotalCount"]) == (0x40, 1)


def test_replay_prints_a_column_for_each_element(captures: Path) -> None:
    """Also without --format json: the table for people has the usual columns only where nothing is chosen."""
    elements = ["sourceIPv4Address", "packetDeltaCount", "minimumTTL"]
    done = xflowd("replay", captures / "ajp.pcap", "-k", "ip", "-e", ",".join(elements))
    assert done.returncode == 0, done.stderr
    head, *flows = [line.split() for line in done.stdout.splitlines()]
    assert head == elements
    assert sorted(flows) == [["172.29.9.146", "14", "64"], ["172.29.9.147", "12", "64"]]


def test_replay_tells_autonomous_systems(captures: Path, tmp_path: Path) -> None:
    """From the file of as_table; without the file it does not begin."""
    path, systems = tmp_path / "x.conf", tmp_path / "as.txt"
    path.write_text(f"[meter]\nas_table = {systems}\n")
    arguments = ("replay", captures / "ajp.pcap", "-c", path, "-e", "bgpSourceAsNumber", "-k", "ip", "--format", "json")
    done = xflowd(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"xflowd: [meter] as_table: {systems}: No such file or directory" in done.stderr
    systems.write_text("172.29.9.146/32 64496\n")
    flows = [json.loads(line)["bgpSourceAsNumber"] for line in xflowd(*arguments).stdout.splitlines()]
    assert sorted(flows) == [0, 64496]


def test_replay_tells_the_tunnel_that_it_opens(captures: Path, tmp_path: Path) -> None:
    """102 pings of 84 octets in GTP-U, all of endpoint 1."""
    elements = "ipVersion,protocolIdentifier,packetDeltaCount,octetDeltaCount,gtpuTEid,greKey,layer2SegmentId"
    flows = _replayed_inside(captures / "gtp-u.pcap", elements, tmp_path)
    assert [tuple(flow.values()) for flow in flows] == [(4, ICMP, 51, 51 * 84, 1, 0, 0)] * 2


def test_replay_tells_the_ends_of_the_tunnel(captures: Path, tmp_path: Path) -> None:
    elements = "sourceIPv4Address,destinationIPv4Address,outer:sourceIPv4Address,outer:destinationIPv4Address"
    flows = _replayed_inside(captures / "6in4tunnel.pcap", elements, tmp_path)
    seen = _tshark_ways(captures / "6in4tunnel.pcap")
    assert seen
    assert {tuple(flow.values()) for flow in flows if "outer:sourceIPv4Address" in flow} == seen


def _replayed_inside(capture: Path, elements: str, directory: Path) -> list[dict[str, Any]]:
    """The flows within the tunnels of a capture."""
    path = directory / "x.conf"
    path.write_text("[meter]\ntunnels = inner\n")
    done = xflowd("replay", capture, "-c", path, "-e", elements, "--format", "json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-e", "default,ttl"), "xflowd: --elements default,ttl: 'ttl' is no element"),
        (("-k", "ip,tcp"), "xflowd: --key ip,tcp: 'tcp' is not known"),
        (
            ("-n", "192.0.2.1", "-v", "5", "-e", "default"),
            "xflowd: --elements default: netflow5 has one form of record",
        ),
    ],
)
def test_wrong_choices_are_two_and_a_line(arguments: tuple[str, ...], told: str) -> None:
    done = xflowd("replay", "/nonexistent/capture.pcap", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(told)


def _tshark_ways(path: Path) -> set[tuple[str, ...]]:
    """Outer and inner ends of each packet of IPv6 in IPv4; behind a comma it has those that an ICMP error quotes."""
    fields = [part for name in ("ip.src", "ip.dst", "ipv6.src", "ipv6.dst") for part in ("-e", name)]
    command = ["tshark", "-n", "-r", str(path), "-Y", "ip.proto == 41", "-T", "fields", *fields]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return {tuple(ends.partition(",")[0] for ends in line.split("\t")) for line in told.splitlines()}


def _read_again(agent: Agent) -> None:
    before = agent.log.count("configuration read again")
    agent.hang_up()
    wait_until(lambda: agent.log.count("configuration read again") > before, "the configuration is read again")


def _exported(network: Network) -> int:
    """Flows that the one collector has been sent."""
    status = json.loads(network.router.run(*COMMAND, "status", "--json"))
    return int(status["collectors"][0]["flows_exported"])


def _records(outcome: Outcome) -> list[dict[str, str]]:
    return [record for record in outcome.tshark.records() if "cflow.packets" in record]


def _key(record: dict[str, str]) -> Key:
    ends = [record.get(f"cflow.{end}addr") or record[f"cflow.{end}addrv6"] for end in ("src", "dst")]
    ports = [int(record[f"cflow.{end}port"]) for end in ("src", "dst")]
    return ends[0], ends[1], int(record["cflow.protocol"]), ports[0], ports[1]


def _numbers(record: dict[str, str]) -> Values:
    return {name: int(record[f"cflow.{shown}"]) for name, (shown, _, _) in CHOSEN.items()}


def _pmacct_key(record: dict[str, Any]) -> Key:
    return record["ip_src"], record["ip_dst"], int(record["ip_proto"]), record["port_src"], record["port_dst"]


def _pmacct_numbers(record: dict[str, Any]) -> Values:
    return {name: int(record[f"x{OFFERED[name].element.number}"]) for name in CHOSEN}


def _folded(rows: list[tuple[Key, Values]]) -> dict[Key, Values]:
    """All records of a flow in one."""
    groups: dict[Key, list[Values]] = defaultdict(list)
    for key, values in rows:
        groups[key].append(values)
    return {
        key: {name: fold(values[name] for values in members) for name, (_, fold, _) in CHOSEN.items()}
        for key, members in groups.items()
    }


def _folded_packets(packets: list[dict[str, int]]) -> Values:
    return {name: fold(packet[part] for packet in packets) for name, (_, fold, part) in CHOSEN.items()}


def _packets(path: Path) -> dict[Key, list[dict[str, int]]]:
    """Each packet of a capture by its flow."""
    names = [*_ENDS, *(name for names in _PACKET.values() for name in names)]
    names += ["tcp.window_size_value", "tcp.options.wscale.shift"]
    wanted = [word for name in names for word in ("-e", name)]
    form = ["-T", "fields", "-E", "occurrence=f", "-E", "separator=|"]
    command = ["tshark", "-n", "-r", str(path), *form, *wanted]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found: dict[Key, list[dict[str, int]]] = defaultdict(list)
    for line in text.splitlines():
        row = dict(zip(names, line.split("|"), strict=True))
        protocol = int(row["ip.proto"] or row["ipv6.nxt"])
        if protocol not in (TCP, ICMP, ICMPV6):
            continue  # hop-by-hop options of multicast listeners
        key = (row["ip.src"] or row["ipv6.src"], row["ip.dst"] or row["ipv6.dst"], protocol)
        ports = (int(row["tcp.srcport"] or 0), int(row["tcp.dstport"] or 0))
        values = {part: _number(row, names) for part, names in _PACKET.items()}
        values["length"] += 0 if row["ip.len"] else 40
        values |= {"window": int(row["tcp.window_size_value"] or 0), "scale": int(row["tcp.options.wscale.shift"] or 0)}
        found[(*key, *ports)].append(values)
    return dict(found)


def _number(row: dict[str, str], names: tuple[str, ...]) -> int:
    return int(next((row[name] for name in names if row[name]), "0"), 0)
