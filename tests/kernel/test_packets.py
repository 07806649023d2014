"""Proves that a packet, by whatever hook it comes, is counted as its headers say and passes on unchanged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from kernel.frames import DESTINATION_MAC, SOURCE_IPV4, SOURCE_IPV6, SOURCE_MAC, destination, numbered
from kernel.packets import CUT, PACKETS, V4, V6, Flow, Packet
from kernel.running import DIRECTIONS, TC_ACT_UNSPEC, XDP_PASS, Run, can_run, live_flows, outcomes, run
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import LoadOptions

LOOPBACK = 1  # the interface of a test run
NETWORK_HOOKS = [name for name in DIRECTIONS if name.endswith("_network")]


def seen_by(program: str, packet: Packet) -> bytes:
    """What a hook sees of a packet; nothing where a test run cannot show it that."""
    network = program in NETWORK_HOOKS
    frame = packet.network if network else packet.frame
    if network and packet.link[12:] != frame[12:14]:  # tagged, or not what its addresses pretend
        return b""
    return frame if can_run(program, frame) else b""


SHOWN = [(program, packet) for program in DIRECTIONS for packet in PACKETS if seen_by(program, packet)]
SHOWN_CUT = [(program, *cut) for program in DIRECTIONS for cut in CUT if seen_by(program, cut[0])]


class Meter:
    """One hook's program with a table of its own. Each packet gets an address of its own, and so a flow."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.direction = DIRECTIONS[program]
        self.kernel = Kernel(LoadOptions(1024, programs=("read_clocks", program)))
        self._numbers = itertools.count(1)

    def count(self, frame: bytes) -> tuple[int, bytes, Run]:
        """Run the program. The number of the packet's address, the frame with it, and what came of it."""
        number = next(self._numbers)
        sent = numbered(frame, number)
        return number, sent, run(self.kernel, self.program, sent)

    def flow(self, number: int) -> dict[str, object] | None:
        """The flow to the address of that number, in the words of `expected`; None where there is none."""
        found = live_flows(self.kernel)
        wanted = [destination(version, number) for version in (4, 6)]
        rows = [row for row in found if row["destination_address"].tobytes() in wanted]
        assert len(rows) <= 1, "one packet made several flows"
        return {name: _plain(rows[0][name]) for name in _NAMES} if rows else None

    def expected(self, flow: Flow, number: int) -> dict[str, object]:
        """All columns that come from the packet."""
        macs = (bytes(6), bytes(6)) if self.program in NETWORK_HOOKS else (SOURCE_MAC, DESTINATION_MAC)
        columns = {name: getattr(flow, name) for name in _NAMES if hasattr(flow, name)}
        return columns | {
            "source_address": SOURCE_IPV6 if flow.ip_version == 6 else SOURCE_IPV4 + bytes(12),
            "destination_address": destination(flow.ip_version, number),
            "source_mac_address": macs[0],
            "destination_mac_address": macs[1],
            "flow_direction": self.direction,
            "packet_delta_count": 1,
            "octet_delta_count": flow.octets,
            "minimum_ip_total_length": flow.octets,
            "maximum_ip_total_length": flow.octets,
            "minimum_ttl": flow.ttl,
            "maximum_ttl": flow.ttl,
            "ingress_interface": 0 if self.direction else LOOPBACK,
        }


_NAMES = (
    "protocol_identifier", "ip_version", "source_transport_port", "destination_transport_port",
    "icmp_type_code", "vlan_id", "dot1q_customer_vlan_id", "ip_class_of_service", "tcp_control_bits",
    "flow_label_ipv6", "source_address", "destination_address", "source_mac_address",
    "destination_mac_address", "flow_direction", "packet_delta_count", "octet_delta_count",
    "minimum_ip_total_length", "maximum_ip_total_length", "minimum_ttl", "maximum_ttl", "ingress_interface",
)  # fmt: skip


def _plain(value: object) -> object:
    return value.tobytes() if getattr(value, "shape", ()) else int(value)  # type: ignore[attr-defined, call-overload]


def _name(value: object) -> str:
    return str(getattr(value, "name", value if isinstance(value, str) else ""))


@pytest.fixture(scope="module")
def meters() -> Iterator[dict[str, Meter]]:
    """One for each hook: to load them for each packet would take longer than all the packets."""
    meters = {program: Meter(program) for program in DIRECTIONS}
    yield meters
    for meter in meters.values():
        meter.kernel.close()


@pytest.fixture
def meter(meters: dict[str, Meter], program: str) -> Meter:
    return meters[program]


def count(meter: Meter, frame: bytes) -> tuple[int, dict[str, int]]:
    """Count a packet; what its hook did with it is the same whatever it was."""
    before = outcomes(meter.kernel)
    number, sent, result = meter.count(frame)
    after = outcomes(meter.kernel)
    assert result.verdict == (XDP_PASS if meter.program == "xdp_ingress" else TC_ACT_UNSPEC)
    assert result.frame == sent
    counted = {name: total - before.get(name, 0) for name, total in after.items()}
    return number, {name: packets for name, packets in counted.items() if packets}


@pytest.mark.parametrize(("program", "packet"), SHOWN, ids=_name)
def test_packet(meter: Meter, packet: Packet) -> None:
    number, counted = count(meter, seen_by(meter.program, packet))
    if isinstance(packet.expected, str):
        assert counted == {"PACKETS_SEEN": 1, packet.expected: 1}
        assert meter.flow(number) is None
        return
    assert counted == {"PACKETS_SEEN": 1}
    assert meter.flow(number) == meter.expected(packet.expected, number)


@pytest.mark.parametrize(("program", "packet", "stages"), SHOWN_CUT, ids=_name)
def test_packet_cut_off_at_every_octet(meter: Meter, packet: Packet, stages: dict[int, Flow | str]) -> None:
    begin = 14 if meter.program in NETWORK_HOOKS else 0  # the stages count from the Ethernet header on
    whole = seen_by(meter.program, packet)
    lengths = [length for length in range(14, len(whole) + 1) if can_run(meter.program, whole[:length])]
    for length in lengths:
        number, counted = count(meter, whole[:length])
        expected = stages[max(stage for stage in stages if stage <= length + begin)]
        if isinstance(expected, str):
            assert (length, counted) == (length, {"PACKETS_SEEN": 1, expected: 1})
        else:
            assert (length, meter.flow(number)) == (length, meter.expected(expected, number))


@pytest.mark.parametrize("program", DIRECTIONS)
def test_hook_is_shown_nearly_all(program: str) -> None:
    """What a test run cannot show is little: jumbo frames by TC, and what is not IP without a link layer."""
    shown = [packet for shown_to, packet in SHOWN if shown_to == program]
    wanted = [packet for packet in PACKETS if program not in NETWORK_HOOKS or packet.link in (V4, V6)]
    assert len(shown) >= len(wanted) * (1.0 if program == "xdp_ingress" else 0.9)


@pytest.mark.parametrize("program", DIRECTIONS)
def test_packet_longer_than_its_length_field_can_say(meter: Meter) -> None:
    """An IPv6 payload of 65,535 octets: the range ends at the longest length there is room for."""
    longest = next(packet for packet in PACKETS if packet.name == "65,535 octets with the header")
    number, _ = count(meter, seen_by(meter.program, longest).replace(b"\xff\xd7", b"\xff\xff", 1))
    flow = meter.flow(number)
    assert flow is not None
    assert flow["octet_delta_count"] == 65575
    assert (flow["minimum_ip_total_length"], flow["maximum_ip_total_length"]) == (65535, 65535)
