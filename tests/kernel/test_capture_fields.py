"""Proves that of every capture, and of a bank of tunnels and labels, each field of each flow is what tshark reads.

Outer and inner headers, with packets, octets and all details: TTL and class, VLANs, flow label, MPLS labels,
fragments, options, TCP flags, windows and counts.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel.frames import DOT1AD, DOT1Q, IPV6, MPLS, PPP_MPLS, PPPOE, TCP, UDP, ethernet, ipv6, mpls, pppoe, tcp, udp
from kernel.inner import INSIDE
from kernel.packets import ENCAPSULATIONS, IPV4_PACKETS, IPV6_PACKETS, LINK_LAYER, Flow
from kernel.test_details import CASES
from kernel.test_replay import FILES, Kept
from lab.dissected import Packet, dissect
from xflowd.config import Config, Tunnels
from xflowd.edge.capture import packets
from xflowd.exporting.catalogue import OFFERED
from xflowd.metering.flow import DETAIL_NAMES
from xflowd.metering.table import Records
from xflowd.replay import Replay

Columns = dict[str, Any]
_WITH_TUNNELS = {"4in4tunnel", "6in4tunnel", "6in6tunnel", "gtp-u", "teredo"}
_TCP_COUNTS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32}
_SYN = 2
#: IANA 64: bits of the extension headers, by tshark's layers; of fragments the first has another one than the rest.
_EXTENSIONS = {"ipv6.dstopts": 1 << 31, "ipv6.hopopts": 1 << 30, "ipv6.routing": 1 << 26, "ah": 1 << 17}
_FIRST_FRAGMENT, _LATER_FRAGMENT = 1 << 27, 1 << 25
_OTHERS = {50: 1 << 18, 135: 1 << 19}  # ESP and Mobility, which are protocols to the meter
#: The meter goes no further than eight extension headers, and replay gives it 2,048 octets of a frame; of a payload
#: length of 0, and of the options of an experiment, tshark reads less.
_ELSEWHERE = {"nine extension headers", "payload length 0, other options", "payload length 0"}
_EXPERIMENTS = {
    "an option of another class is not it",
    "an experiment is one in each class",
    "an experiment behind 39 octets",
}
_LONGEST_FRAME = 2000
_BITS = ("tcp_control_bits", "tcp_options", "ipv4_options", "ipv6_extension_headers")
_TUNNEL = {"layer2_segment_id", "gre_key", "gtpu_teid"}  # test_details.py; outer addresses: test_inner.py
_NAMES = [name for name in DETAIL_NAMES if name not in _TUNNEL and not name.startswith("outer_")] + [
    "packet_delta_count", "octet_delta_count", "minimum_ttl", "maximum_ttl", "minimum_ip_total_length",
    "maximum_ip_total_length", "ip_class_of_service", "flow_label_ipv6", "tcp_control_bits", "vlan_id",
    "dot1q_customer_vlan_id",
]  # fmt: skip


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of the packets that other tests tell the flows of by hand."""
    path = tmp_path_factory.mktemp("bank") / "bank.pcap"
    known = [packet.frame for packet in _whole()] + [packet.frame for packet in INSIDE]
    frames = [*known, *_of_details(), *_more()]
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    records = (struct.pack("<IIII", 1, number, len(frame), len(frame)) + frame for number, frame in enumerate(frames))
    path.write_bytes(header + b"".join(records))
    return path


def _whole() -> Iterator[Any]:
    """What tshark reads to its end: no packet that is cut off or claims octets that are not there."""
    for packet in (*LINK_LAYER, *ENCAPSULATIONS, *IPV4_PACKETS, *IPV6_PACKETS):
        expected = packet.expected
        whole = isinstance(expected, Flow) and expected.octets <= len(packet.network) <= _LONGEST_FRAME
        if whole and packet.name not in _ELSEWHERE:
            yield packet


def _of_details() -> Iterator[bytes]:
    for name, frames, _ in CASES:
        if name not in _EXPERIMENTS:
            yield from frames


