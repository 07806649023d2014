"""Proves that an agent can be killed at any moment: the kernel goes on counting, the next one goes on exporting."""

from __future__ import annotations

import random
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.agent import COMMAND, Agent, Collector, write_configuration
from lab.flow import Count
from lab.process import Process
from lab.remains import held, remains, wait_until_clean
from lab.topology import LAN, LINKS, Network, router_network
from lab.wireshark import Tshark

B, COLLECTOR = LINKS["b"], LINKS["collector"]
PORTS = {"netflow5": 2055, "netflow9": 9995, "ipfix": 4739}
KILLS = 100
_ETHERNET_IPV4_UDP = 14 + 20 + 8

#: Sends datagrams from 400 source ports, other ones each second, about 3,000 a second, until it is told to stop.
LOAD = """
import signal, socket, sys, time
running = True
def stop(*_):
    global running
    running = False
signal.signal(signal.SIGTERM, stop)
sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
sent = 0
while running:
    first = 1024 + int(time.monotonic()) % 100 * 400
    for i in range(30):
        port = first + (sent + i) % 400
        sender.sendto(port.to_bytes(2, "big") + b"\\x00\\x09\\x00\\x30\\x00\\x00" + bytes(40), (sys.argv[1], 0))
    sent += 30
    time.sleep(0.01)
"""

SILENCE = """
import socket, time
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.bind(("", 53))
print("listening", flush=True)
time.sleep(600)
"""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with router_network(tmp_path, ipv6=False) as built:
        yield built


@pytest.fixture
def readers(network: Network) -> dict[str, Tshark]:
    return {protocol: Tshark(network.collector, port, listen=True) for protocol, port in PORTS.items()}


def test_a_hundred_kills_lose_no_packet_and_send_none_twice(network: Network, readers: dict[str, Tshark]) -> None:
    before, draw = remains(network.router), random.Random(7)
    configuration = _configuration(network)
    agent = Agent(network.router, "-c", configuration, metering=("lan",))
    during = held(network.router)
    load = network.a.start(sys.executable, "-c", LOAD, B.host4)
    for _ in range(KILLS):
        time.sleep(draw.uniform(0.02, 0.9))
        agent.crash()
        agent = Agent(network.router, "-c", configuration, metering=())
    time.sleep(1)
    load.stop()
    sent = network.settled()[LAN]
    assert sent.packets > 20 * KILLS
    assert agent.stop() == 0
    for protocol, reader in readers.items():
        reader.stop()
        repeated = _without_repetitions(reader.path)
        assert repeated <= KILLS, protocol
        assert _total(reader, protocol) == sent, protocol
        assert _sequence_faults(reader) == [], protocol
    wait_until_clean(network.router, before, during)


def test_what_is_left_is_taken_over_at_once(network: Network, readers: dict[str, Tshark]) -> None:
    """SIGQUIT leaves everything: the same as a kill, for an upgrade."""
    configuration = _configuration(network, active_timeout=60, idle_timeout=60)
    agent = Agent(network.router, "-c", configuration, metering=("lan",))
    load = network.a.start(sys.executable, "-c", LOAD, B.host4)
    time.sleep(1)
    assert agent.stop(signal.SIGQUIT) == 0
    time.sleep(0.5)
    agent = Agent(network.router, "-c", configuration, metering=())
    agent.wait_for_log(r"taken over: [\d,]+ flows")
    load.stop()
    sent = network.settled()[LAN]
    assert agent.stop() == 0
    for protocol, reader in readers.items():
        reader.stop()
        assert _total(reader, protocol) == sent, protocol


def test_a_name_server_that_does_not_answer_keeps_nobody_from_taking_over(network: Network) -> None:
    """The thread that asks for the name is one too many where rights are to be given up."""
    silent = network.b.start(sys.executable, "-c", SILENCE)
    silent.wait_for_log("listening")
    resolver = network.directory / "resolv.conf"
    resolver.write_text(f"nameserver {B.host4}\noptions timeout:30\n")
    network.router.run("mount", "--bind", resolver, "/etc/resolv.conf")
    configuration = network.directory / "names.conf"
    write_configuration(configuration, [Collector("main", "collector.example:2055", "ipfix")], interfaces="lan")
    first = Agent(network.router, "-c", configuration, metering=("lan",))
    network.a.run("ping", "-c", "3", "-i", "0.01", B.host4)
    assert first.stop(signal.SIGQUIT) == 0
    assert "leaving the table to the next agent: " in first.log
    second = Agent(network.router, "-c", configuration, metering=())
    second.wait_for_log(r"taken over: [1-9]\d* flows?; metering lan for 1 collector")
    assert second.stop() == 0
    silent.stop()


