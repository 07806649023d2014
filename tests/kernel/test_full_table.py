"""Proves that a table without room loses no packet: each is in a flow, in an overflow record, or told of."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from kernel.conftest import Load
from kernel.frames import IPV4, IPV6, TCP, UDP, dns, ethernet, ipv4, ipv6, numbered, tcp
from kernel.namespace import devices
from kernel.packets import PACKETS
from kernel.running import SocketBuffer, by_port, can_run, live_flows, outcomes, run
from lab.flood import Flood, build
from lab.namespaces import Namespace
from xflowd.edge.kernel import Kernel
from xflowd.metering import expiry
from xflowd.metering.expiry import Timeouts
from xflowd.metering.flow import FLOW, FlowEndReason
from xflowd.metering.pressure import Pressure
from xflowd.metering.table import Records, flows

SECOND, STEP_NS = 10**9, 10**7
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
        "PACKETS_JUMBOGRAM",
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


# A flood, with the clock as an argument


class Meter:
    """The table's looks as the agent takes them, and all flows that have ended."""

    def __init__(self, kernel: Kernel, timeouts: Timeouts) -> None:
        self._kernel, self._timeouts = kernel, timeouts
        self.pressure = Pressure(timeouts.idle_ns)
        self.ended: list[Records] = [np.zeros(0, FLOW)]
        self._due_ns = 0

    def look(self, now_ns: int) -> None:
        """Look if it is time to. A look takes no time, and half of a microsecond of a CPU for each flow."""
        if now_ns < self._due_ns:
            return
        slots = self._kernel.slots
        in_force = Timeouts(self._timeouts.active_ns, self.pressure.idle_ns)
        found = expiry.scan(slots, now_ns, in_force, self._kernel.slots_used())
        overflowed = self._kernel.overflow_packets()
        room = self.pressure.look(len(slots), found.free, len(found.numbers), overflowed, now_ns)
        found = expiry.make_room(slots, expiry.at_most(found, self.pressure.most), room)
        self._end(found)
        self._due_ns = self.pressure.looked(now_ns, now_ns, 500 * len(found.numbers))

    def flush(self) -> None:
        """End all flows that are left."""
        self._end(expiry.everything(self._kernel.slots))

    def _end(self, found: expiry.Scan) -> None:
        if len(found.numbers):
            self._kernel.detach(found.numbers)
            self.ended.append(flows(self._kernel.records(found.numbers), found.reasons))
            self._kernel.release(found.numbers)


@pytest.mark.parametrize("slots", [1024, 16_384])
def test_flows_of_many_packets_outlive_a_flood(load: Load, tmp_path: Path, slots: int) -> None:
    """A twentieth of the table is flows with a packet each 300 ms; for a second 300,000 new flows come beside them."""
    kernel = load(max_flows=slots, replayed_clock=True, programs=("read_clocks", "tc_ingress"))
    meter, known = Meter(kernel, Timeouts(60 * SECOND, 15 * SECOND)), slots // 20
    steps = range(0, 4 * SECOND, STEP_NS)
    with Flood(build(tmp_path), kernel.program("tc_ingress")) as flood:
        for now_ns in steps:
            kernel.set_replayed_clock(SECOND + now_ns)
            if now_ns % (30 * STEP_NS) == 0:
                for port in range(known):
                    run(kernel, "tc_ingress", dns(port))
            if SECOND <= now_ns < 2 * SECOND:
                flood.run(3000)
            meter.look(SECOND + now_ns)
    meter.flush()
    assert outcomes(kernel)["PACKETS_SEEN"] == 300_000 + known * len(steps[::30])
    ended = np.concatenate(meter.ended)
    alone = ended["source_transport_port"] != 40_000  # the flood's
    assert ended["packet_delta_count"][alone].tolist() == [len(steps[::30])] * known
    assert set(ended["flow_end_reason"][alone].tolist()) == {FlowEndReason.FORCED_END}
    assert (
        int(ended["packet_delta_count"].sum()) + outcomes(kernel)["PACKETS_OVERFLOW"]
        == outcomes(kernel)["PACKETS_SEEN"]
    )


@pytest.mark.parametrize("slots", [1, 15, 1024])
def test_flood_leaves_nothing_in_the_table(load: Load, tmp_path: Path, slots: int) -> None:
    """And the idle timeout is what it was: each step of it is seen, down and up."""
    kernel = load(max_flows=slots, replayed_clock=True, programs=("read_clocks", "tc_ingress"))
    meter, in_force = Meter(kernel, Timeouts(60 * SECOND, 4 * SECOND)), [4.0]
    with Flood(build(tmp_path), kernel.program("tc_ingress")) as flood:
        for now_ns in range(SECOND, 20 * SECOND, 5 * STEP_NS):
            kernel.set_replayed_clock(now_ns)
            if now_ns < 4 * SECOND:
                flood.run(1000)
            meter.look(now_ns)
            if meter.pressure.idle_ns / SECOND != in_force[-1]:
                in_force.append(meter.pressure.idle_ns / SECOND)
        assert not kernel.slots["state"].any()
        packets = int(np.concatenate(meter.ended)["packet_delta_count"].sum())
        assert packets + outcomes(kernel)["PACKETS_OVERFLOW"] == flood.sent
    assert in_force == [4, 2, 1, 1.5, 2.25, 3.375, 4]
