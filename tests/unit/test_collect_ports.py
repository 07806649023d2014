"""Proves that `collect` hears what `run` sends by default, whatever the protocol, and counts in English."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xflowd.collect import DEFAULT_PORTS, told
from xflowd.config import Config, override
from xflowd.wire.decoder import DecoderCounters

#: An IPFIX message: a template of a source address alone, and 203.0.113.x.
HEADER = struct.pack(">HHIII", 10, 36, 1_700_000_000, 0, 7) + struct.pack(">8H", 2, 12, 256, 1, 8, 4, 256, 8)
BOTH = """
import sys
from xflowd import cli, collect
collect.DEFAULT_PORTS = tuple(map(int, sys.argv[1:]))
sys.exit(cli.main(["collect", "--listen", "127.0.0.1", "--format", "json"]))
"""


@pytest.mark.parametrize("protocol", ["ipfix", "netflow9", "netflow5"])
def test_where_a_collector_is_by_default(protocol: str) -> None:
    (collector,) = override(Config(), collectors=["host"], protocol=protocol).collectors
    assert collector.port in DEFAULT_PORTS


def free_ports() -> list[int]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


def test_without_a_port_it_listens_on_both(tmp_path: Path) -> None:
    ports, out, err = free_ports(), tmp_path / "out", tmp_path / "err"
    with out.open("wb") as to, err.open("wb") as beside:
        running = subprocess.Popen([sys.executable, "-c", BOTH, *map(str, ports)], stdout=to, stderr=beside)
    try:
        until = time.monotonic() + 20
        while err.read_text().count("listening on 127.0.0.1 port") < 2 and time.monotonic() < until:
            time.sleep(0.05)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            for last, port in enumerate(ports):
                sending.sendto(HEADER + bytes([203, 0, 113, last]), ("127.0.0.1", port))
        while out.read_text().count("\n") < 2 and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
    finally:
        running.kill()
        running.wait()
    sources = [json.loads(line)["sourceIPv4Address"] for line in out.read_text().splitlines()]
    assert sorted(sources) == ["203.0.113.0", "203.0.113.1"]


def test_one_is_not_many() -> None:
    counters = DecoderCounters()
    counters.datagrams = counters.flow_records = counters.options_records = counters.sets_without_template = 1
    counters.malformed["too short"] = 1
    assert list(told(counters)) == [
        "1 datagram, 1 flow, 1 options record",
        "1 set of records came without a template",
        "1 time malformed: too short",
    ]