def _more() -> Iterator[bytes]:
    """Labels and tags of several packets of one flow: the first's count."""
    tagged = ethernet(PPPOE, (DOT1AD, 300), (DOT1Q, 301))
    for labels in ((20, 21, 22, 23), (24,)):
        yield tagged + pppoe(PPP_MPLS, mpls(*labels) + ipv6(UDP, udp(7, 8, bytes(20)), hop_limit=labels[0]))
    for flags, limit in ((2, 64), (0x12, 63), (0x11, 70)):
        yield ethernet(MPLS) + mpls(30) + ipv6(TCP, tcp(9, 10, flags), hop_limit=limit, traffic_class=limit)
    yield ethernet(IPV6) + ipv6(UDP, udp(11, 12, bytes(8)), label=0xABCDE)


@pytest.mark.parametrize("tunnels", list(Tunnels))
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)  # a file's two runs come one behind the other
def test_fields_are_those_of_tshark(path: Path, tunnels: Tunnels) -> None:
    _compare(path, tunnels)


@pytest.mark.parametrize("tunnels", list(Tunnels))
def test_fields_of_the_bank_are_those_of_tshark(bank: Path, tunnels: Tunnels) -> None:
    flows = _compare(bank, tunnels)
    for name in _NAMES:
        assert any(flow[name] for flow in flows.values()), f"no packet of the bank has {name}"


@pytest.mark.skipif(not FILES, reason="the captures are not beside the project")
def test_some_captures_have_tunnels() -> None:
    tunnelled = [path for path in FILES if path.stem in _WITH_TUNNELS]
    assert all(_read(dissect(path)).keys() != _read(dissect(path, inner=True)).keys() for path in tunnelled)
    assert len(tunnelled) == len(_WITH_TUNNELS)


def _compare(path: Path, tunnels: Tunnels) -> dict[Any, Columns]:
    found = _by_key(_replayed(path, tunnels))
    wanted = _read(dissect(path, inner=tunnels is Tunnels.INNER))
    assert found.keys() == wanted.keys()
    wrong = [
        f"{key} {name}: {found[key][name]:#x}, tshark {columns[name]:#x}"
        for key, columns in wanted.items()
        for name in _NAMES
        if found[key][name] != columns[name]
    ]
    assert not wrong, "\n".join(wrong)
    return found


def _replayed(path: Path, tunnels: Tunnels) -> Records:
    config, kept = Config(), Kept()
    meter = replace(config.meter, tunnels=tunnels)
    replay = Replay(replace(config, meter=meter, elements=tuple(OFFERED)), [kept])
    with closing(replay.kernel):
        for packet in packets(str(path)):
            replay.feed(packet)
        replay.finish()
    return np.concatenate(kept.flows)


def _by_key(flows: Records) -> dict[Any, Columns]:
    found: dict[Any, Columns] = {}
    for flow in flows[np.argsort(flows["flow_start_ns"], kind="stable")]:
        octets = 4 if flow["ip_version"] == 4 else 16
        ends = [
            str(ipaddress.ip_address(flow[f"{end}_address"][:octets].tobytes())) for end in ("source", "destination")
        ]
        ports = [int(flow[f"{end}_transport_port"]) for end in ("source", "destination")]
        columns = {name: int(flow[name]) for name in _NAMES}
        key = (*ends, int(flow["protocol_identifier"]), *ports, int(flow["icmp_type_code"]))
        tags = columns["vlan_id"], columns["dot1q_customer_vlan_id"]
        found[key, tags] = _joined(found[key, tags], columns) if (key, tags) in found else columns
    return found


def _joined(one: Columns, later: Columns) -> Columns:
    """Of a flow that came in parts: after a timeout, or behind the end of its connection."""
    both = dict(one)
    for name in _NAMES:
        if name.endswith("_count"):
            both[name] = one[name] + later[name]
        elif name in _BITS:
            both[name] = one[name] | later[name]
        elif name.startswith(("minimum_", "maximum_")):
            both[name] = min(one[name], later[name]) if name.startswith("min") else max(one[name], later[name])
    if not one["tcp_control_bits"] & _SYN:
        both |= {name: later[name] for name in ("tcp_window_size", "tcp_window_scale")}
    return both


