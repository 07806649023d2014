"""Every capture through the kernel program: packets and octets of each five-tuple are those that tshark reads."""

from __future__ import annotations

import ipaddress
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from xflowd.config import Config
from xflowd.edge.capture import packets
from xflowd.metering.instant import Instant
from xflowd.metering.table import Records
from xflowd.replay import Replay

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
FILES = sorted(path for path in CAPTURES.glob("*.pcap*")) if CAPTURES.is_dir() else []

#: Source, destination, protocol, source port, destination port, ICMP type * 256 + code.
Key = tuple[str, str, int, int, int, int]
Totals = dict[Key, tuple[int, int]]

_NEXT_HEADERS = ("ipv6.nxt", "ipv6.hopopts.nxt", "ipv6.routing.nxt", "ipv6.dstopts.nxt", "ipv6.fraghdr.nxt")
_FIELDS = (
    *("frame.protocols", "ip.version", "ipv6.version", "ip.src", "ip.dst", "ip.proto", "ip.len", "ip.frag_offset"),
    *("ipv6.src", "ipv6.dst", "ipv6.plen", "ipv6.fraghdr.offset", *_NEXT_HEADERS),
    *("tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport", "sctp.srcport", "sctp.dstport"),
    *("icmp.type", "icmp.code", "icmpv6.type", "icmpv6.code"),
)
_TRANSPORTS = {6: "tcp", 17: "udp", 132: "sctp", 136: "udp"}
#: Between the frame and its IP header: what this version walks through.
_WALKED = {"eth", "ethertype", "vlan", "chdlc", "ppp", "raw", "null", "sll", "frame"}


class Kept:
    """A sink that keeps all it is given."""

    portion = 8192

    def __init__(self) -> None:
        self.flows: list[Records] = []

    def take(self, ended: Records, now: Instant) -> None:
        assert (ended["flow_start_ns"] <= ended["flow_end_ns"]).all()
        assert (ended["flow_end_ns"] <= now.monotonic_ns).all()
        self.flows.append(ended)

    def commit(self) -> None:
        """Nothing is pending."""

    def rollback(self) -> None:
        raise AssertionError("no transaction of these fails")

    def due(self, now: Instant) -> bool:
        return False


@pytest.mark.skipif(not FILES, reason="the captures are not beside the project")
def test_the_captures_are_all_here() -> None:
    assert len(FILES) == 46


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_totals_are_those_of_tshark(path: Path) -> None:
    replay, flows = _replayed(path)
    expected, not_ip = _tshark(path)
    assert _totals(flows) == expected
    outcomes = {name: int(count.sum()) for name, count in replay.kernel.outcomes().items()}
    assert outcomes["PACKETS_NOT_IP"] + sum(replay.skipped.values()) == not_ip
    assert outcomes["PACKETS_SEEN"] == replay.read - sum(replay.skipped.values())
    assert outcomes["PACKETS_SEEN"] == int(flows["packet_delta_count"].sum()) + outcomes["PACKETS_NOT_IP"]
    replay.kernel.close()


@pytest.mark.skipif(not FILES, reason="the captures are not beside the project")
def test_the_same_file_gives_the_same_flows() -> None:
    path = CAPTURES / "viber.pcap"
    (first, flows), (second, again) = _replayed(path), _replayed(path)
    np.testing.assert_array_equal(flows, again)
    first.kernel.close()
    second.kernel.close()


def _replayed(path: Path) -> tuple[Replay, Records]:
    kept = Kept()
    replay = Replay(Config(), [kept])
    for packet in packets(str(path)):
        replay.feed(packet)
    replay.finish()
    return replay, np.concatenate(kept.flows)


def _totals(flows: Records) -> Totals:
    sums: Counter[tuple[Key, str]] = Counter()
    for flow in flows:
        octets = 4 if flow["ip_version"] == 4 else 16
        ends = [
            str(ipaddress.ip_address(flow[f"{end}_address"][:octets].tobytes())) for end in ("source", "destination")
        ]
        ports = [int(flow[f"{end}_transport_port"]) for end in ("source", "destination")]
        key = (ends[0], ends[1], int(flow["protocol_identifier"]), ports[0], ports[1], int(flow["icmp_type_code"]))
        sums[key, "packets"] += int(flow["packet_delta_count"])
        sums[key, "octets"] += int(flow["octet_delta_count"])
    return {key: (sums[key, "packets"], sums[key, "octets"]) for key, _ in sums}


def _tshark(path: Path) -> tuple[Totals, int]:
    """By the outermost IP header of each packet; and how many packets have none that is to be reached."""
    options = [
        "-n",
        "-o",
        "ip.defragment:FALSE",
        "-o",
        "ipv6.defragment:FALSE",
        "-o",
        "tcp.desegment_tcp_streams:FALSE",
    ]
    form = ["-T", "fields", "-E", "occurrence=f", "-E", "separator=|"]
    wanted = [word for name in _FIELDS for word in ("-e", name)]
    command = ["tshark", "-r", str(path), *options, *form, *wanted]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    totals: dict[Key, tuple[int, int]] = {}
    not_ip = 0
    for line in text.splitlines():
        row = dict(zip(_FIELDS, line.split("|"), strict=True))
        found = _packet(row)
        if found is None:
            not_ip += 1
            continue
        key, octets = found
        before = totals.get(key, (0, 0))
        totals[key] = (before[0] + 1, before[1] + octets)
    return totals, not_ip


def _packet(row: dict[str, str]) -> tuple[Key, int] | None:
    layers = row["frame.protocols"].split(":")
    outer = next((place for place, layer in enumerate(layers) if layer in ("ip", "ipv6")), None)
    if outer is None or not set(layers[:outer]) <= _WALKED:
        return None
    version = 4 if layers[outer] == "ip" else 6
    name = "ip" if version == 4 else "ipv6"
    protocol = int(row["ip.proto"]) if version == 4 else int([row[field] for field in _NEXT_HEADERS if row[field]][-1])
    octets = int(row["ip.len"]) if version == 4 else int(row["ipv6.plen"]) + 40
    offset = row["ip.frag_offset"] if version == 4 else row["ipv6.fraghdr.offset"]
    ports, icmp = (0, 0), 0
    if not int(offset or 0):
        ports, icmp = _transport(row, protocol)
    return (row[f"{name}.src"], row[f"{name}.dst"], protocol, *ports, icmp), octets


def _transport(row: dict[str, str], protocol: int) -> tuple[tuple[int, int], int]:
    layer = _TRANSPORTS.get(protocol)
    if layer:
        return (int(row[f"{layer}.srcport"] or 0), int(row[f"{layer}.dstport"] or 0)), 0
    icmp = {1: "icmp", 58: "icmpv6"}.get(protocol)
    return (0, 0), int(row[f"{icmp}.type"]) * 256 + int(row[f"{icmp}.code"]) if icmp else 0
