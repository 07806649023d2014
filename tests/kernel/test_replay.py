"""Every capture through the kernel program: packets and octets of each five-tuple are those that tshark reads."""

from __future__ import annotations

import ipaddress
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xflowd.config import Config, Tunnels
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
    *("icmp.type", "icmp.code", "icmpv6.type", "icmpv6.code", "ip.flags.mf", "teredo.auth"),
)
_IP = ("ip", "ipv6")
_TUNNELS = {
    "udp",
    "gre",
    "vxlan",
    "geneve",
    "gtp",
    "teredo",
    "eth",
    "ethertype",
    "vlan",
    "ipv6.hopopts",
    "ipv6.dstopts",
}
_DEPTH = 2
_TRANSPORTS = {6: "tcp", 17: "udp", 132: "sctp", 136: "udp"}
#: Between the frame and its IP header: what this version walks through.
_WALKED = {"eth", "ethertype", "vlan", "pppoes", "mpls", "chdlc", "ppp", "raw", "null", "sll", "frame"}


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_totals_of_inner_headers_are_those_of_tshark(path: Path) -> None:
    config = Config()
    replay, flows = _replayed(path, replace(config, meter=replace(config.meter, tunnels=Tunnels.INNER)))
    assert _totals(flows) == _tshark(path, inner=True)[0]
    replay.kernel.close()


@pytest.mark.skipif(not FILES, reason="the captures are not beside the project")
def test_some_captures_have_tunnels() -> None:
    assert sum(_tshark(path, inner=True) != _tshark(path) for path in FILES) >= 5


@pytest.mark.skipif(not FILES, reason="the captures are not beside the project")
def test_the_same_file_gives_the_same_flows() -> None:
    path = CAPTURES / "viber.pcap"
    (first, flows), (second, again) = _replayed(path), _replayed(path)
    np.testing.assert_array_equal(flows, again)
    first.kernel.close()
    second.kernel.close()


def _replayed(path: Path, config: Config | None = None) -> tuple[Replay, Records]:
    kept = Kept()
    replay = Replay(config or Config(), [kept])
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


def _tshark(path: Path, *, inner: bool = False) -> tuple[Totals, int]:
    """By the outermost or the innermost IP header of each packet; and how many packets have none to be reached."""
    options = [
        "-n",
        "-o",
        "ip.defragment:FALSE",
        "-o",
        "ipv6.defragment:FALSE",
        "-o",
        "tcp.desegment_tcp_streams:FALSE",
    ]
    form = ["-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,", "-E", "separator=|"]
    wanted = [word for name in _FIELDS for word in ("-e", name)]
    command = ["tshark", "-r", str(path), *options, *form, *wanted]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    totals: dict[Key, tuple[int, int]] = {}
    not_ip = 0
    for line in text.splitlines():
        row = dict(zip(_FIELDS, line.split("|"), strict=True))
        found = _packet(row, inner=inner)
        if found is None:
            not_ip += 1
            continue
        key, octets = found
        before = totals.get(key, (0, 0))
        totals[key] = (before[0] + 1, before[1] + octets)
    return totals, not_ip


def _packet(row: dict[str, str], *, inner: bool) -> tuple[Key, int] | None:
    layers = row["frame.protocols"].split(":")
    place = next((place for place, layer in enumerate(layers) if layer in _IP), None)
    if place is None or not set(layers[:place]) <= _WALKED:
        return None
    found = _read(row, layers, place)
    for _ in range(_DEPTH if inner else 0):
        place = _inside(row, layers, place)
        if place is None:
            break
        found = _read(row, layers, place)
    return found


def _inside(row: dict[str, str], layers: list[str], place: int) -> int | None:
    """The next IP header that a tunnel carries; None where this is none, or a fragment of one."""
    if _is_fragment(row, layers, place) or row["teredo.auth"]:
        return None
    between = place + 1
    while between < len(layers) and layers[between] in _TUNNELS:
        between += 1
    if between == len(layers) or layers[between] not in _IP:
        return None
    return None if layers[between - 1] == "udp" else between


def _nth(row: dict[str, str], field: str, layers: list[str], place: int, *names: str) -> str:
    """The value that belongs to the layer there: as many layers of these names as come before it have each theirs."""
    values = row[field].split(",")
    before = sum(layer in names for layer in layers[:place])
    return values[before] if before < len(values) else ""


def _is_fragment(row: dict[str, str], layers: list[str], place: int) -> bool:
    if layers[place] == "ipv6":
        return "ipv6.fraghdr" in layers[place:]
    offset, more = (_nth(row, field, layers, place, "ip") for field in ("ip.frag_offset", "ip.flags.mf"))
    return offset != "0" or more in ("1", "True")


def _read(row: dict[str, str], layers: list[str], place: int) -> tuple[Key, int]:
    name = layers[place]
    ends = [_nth(row, f"{name}.{end}", layers, place, name) for end in ("src", "dst")]
    if name == "ip":
        protocol, octets = (int(_nth(row, field, layers, place, "ip")) for field in ("ip.proto", "ip.len"))
        offset = _nth(row, "ip.frag_offset", layers, place, "ip")
    else:
        protocol, octets = int(_nth(row, "ipv6.nxt", layers, place, name)), 40
        octets += int(_nth(row, "ipv6.plen", layers, place, name))
        for layer in layers[place + 1 :]:
            if not layer.startswith("ipv6."):
                break
            protocol = int(row[f"{layer}.nxt"].split(",")[-1])
        offset = row["ipv6.fraghdr.offset"]
    ports, icmp = (0, 0), 0
    if not int(offset or 0):
        ports, icmp = _transport(row, layers, place, protocol)
    return (*ends, protocol, *ports, icmp), octets  # type: ignore[return-value]


def _transport(row: dict[str, str], layers: list[str], place: int, protocol: int) -> tuple[tuple[int, int], int]:
    layer = _TRANSPORTS.get(protocol)
    if layer:
        source, destination = (_nth(row, f"{layer}.{end}port", layers, place, layer) for end in ("src", "dst"))
        return (int(source or 0), int(destination or 0)), 0
    icmp = {1: "icmp", 58: "icmpv6"}.get(protocol)
    if icmp is None:
        return (0, 0), 0
    kind, code = (int(_nth(row, f"{icmp}.{field}", layers, place, icmp)) for field in ("type", "code"))
    return (0, 0), kind * 256 + code
