"""Proves that a GSO packet counts as its segments on the wire, whatever headers each of them repeats."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from kernel.frames import IPV4, UDP, destination, ethernet, ipv4, numbered
from kernel.running import SocketBuffer, live_flows, only, outcomes, run
from kernel.tunnels import BIG_TCP, OTHERS, TUNNELS, UNKNOWN, V4, Repeated, vxlan
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import LoadOptions

SIZE, PAYLOAD = 500, bytes(2200)
SEGMENTS, LAST = 5, 200
TOLD = [
    (packet, told)
    for packet in TUNNELS + OTHERS + BIG_TCP
    for told in (True, False)
    if told or "BIG TCP" not in packet.name  # made by this host, which does tell
]


class Meter:
    """The hooks of skbs with a table of their own. Each packet gets an address of its own, and so a flow."""

    def __init__(self) -> None:
        self.kernel = Kernel(LoadOptions(2048, programs=("read_clocks", "tc_ingress", "tc_egress")))
        self._numbers = itertools.count(1)

    def check(self, program: str, frame: bytes, context: SocketBuffer, headers: int) -> None:
        """One packet of PAYLOAD: counts, and the lengths of its longest and shortest segment."""
        seen = outcomes(self.kernel).get("PACKETS_SEEN", 0)
        flow = self.flow(program, frame, context)
        octets = len(PAYLOAD) + SEGMENTS * headers
        assert (flow["packet_delta_count"], flow["octet_delta_count"]) == (SEGMENTS, octets)
        lengths = (flow["minimum_ip_total_length"], flow["maximum_ip_total_length"])
        assert lengths == (headers + LAST, headers + SIZE)
        assert outcomes(self.kernel) == {"PACKETS_SEEN": seen + SEGMENTS}

    def flow(self, program: str, frame: bytes, context: SocketBuffer | None = None) -> Any:
        """The flow of this packet alone."""
        number = next(self._numbers)
        run(self.kernel, program, numbered(frame, number), context)
        found = live_flows(self.kernel)
        wanted = [destination(version, number) for version in (4, 6)]
        return only(found[[row.tobytes() in wanted for row in found["destination_address"]]])


@pytest.fixture(scope="module")
def meter() -> Iterator[Meter]:
    """One for all: to load it for each packet would take longer than all the packets."""
    meter = Meter()
    yield meter
    meter.kernel.close()


@pytest.mark.parametrize("program", ["tc_ingress", "tc_egress"])
@pytest.mark.parametrize(("packet", "told"), TOLD, ids=lambda value: getattr(value, "name", f"told={value}"))
def test_each_segment_has_all_headers(meter: Meter, program: str, packet: Repeated, told: bool) -> None:
    frame = packet.around(PAYLOAD)
    context = SocketBuffer(gso_segs=SEGMENTS if told else 0, gso_size=SIZE)
    meter.check(program, frame, context, packet.headers)


@pytest.mark.parametrize("packet", UNKNOWN, ids=lambda packet: packet.name)
def test_kernel_knows_tunnels_that_the_parser_does_not(meter: Meter, packet: Repeated) -> None:
    """The length of all segments with their link layer's headers, as it is told at egress."""
    frame = packet.around(PAYLOAD)
    on_the_wire = len(frame) + (SEGMENTS - 1) * (14 + packet.headers)
    context = SocketBuffer(gso_segs=SEGMENTS, gso_size=SIZE, d=on_the_wire)
    meter.check("tc_egress", frame, context, packet.headers)


@pytest.mark.parametrize("wire_len", [0, 3000])
def test_known_headers_are_not_taken_from_the_kernel(meter: Meter, wire_len: int) -> None:
    """Before Linux 6.17 what it tells of tunnels is wrong."""
    packet = next(packet for packet in TUNNELS if packet.name == "GRE")
    context = SocketBuffer(gso_segs=SEGMENTS, gso_size=SIZE, d=wire_len)
    meter.check("tc_egress", packet.around(PAYLOAD), context, packet.headers)


def test_whole_packets_in_datagrams_are_not_cut(meter: Meter) -> None:
    """A program that keeps a VXLAN tunnel sends datagrams of one length at one go: each has its own inner headers."""
    datagram = vxlan(V4 + ipv4(UDP, bytes(SIZE - 8 - 14 - 20)))[8:]
    assert len(datagram) == SIZE
    frame = V4 + ipv4(UDP, bytes.fromhex("d43112b500000000") + datagram * 4 + datagram[:LAST])
    meter.check("tc_egress", frame, SocketBuffer(gso_segs=SEGMENTS, gso_size=SIZE), 28)


@pytest.mark.parametrize("packet", TUNNELS, ids=lambda packet: packet.name)
def test_tunnel_cut_off_at_every_octet(meter: Meter, packet: Repeated) -> None:
    """Headers that are not all there: the packets are counted all the same, and their octets by the headers found."""
    whole = packet.around(b"")
    for length in range(60, len(whole)):
        flow = meter.flow("tc_egress", whole[:length], SocketBuffer(gso_segs=2, gso_size=1))
        assert (length, flow["packet_delta_count"]) == (length, 2)
        assert length - 14 - 8 <= flow["octet_delta_count"] <= length - 14 + packet.headers


def test_one_packet_in_a_tunnel_is_one(meter: Meter) -> None:
    frame = ethernet(IPV4) + ipv4(UDP, vxlan(V4 + ipv4(UDP, bytes(100))))
    flow = meter.flow("tc_egress", frame)
    assert (flow["packet_delta_count"], flow["octet_delta_count"]) == (1, len(frame) - 14)
