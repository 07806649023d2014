"""Proves that a replay to a collector that takes nothing ends soon, says so, and counts what was not sent."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root")

_UDP = struct.pack(">HHHH", 1, 2, 20, 0) + bytes(12)
_IP = struct.pack(">BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 17, 0) + bytes([192, 0, 2, 1, 192, 0, 2, 2]) + _UDP
_FRAME = bytes(12) + b"\x08\x00" + _IP
_SECONDS = 60  # of the capture's clock: each of them is a look at the table


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "capture.pcap"
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    lengths = (len(_FRAME), len(_FRAME))
    path.write_bytes(header + b"".join(struct.pack("<IIII", at, 0, *lengths) + _FRAME for at in range(_SECONDS)))
    return path


def command(capture: Path, *options: str, loopback: str = "down") -> list[str]:
    """In a network namespace of its own: without a route, or with the loopback alone."""
    script = f'ip link set lo {loopback}; exec "$@"'
    xflowd = [sys.executable, "-m", "xflowd", "replay", str(capture), *options, "-t", "active=10"]
    # What is started in the background ignores SIGINT, and leaves that to its children.
    return ["env", "--default-signal=INT", "unshare", "-n", "sh", "-c", script, "sh", *xflowd]


FAILING = {
    "no route": ("192.0.2.77:2055", "down", "Network is unreachable"),
    "no name": ("name.invalid", "down", "name not resolved"),
}


@pytest.mark.parametrize(("collector", "loopback", "reason"), FAILING.values(), ids=FAILING)
def test_a_collector_that_takes_nothing(capture: Path, collector: str, loopback: str, reason: str) -> None:
    call = command(capture, "-n", collector, loopback=loopback)
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"xflowd: collector {collector}: {reason}: not waited for any more" in done.stderr
    ended = re.search(r"^(\d+) flows, ", done.stderr, re.MULTILINE)
    unsent = re.search(r"(\d+) flows not sent: the collector takes nothing", done.stderr)
    assert ended
    assert unsent
    assert ended[1] == unsent[1]


def test_nobody_listens(capture: Path) -> None:
    call = command(capture, "-n", "127.0.0.1:9", loopback="up")
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "port unreachable (" in done.stderr) == (1, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_stopped_says_how_far_it_came(tmp_path: Path, capture: Path, number: signal.Signals) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = subprocess.Popen(command(fifo), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with fifo.open("wb") as written:
            written.write(capture.read_bytes())
            written.flush()
            time.sleep(1.5)
            process.send_signal(number)
            told = process.communicate(timeout=30)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert f"{fifo}: stopped before its end" in told
    assert "packets read; " in told
