"""What the agent costs: a scan, records encoded and sent, memory, and the time until the first packet counts."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil

from lab.agent import COMMAND
from lab.namespaces import Namespace, namespaces
from lab.process import wait_until
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import LoadOptions
from xflowd.edge.sending import Destination
from xflowd.exporting.announcing import MeterStatistics, SamplingAnnouncement
from xflowd.exporting.process import ExportingProcess
from xflowd.metering.expiry import Timeouts, scan
from xflowd.metering.flow import FLOW
from xflowd.metering.instant import Instant
from xflowd.metering.table import SlotState

_RUNS = 5
_PATIENCE_SECONDS = 20
_SECOND = 10**9


def scan_ms(slots: int = 1_048_576) -> float:
    """One look at a full table, of which one flow in twenty has ended. The median of several."""
    kernel = Kernel(LoadOptions(max_flows=slots, programs=("read_clocks", "xdp_ingress")))
    now = time.monotonic_ns()
    kernel.slots["state"] = SlotState.LIVE
    for column in (kernel.slots["flow_start_ns"], kernel.slots["own"]["flow_end_ns"]):
        column[:] = now
        column[::20] = 1
    took = []
    for _ in range(_RUNS):
        begin = time.perf_counter()
        found = scan(kernel.slots, now, Timeouts(60 * _SECOND, 15 * _SECOND))
        took.append(time.perf_counter() - begin)
    assert len(found.numbers) == -(-slots // 20), "the scan did not find what has ended"
    kernel.close()
    return sorted(took)[_RUNS // 2] * 1e3


def export_records_per_second(records: int = 500_000) -> float:
    """IPFIX IPv4 records through encoder and socket, on one core, to a port of this host that nobody reads."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        destination = Destination("127.0.0.1", listening.getsockname()[1])
        now = Instant(time.monotonic_ns(), time.time_ns())
        assert destination.ready(now.monotonic_ns)
        process = ExportingProcess("ipfix", observation_domain=1, sampling=SamplingAnnouncement("none", 1))
        flows = _flows(8192, now)
        begin = time.perf_counter()
        for _ in range(records // len(flows)):
            for datagram in process.export(flows, now, {}, MeterStatistics()):
                destination.send(datagram, now.monotonic_ns)
        took = time.perf_counter() - begin
        destination.close()
    os.sched_setaffinity(0, cores)
    assert not destination.errors
    return process.counters.exported_flow_record_total_count / took


def start_and_memory(directory: Path) -> dict[str, float]:
    """From the command to the first packet counted, and the memory of an agent with 8,192 flows in its table."""
    with namespaces(directory, "source", "meter") as (source, meter):
        pair(source, meter)
        with packets_all_the_time(source):
            starts = [_start_ms(meter) for _ in range(_RUNS)]
        return {
            "start_ms": sorted(starts)[_RUNS // 2],
            "rss_8192_flows_mb": _memory_mb(directory, source, meter),
        }


def take_over_ms(directory: Path, slots: int = 65_536) -> dict[str, float]:
    """From the command to a table of which every slot has a flow being this agent's: the one before was killed."""
    with namespaces(directory, "source", "meter") as (source, meter):
        pair(source, meter)
        configuration = directory / "full.conf"
        configuration.write_text(
            f"[meter]\ninterfaces = eth0\ndirection = ingress\nmax_flows = {slots}\nidle_timeout = 1h\n"
            "active_timeout = 1h\n[collector here]\naddress = 127.0.0.1:9\n"
        )
        agent = meter.start(*COMMAND, "run", "-c", configuration)
        agent.wait_for_log("metering eth0")
        flood = directory / "full.pcap"
        flows = slots - slots // 8  # above fifteen in sixteen room is made
        write_capture(flood, flows=flows, packets=flows)
        source.run("tcpreplay", "-q", "--preload-pcap", "--pps=50000", "-i", "eth0", flood)
        took = []
        for _ in range(_RUNS):
            agent.kill()
            begin = time.perf_counter()
            agent = meter.start(*COMMAND, "run", "-c", configuration)
            while "taken over" not in agent.log and time.perf_counter() < begin + _PATIENCE_SECONDS:
                time.sleep(0.002)
            assert "taken over" in agent.log, agent.log
            took.append(1e3 * (time.perf_counter() - begin))
        agent.stop()
    return {"take_over_ms": sorted(took)[_RUNS // 2]}


def pair(source: Namespace, meter: Namespace) -> None:
    """A cable between the two, and no other traffic on it than what a test sends."""
    for space, address in ((source, "10.77.0.1/24"), (meter, "10.77.0.2/24")):
        space.sysctl(ipv6__conf__default__disable_ipv6=1, ipv6__conf__all__disable_ipv6=1)
        if space is source:
            space.ip(f"link add eth0 type veth peer name eth0 netns {meter.name}")
        space.ip(f"address add {address} dev eth0", "link set eth0 up")


class packets_all_the_time:
    """A ping that sends a packet each millisecond while the block lasts."""

    def __init__(self, source: Namespace) -> None:
        self._source = source

    def __enter__(self) -> None:
        self._process = self._source.start("ping", "-q", "-i", "0.001", "10.77.0.2")

    def __exit__(self, *_: object) -> None:
        self._process.kill()


def _start_ms(meter: Namespace) -> float:
    """The agent prints its first flow with the time of its first packet: the wall clock tells the rest."""
    begin = time.time()
    options = ["run", "-i", "eth0", "--format", "json", "-t", "active=1", "-t", "idle=1"]
    agent = subprocess.Popen(
        meter.argv(*COMMAND, *options), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert agent.stdout is not None
        first = agent.stdout.readline().split('"flowStartMilliseconds": "')[1][:23]
    finally:
        agent.terminate()
        agent.communicate(timeout=20)
    counted = np.datetime64(first).astype("datetime64[ms]").astype(np.int64) / 1e3
    return float((counted - begin) * 1e3)


def _memory_mb(directory: Path, source: Namespace, meter: Namespace) -> float:
    configuration = directory / "memory.conf"
    configuration.write_text("[meter]\ninterfaces = eth0\nmax_flows = 8192\nidle_timeout = 60\n"
                             "[collector here]\naddress = 127.0.0.1:9\n")  # fmt: skip
    agent = meter.start(*COMMAND, "run", "-c", configuration)
    agent.wait_for_log("metering eth0 egress")
    flood = directory / "8192.pcap"
    write_capture(flood, flows=7800, packets=7800)
    source.run("tcpreplay", "-q", "--preload-pcap", "--pps=50000", "-i", "eth0", flood)
    me = psutil.Process(agent.pid)
    wait_until(lambda: me.cpu_times().user > 0, "the agent's start")
    time.sleep(2.5)  # two scans of the full table
    megabytes = me.memory_info().rss / 2**20
    agent.stop()
    return float(megabytes)


def write_capture(path: Path, flows: int, packets: int) -> None:
    """A capture of TCP segments of 64 octets a frame, going round `flows` flows."""
    frames = np.zeros(packets, np.dtype([("time", "<u4", 2), ("length", "<u4", 2), ("frame", "u1", 60)]))
    frames["time"][:, 1] = 1
    frames["length"] = 60
    from kernel_cost import frame  # noqa: PLC0415 - a neighbour

    frames["frame"] = np.frombuffer(frame().ljust(60, b"\0")[:60], np.uint8)
    number = (np.arange(packets) % flows).astype(">u4")
    frames["frame"][:, 26:30] = (np.uint32(0x0A4D0000) + number).astype(">u4").view(np.uint8).reshape(-1, 4)
    header = np.array([0xA1B2C3D4, 0x00040002, 0, 0, 65535, 1], "<u4").tobytes()
    path.write_bytes(header + frames.tobytes())


def _flows(count: int, now: Instant) -> np.ndarray:
    flows = np.zeros(count, FLOW)
    flows["ip_version"], flows["ingress_interface"] = 4, 1
    flows["packet_delta_count"], flows["octet_delta_count"] = 1, 100
    flows["flow_start_ns"], flows["flow_end_ns"] = now.monotonic_ns - _SECOND, now.monotonic_ns
    return flows
