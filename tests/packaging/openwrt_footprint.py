"""What an agent with 8,192 flows takes of a small device: memory, time to start, CPU.

sudo .venv/bin/python tests/packaging/openwrt_footprint.py [KEY=VALUE of [meter]...]
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.agent import COMMAND, Collector, write_configuration
from lab.process import Process
from lab.topology import LINKS, Network, router_network

FLOWS, SECONDS = 8192, 10
#: A packet of each of so many flows.
FLOOD = """
import socket, sys
for port in range(int(sys.argv[2])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("", 10000 + port % 4096))
        sender.sendto(b"x", (sys.argv[1], 9 + port // 4096))
"""


def start(network: Network, *environment: str, **meter: str) -> tuple[Process, float]:
    """An agent on `lan` with a netflow5 collector, and the seconds until it metered."""
    collectors = [Collector("small", f"{LINKS['collector'].host4}:2055", "netflow5")]
    path = write_configuration(
        network.directory / "xflowd.conf",
        collectors,
        **{"interfaces": "lan", "max_flows": FLOWS, "active_timeout": 600, "idle_timeout": 600, **meter},
    )
    began = time.monotonic()
    process = network.router.start("env", *environment, *COMMAND, "run", "-c", path)
    process.wait_for_log(r"metering lan\b", timeout=60)
    return process, time.monotonic() - began


def memory(process: Process) -> dict[str, float]:
    """Megabytes: Rss, Pss, Private_Dirty."""
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return {name: int(octets) / 1024 for name, octets in re.findall(r"^(Rss|Pss|Private_Dirty): +(\d+)", text, re.M)}


def cpu_seconds(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main(*settings: str) -> None:
    with tempfile.TemporaryDirectory() as directory, router_network(Path(directory)) as network:
        process, seconds = start(network, **dict(setting.split("=", 1) for setting in settings))
        network.a.run(sys.executable, "-c", FLOOD, LINKS["b"].host4, str(FLOWS - 64), timeout=60)
        time.sleep(2)
        before, began = cpu_seconds(process), time.monotonic()
        time.sleep(SECONDS)
        share = (cpu_seconds(process) - before) / (time.monotonic() - began)
        figures = ", ".join(f"{name} {value:.1f} MB" for name, value in memory(process).items())
        print(f"{figures}; metering after {seconds:.2f} s; {100 * share:.1f} % of a CPU")
        process.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
