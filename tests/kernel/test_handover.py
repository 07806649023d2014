"""Proves that a flow is handed over exactly, to the packet, while its packets keep coming on every CPU."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pytest

from kernel.conftest import Load
from kernel.frames import IPV4, UDP, dns, ethernet, ipv4, udp
from kernel.hammer import at_random, in_step
from kernel.running import by_port, cpus, live_flows, numbers_of, on_cpu, only, outcomes, run
from xflowd.edge.journal import OCTETS, Journal
from xflowd.edge.kernel import Kernel
from xflowd.metering import expiry
from xflowd.metering.expiry import Numbers, Timeouts
from xflowd.metering.instant import Instant
from xflowd.metering.table import Records, SlotState, flows
from xflowd.pipeline import Pipeline

FLOWS = 500
FRAMES = [dns(port) for port in range(FLOWS)]  # 48 octets each
NOBODY = np.zeros(0, np.uint32)

several_cpus = pytest.mark.skipif(len(cpus()) < 2, reason="this machine has one CPU")


class Ledger:
    """A sink that adds up packets and octets, by source port."""

    portion = 8192

    def __init__(self) -> None:
        self.packets: npt.NDArray[np.uint64] = np.zeros(65536, np.uint64)
        self.octets = 0
        self.records = 0

    def take(self, ended: Records, now: Instant) -> None:
        np.add.at(self.packets, ended["source_transport_port"], ended["packet_delta_count"])
        self.octets += int(ended["octet_delta_count"].sum())
        self.records += len(ended)

    def commit(self) -> None:
        """Nothing is pending."""

    def rollback(self) -> None:
        raise AssertionError("no transaction of these fails")

    def due(self, now: Instant) -> bool:
        return False


def new_journal() -> Journal:
    return Journal(memoryview(bytearray(OCTETS)))


def hand_over(kernel: Kernel, numbers: Numbers, ledger: Ledger) -> int:
    """All of a slot's way out, and how many went it."""
    kernel.detach(numbers)
    ledger.take(flows(kernel.records(numbers), np.zeros(len(numbers), np.uint8)), Instant(0, 0))
    kernel.release(numbers)
    return len(numbers)


def give_back_all(kernel: Kernel) -> None:
    """What a flush does, without looking at it."""
    found = expiry.everything(kernel.slots)
    kernel.detach(found.numbers)
    kernel.release(np.concatenate([found.numbers, found.discarded]))


def assert_every_slot_is_free_once(kernel: Kernel) -> None:
    """New flows take all the slots there are, each once, and one more flow finds none."""
    assert not kernel.slots["state"].any()
    before = outcomes(kernel).get("PACKETS_OVERFLOW", 0)
    for number in range(len(kernel.slots) + 1):
        run(kernel, "xdp_ingress", ethernet(IPV4) + ipv4(UDP, udp(number & 0xFFFF, 9999 + (number >> 16))))
    assert len(numbers_of(kernel, SlotState.LIVE)) == len(kernel.slots)
    assert outcomes(kernel)["PACKETS_OVERFLOW"] == before + 1


# One step at a time


def test_detached_flow_goes_on_in_a_new_slot(load: Load) -> None:
    """Its slot does not change any more, although the programs remember where the flow was."""
    kernel, frame = load(), dns(1)
    for _ in range(3):
        run(kernel, "xdp_ingress", frame)
    kernel.detach(np.array([0], np.uint32))
    before = kernel.records(np.array([0], np.uint32)).tobytes()
    run(kernel, "xdp_ingress", frame)
    run(kernel, "xdp_ingress", frame)
    assert kernel.slots["state"].tolist()[:3] == [SlotState.EXPIRING, SlotState.LIVE, SlotState.FREE]
    assert kernel.records(np.array([0], np.uint32)).tobytes() == before
    assert by_port(kernel) == {1: 2}


def test_released_slot_is_empty_and_comes_back_last(load: Load) -> None:
    kernel = load(max_flows=4)
    run(kernel, "xdp_ingress", dns(1))
    assert hand_over(kernel, numbers_of(kernel, SlotState.LIVE), Ledger()) == 1
    assert not any(kernel.records(np.arange(4, dtype=np.uint32)).tobytes())
    for port in (2, 3, 4, 5, 6):
        run(kernel, "xdp_ingress", dns(port))
    ports = kernel.slots["key"]["source_transport_port"]
    assert ports.tolist() == [5, 2, 3, 4]  # 6 found no room


def test_slot_given_to_another_flow_is_not_mistaken_for_the_old_one(load: Load) -> None:
    """The programs still remember the old flow to be there: one slot, and two flows that take turns."""
    kernel, ledger = load(max_flows=1), Ledger()
    for port in (1, 2, 1, 1, 2):
        run(kernel, "xdp_ingress", dns(port))
        assert hand_over(kernel, np.array([0], np.uint32), ledger) == 1
    assert ledger.packets[:4].tolist() == [0, 3, 2, 0]


@pytest.mark.parametrize("numbers", [[], [0], [0, 1], [1]])
def test_detach_takes_both_versions(load: Load, numbers: list[int]) -> None:
    kernel = load()
    run(kernel, "xdp_ingress", dns(1))
    run(kernel, "xdp_ingress", ethernet(0x86DD) + bytes.fromhex("60000000000811ff") + bytes(40))
    kernel.detach(np.array(numbers, np.uint32))
    assert numbers_of(kernel, SlotState.EXPIRING).tolist() == numbers


