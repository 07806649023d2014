"""What becomes of a flood of new flows: how many a second the agent keeps up with, and what a million costs it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kernel.namespace import inside
from kernel.running import cpus, on_cpu
from lab.agent import COMMAND, Agent
from lab.flood import Flood, build, program_of
from lab.namespaces import Namespace, namespaces
from lab.process import wait_until

_SLOTS = 65_536
_FIRST_RATE, _FASTER, _STEP_SECONDS = 20_000, 1.2, 3.0
_MOST_STEPS = 25
_FLOOD_RATE, _FLOOD_SECONDS = 1_000_000, 10.0


@dataclass(frozen=True)
class _Seen:
    """The agent's account at one moment."""

    packets: int
    overflow: int
    cpu_seconds: float
    seconds: float


def measure(directory: Path) -> dict[str, float]:
    """A real agent with a table of 65,536 flows and its usual timeouts; it exports to a port that nobody reads."""
    built = build(directory)
    with _agent(directory) as (space, pid), inside(space), on_cpu(cpus()[-1]):
        quiet = socket.if_nametoindex("quiet")
        with Flood(built, program_of(pid, "tc_ingress"), interface=quiet) as flood:
            kept_up = _most_without_overflow(space, flood)
            before = _look(space)
            flood.run_paced(_FLOOD_RATE, _FLOOD_SECONDS)
            after = _look(space)
    packets, overflow = after.packets - before.packets, after.overflow - before.overflow
    seconds = after.seconds - before.seconds
    return {
        "flood_kept_up_flows_per_second": kept_up,
        "flood_exported_flows_per_second": (packets - overflow) / seconds,
        "flood_overflow_percent": 100 * overflow / packets,
        "flood_cpu_percent": 100 * (after.cpu_seconds - before.cpu_seconds) / seconds,
    }


def _most_without_overflow(space: Namespace, flood: Flood) -> float:
    """Faster and faster, three seconds each: the last rate at which every flow was one of its own."""
    rate, before = float(_FIRST_RATE), _look(space)
    for _ in range(_MOST_STEPS):
        took = flood.run_paced(round(rate * _FASTER), _STEP_SECONDS)
        if took > 1.1 * _STEP_SECONDS or _look(space).overflow > before.overflow:
            return rate
        rate *= _FASTER
    return rate


@contextmanager
def _agent(directory: Path) -> Iterator[tuple[Namespace, int]]:
    with namespaces(directory, "flood") as (space,):
        space.ip("link add quiet type veth peer name end", "link set quiet up", "link set end up")
        configuration = directory / "flood.conf"
        configuration.write_text(
            f"[meter]\ninterfaces = quiet\nmax_flows = {_SLOTS}\n[collector here]\naddress = 127.0.0.1:2055\n"
        )
        with inside(space):
            unread = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with unread:
            unread.bind(("127.0.0.1", 2055))
            agent = Agent(space, "-c", configuration, metering=["quiet"])
            wait_until(lambda: _answers(space), "the agent's first answer")
            yield space, int(_status(space)["pid"])
            agent.stop()


def _status(space: Namespace) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(space.run(*COMMAND, "status", "--json"))
    return answer


def _answers(space: Namespace) -> bool:
    """It does so a moment after it has begun to meter."""
    with suppress(RuntimeError):
        return bool(_status(space))
    return False


def _look(space: Namespace) -> _Seen:
    status = _status(space)
    times = psutil.Process(status["pid"]).cpu_times()
    overflow = sum(point["packets"]["overflow"] for point in status["interfaces"])
    return _Seen(status["totals"]["seen"], overflow, times.user + times.system, time.monotonic())
