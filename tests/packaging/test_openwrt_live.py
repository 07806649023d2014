"""Proves that the agent that procd is told of meters every packet: a UCI file, a reload, a restart, an upgrade."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from openwrt_router import placed, shell

from lab.agent import COMMAND
from lab.flow import ICMP, Key, totals
from lab.process import Process
from lab.remains import held, remains, wait_until_clean
from lab.topology import LINKS, Network
from lab.wireshark import Tshark

HERE = Path(__file__).resolve().parent
A, B, COLLECTOR = LINKS["a"], LINKS["b"], LINKS["collector"]
PORTS = (2055, 2056)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and eBPF need root")


class Procd:
    """What procd does of it here: run the instance's command, hand on signals, start it again after a SIGQUIT."""

    def __init__(self, network: Network, configuration: Path) -> None:
        self.network, self.directory = network, configuration.parent
        program = self.directory / "program"
        program.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
        program.chmod(0o755)
        self.script = placed(self.directory, program, configuration)
        self.process: Process | None = None

    def call(self, action: str, **environment: str) -> None:
        """An action of the init script, and all that procd would do then."""
        record, running = self.directory / "record", self.directory / "running"
        self.ends: tuple[int, ...] = (0,)
        record.write_text("")
        if self.process and self.process.running:
            running.touch()
        (self.directory / "config").mkdir(exist_ok=True)
        shutil.copy(self.directory / "xflowd.uci", self.directory / "config" / "xflowd")
        done = subprocess.run(
            [shell(), "ash", HERE / "openwrt_rc.common", self.script, action],
            env={
                "PATH": os.environ["PATH"],
                "RECORD": str(record),
                "RUNNING": str(running),
                "ETC_CONFIG": str(self.directory / "config"),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        for line in record.read_text().splitlines():
            self._do(*line.split("\t"))

    def _do(self, name: str, *words: str) -> None:
        if name == "procd_send_signal":
            assert self.process
            self.process.send(signal.Signals[f"SIG{words[-1]}"])
            if words[-1] == "QUIT":  # either may find a Python that still starts, or is gone but for its exit code
                self.ends = (0, -signal.SIGTERM, -signal.SIGQUIT)
        elif name == "procd_kill":
            assert self.process
            assert self.process.stop() in self.ends, self.process.log
        elif (name, *words[:1]) == ("procd_set_param", "command") and not (self.process and self.process.running):
            self.process = self.network.router.start(*words[1:])

    def log(self) -> str:
        assert self.process
        return self.process.log


def uci(path: Path, port: int, **meter: str) -> None:
    options = "".join(f"\toption {key} '{value}'\n" for key, value in meter.items())
    path.write_text(
        "config agent\n\toption enabled '1'\n\toption nice '3'\n"
        f"config meter\n\tlist interface 'lan'\n\toption direction 'ingress'\n\toption max_flows '8192'\n{options}"
        f"config collector 'main'\n\toption address '{COLLECTOR.host4}:{port}'\n\toption protocol 'netflow9'\n"
    )


def ping(network: Network, times: int) -> None:
    network.a.run("ping", "-q", "-n", "-c", str(times), "-i", "0.02", B.host4)


def test_no_packet_is_lost_from_start_to_stop(network: Network) -> None:
    collectors = [Tshark(network.collector, port, listen=True) for port in PORTS]
    path = network.directory / "xflowd.uci"
    uci(path, PORTS[0])
    procd = Procd(network, path)
    before = remains(network.router)
    procd.call("start")
    assert procd.process
    procd.process.wait_for_log(r"metering lan\b", timeout=20)
    assert os.getpriority(os.PRIO_PROCESS, procd.process.pid) == 3
    ping(network, 10)

    uci(path, PORTS[1], idle_timeout="2", scan_interval="2")
    procd.call("reload")
    procd.process.wait_for_log("read again")
    ping(network, 10)

    for action, environment in (("restart", {}), ("stop", {"PKG_UPGRADE": "1"})):
        first = procd.process
        procd.call(action, **environment)
        assert not first.running
        ping(network, 10)  # an agent starts, or there is none: the programs count
    procd.call("start")
    procd.process.wait_for_log("taken over", timeout=20)
    ping(network, 10)

    during = held(network.router)
    procd.call("stop")
    wait_until_clean(network.router, before, during)
    for collector in collectors:
        collector.stop()
    exported = totals(flow for collector in collectors for flow in collector.flows())
    assert exported[Key(A.host4, B.host4, ICMP, 0, 0)].packets == 50
    assert totals(collectors[1].flows())[Key(A.host4, B.host4, ICMP, 0, 0)].packets >= 40