def test_slot_that_lost_the_race_counts_nothing_and_is_given_back(load: Load) -> None:
    """The index has the key, and the slot there another one: so it may look while two CPUs open a flow."""
    kernel = load(max_flows=4)
    run(kernel, "xdp_ingress", dns(1))
    kernel.slots["key"]["ip_class_of_service"][0] = 1
    run(kernel, "xdp_ingress", dns(1))
    kernel.slots["key"]["ip_class_of_service"][0] = 0
    assert kernel.slots["state"].tolist() == [SlotState.LIVE, SlotState.DISCARDED, 0, 0]
    assert kernel.slots["own"]["packet_delta_count"][1] == 0
    assert outcomes(kernel) == {"PACKETS_SEEN": 2, "PACKETS_OVERFLOW": 1}
    give_back_all(kernel)
    assert_every_slot_is_free_once(kernel)


@several_cpus
def test_owner_and_others_count_apart(load: Load) -> None:
    """The CPU that opened a flow has counters of its own; together they are the flow."""
    kernel, (first, second) = load(), cpus()[:2]
    for cpu, payload, ttl, times in ((first, 100, 60, 3), (second, 10, 70, 2), (first, 50, 64, 1)):
        with on_cpu(cpu):
            for _ in range(times):
                run(kernel, "xdp_ingress", ethernet(IPV4) + ipv4(UDP, udp(1, 2, bytes(payload)), ttl=ttl))
    slot = kernel.slots[0]
    assert slot["owner"] == first
    assert (slot["own"]["packet_delta_count"], slot["own"]["octet_delta_count"]) == (4, 3 * 128 + 78)
    assert (slot["others"]["packet_delta_count"], slot["others"]["octet_delta_count"]) == (2, 76)
    flow = only(live_flows(kernel))
    assert (flow["packet_delta_count"], flow["octet_delta_count"]) == (6, 3 * 128 + 78 + 76)
    assert (flow["minimum_ip_total_length"], flow["maximum_ip_total_length"]) == (38, 128)
    assert (flow["minimum_ttl"], flow["maximum_ttl"]) == (60, 70)


# While packets come


@several_cpus
def test_every_flow_is_exact_while_it_is_cut(load: Load) -> None:
    """Flows numbers at random, again and again, and none of their packets missing or counted twice."""
    kernel, ledger, draw = load(max_flows=4096), Ledger(), random.Random(3)
    ended = 0
    with at_random(kernel, cpus(), FRAMES, 200_000) as hammer:
        while hammer.running:
            live = numbers_of(kernel, SlotState.LIVE)
            chosen = live[[draw.random() < 0.5 for _ in live]]
            ended += hand_over(kernel, chosen, ledger)
        hammer.join()
    assert ended > FLOWS
    assert hand_over(kernel, numbers_of(kernel, SlotState.LIVE), ledger) <= FLOWS
    kernel.release(numbers_of(kernel, SlotState.DISCARDED))
    sent = hammer.sent.sum(axis=0)
    assert ledger.packets[:FLOWS].tolist() == sent.tolist()
    assert ledger.octets == 48 * sent.sum()
    assert outcomes(kernel) == {"PACKETS_SEEN": sent.sum()}
    assert_every_slot_is_free_once(kernel)


@several_cpus
@pytest.mark.parametrize("slots", [16, 200, 256])
def test_every_packet_is_exported_of_a_table_too_small(load: Load, slots: int) -> None:
    """The Pipeline gives its sinks each packet once, in a flow or in an overflow record."""
    kernel, ledger = load(max_flows=slots), Ledger()
    pipeline = Pipeline(kernel, Timeouts(active_ns=10**7, idle_ns=10**6), [ledger], new_journal())
    now = 0
    with at_random(kernel, cpus(), FRAMES, 40_000) as hammer:
        while hammer.running:
            now = int(live_flows(kernel)["flow_end_ns"].max(initial=now))
            pipeline.tick(Instant(now, now))
        hammer.join()
    pipeline.flush(Instant(now, now))
    sent = int(hammer.sent.sum())
    assert ledger.packets.sum() == sent
    assert ledger.octets == 48 * sent
    assert outcomes(kernel)["PACKETS_OVERFLOW"] > 0
    assert_every_slot_is_free_once(kernel)


@several_cpus
def test_flow_opened_on_all_cpus_at_once_is_one(load: Load) -> None:
    """Who comes second finds the flow, and the slot that it took is given back."""
    kernel, frames = load(max_flows=65536), [dns(port) for port in range(20_000)]
    with in_step(kernel, cpus()[:2], frames) as hammer:
        hammer.join()
    assert set(by_port(kernel).values()) == {2}
    assert len(numbers_of(kernel, SlotState.LIVE)) == len(frames)
    lost = numbers_of(kernel, SlotState.DISCARDED)
    assert len(lost) > 0, "no two CPUs ever met: this proves nothing"
    assert not kernel.slots["own"]["packet_delta_count"][lost].any()
    give_back_all(kernel)
    assert not kernel.slots["state"].any()


@several_cpus
def test_flow_opened_on_all_cpus_at_once_ends_once(load: Load) -> None:
    """Flushed as fast as can be while they are opened: no flow is lost that two CPUs were opening."""
    kernel, ledger, frames = load(max_flows=65536), Ledger(), [dns(port) for port in range(40_000)]
    pipeline = Pipeline(kernel, Timeouts(10**9, 10**9), [ledger], new_journal())
    with in_step(kernel, cpus()[:2], frames) as hammer:
        while hammer.running:
            pipeline.flush(Instant(0, 0))
        hammer.join()
    pipeline.flush(Instant(0, 0))
    assert len(numbers_of(kernel, SlotState.LIVE)) == 0
    assert set(ledger.packets[: len(frames)].tolist()) == {2}
    assert outcomes(kernel) == {"PACKETS_SEEN": 2 * len(frames)}
