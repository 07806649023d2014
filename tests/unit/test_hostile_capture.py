"""Proves that no file, however damaged, breaks the reading of captures: what is whole is used, the rest is one line."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from fuzz import decoder as fuzzing
from xflowd import replay
from xflowd.edge.capture import CapturedPacket, CaptureError, packets, pcapng

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
FILES = sorted(CAPTURES.glob("*.pcap*"))
AGENT = Path(replay.__file__).resolve().parents[1]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root")

UDP = struct.pack(">HHHH", 1, 2, 20, 0) + bytes(12)
IP = struct.pack(">BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 17, 0) + bytes([192, 0, 2, 1, 192, 0, 2, 2]) + UDP
FRAME = bytes(12) + b"\x08\x00" + IP
MAGICS = {0xA1B2C3D4: (24, 16), 0xA1B23C4D: (24, 16), 0xA1B2CD34: (24, 24), 0x1C0001AC: (28, 16), 0x1C0001AB: (28, 16)}


def pcap(*times: int, magic: int = 0xA1B2C3D4, order: str = "<", snap: int = 65535, link_type: int = 1) -> bytes:
    """A packet at each of the times, in seconds."""
    file_header, packet_header = MAGICS[magic]
    header = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snap, link_type).ljust(file_header, b"\0")
    length = len(FRAME)
    return header + b"".join(
        struct.pack(f"{order}IIII", at, 0, length, length).ljust(packet_header, b"\0") + FRAME for at in times
    )


def block(block_type: int, body: bytes) -> bytes:
    padded = body + bytes(-len(body) % 4)
    length = struct.pack("<I", len(padded) + 12)
    return struct.pack("<I", block_type) + length + padded + length


SECTION = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
INTERFACE = block(1, struct.pack("<HHI", 1, 0, 0))


def interface(*options: bytes, snap: int = 0) -> bytes:
    return block(1, struct.pack("<HHI", 1, 0, snap) + b"".join(options))


def option(code: int, length: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, length) + value + bytes(-len(value) % 4)


def enhanced(ticks: int, number: int = 0, captured: int = len(FRAME)) -> bytes:
    head = struct.pack("<IIIII", number, ticks >> 32, ticks & 0xFFFF_FFFF, captured, len(FRAME))
    return block(6, head + FRAME)


def read(path: Path, octets: bytes) -> tuple[list[CapturedPacket], CaptureError | None]:
    """What is delivered of a file with these octets, and the fault it ends with."""
    path.write_bytes(octets)
    found: list[CapturedPacket] = []
    fault = None
    try:
        for packet in packets(path):
            found.append(packet)  # one by one: what came before a fault counts
    except CaptureError as error:
        fault = error
    assert fault is None or (str(fault).isprintable() and fault.mend)
    return found, fault


@pytest.mark.parametrize("magic", MAGICS, ids=hex)
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_form_of_pcap_cut_off_at_every_octet(tmp_path: Path, magic: int, order: str) -> None:
    whole = pcap(1, 2, magic=magic, order=order)
    file_header, _ = MAGICS[magic]
    for length in range(len(whole)):
        found, fault = read(tmp_path / "cut", whole[:length])
        is_between = length in (file_header, (len(whole) + file_header) // 2)
        assert (fault is None) == is_between, length
        assert len(found) == (length - file_header) // ((len(whole) - file_header) // 2) if length > file_header else 1


BROKEN = [
    (b"", 0, "the file ends within the first four octets"),
    (b"\xd4", 0, "the file ends within the first four octets"),
    (b"From: somebody\n" * 100, 0, "is neither pcap nor pcapng"),
    (bytes(4096), 0, "is neither pcap nor pcapng"),
    (b"\x1f\x8b\x08\0" + bytes(99), 0, "is compressed with gzip"),
    (b"\xfd7zXZ\0" + bytes(99), 0, "is compressed with xz"),
    (b"\x28\xb5\x2f\xfd" + bytes(99), 0, "is compressed with zstd"),
    (b"BZh91AY&SY" + bytes(99), 0, "is compressed with bzip2"),
    (b"\x04\x22\x4d\x18" + bytes(99), 0, "is compressed with lz4"),
    (b"\x7fELF\x02\x01\x01" + bytes(99), 0, "is neither pcap nor pcapng"),
    (pcap(1)[:40].replace(struct.pack("<I", 54), struct.pack("<I", 2**31)), 0, "a packet of 2147483648 octets"),
    (pcap(1, 2)[:24] + struct.pack("<IIII", 1, 0, 2**32 - 1, 60), 0, "a packet of 4294967295 octets"),
    (pcap(1, 2)[:24] + struct.pack("<IIII", 1, 0, 262_144, 60), 0, "the file ends within a packet"),
    (pcap(1) + bytes(15), 1, "the file ends within the header of a packet"),
    (SECTION + enhanced(1), 0, "a packet of interface 0, which is not described"),
    (SECTION + INTERFACE + enhanced(1) + enhanced(2, 2**32 - 1), 1, "a packet of interface 4294967295, which is not"),
    (SECTION + INTERFACE + enhanced(1, captured=2**32 - 1), 0, "a packet of 4294967295 octets in a block with room"),
    (SECTION + INTERFACE + enhanced(1, captured=57), 0, "a packet of 57 octets in a block with room for 56"),
    (SECTION + interface(option(9, 65535, b"\6")), 0, "an option longer than its block"),
    (SECTION + interface(option(2, 5, b"eth0")), 0, "an option longer than its block"),
    (SECTION + struct.pack("<II", 0x7777, 2**32 - 1) + bytes(100), 0, "the file ends within a block"),
    (SECTION + struct.pack("<II", 1, 2**32 - 1) + bytes(100), 0, "a block of 4294967295 octets"),
    (SECTION + struct.pack("<II", 6, 2**24 + 1) + bytes(100), 0, "a block of 16777217 octets"),
    (SECTION + struct.pack("<II", 6, 2**24) + bytes(100), 0, "the file ends within a block"),
    *((SECTION + struct.pack("<II", 6, bad) + bytes(100), 0, f"a block of {bad} octets") for bad in (0, 1, 4, 11)),
    (SECTION[:8] + bytes(100), 0, "a section without byte order"),
    (SECTION[:4] + struct.pack("<I", 2**32 - 4) + SECTION[8:] + bytes(99), 0, "a block of 4294967292 octets"),
    (SECTION * 3 + b"\n\r\r\n", 0, "the file ends within the header of a block"),
]


@pytest.mark.parametrize(("octets", "count", "what"), BROKEN, ids=[f"{what} {len(x)}" for x, _, what in BROKEN])
def test_a_broken_file_is_one_fault(tmp_path: Path, octets: bytes, count: int, what: str) -> None:
    found, fault = read(tmp_path / "x", octets)
    assert len(found) == count
    assert fault is not None
    assert fault.what.startswith(what)


@pytest.mark.parametrize("snap", [0, 1, 2**31, 2**32 - 1])
def test_a_snap_length_is_not_believed(tmp_path: Path, snap: int) -> None:
    assert len(read(tmp_path / "x", pcap(1, 2, snap=snap))[0]) == 2
    simple = block(3, struct.pack("<I", len(FRAME)) + FRAME)
    (packet,), fault = read(tmp_path / "x", SECTION + interface(snap=snap) + simple)
    assert fault is None
    assert packet.data == FRAME[: snap or None]


@pytest.mark.parametrize(
    "resolution", [0, 9, 10, 127, 128, 255], ids=["1 s", "1 ns", "0.1 ns", "10^-127", "2^0", "2^-127"]
)
def test_any_time_stamp_is_a_number(tmp_path: Path, resolution: int) -> None:
    for offset in (-(2**63), -1, 0, 2**63 - 1):
        described = interface(option(9, 1, bytes([resolution])), option(14, 8, struct.pack("<q", offset)))
        found, fault = read(tmp_path / "x", SECTION + described + enhanced(2**64 - 1) + enhanced(0))
        assert fault is None
        assert found[1].time_ns == offset * 10**9


def test_interfaces_without_end_take_no_memory_without_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(SECTION + INTERFACE * (2 * pcapng.MAXIMUM_INTERFACES))
    tracemalloc.start()
    try:
        with pytest.raises(CaptureError, match="a section of more than 65,536 interfaces; the file is damaged there"):
            list(packets(path))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 24 << 20


def test_options_without_end_take_no_memory_without_end(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(SECTION + interface(b"\x01\0\0\0" * (1 << 18)) + enhanced(1))
    tracemalloc.start()
    try:
        assert len(list(packets(tmp_path / "x"))) == 1
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 24 << 20


def replayed(*arguments: str | Path, given: bytes | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xflowd", "replay", *map(str, arguments), "--format", "json"]
    environment = {"PYTHONPATH": str(AGENT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, env=environment, check=False)
    result = subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in result.stderr, result.stderr
    return result


REPLAYED = [
    (b"", 1, 0, "octet 0: the file ends within the first four octets; it is cut off there: capture or copy it again"),
    (b"\x1f\x8b\x08\0", 1, 0, "octet 0: is compressed with gzip; pipe it in: gunzip -c FILE | xflowd replay -"),
    (b"no capture", 1, 0, "octet 0: is neither pcap nor pcapng; convert it: editcap -F pcapng FILE NEW"),
    (pcap(1, 2)[:-1], 1, 1, "octet 94: the file ends within a packet; it is cut off there: capture or copy it again"),
    (SECTION + INTERFACE + enhanced(1) + SECTION[:8] + bytes(4), 1, 1, "octet 136: a section without byte order; "),
]


@needs_root
@pytest.mark.parametrize(("octets", "code", "count", "told"), REPLAYED)
def test_replay_of_a_broken_file(tmp_path: Path, octets: bytes, code: int, count: int, told: str) -> None:
    """What came before the fault is flows; the fault is the last line; the exit code says that it failed."""
    path = tmp_path / "x"
    path.write_bytes(octets)
    done = replayed(path)
    assert done.returncode == code
    assert done.stdout.count('"packetDeltaCount": 1') == count
    assert done.stderr.splitlines()[-1].startswith(f"xflowd: {path}: {told}")


@needs_root
def test_replay_of_times_that_no_message_can_tell(tmp_path: Path) -> None:
    """They are counted, and the packets around them metered: the clock would not come back from the year 292277."""
    late = interface(option(9, 1, b"\0"))
    early = interface(option(9, 1, b"\0"), option(14, 8, struct.pack("<q", -(2**62))))
    ticks = [enhanced(1), enhanced(2**64 - 1), enhanced(2**32 - 1), enhanced(1, number=1), enhanced(2)]
    (tmp_path / "x").write_bytes(SECTION + late + early + b"".join(ticks))
    done = replayed(tmp_path / "x")
    assert done.returncode == 0
    assert '"packetDeltaCount": 2' in done.stdout
    assert "3 packets skipped: the time is before 1970 or after 2106" in done.stderr


@needs_root
@pytest.mark.parametrize("protocol", ["5", "9", "ipfix"])
def test_the_last_moment_that_messages_can_tell(tmp_path: Path, protocol: str) -> None:
    (tmp_path / "x").write_bytes(pcap(1, 2**31, 2**32 - 2))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:  # where nobody listens the replay fails
        collector.bind(("127.0.0.1", 0))
        done = replayed(tmp_path / "x", "-n", f"127.0.0.1:{collector.getsockname()[1]}", "-v", protocol)
    assert done.returncode == 0
    assert "3 flows" in done.stderr


@needs_root
def test_a_fifo_is_opened_once(tmp_path: Path) -> None:
    """Opened to see whether it is there, and closed again, it would have lost who writes to it."""
    fifo, faults = tmp_path / "fifo", list[OSError]()
    os.mkfifo(fifo)

    def write() -> None:
        try:
            with fifo.open("wb") as writing:
                time.sleep(1.0)
                writing.write(pcap(1, 2))
        except OSError as error:
            faults.append(error)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    done = replayed(fifo)
    writer.join(10)
    assert not faults
    assert done.returncode == 0
    assert "2 packets read" in done.stderr


@needs_root
@pytest.mark.parametrize("name", ["none", ".", "file/below"])
def test_a_path_that_is_no_file_is_wrong_use(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    done = replayed(tmp_path / name)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not FILES, reason=f"no captures in {CAPTURES}")
def test_spoilt_captures() -> None:
    """A short run of scripts/fuzz --decoder."""
    outcome = fuzzing.fuzz_captures(4000, 1, fuzzing.captures(FILES))
    assert not outcome.fault, outcome.fault
    assert outcome.cases == 4000
    assert len(outcome.refused) > 12


@pytest.mark.skipif(not FILES, reason=f"no captures in {CAPTURES}")
def test_a_fault_in_the_reader_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcapng, "_known_interface", lambda octets, section, number: section.interfaces[number])
    outcome = fuzzing.fuzz_captures(4000, 1, fuzzing.captures(FILES))
    assert "IndexError" in outcome.fault
