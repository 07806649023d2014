"""Real packets at top speed over a cable of namespaces: what xflowd loses and costs, and what softflowd does."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
from agent_cost import pair, write_capture
from kernel_cost import Spread

from kernel.namespace import inside
from lab.agent import COMMAND
from lab.namespaces import Namespace, namespaces
from lab.process import Process
from xflowd.edge import attach
from xflowd.metering.flow import INGRESS

_FLOWS, _PACKETS, _LOOPS = 4096, 65_536, 60
_REPLAYED = 500_000  # packets


@dataclass(frozen=True)
class Replayed:
    """What tcpreplay says it sent."""

    packets: int
    seconds: float


def measure(directory: Path) -> dict[str, float]:
    """The same traffic past nobody, past an empty program, past xflowd and past softflowd.

    `..._cpu_ns_per_packet` is what the process takes; `..._path_ns_per_packet` is what each packet takes longer on
    its way than with nobody there: the program in the kernel here, the copies for the capture socket there.
    """
    capture = directory / "live.pcap"
    write_capture(capture, _FLOWS, _PACKETS)
    alone = [_alone(directory, capture) for _ in range(2)]
    hook = max(_hook(directory, capture) for _ in range(2))
    results = {**_xflowd(directory, capture), **_softflowd(directory, capture)}
    alone.append(_alone(directory, capture))
    nobody_ns = 1e9 / max(alone)
    results["live_nobody_pps"] = max(alone)
    results["live_hook_path_ns_per_packet"] = 1e9 / hook - nobody_ns
    results["live_path_ns_per_packet"] = 1e9 / results["live_pps"] - nobody_ns
    results["softflowd_path_ns_per_packet"] = 1e9 / results["softflowd_pps"] - nobody_ns
    return results


def replay(directory: Path) -> dict[str, float]:
    """A capture file read by each of the two; what it takes to start is in it for both."""
    capture = directory / "replay.pcap"
    write_capture(capture, _FLOWS, _REPLAYED)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unread:  # a port where nobody listens is a failure
        unread.bind(("127.0.0.1", 0))
        ours = _timed([*COMMAND, "replay", "-n", f"127.0.0.1:{unread.getsockname()[1]}", str(capture)])
    theirs = _timed(["softflowd", "-n", "127.0.0.1:9", "-r", str(capture)])
    return {"replay_ns_per_packet": ours / _REPLAYED * 1e9, "softflowd_replay_ns_per_packet": theirs / _REPLAYED * 1e9}


def _xflowd(directory: Path, capture: Path) -> dict[str, float]:
    with namespaces(directory, "source", "meter") as (source, meter):
        pair(source, meter)
        agent = _start_agent(meter)
        before = _cpu_seconds(agent.pid)
        sent = _play(source, capture)
        time.sleep(2)  # the scans after the last packet
        spent = _cpu_seconds(agent.pid) - before
        agent.stop()
    counted = re.search(r"packets? seen = ([\d,]+) in", agent.log)
    assert counted, agent.log
    return {
        "live_packets": sent.packets,
        "live_pps": sent.packets / sent.seconds,
        "live_lost_packets": sent.packets - int(counted.group(1).replace(",", "")),
        "live_cpu_ns_per_packet": spent / sent.packets * 1e9,
    }


def _alone(directory: Path, capture: Path) -> float:
    """Packets a second with nobody looking."""
    with namespaces(directory, "source", "meter") as (source, meter):
        pair(source, meter)
        sent = _play(source, capture)
        return sent.packets / sent.seconds


def _hook(directory: Path, capture: Path) -> float:
    """Packets a second past a TC program that does nothing."""
    with namespaces(directory, "source", "meter") as (source, meter), closing(Spread(directory, 0, False)) as spread:
        pair(source, meter)
        with inside(meter):
            index = socket.if_nametoindex("eth0")
            link = attach.attach_tc(spread.program("nothing_tc"), index, INGRESS)
        sent = _play(source, capture)
        link.close()
        return sent.packets / sent.seconds


def _softflowd(directory: Path, capture: Path) -> dict[str, float]:
    with namespaces(directory, "source", "meter") as (source, meter):
        pair(source, meter)
        control = directory / "softflowd.ctl"
        probe = meter.start(
            "softflowd", "-d", "-i", "eth0", "-n", "127.0.0.1:9", "-c", control, "-p", directory / "pid"
        )
        time.sleep(1)
        before = _cpu_seconds(probe.pid)
        sent = _play(source, capture)
        time.sleep(2)
        spent = _cpu_seconds(probe.pid) - before
        said = meter.run("softflowctl", "-c", control, "statistics")
        probe.stop()
    found = re.search(r"Packets processed: (\d+)", said)
    assert found, said
    seen = int(found.group(1))
    return {
        "softflowd_pps": sent.packets / sent.seconds,
        "softflowd_lost_packets": sent.packets - seen,
        "softflowd_cpu_ns_per_packet": spent / max(seen, 1) * 1e9,
    }


def _start_agent(meter: Namespace) -> Process:
    configuration = meter.directory / "live.conf"
    configuration.write_text(
        "[meter]\ninterfaces = eth0\ndirection = ingress\n[collector here]\naddress = 127.0.0.1:9\n"
    )
    agent = meter.start(*COMMAND, "run", "-c", configuration)
    agent.wait_for_log("metering eth0 ingress")
    return agent


def _play(source: Namespace, capture: Path) -> Replayed:
    said = source.run("tcpreplay", "-q", "-K", "--topspeed", f"--loop={_LOOPS}", "-i", "eth0", capture, timeout=120)
    found = re.search(r"Actual: (\d+) packets \(\d+ bytes\) sent in ([\d.]+) seconds", said)
    assert found, said
    failed = re.search(r"Failed packets:\s+(\d+)", said)
    assert failed is None or failed.group(1) == "0", said
    return Replayed(int(found.group(1)), float(found.group(2)))


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _timed(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True, timeout=120)
    return time.perf_counter() - begin