def test_without_rights_nothing_is_begun(network: Network) -> None:
    nobody = ("setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    agent = Process(network.router.argv(*nobody, *COMMAND, "run", "-i", "lan"), network.directory / "nobody.log")
    assert agent.wait() == 2
    assert agent.log == "xflowd: metering is not allowed: run as root, or with CAP_BPF and CAP_NET_ADMIN\n"


def test_a_service_that_cannot_start_yet_holds_nothing_meanwhile(network: Network, tmp_path: Path) -> None:
    """It tries again in the same process, each second: what a try has opened is closed with it."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    configuration = _configuration(network)
    configuration.write_text(configuration.read_text() + "\n[agent]\nuser = nosuchuser\n")
    environment = ("env", f"NOTIFY_SOCKET={tmp_path / 'notify'}")
    agent = Process(
        network.router.argv(*environment, *COMMAND, "run", "-c", configuration), network.directory / "service.log"
    )
    agent.wait_for_log("there is no such user: .*trying again each second", 20)
    descriptors = Path(f"/proc/{_pid_of(agent, network)}/fd")
    first = _fewest(descriptors)
    time.sleep(3)
    assert _fewest(descriptors) <= first
    assert agent.log.count("trying again") == 1
    assert "runs already" not in agent.log
    assert agent.stop() == 1
    manager.close()


def test_a_second_agent_is_refused_and_told_who_has_it(network: Network) -> None:
    configuration = _configuration(network)
    first = Agent(network.router, "-c", configuration, metering=("lan",))
    holder = _pid_of(first, network)
    second = Process(network.router.argv(*COMMAND, "run", "-c", configuration), network.directory / "second.log")
    assert second.wait() == 2
    assert f"process {holder} meters this network namespace already: stop it (kill {holder}), or" in second.log
    assert f"(kill -HUP {holder})" in second.log
    assert first.running
    assert first.stop() == 0


def _configuration(network: Network, **meter: int) -> Path:
    collectors = [
        Collector(protocol, f"{COLLECTOR.host4}:{port}", protocol, template_refresh=2)
        for protocol, port in PORTS.items()
    ]
    return write_configuration(network.directory / "xflowd.conf", collectors, interfaces="lan", **meter)


def _fewest(descriptors: Path) -> int:
    """Of a second: between two tries there are those that it holds always."""
    counts = []
    for _ in range(12):
        counts.append(len(list(descriptors.iterdir())))
        time.sleep(0.1)
    return min(counts)


def _pid_of(agent: Agent | Process, network: Network) -> int:
    listed = subprocess.run(["ip", "netns", "pids", network.router.name], capture_output=True, text=True, check=True)
    found = [int(pid) for pid in listed.stdout.split() if b"xflowd" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(found) == 1
    assert agent.running
    return found[0]


def _without_repetitions(path: Path) -> int:
    """Rewrite a capture without datagrams whose payload was there before; how many there were."""
    content = path.read_bytes()
    kept, seen, at, repeated = [content[:24]], set(), 24, 0
    while at < len(content):
        length = struct.unpack_from("<I", content, at + 8)[0]
        packet = content[at : at + 16 + length]
        payload = packet[16 + _ETHERNET_IPV4_UDP :]
        if payload in seen:
            repeated += 1
        else:
            seen.add(payload)
            kept.append(packet)
        at += len(packet)
    path.write_bytes(b"".join(kept))
    return repeated


def _total(reader: Tshark, protocol: str) -> Count:
    """Packets and octets of all flow records, as tshark reads them."""
    fields = ["-T", "fields", "-e", "cflow.packets", "-e", "cflow.octets", "-E", "occurrence=a", "-E", "aggregator=,"]
    command = ["tshark", "-r", str(reader.path), "-n", "-d", f"udp.port=={PORTS[protocol]},cflow", *fields]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    sums = [0, 0]
    for line in text.splitlines():
        for place, column in enumerate(line.split("\t")):
            sums[place] += sum(int(number) for number in column.split(",") if number)
    return Count(*sums)


def _sequence_faults(reader: Tshark) -> list[str]:
    return [line for line in reader.expert() if "equence" in line]
