"""Proves that a packet in a tunnel belongs to the flow that is configured, and what is told of the tunnel then."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from kernel.frames import TCP, destination, numbered
from kernel.inner import INSIDE, OUTSIDE, Tunnelled
from kernel.packets import Flow
from kernel.running import Runner, SocketBuffer, can_run, live_flows, numbers_of, outcomes, run
from kernel.tunnels import TUNNELS, Repeated
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import LoadOptions
from xflowd.metering.table import SlotState

PROGRAMS = ("xdp_ingress", "tc_ingress", "tc_egress_network")
NAMES = (
    *("protocol_identifier", "ip_version", "source_transport_port", "destination_transport_port"),
    *("ip_class_of_service", "tcp_control_bits", "flow_label_ipv6", "vlan_id", "icmp_type_code"),
)


class Meter:
    """A table of inner flows, another of outer ones. Each packet is given an inner address of its own."""

    def __init__(self) -> None:
        options = {"details": ("DETAIL_TUNNEL",), "programs": ("read_clocks", *PROGRAMS)}
        self.inner = Kernel(LoadOptions(64, tunnels_inner=True, **options))  # type: ignore[arg-type]
        self.outer = Kernel(LoadOptions(64, programs=("read_clocks", *PROGRAMS)))
        self._numbers = itertools.count(1)

    def flow(
        self, kernel: Kernel, program: str, frame: bytes, context: SocketBuffer | None = None
    ) -> tuple[Any, Any, int]:
        """The only flow of this packet, its detail, and the number of its address; the slot is given back."""
        number = next(self._numbers)
        before = outcomes(kernel).get("PACKETS_SEEN", 0)
        run(kernel, program, numbered(frame, number), context)
        found, live = live_flows(kernel), numbers_of(kernel, SlotState.LIVE)
        details = None if kernel.details is None else kernel.details[live].copy()
        kernel.detach(live)
        kernel.release(live)
        seen = outcomes(kernel)["PACKETS_SEEN"] - before
        assert kernel.details is None or not kernel.details.view("u1").any()
        assert (len(found), int(found["packet_delta_count"].sum())) == (1, seen)
        return found[0], None if details is None else details[0], number


@pytest.fixture(scope="module")
def meter() -> Iterator[Meter]:
    meter = Meter()
    yield meter
    meter.inner.close()
    meter.outer.close()


def shown(program: str, packet: Tunnelled) -> bytes:
    """The frame as a hook has it; nothing where a test run cannot show it that."""
    if not program.endswith("_network"):
        return packet.frame if can_run(program, packet.frame) else b""
    bare = packet.frame[14:]
    return bare if bare[12:14] == packet.frame[12:14] and can_run(program, bare) else b""


def agrees(found: Any, flow: Flow) -> bool:
    lengths = (found["octet_delta_count"], found["minimum_ip_total_length"], found["maximum_ip_total_length"])
    assert lengths == (flow.octets,) * 3
    assert (found["minimum_ttl"], found["maximum_ttl"]) == (flow.ttl, flow.ttl)
    assert {name: int(found[name]) for name in NAMES} == {name: getattr(flow, name) for name in NAMES}
    return True


SHOWN = [(program, packet) for program in PROGRAMS for packet in INSIDE + OUTSIDE if shown(program, packet)]


def _name(value: object) -> str:
    return str(getattr(value, "name", value))


@pytest.mark.parametrize(("program", "packet"), SHOWN, ids=_name)
def test_packet_belongs_to_its_inner_flow(meter: Meter, program: str, packet: Tunnelled) -> None:
    found, detail, number = meter.flow(meter.inner, program, shown(program, packet))
    outer, _, _ = meter.flow(meter.outer, program, shown(program, packet))
    if packet.inner is None:
        assert all(
            (found[name] == outer[name]).all() for name in found.dtype.names if not name.endswith(("_ns", "address"))
        )
        assert not detail.tobytes().strip(b"\0")
        return
    assert agrees(found, packet.inner)
    assert found["destination_address"].tobytes() == destination(packet.inner.ip_version, number)
    assert detail["outer_ip_version"] == outer["ip_version"]
    for end in ("source", "destination"):
        assert detail[f"outer_{end}_address"].tobytes() == outer[f"{end}_address"].tobytes()
    for name, value in packet.details.items():
        assert int(detail[name]) == value


@pytest.mark.parametrize("program", PROGRAMS)
def test_hooks_are_shown_most(program: str) -> None:
    assert sum(one == program for one, _ in SHOWN) >= len(INSIDE + OUTSIDE) * 0.9


@pytest.mark.parametrize("packet", INSIDE, ids=_name)
def test_cut_off_at_every_octet(meter: Meter, packet: Tunnelled) -> None:
    """Outside until the inner IP header is whole; then inside, with as much of TCP as there is."""
    assert packet.inner is not None
    whole = len(packet.frame) - 50 - (20 if "padded" in packet.name else 0)  # where TCP begins
    least = 14 + (40 if packet.frame[12:14] == b"\x86\xdd" else 28)
    for length in range(least, whole + 50):
        frame = packet.frame[:length]
        seen = meter.inner.outcomes()["PACKETS_TOO_SHORT"].sum()
        run(meter.inner, "xdp_ingress", frame)
        found, live = live_flows(meter.inner), numbers_of(meter.inner, SlotState.LIVE)
        meter.inner.detach(live)
        meter.inner.release(live)
        if meter.inner.outcomes()["PACKETS_TOO_SHORT"].sum() > seen:
            assert length < whole
            continue
        inside = bool(found["octet_delta_count"][0] == packet.inner.octets and found["protocol_identifier"][0] == TCP)
        assert (length, inside) == (length, length >= whole)


@pytest.mark.parametrize("packet", TUNNELS, ids=_name)
def test_segments_in_a_tunnel_have_the_inner_headers(meter: Meter, packet: Repeated) -> None:
    """A GSO packet of 2,200 octets in segments of 500: each counts what its inner packet is."""
    frame, headers = packet.around(bytes(2200)), packet.headers
    found, _, _ = meter.flow(meter.inner, "tc_ingress", frame, SocketBuffer(gso_segs=5, gso_size=500))
    own = int(found["maximum_ip_total_length"]) - 500
    assert (found["packet_delta_count"], found["octet_delta_count"]) == (5, 2200 + 5 * own)
    assert 28 <= own < headers
    assert found["protocol_identifier"] in (6, 17)


def test_known_flow_in_a_tunnel_adds_up(meter: Meter) -> None:
    packet = next(packet for packet in INSIDE if packet.name == "VXLAN")
    assert packet.inner is not None
    Runner(meter.inner, "xdp_ingress").run(packet.frame, 1000)
    found, live = live_flows(meter.inner), numbers_of(meter.inner, SlotState.LIVE)
    meter.inner.detach(live)
    meter.inner.release(live)
    assert (found["packet_delta_count"].tolist(), found["octet_delta_count"].tolist()) == (
        [1000],
        [1000 * packet.inner.octets],
    )
