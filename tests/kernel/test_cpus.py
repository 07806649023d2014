"""Proves that what several CPUs count of one flow is all there: sums and flags, also where every add is atomic."""

from __future__ import annotations

import os

import numpy as np
import pytest

from kernel.conftest import Load
from kernel.frames import IPV4, TCP, dns, ethernet, ipv4, tcp
from kernel.hammer import at_random, in_step
from kernel.running import by_port, cpus, live_flows, only, outcomes, run

FLOWS = 20_000
FIN, SYN, PSH, ACK = 0x01, 0x02, 0x08, 0x10
NOBODY = 0xFFF0  # a CPU that there is not: to all others it is as if a third one had opened the flow

pytestmark = pytest.mark.skipif(len(cpus()) < 2, reason="this machine has one CPU")


def segment(port: int, flags: int) -> bytes:
    return ethernet(IPV4) + ipv4(TCP, tcp(port, 443, flags))


def test_no_flag_of_two_cpus_at_once_is_lost(load: Load) -> None:
    """Neither CPU is the one that opened the flow: they change the same octets at the same moment."""
    kernel = load(max_flows=32768)
    for port in range(FLOWS):
        run(kernel, "tc_ingress", segment(port, ACK))
    kernel.slots["owner"] = NOBODY
    one, other = ([segment(port, flag | ACK) for port in range(FLOWS)] for flag in (SYN | PSH, FIN))
    with in_step(kernel, cpus()[:2], one, other) as hammer:
        hammer.join()
    slots = kernel.slots[kernel.slots["state"] != 0]
    missed = np.count_nonzero(slots["others"]["tcp_control_bits"] != FIN | SYN | PSH | ACK)
    assert missed > 0, "no two CPUs ever met: this proves nothing"
    assert set(live_flows(kernel)["tcp_control_bits"].tolist()) == {FIN | SYN | PSH | ACK}
    assert set(slots["end_seen"].tolist()) == {1}


@pytest.fixture
def preempt_rt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that says it is PREEMPT_RT."""
    told = list(os.uname())
    told[3] = f"{told[3]} PREEMPT_RT"
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(told))


@pytest.mark.usefixtures("preempt_rt")
def test_sums_are_right_with_atomics_everywhere(load: Load) -> None:
    """As where a packet can interrupt another on its own CPU: also the flow's own counters are added to atomically."""
    kernel, frames = load(max_flows=64), [dns(port) for port in range(8)]
    with at_random(kernel, cpus()[:2], frames, 40_000) as hammer:
        hammer.join()
    sent = hammer.sent.sum(axis=0).tolist()
    assert by_port(kernel) == dict(enumerate(sent))
    assert live_flows(kernel)["octet_delta_count"].sum() == 48 * sum(sent)
    assert outcomes(kernel) == {"PACKETS_SEEN": sum(sent)}


@pytest.mark.usefixtures("preempt_rt")
def test_flags_of_the_owner_are_kept_apart_with_atomics_everywhere(load: Load) -> None:
    kernel = load()
    for flags in (SYN, ACK, PSH | ACK):
        run(kernel, "tc_ingress", segment(1, flags))
    assert kernel.slots["tcp_control_bit_seen"][0].tolist() == [0, 1, 0, 1, 1, 0, 0, 0]
    assert only(live_flows(kernel))["tcp_control_bits"] == SYN | PSH | ACK