def _read(dissected: Iterable[Packet | None]) -> dict[Any, Columns]:
    flows: dict[Any, Columns] = {}
    for packet in dissected:
        if packet is None:
            continue
        tags = packet.tags()
        key = packet.key, tags
        if key not in flows:
            flows[key] = _first(packet) | {"vlan_id": tags[0], "dot1q_customer_vlan_id": tags[1]}
        _add(flows[key], packet)
    return flows


def _first(packet: Packet) -> Columns:
    """What is the first packet's, and zeros for what packets add up to."""
    columns = dict.fromkeys(_NAMES, 0)
    columns |= {"minimum_ttl": 255, "minimum_ip_total_length": 65535}
    labels = packet.labels()
    sections = ("mpls_top_label_stack_section", "mpls_label_stack_section2", "mpls_label_stack_section3")
    for name, (label, traffic_class, bottom) in zip(sections, labels, strict=False):
        columns[name] = label << 4 | traffic_class << 1 | bottom
    columns["mpls_label_stack_depth"] = len(labels)
    if packet.is_ipv4:
        columns["ip_class_of_service"] = int(packet.ip("ip.dsfield"), 0)
        columns["fragment_identification"] = int(packet.ip("ip.id"), 0)
        columns["fragment_flags"] = packet.flag("ip.flags.df") << 6 | packet.flag("ip.flags.mf") << 5
    else:
        columns["ip_class_of_service"] = int(packet.ip("ipv6.tclass"), 0)
        columns["flow_label_ipv6"] = int(packet.ip("ipv6.flow"), 0)
        if "ipv6.fraghdr" in packet.extensions:
            columns["fragment_identification"] = packet.all_of("ipv6.fraghdr.ident")[-1]
            columns["fragment_flags"] = (packet.row["ipv6.fraghdr.more"] in ("1", "True")) << 5
    columns["fragment_offset"] = packet.offset
    return columns


def _add(columns: Columns, packet: Packet) -> None:
    ttl = int(packet.ip("ip.ttl" if packet.is_ipv4 else "ipv6.hlim"))
    columns["packet_delta_count"] += 1
    columns["octet_delta_count"] += packet.octets
    for name, value in (("ttl", ttl), ("ip_total_length", packet.octets)):
        columns[f"minimum_{name}"] = min(columns[f"minimum_{name}"], value)
        columns[f"maximum_{name}"] = max(columns[f"maximum_{name}"], value)
    columns["ipv4_options"] |= _first_octet({kind & 31 for kind in packet.ipv4_options()}) >> 32
    columns["ipv6_extension_headers"] |= _extensions(packet)
    if packet.protocol == TCP and not packet.offset:
        _add_tcp(columns, packet)


def _add_tcp(columns: Columns, packet: Packet) -> None:
    shown = packet.transport("tcp", "tcp.flags")
    if not shown:
        return
    flags = int(shown, 0) & 0xFF
    if flags & _SYN and not columns["tcp_control_bits"] & _SYN:
        columns["tcp_window_size"] = int(packet.transport("tcp", "tcp.window_size_value"))
        columns["tcp_window_scale"] = next(iter(packet.all_of("tcp.options.wscale.shift")), 0)
    columns["tcp_control_bits"] |= flags
    columns["tcp_options"] |= _first_octet({kind for kind in packet.all_of("tcp.option_kind") if kind < 64})
    for name, bit in _TCP_COUNTS.items():
        columns[f"tcp_{name}_total_count"] += bool(flags & bit)


def _extensions(packet: Packet) -> int:
    bits = 0
    for layer in packet.extensions:
        if layer == "ipv6.fraghdr":
            bits |= _LATER_FRAGMENT if packet.offset else _FIRST_FRAGMENT
        else:
            bits |= _EXTENSIONS.get(layer, 0)
    return bits | (0 if packet.is_ipv4 else _OTHERS.get(packet.protocol, 0))


def _first_octet(numbers: Iterable[int]) -> int:
    """IANA's pictures: octet n on the wire has the numbers 8n to 8n + 7, the least in its lowest bit."""
    return int.from_bytes(sum(1 << number for number in numbers).to_bytes(8, "little"), "big")
