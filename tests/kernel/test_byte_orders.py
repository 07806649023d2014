"""Proves that the object is right in both byte orders, wherever it is built: its file, types, what it counts.

No machine of the other order is at hand: an interpreter runs the programs. That it is right itself is shown
by the object in this host's order, of which a kernel makes the same flows.
"""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kernel.foreign import INTERFACE, ForeignObject, sections
from kernel.frames import destination, numbered
from kernel.interpreter import Instruction
from kernel.objectfile import STRUCTURES, enumeration, structure
from kernel.packets import PACKETS, Flow, Packet
from kernel.running import TC_ACT_UNSPEC, XDP_PASS
from kernel.tunnels import TUNNELS, Repeated
from xflowd.edge.layout import Layout
from xflowd.metering.flow import EGRESS, INGRESS

SOURCES = Path(__file__).resolve().parents[2] / "ebpf"
#: As clang names a target's byte order, and as `struct` does.
ORDERS = {"el": "<", "eb": ">"}
ELF_DATA = {"el": 1, "eb": 2}
EM_BPF = 247
#: Offsets in the contexts of <linux/bpf.h>.
XDP_DATA, XDP_INTERFACE = 0, 12
SKB_LENGTH, SKB_PROTOCOL, SKB_INTERFACE, SKB_DATA = 0, 16, 40, 76
SKB_SEGMENTS, SKB_SEGMENT_SIZE = 164, 176
SKB_ZERO = (20, 24, 36, 164, 176)  # vlan_present, vlan_tci, ingress_ifindex, gso_segs, gso_size

each_order = pytest.mark.parametrize("order", ORDERS)


@dataclass
class Meter:
    """Two of the hooks, with a table in common. Each packet gets an address of its own, and so a flow."""

    loaded: ForeignObject
    xdp: list[Instruction]
    tc: list[Instruction]
    packets: int = field(default=0)

    def number(self, frame: bytes) -> bytes:
        """The frame to an address that no other has."""
        self.packets += 1
        return numbered(frame, self.packets)

    def flow(self) -> dict[str, int] | None:
        """The flow of the last packet, of which the columns that it tells in numbers."""
        found = self.loaded.flows()
        wanted = [destination(version, self.packets) for version in (4, 6)]
        rows = [row for row in found if row["destination_address"].tobytes() in wanted]
        return {name: int(rows[0][name]) for name in expected(Flow(0, 0), 0)} if rows else None


