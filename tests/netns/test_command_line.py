"""Proves the command's manners: exit codes, one line an error, a capture read on its own clock, SIGHUP."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import traffic
from lab.agent import COMMAND, Agent, Collector, write_configuration, xflowd
from lab.flow import ICMP, Count, Key, totals
from lab.process import Process, wait_until
from lab.topology import LINKS, Network
from lab.wireshark import Tshark

A, B = LINKS["a"], LINKS["b"]
OLD, NEW = 2055, 2056


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "-i", "lo", "-n", "192.0.2.1:port"),
        ("run", "-i", "lo", "-n", "192.0.2.1:2055", "-v", "7"),
        ("run", "-i", "lo", "-n", "192.0.2.1:2055", "-v", "5", "-s", "20000"),
        ("run", "-i", "lo", "-n", "192.0.2.1:2055", "-t", "idle=never"),
        ("run", "-c", "/nonexistent/xflowd.conf"),
        ("check", "-c", "/nonexistent/xflowd.conf"),
        ("replay", "/nonexistent/capture.pcap"),
    ],
)
def test_wrong_use_is_two_and_a_line(arguments: tuple[str, ...]) -> None:
    done = xflowd(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_check_finds_a_wrong_key(tmp_path: Path) -> None:
    path = tmp_path / "xflowd.conf"
    path.write_text("[meter]\ninterfaces = lo\nidle_timeot = 15\n")
    done = xflowd("check", "-c", path)
    assert done.returncode == 2
    assert "idle_timeot" in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "skype-conference-call.pcap",
        "teredo.pcap",
        "quic_frags_ch_out_of_order_same_packet_craziness.pcapng",
    ],
)
def test_replay_prints_the_flows_of_a_capture(captures: Path, name: str) -> None:
    done = xflowd("replay", captures / name, "--format", "json")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    packets = list(traffic.capture_packets(captures / name))
    got = Count(
        sum(record["packetDeltaCount"] for record in records),
        sum(record["octetDeltaCount"] for record in records),
    )
    assert got == Count(len(packets), sum(octets for _, octets in packets))


FULL = "xflowd: standard output: No space left on device: make room there, or write to another place\n"


@pytest.mark.parametrize("style", ["table", "json"])
def test_replay_onto_a_full_disk_fails(captures: Path, style: str) -> None:
    with open("/dev/full", "w") as full:
        arguments = [*COMMAND, "replay", str(captures / "skype-conference-call.pcap"), "--format", style]
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith(FULL)
    assert done.stderr.count("standard output") == 1


def test_an_agent_that_prints_onto_a_full_disk_says_why_it_ends(network: Network) -> None:
    shell = ("sh", "-c", 'exec "$@" >/dev/full', "sh")
    running = Process(
        network.router.argv(*shell, *COMMAND, "run", "-i", "lan", "-t", "active=1"), network.directory / "full.log"
    )
    wait_until(lambda: not running.running or traffic.ping(network.a, B.host4, 1) is None, "its end")
    assert running.wait() == 1
    assert running.log.endswith(FULL)


@pytest.mark.parametrize("protocol", ["netflow5", "netflow9", "ipfix"])
def test_replay_to_a_port_that_is_closed_fails(network: Network, captures: Path, protocol: str) -> None:
    """Also where all flows are in one datagram: no other one is there to hear of the answer."""
    capture, to = captures / "skype-conference-call.pcap", f"{LINKS['collector'].host4}:{OLD}"
    running = Process(
        network.router.argv(*COMMAND, "replay", str(capture), "-n", to, "-v", protocol),
        network.directory / "replay.log",
    )
    assert running.wait() == 1
    assert "port unreachable (" in running.log


def test_a_hangup_reads_the_file_again(network: Network) -> None:
    old, new = Tshark(network.collector, OLD, listen=True), Tshark(network.collector, NEW, listen=True)
    host = LINKS["collector"].host4
    path = network.directory / "xflowd.conf"
    write_configuration(path, [Collector("one", f"{host}:{OLD}", "ipfix")], active_timeout=60)
    agent = Agent(network.router, "-c", path)
    traffic.ping(network.a, B.host4, 3)
    write_configuration(path, [Collector("other", f"{host}:{NEW}", "ipfix")], active_timeout=60)
    agent.hang_up()
    agent.wait_for_log("read again")
    count = traffic.ping(network.a, B.host4, 5)
    assert agent.stop() == 0
    old.stop()
    new.stop()
    exported = totals(old.flows() + new.flows())[Key(A.host4, B.host4, ICMP, 0, 0)]
    assert exported.packets == count.packets + 3
    assert totals(new.flows())[Key(A.host4, B.host4, ICMP, 0, 0)].packets >= count.packets


def test_a_collector_whose_section_changes_counts_on(network: Network) -> None:
    """Its socket and its queue are made anew; what it was sent, and what was wrong, stays, and is not told again."""
    path = network.directory / "xflowd.conf"
    source = f"{LINKS['collector'].router4}:40000"
    nobody = Collector("nobody", f"{LINKS['collector'].host4}:{NEW}", "netflow9", source=source)
    write_configuration(path, [nobody], active_timeout=1)
    agent = Agent(network.router, "-c", path)
    traffic.ping(network.a, B.host4, 5)
    agent.wait_for_log(r"nobody: port unreachable \(1 time\)")
    for more in ("", "queue = 200000\n"):
        before, lines = _collector(network), agent.log.count("port unreachable")
        read = agent.log.count("read again")
        write_configuration(path, [replace(nobody, template_refresh=30)], active_timeout=1)
        path.write_text(path.read_text() + more)
        agent.hang_up()
        wait_until(lambda read=read: agent.log.count("read again") > read, "the file read again")
        now = _collector(network)
        for name in ("flows_exported", "datagrams_sent", "octets_sent", "sequence"):
            assert now[name] >= before[name] > 0, name
        assert now["errors"]["port unreachable"] >= before["errors"]["port unreachable"]
        assert agent.log.count("port unreachable") == lines
    assert "is no more" not in agent.log
    agent.stop()


def _collector(network: Network) -> dict[str, Any]:
    status = json.loads(network.router.run(*COMMAND, "status", "--json"))
    (collector,) = status["collectors"]
    return dict(collector)


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_a_hangup_that_changes_the_table_misses_no_packet(network: Network, hook: str) -> None:
    """Other programs and another table go into the place of the old ones while packets come, again and again."""
    tshark = Tshark(network.collector, NEW, listen=True)
    path, count = network.directory / "xflowd.conf", 600
    collectors = [Collector("one", f"{LINKS['collector'].host4}:{NEW}", "ipfix")]
    write_configuration(path, collectors, hook=hook, max_flows=1000)
    agent = Agent(network.router, "-c", path)
    pings = network.a.start("ping", "-q", "-n", "-c", str(count), "-i", "0.005", B.host4)
    for flows in (2000, 3000, 4000):
        write_configuration(path, collectors, hook=hook, max_flows=flows)
        before = agent.log.count("read again")
        agent.hang_up()
        wait_until(lambda before=before: agent.log.count("read again") > before, "the file read again")
    assert pings.wait() == 0
    assert agent.stop() == 0
    tshark.stop()
    assert totals(tshark.flows())[Key(A.host4, B.host4, ICMP, 0, 0)].packets == count
    assert f"{2 * count:,} packets seen = {2 * count:,} in" in agent.log


def test_a_file_with_faults_at_a_hangup_changes_nothing(network: Network) -> None:
    tshark = Tshark(network.collector, NEW, listen=True)
    path = network.directory / "xflowd.conf"
    write_configuration(path, [Collector("one", f"{LINKS['collector'].host4}:{NEW}", "ipfix")])
    agent = Agent(network.router, "-c", path)
    path.write_text("[meter]\ninterfacs = lan\n")
    agent.hang_up()
    assert "interfacs" in agent.wait_for_log("going on as before")
    count = traffic.ping(network.a, B.host4, 5)
    assert agent.stop() == 0
    tshark.stop()
    assert totals(tshark.flows())[Key(A.host4, B.host4, ICMP, 0, 0)] == count
