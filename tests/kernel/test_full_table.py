"""Proves that a table without room loses no packet: each is in a flow, in an overflow record, or told of."""

from __future__ import annotations

import random

import numpy as np
import pytest

from kernel.conftest import Load
from kernel.frames import IPV4, IPV6, TCP, UDP, dns, ethernet, ipv4, ipv6, numbered, tcp
from kernel.namespace import devices
from kernel.packets import PACKETS
from kernel.running import SocketBuffer, by_port, can_run, live_flows, outcomes, run
from lab.namespaces import Namespace
from xflowd.edge.kernel import Kernel

V4, V6 = ethernet(IPV4), ethernet(IPV6)


def overflow(kernel: Kernel) -> dict[tuple[int, ...], tuple[int, int]]:
    """Packets and octets by interface, direction, version and protocol."""
    names = ("interface", "flow_direction", "ip_version", "protocol_identifier")
    return {
        tuple(int(record["key"][name]) for name in names): (
            int(record["value"]["packet_total_count"]),
            int(record["value"]["octet_total_count"]),
        )
        for record in kernel.overflow()
    }


def test_full_table_counts_by_kind(load: Load, namespace: Namespace) -> None:
    """Flows that are in the table go on counting, and every other packet is in the record of its kind."""
    devices(namespace, two=1002)
    kernel, two = load(max_flows=4), SocketBuffer(ifindex=1002)
    for port in range(4):
        run(kernel, "tc_ingress", dns(port))
    for port in range(10, 13):
        run(kernel, "tc_ingress", dns(port, bytes(port)))
    run(kernel, "tc_egress", dns(10))
    run(kernel, "tc_ingress", dns(10), two)
    run(kernel, "tc_ingress", V4 + ipv4(TCP, tcp(1, 2, payload=bytes(100))), two)
    twice = V6 + ipv6(TCP, tcp(1, 2, payload=bytes(1000)))
    run(kernel, "tc_ingress", twice, SocketBuffer(gso_segs=2, gso_size=500))
    run(kernel, "tc_ingress", dns(3))
    assert by_port(kernel) == {0: 1, 1: 1, 2: 1, 3: 2}
    assert overflow(kernel) == {
        (1, 0, 4, UDP): (3, 3 * 28 + 33),
        (1, 1, 4, UDP): (1, 48),
        (1002, 0, 4, UDP): (1, 48),
        (1002, 0, 4, TCP): (1, 140),
        (1, 0, 6, TCP): (2, 1120),
    }
    assert outcomes(kernel) == {"PACKETS_SEEN": 13, "PACKETS_OVERFLOW": 8}
    assert kernel.overflow_packets() == 8


@pytest.mark.parametrize("flows", [1, 3, 4, 5])
def test_table_holds_what_it_was_made_for(load: Load, flows: int) -> None:
    kernel = load(max_flows=flows)
    for port in range(flows + 2):
        run(kernel, "xdp_ingress", dns(port))
    assert by_port(kernel) == dict.fromkeys(range(flows), 1)
    assert outcomes(kernel) == {"PACKETS_SEEN": flows + 2, "PACKETS_OVERFLOW": 2}


def test_packets_of_more_kinds_than_there_are_records(load: Load, namespace: Namespace) -> None:
    """There are 4,096 of them, and what finds none left is told as such: no packet is lost in silence."""
    kernel, known = load(max_flows=1), (0, 43, 44, 51, 60)  # the protocol is not what these say
    devices(namespace, **{f"d{index}": index for index in range(101, 106)})
    run(kernel, "tc_ingress", dns(1))
    protocols = [protocol for protocol in range(256) if protocol not in known]
    frames = [V4 + ipv4(protocol, bytes(20)) for protocol in protocols]
    frames += [V6 + ipv6(protocol, bytes(20)) for protocol in protocols]
    for interface in range(101, 106):
        for frame in frames:
            run(kernel, "tc_ingress", frame, SocketBuffer(ifindex=interface))
            run(kernel, "tc_egress", frame, SocketBuffer(ifindex=interface))
    kinds = 5 * 2 * len(frames)
    assert outcomes(kernel) == {
        "PACKETS_SEEN": 1 + kinds,
        "PACKETS_OVERFLOW": 4096,
        "PACKETS_UNCOUNTED": kinds - 4096,
    }
    assert set(overflow(kernel).values()) == {(1, 40), (1, 60)}


def test_every_packet_is_accounted_for(load: Load) -> None:
    """Seen = flows + sampled out + not metered + overflow, in a mix in which all of these are."""
    draw, kernel = random.Random(1), load(max_flows=32, sampling_rate=3, sampling_random=True)
    seen = 0
    for number in range(4000):
        packet, program = draw.choice(PACKETS), draw.choice(["xdp_ingress", "tc_ingress", "tc_egress"])
        if not can_run(program, packet.frame):
            continue
        segments = 1 if program == "xdp_ingress" else draw.choice((1, 1, 1, 4))
        context = SocketBuffer(gso_segs=segments, gso_size=1) if segments > 1 else None
        run(kernel, program, numbered(packet.frame, number % 50), context)
        seen += segments
    result = outcomes(kernel)
    assert set(result) == {
        "PACKETS_SEEN",
        "PACKETS_SAMPLED_OUT",
        "PACKETS_NOT_IP",
        "PACKETS_TOO_SHORT",
        "PACKETS_MALFORMED",
        "PACKETS_OVERFLOW",
    }
    flows = int(live_flows(kernel)["packet_delta_count"].sum())
    assert result["PACKETS_SEEN"] == seen
    assert flows + sum(result.values()) - result["PACKETS_SEEN"] == seen
    assert sum(packets for packets, _ in overflow(kernel).values()) == result["PACKETS_OVERFLOW"]


def test_counters_are_told_apart_by_interface_and_direction(load: Load, namespace: Namespace) -> None:
    devices(namespace, two=66)
    kernel = load(buckets=64)
    for program, context, times in (
        ("tc_ingress", SocketBuffer(), 3),
        ("tc_egress", SocketBuffer(), 4),
        ("tc_ingress", SocketBuffer(ifindex=66), 5),
    ):
        for _ in range(times):
            run(kernel, program, dns(1), context)
    seen = kernel.outcomes()["PACKETS_SEEN"]
    assert {at: int(seen[at]) for at in zip(*map(np.ndarray.tolist, seen.nonzero()), strict=True)} == {
        (0, 1): 3,
        (1, 1): 4,
        (0, 66 % 64): 5,
    }
