"""Proves that sampling takes what it says, and that a GSO packet counts as the packets it stands for."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from kernel.conftest import Load
from kernel.frames import (
    DOT1AD,
    DOT1Q,
    IPV4,
    IPV6,
    TCP,
    UDP,
    destination,
    dns,
    ethernet,
    ipv4,
    ipv6,
    numbered,
    options_header,
    tcp,
    udp,
)
from kernel.running import Runner, SocketBuffer, by_port, cpus, live_flows, on_cpu, only, outcomes, run

V4, V6 = ethernet(IPV4), ethernet(IPV6)


@pytest.mark.parametrize("program", ["xdp_ingress", "tc_egress"])
def test_systematic_sampling_takes_the_first_of_each_window(load: Load, program: str) -> None:
    kernel = load(sampling_rate=10)
    with on_cpu(cpus()[0]):
        for position in range(95):
            run(kernel, program, dns(1000 + position))
    assert by_port(kernel) == dict.fromkeys(range(1000, 1095, 10), 1)
    assert outcomes(kernel) == {"PACKETS_SEEN": 95, "PACKETS_SAMPLED_OUT": 85}


def test_each_direction_is_sampled_by_itself(load: Load) -> None:
    kernel = load(sampling_rate=4)
    with on_cpu(cpus()[0]):
        for port in range(8):
            run(kernel, "tc_ingress", dns(100 + port))
            run(kernel, "tc_egress", dns(200 + port))
    assert by_port(kernel) == dict.fromkeys((100, 104, 200, 204), 1)


def test_random_sampling_takes_one_of_each_window(load: Load) -> None:
    """Any packet of the window, each as often as another: within five standard deviations."""
    rate, windows = 16, 3000
    kernel = load(sampling_rate=rate, sampling_random=True)
    runner, frames = Runner(kernel, "xdp_ingress"), [dns(port) for port in range(rate)]
    with on_cpu(cpus()[0]):
        for window in range(1, windows + 1):
            for frame in frames:
                runner.run(frame)
            sampled_out = kernel.outcomes()["PACKETS_SAMPLED_OUT"]
            assert sampled_out.sum() == window * (rate - 1)
    taken = by_port(kernel)
    assert sum(taken.values()) == windows
    deviation = (windows * (1 / rate) * (1 - 1 / rate)) ** 0.5
    assert all(abs(taken.get(port, 0) - windows / rate) < 5 * deviation for port in range(rate)), taken


@dataclass(frozen=True)
class Gso:
    """A packet of `segments` with `size` octets of payload each, and what it is on the wire."""

    name: str
    frame: bytes
    segments: int
    size: int
    octets: int
    shortest: int
    longest: int


GSO = [
    Gso("TCP", V4 + ipv4(TCP, tcp(1, 2, payload=bytes(2200))), 5, 500, 2400, 240, 540),
    Gso("TCP, all alike", V4 + ipv4(TCP, tcp(1, 2, payload=bytes(2000))), 4, 500, 2160, 540, 540),
    Gso("TCP with options", V4 + ipv4(TCP, tcp(1, 2, 16, bytes(12), payload=bytes(1001))),
        3, 500, 1157, 53, 552),
    Gso("options of both", V4 + ipv4(TCP, tcp(1, 2, 16, bytes(4), payload=bytes(600)), options=bytes(8)),
        2, 500, 704, 152, 552),
    Gso("total length 0", V4 + ipv4(TCP, tcp(1, 2, payload=bytes(2200)), total_length=0),
        5, 500, 2400, 240, 540),
    Gso("UDP", V4 + ipv4(UDP, udp(1, 2, bytes(2500))), 3, 1000, 2584, 528, 1028),
    Gso("QinQ", ethernet(IPV4, (DOT1AD, 2), (DOT1Q, 3)) + ipv4(TCP, tcp(1, 2, payload=bytes(600))),
        2, 500, 680, 140, 540),
    Gso("IPv6", V6 + ipv6(TCP, tcp(1, 2, payload=bytes(2200))), 5, 500, 2500, 260, 560),
    Gso("IPv6, payload length 0", V6 + ipv6(TCP, tcp(1, 2, payload=bytes(2200)), payload_length=0),
        5, 500, 2500, 260, 560),
    Gso("IPv6 with options", V6 + ipv6(TCP, tcp(1, 2, payload=bytes(600)), options_header(0)),
        2, 500, 736, 168, 568),
    Gso("one segment", V4 + ipv4(TCP, tcp(1, 2, payload=bytes(400))), 1, 500, 440, 440, 440),
]  # fmt: skip


#: A total length of 0 is BIG TCP's, which this host makes itself: that does tell.
TOLD = [(gso, told) for gso in GSO for told in (True, False) if told or gso.name != "total length 0"]


@pytest.mark.parametrize("program", ["tc_ingress", "tc_egress"])
@pytest.mark.parametrize(("gso", "told"), TOLD, ids=lambda value: getattr(value, "name", f"told={value}"))
def test_gso_packet_counts_as_on_the_wire(load: Load, program: str, gso: Gso, told: bool) -> None:
    """Also where the packet does not say of how many segments it is, as one from a guest."""
    kernel = load()
    run(kernel, program, gso.frame, SocketBuffer(gso_segs=gso.segments if told else 0, gso_size=gso.size))
    flow = only(live_flows(kernel))
    assert (flow["packet_delta_count"], flow["octet_delta_count"]) == (gso.segments, gso.octets)
    assert (flow["minimum_ip_total_length"], flow["maximum_ip_total_length"]) == (gso.shortest, gso.longest)
    assert outcomes(kernel) == {"PACKETS_SEEN": gso.segments}


def test_gso_packet_is_sampled_by_its_segments(load: Load) -> None:
    """One in three: each row is the segments of a packet, and how many of them are the first of a window."""
    rows = [(5, 2), (1, 0), (1, 1), (2, 0), (9, 3), (2, 1), (1, 0), (30, 10), (4, 2)]
    kernel = load(sampling_rate=3)
    with on_cpu(cpus()[0]):
        for number, (segments, _) in enumerate(rows):
            frame = numbered(V4 + ipv4(TCP, tcp(1, 2, payload=bytes(10 * segments))), number)
            run(kernel, "tc_egress", frame, SocketBuffer(gso_segs=segments, gso_size=10))
    found = live_flows(kernel)
    counted = {row["destination_address"].tobytes(): row for row in found}
    for number, (_, sampled) in enumerate(rows):
        flow = counted.get(destination(4, number))
        taken = (int(flow["packet_delta_count"]), int(flow["octet_delta_count"])) if flow is not None else (0, 0)
        assert (number, taken) == (number, (sampled, sampled * 50))
    assert outcomes(kernel) == {"PACKETS_SEEN": 55, "PACKETS_SAMPLED_OUT": 36}


def test_segments_that_are_not_told_are_sampled_as_one(load: Load) -> None:
    """Their number is known too late for the window: each of these takes one place in it, and none is forgotten."""
    kernel = load(sampling_rate=2)
    frame = V4 + ipv4(TCP, tcp(1, 2, payload=bytes(50)))
    with on_cpu(cpus()[0]):
        for _ in range(4):
            run(kernel, "tc_egress", frame, SocketBuffer(gso_size=10))
    flow = only(live_flows(kernel))
    assert (flow["packet_delta_count"], flow["octet_delta_count"]) == (2, 2 * 50)
    result = outcomes(kernel)
    assert result["PACKETS_SEEN"] == flow["packet_delta_count"] + result["PACKETS_SAMPLED_OUT"]


@pytest.mark.parametrize("random_choice", [False, True])
def test_gso_packets_fill_windows_exactly(load: Load, random_choice: bool) -> None:
    """Whatever the mix of segments: of each whole window one packet is taken, and at most one of the last."""
    kernel, draw, rate = load(sampling_rate=7, sampling_random=random_choice), random.Random(7), 7
    seen = 0
    with on_cpu(cpus()[0]):
        for _ in range(500):
            segments = draw.choice((1, 1, 2, 6, 7, 8, 40))
            frame = V4 + ipv4(TCP, tcp(1, 2, payload=bytes(segments)))
            run(kernel, "tc_egress", frame, SocketBuffer(gso_segs=segments, gso_size=1))
            seen += segments
            taken = seen - outcomes(kernel).get("PACKETS_SAMPLED_OUT", 0)
            assert seen // rate <= taken <= -(-seen // rate)
