"""Proves that a flood of new flows costs a running agent no packet and little time, and that nothing of it stays."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from kernel.running import cpus
from lab import counting, flood
from lab.agent import COMMAND, Agent, Collector, write_configuration
from lab.namespaces import Namespace, namespaces
from lab.process import wait_until

#: What they load the router with takes both CPUs of a small machine.
pytestmark = pytest.mark.alone

RATE, SECONDS = 1_000_000, 10
PORT = 2055
MB = 1 << 20


@dataclass(frozen=True)
class Sample:
    """The agent at one moment of the flood: octets of its own memory, seconds until it has answered, the answer."""

    memory: int
    answered: float
    status: dict[str, Any]


def own_memory(pid: int) -> int:
    """Resident octets without the flow table, which lies in the kernel and is shared with it."""
    use = psutil.Process(pid).memory_info()
    return int(use.rss - use.shared)


def status(space: Namespace) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(space.run(*COMMAND, "status", "--json"))
    return answer


def process_of_the_agent(space: Namespace) -> int:
    """It answers a moment after it has begun to meter."""

    def answered() -> int | None:
        with suppress(RuntimeError):
            return int(status(space)["pid"])
        return None

    return wait_until(answered, "the agent's first answer")


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Namespace]:
    """A namespace with a device to meter, which is silent: the flood comes by its own way."""
    with namespaces(tmp_path, "r") as (space,):
        space.sysctl(ipv6__conf__default__disable_ipv6=1)
        space.ip("link add quiet type veth peer name end", "link set quiet up", "link set end up")
        yield space


def flooded(router: Namespace, pid: int, built: Path) -> Iterator[Sample]:
    """Flood from all CPUs at once, and look at the agent until it ends."""
    chosen = cpus()[:2]
    orders = [flood.Order(built, pid, "quiet", RATE // len(chosen), SECONDS, cpu) for cpu in chosen]
    started = [router.start(*order.command()) for order in orders]
    while any(one.running for one in started):
        begin = time.monotonic()
        answer = status(router)
        yield Sample(own_memory(pid), time.monotonic() - begin, answer)
        time.sleep(0.5)
    assert [one.wait() for one in started] == [0] * len(started), [one.log for one in started]
    assert sum(flood.sent(one.log) for one in started) == RATE * SECONDS


@pytest.mark.parametrize("slots", [65_536, 1024])
def test_a_million_new_flows_a_second(router: Namespace, tmp_path: Path, slots: int) -> None:
    collector = router.start(sys.executable, counting.__file__, "127.0.0.1", str(PORT))
    router.wait_for_udp_port(PORT)
    path = write_configuration(
        tmp_path / "xflowd.conf",
        [Collector("here", f"127.0.0.1:{PORT}", "ipfix")],
        interfaces="quiet",
        max_flows=slots,
        active_timeout=60,
        idle_timeout=2,
    )
    agent = Agent(router, "-c", path, metering=["quiet"])
    pid = process_of_the_agent(router)
    samples = list(flooded(router, pid, flood.build(tmp_path)))
    assert len(samples) >= SECONDS / 2
    assert max(sample.answered for sample in samples) < 1
    memory = [sample.memory for sample in samples]
    assert max(memory) < 64 * MB
    assert max(memory) - memory[len(memory) // 2] < 4 * MB, f"it grows all the time: {memory}"
    assert min(sample.status["timeouts"]["idle_in_force"] for sample in samples) == 1

    wait_until(lambda: status(router)["flows"]["live"] == 0, "an empty table")
    wait_until(lambda: status(router)["timeouts"]["idle_in_force"] == 2, "the configured idle timeout", 20)
    document = status(router)
    assert document["flows"]["free"] == slots
    assert document["totals"]["difference"] == 0
    assert agent.stop() == 0
    router.wait_until_read(PORT)
    collector.stop()
    assert_all_there(json.loads(collector.log), document)


def assert_all_there(collected: dict[str, Any], document: dict[str, Any]) -> None:
    """Every packet in one record, as the collector has it, and as the agent and the kernel's programs have counted."""
    sent, overflow = RATE * SECONDS, document["interfaces"][0]["packets"]["overflow"]
    assert document["totals"]["seen"] == sent
    assert sum(collected["packets"].values()) == sent
    assert collected["nameless_packets"] == overflow > 0
    assert collected["missing"] == 0
    assert set(collected["packets"]) <= {"1", "5"}
    flows = sum(collected["flows"].values()) - collected["nameless_flows"]
    assert flows == sent - overflow, "each flow that is not overflow has one packet"
    assert collected["flows"]["5"] > flows / 2