def expected(flow: Flow, direction: int) -> dict[str, int]:
    """The columns that a packet's own headers tell, and its counts."""
    told = dict(vars(flow))
    octets, ttl = told.pop("octets"), told.pop("ttl")
    lengths = ("octet_delta_count", "minimum_ip_total_length", "maximum_ip_total_length")
    counts = {"flow_direction": direction, "packet_delta_count": 1, "minimum_ttl": ttl, "maximum_ttl": ttl}
    return told | dict.fromkeys(lengths, octets) | counts


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The object in each byte order, built by its Makefile in a directory of its own."""
    directory = tmp_path_factory.mktemp("objects")
    paths = {order: directory / f"{order}.o" for order in ORDERS}
    for order, path in paths.items():
        settings = [f"ENDIAN={order}", f"BUILD={directory}", f"OBJECT={path}"]
        subprocess.run(["make", "--silent", "-C", SOURCES, *settings], check=True, capture_output=True)
    return paths


@pytest.fixture(scope="module")
def meters(objects: dict[str, Path]) -> dict[str, Meter]:
    """A meter of each byte order."""
    loaded = {order: ForeignObject(objects[order], sign) for order, sign in ORDERS.items()}
    return {
        order: Meter(one, one.program("xdp_ingress"), one.program("tc_egress_network")) for order, one in loaded.items()
    }


# What the programs count


@each_order
@pytest.mark.parametrize("packet", PACKETS, ids=lambda packet: packet.name)
def test_packet_by_xdp(meters: dict[str, Meter], order: str, packet: Packet) -> None:
    meter = meters[order]
    before = meter.loaded.packets()
    frame = meter.number(packet.frame)
    assert meter.loaded.run(meter.xdp, {XDP_INTERFACE: INTERFACE}, frame, XDP_DATA) == XDP_PASS
    check(meter, before, packet, INGRESS)


@each_order
@pytest.mark.parametrize("packet", [one for one in PACKETS if len(one.link) == 14], ids=lambda packet: packet.name)
def test_packet_without_link_layer(meters: dict[str, Meter], order: str, packet: Packet) -> None:
    meter = meters[order]
    before = meter.loaded.packets()
    frame = meter.number(packet.network)
    (protocol,) = struct.unpack(f"{ORDERS[order]}H", packet.link[12:])
    context = {SKB_LENGTH: len(frame), SKB_PROTOCOL: protocol, SKB_INTERFACE: INTERFACE}
    context |= dict.fromkeys(SKB_ZERO, 0)
    assert meter.loaded.run(meter.tc, context, frame, SKB_DATA) == TC_ACT_UNSPEC
    check(meter, before, packet, EGRESS)


@each_order
@pytest.mark.parametrize("packet", [one for one in TUNNELS if "tags" not in one.name], ids=lambda packet: packet.name)
def test_segments_in_a_tunnel(meters: dict[str, Meter], order: str, packet: Repeated) -> None:
    """A GSO packet of 1,000 octets in segments of 500."""
    meter = meters[order]
    whole = packet.around(bytes(1000))
    frame = meter.number(whole[14:])
    (protocol,) = struct.unpack(f"{ORDERS[order]}H", whole[12:14])
    context = {SKB_LENGTH: len(frame), SKB_PROTOCOL: protocol, SKB_INTERFACE: INTERFACE}
    context |= dict.fromkeys(SKB_ZERO, 0) | {SKB_SEGMENTS: 2, SKB_SEGMENT_SIZE: 500}
    assert meter.loaded.run(meter.tc, context, frame, SKB_DATA) == TC_ACT_UNSPEC
    flow = meter.flow()
    assert flow is not None
    assert (flow["packet_delta_count"], flow["octet_delta_count"]) == (2, 1000 + 2 * packet.headers)


def check(meter: Meter, before: list[int], packet: Packet, direction: int) -> None:
    """The last packet has made its flow, or is counted as what it is."""
    names = enumeration("packet_outcome")
    after = meter.loaded.packets()
    counted = {name for name, place in names.items() if place < len(after) and after[place] > before[place]}
    if isinstance(packet.expected, str):
        assert counted == {"PACKETS_SEEN", packet.expected}
        assert meter.flow() is None
        return
    assert counted == {"PACKETS_SEEN"}
    assert meter.flow() == expected(packet.expected, direction)


# The files


@each_order
def test_file_is_of_its_byte_order(objects: dict[str, Path], order: str) -> None:
    image = objects[order].read_bytes()
    assert (image[:5], image[5]) == (b"\x7fELF\x02", ELF_DATA[order])
    assert struct.unpack_from(f"{ORDERS[order]}H", image, 18) == (EM_BPF,)


def test_files_hold_the_same(objects: dict[str, Path]) -> None:
    """Sizes of maps and variables are the same, and a table of octets and __be16 is so in every octet."""
    little, big = (
        {section.name: section.content for section in sections(objects[order].read_bytes(), sign)}
        for order, sign in ORDERS.items()
    )
    assert little.keys() == big.keys()
    for name in (".maps", ".rodata.config", ".data.control", ".rodata"):
        assert len(little[name]) == len(big[name]) > 0
    assert little[".rodata"] == big[".rodata"]


@each_order
@pytest.mark.parametrize("name", STRUCTURES)
def test_types_are_the_same(objects: dict[str, Path], order: str, name: str) -> None:
    """The agent takes offsets and sizes from the object that it loads: either one tells the same."""
    types = next(one.content for one in sections(objects[order].read_bytes(), ORDERS[order]) if one.name == ".BTF")
    assert Layout(types).structure(name) == structure(name)
