"""Proves that nfcapd, another collector, stores exactly the flows that were exported, and misses none."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire_helpers import ALL, NOW, WITH_TEMPLATES, after, flow, flows, many, process

from xflowd.exporting.announcing import MeterStatistics, SamplingAnnouncement

pytestmark = pytest.mark.skipif(shutil.which("nfcapd") is None, reason="nfcapd is not installed")
PATIENCE_S = 10


class Nfcapd:
    """nfcapd on a port of the loopback. `log` is what it wrote, once it has stopped."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.log = directory, ""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = ["nfcapd", "-b", "127.0.0.1", "-p", str(self.port), "-w", str(directory), "-t", "3600"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._wait(lambda queued: queued is not None)

    def send(self, datagrams: Iterable[bytes | memoryview]) -> None:
        """Send, and wait until nfcapd has taken them all from its socket."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            for datagram in datagrams:
                sending.sendto(datagram, ("127.0.0.1", self.port))
        self._wait(lambda queued: queued == 0)

    def stop(self) -> None:
        """End it; it writes its file then."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            _, self.log = self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise

    def records(self) -> list[dict[str, Any]]:
        """What it stored, by nfdump's names."""
        found: list[dict[str, Any]] = json.loads(self._nfdump("-o", "json"))
        return found

    def sequence_failures(self) -> int:
        return sum(map(int, re.findall(r"Sequence failures: (\d+)", self._nfdump("-I"))))

    def _nfdump(self, *options: str) -> str:
        command = ["nfdump", "-R", str(self.directory), *options]
        utc = {**os.environ, "TZ": "UTC"}
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, env=utc)
        return run.stdout

    def _wait(self, reached: Callable[[int | None], bool]) -> None:
        for _ in range(PATIENCE_S * 100):
            if reached(queued_octets(self.port)):
                return
            try:
                self._process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"nfcapd ended: {self._process.communicate()[1]}")
        raise AssertionError("nfcapd neither listens nor reads")


def queued_octets(port: int) -> int | None:
    """What waits in the UDP socket bound to that port; None if there is none."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        columns = line.split()
        if int(columns[1].split(":")[1], 16) == port:
            return int(columns[4].split(":")[1], 16)
    return None


@pytest.fixture
def nfcapd(tmp_path: Path) -> Iterator[Nfcapd]:
    collector = Nfcapd(tmp_path)
    try:
        yield collector
    finally:
        collector.stop()


@pytest.mark.parametrize("protocol", ALL)
def test_every_flow_is_stored_once(protocol, nfcapd):
    exporting = process(protocol)
    made = [many(1000), many(300, flow("2001:db8::1", "2001:db8::2", octet_delta_count=0))]
    for second, batch in enumerate(made):
        nfcapd.send(exporting.export(batch, after(second), {2: "eth0", 3: "eth1"}, MeterStatistics()))
    nfcapd.stop()
    expected = made[:1] if protocol == "netflow5" else made
    octets = sorted(int(value) for batch in expected for value in batch["octet_delta_count"])
    stored = nfcapd.records()
    assert sorted(record["in_bytes"] for record in stored) == octets
    assert {record["in_packets"] for record in stored} == {10}
    times = {(record["first"], record["last"]) for record in stored}
    assert times == {("2023-11-14T22:13:17.250", "2023-11-14T22:13:19.250")}


@pytest.mark.parametrize("protocol", ["netflow5", "netflow9"])
def test_nothing_is_missing_by_sequence(protocol, nfcapd):
    exporting = process(protocol)
    for second in range(5):
        nfcapd.send(exporting.export(many(100), after(30 * second), {2: "eth0"}, MeterStatistics()))
    nfcapd.stop()
    assert nfcapd.sequence_failures() == 0


@pytest.mark.parametrize("protocol", ALL)
def test_the_sampling_rate_is_learnt(protocol, nfcapd):
    exporting = process(protocol, sampling=SamplingAnnouncement("random", 100))
    nfcapd.send(exporting.export(flow(), NOW, {}, MeterStatistics()))
    nfcapd.stop()
    (record,) = nfcapd.records()
    assert (record["in_packets"], record["in_bytes"]) == (1000, 500_000)


@pytest.mark.parametrize("protocol", ALL)
def test_icmp_is_told_by_type_and_code(protocol, nfcapd):
    columns = {"source_transport_port": 0, "destination_transport_port": 0, "icmp_type_code": 0x0301}
    made = [flow(protocol_identifier=1, **columns)]
    if protocol in WITH_TEMPLATES:
        made.append(flow("2001:db8::1", "2001:db8::2", protocol_identifier=58, **columns))
    nfcapd.send(process(protocol).export(flows(*made), NOW, {}, MeterStatistics()))
    nfcapd.stop()
    stored = nfcapd.records()
    assert [(record["icmp_type"], record["icmp_code"]) for record in stored] == [(3, 1)] * len(made)
