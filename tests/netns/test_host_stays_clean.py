"""Proves that the agent sends what it holds at its end, leaves nothing on the host, and disturbs no one."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
from pathlib import Path

import pytest

from lab import traffic
from lab.agent import Agent, Collector, write_configuration
from lab.flow import ICMP, Count, Key, totals
from lab.namespaces import Namespace
from lab.remains import held, remains, wait_until_clean
from lab.topology import LINKS, Network
from lab.wireshark import Tshark

PORT = 2055
A, B = LINKS["a"], LINKS["b"]
PING = Key(A.host4, B.host4, ICMP, 0, 0)

#: Drops every frame of more than 900 octets: whether it still runs is seen from outside.
DROP_LONG_FRAMES = """
#include <linux/bpf.h>
__attribute__((section("xdp"), used)) int drop_long_frames(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;

    return data + 900 < data_end ? XDP_DROP : XDP_PASS;
}
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("hook", ["xdp", "tc"])
def test_the_end_sends_the_table_and_leaves_nothing(network: Network, hook: str, number: signal.Signals) -> None:
    before = remains(network.router)
    tshark = Tshark(network.collector, PORT, listen=True)
    direction, times = ("both", 2) if hook == "tc" else ("ingress", 1)
    agent = _agent(network, hook=hook, direction=direction, active_timeout=60, idle_timeout=60)
    during = held(network.router)
    assert during.since(before), "the agent has loaded something"
    count = traffic.ping(network.a, B.host4, 5)
    assert agent.stop(number) == 0
    tshark.stop()
    wait_until_clean(network.router, before, during)
    records = [record for record in tshark.records() if record.get("cflow.srcaddr") == A.host4]
    assert {record["cflow.flow_end_reason"] for record in records} == {"4"}  # forced end
    assert totals(tshark.flows())[PING] == Count(times * count.packets, times * count.octets)


def test_an_xdp_program_that_was_there_first_stays_and_runs(network: Network) -> None:
    _load_xdp(network.router, "lan", network.directory)
    first = _xdp_program(network.router, "lan")
    tshark = Tshark(network.collector, PORT, listen=True)
    agent = _agent(network, hook="xdp")
    agent.wait_for_log("lan: no XDP, another XDP program is there: metering it by TC")
    assert "TC" in agent.wait_for_log(r"metering lan\b")
    assert "XDP" in agent.wait_for_log(r"metering wan\b")
    count = traffic.ping(network.a, B.host4, 5)
    with pytest.raises(RuntimeError, match="exited with 1"):
        network.a.run("ping", "-c", "1", "-W", "0.3", "-s", "1200", B.host4)
    assert agent.stop() == 0
    tshark.stop()
    assert totals(tshark.flows())[PING] == count, "what the other program dropped did not come in"
    assert _xdp_program(network.router, "lan") == first


def _agent(network: Network, **meter: str | int) -> Agent:
    collectors = [Collector("only", f"{LINKS['collector'].host4}:{PORT}", "ipfix")]
    path = write_configuration(network.directory / "xflowd.conf", collectors, sampling=("none", 1), **meter)
    return Agent(network.router, "-c", path)


def _load_xdp(space: Namespace, interface: str, directory: Path) -> None:
    source, target = directory / "drop.c", directory / "drop.o"
    source.write_text(DROP_LONG_FRAMES)
    include = f"-I/usr/include/{platform.machine()}-linux-gnu"  # where Debian keeps <asm/types.h>
    command = ["clang", "-O2", "-g", "-target", "bpf", include, "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    space.run("ip", "link", "set", "dev", interface, "xdp", "obj", target, "sec", "xdp")


def _xdp_program(space: Namespace, interface: str) -> int:
    shown = json.loads(space.run("ip", "-json", "link", "show", "dev", interface))
    return int(shown[0]["xdp"]["prog"]["id"])
