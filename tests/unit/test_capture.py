"""Proves that capture files are read as Wireshark reads them, and that a broken one breaks nothing."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path

import pytest

from xflowd.edge.capture import CapturedPacket, CaptureError, NoFrame, ethernet_frame, packets

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
FILES = sorted(path for path in CAPTURES.glob("*.pcap*"))
NO_TIME = "fuzz-2021-06-07-c6c72a0a56.pcap"  # its one fraction of a second is over an hour: no two tools agree

needs_captures = pytest.mark.skipif(not FILES, reason=f"no captures in {CAPTURES}")


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def tshark(path: Path, *fields: str) -> list[list[str]]:
    options = [option for field in fields for option in ("-e", field)]
    lines = run("tshark", "-n", "-r", str(path), "-T", "fields", *options).splitlines()
    return [line.split("\t") for line in lines]


def as_tshark_says(path: Path) -> list[list[str]]:
    return tshark(path, "frame.time_epoch", "frame.interface_id", "frame.cap_len", "frame.len", "frame.number")


def as_we_say(found: list[CapturedPacket]) -> list[list[str]]:
    return [
        [
            f"{Decimal(one.time_ns) / 10**9:.9f}",
            str(one.interface),
            str(len(one.data)),
            str(one.original_length),
            str(number),
        ]
        for number, one in enumerate(found, start=1)
    ]


def without_interface(lines: list[list[str]]) -> list[list[str]]:
    """For pcap, which has none, tshark says nothing."""
    return [[line[0], *line[2:]] for line in lines]


def read(path: Path, octets: bytes) -> tuple[list[CapturedPacket], CaptureError | None]:
    """What is delivered of a file with these octets, and the fault it ends with."""
    path.write_bytes(octets)
    found: list[CapturedPacket] = []
    try:
        for packet in packets(path):
            found.append(packet)  # one by one: what came before a fault counts
    except CaptureError as fault:
        return found, fault
    return found, None


@needs_captures
def test_captures_have_the_packets_and_times_that_capinfos_says() -> None:
    report = run("capinfos", "-T", "-r", "-m", "-Q", "-M", "-c", "-a", "-e", "-S", *map(str, FILES))
    assert len(report.splitlines()) == len(FILES)
    for line in report.splitlines():
        name, count, first, last = (part.strip('"') for part in line.split(","))
        found = list(packets(name))
        assert len(found) == int(count), name
        if Path(name).name != NO_TIME:
            assert [found[0].time_ns, found[-1].time_ns] == [int(Decimal(time) * 10**9) for time in (first, last)]


@needs_captures
@pytest.mark.parametrize("name", ["steam_datagram_relay_ping.pcapng", "1kxun.pcap", "teredo.pcap", "nats.pcap"])
def test_each_packet_is_as_tshark_says(name: str) -> None:
    assert without_interface(as_we_say(list(packets(CAPTURES / name)))) == without_interface(
        as_tshark_says(CAPTURES / name)
    )


@needs_captures
@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "modpcap", "pcapng"])
def test_what_editcap_writes(tmp_path: Path, form: str) -> None:
    source, copy = CAPTURES / "teredo.pcap", tmp_path / "copy"
    run("editcap", "-F", form, str(source), str(copy))
    assert list(packets(copy)) == list(packets(source))


def pcap(order: str, magic: int, fractions: list[int], extra: int = 0, link_type: int = 1) -> bytes:
    """Packets of 60 octets, cut to 40, a second apart; `extra` octets more in each packet header."""
    header = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)
    header += bytes(4) if magic in (0x1C0001AC, 0x1C0001AB) else b""
    records = (
        struct.pack(f"{order}IIII", second, fraction, 40, 60) + bytes(extra) + bytes([second]) * 40
        for second, fraction in enumerate(fractions)
    )
    return header + b"".join(records)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "unit", "extra"),
    [
        (0xA1B2C3D4, 1000, 0),
        (0xA1B23C4D, 1, 0),
        (0xA1B2CD34, 1000, 8),
        (0x1C0001AC, 1000, 0),
        (0x1C0001AB, 1000, 0),
    ],
)
def test_variants_of_pcap(tmp_path: Path, order: str, magic: int, unit: int, extra: int) -> None:
    path = tmp_path / "variant"
    found, fault = read(path, pcap(order, magic, [0, 999_999, 1], extra))
    assert fault is None
    assert found == [
        CapturedPacket(second * 10**9 + fraction * unit, 0, 1, bytes([second]) * 40, 60)
        for second, fraction in enumerate([0, 999_999, 1])
    ]
    assert without_interface(as_we_say(found)) == without_interface(as_tshark_says(path))


def test_a_link_type_with_a_checksum_length(tmp_path: Path) -> None:
    found, _ = read(tmp_path / "x", pcap("<", 0xA1B2C3D4, [0], link_type=0x24000071))
    assert found[0].link_type == 113


def block(order: str, block_type: int, body: bytes) -> bytes:
    padded = body + bytes(-len(body) % 4)
    length = struct.pack(f"{order}I", len(padded) + 12)
    return struct.pack(f"{order}I", block_type) + length + padded + length


def section(order: str, minor: int = 0) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, minor, -1))


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(order: str, link_type: int, snap: int = 0, *options: tuple[int, bytes]) -> bytes:
    end = bytes(4) if options else b""
    body = struct.pack(f"{order}HHI", link_type, 0, snap)
    return block(order, 1, body + b"".join(option(order, *one) for one in options) + end)


def enhanced(order: str, number: int, ticks: int, data: bytes, original: int) -> bytes:
    """With a comment in its options."""
    options = option(order, 1, b"comment") + bytes(4)
    head = struct.pack(f"{order}IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), original)
    return block(order, 6, head + data + bytes(-len(data) % 4) + options)


def obsolete(order: str, number: int, ticks: int, data: bytes, original: int) -> bytes:
    head = struct.pack(f"{order}HHIIII", number, 7, ticks >> 32, ticks & 0xFFFFFFFF, len(data), original)
    return block(order, 2, head + data)


def simple(order: str, data: bytes, original: int) -> bytes:
    return block(order, 3, struct.pack(f"{order}I", original) + data)


DATA = bytes(range(61))  # not a multiple of four: padded
T = 1_700_000_000


def everything() -> bytes:
    """Two sections, one in each byte order, four interfaces, every kind of block that has a packet."""
    return b"".join(
        [
            section("<"),
            block("<", 0x7777, b"unknown"),
            interface("<", 1, 50, (2, b"eth0"), (9, b"\x09")),
            interface("<", 1, 0, (9, b"\x8a"), (14, struct.pack("<q", 100))),
            enhanced("<", 0, T * 10**9 + 123_456_789, DATA, 61),
            enhanced("<", 1, T * 1024 + 512, DATA[:60], 1500),
            block("<", 5, bytes(12)),
            simple("<", DATA[:50], 61),
            section(">", 2),
            interface(">", 1),
            interface(">", 1, 0, (9, b"\x0a"), (0, b"")),
            obsolete(">", 0, T * 10**6 + 1, DATA, 61),
            enhanced(">", 1, T * 10**10 + 9_999, b"", 61),
        ]
    )


EVERYTHING = [
    CapturedPacket(T * 10**9 + 123_456_789, 0, 1, DATA, 61),
    CapturedPacket((T + 100) * 10**9 + 500_000_000, 1, 1, DATA[:60], 1500),
    CapturedPacket((T + 100) * 10**9 + 500_000_000, 0, 1, DATA[:50], 61),
    CapturedPacket(T * 10**9 + 1000, 2, 1, DATA, 61),
    CapturedPacket(T * 10**9 + 999, 3, 1, b"", 61),
]


def test_pcapng(tmp_path: Path) -> None:
    assert read(tmp_path / "everything", everything()) == (EVERYTHING, None)


def test_pcapng_is_as_tshark_says(tmp_path: Path) -> None:
    (tmp_path / "everything").write_bytes(everything())
    said = as_tshark_says(tmp_path / "everything")
    ours = as_we_say(EVERYTHING)
    ours[2][0] = said[2][0]  # the packet that has no time
    ours[3][1], ours[4][1] = "0", "1"  # tshark counts interfaces anew in each section
    assert ours == said


@pytest.mark.parametrize("octets", [pcap("<", 0xA1B2C3D4, [1, 2, 3]), everything()], ids=["pcap", "pcapng"])
def test_a_file_cut_off_anywhere_gives_what_is_whole(tmp_path: Path, octets: bytes) -> None:
    whole, fault = read(tmp_path / "whole", octets)
    assert fault is None
    counts = []
    for length in range(len(octets)):
        found, fault = read(tmp_path / "cut", octets[:length])
        assert found == whole[: len(found)]
        assert fault is None or fault.offset <= length
        counts.append(len(found))
    assert counts == sorted(counts)
    assert counts[-1] == len(whole) - 1


def test_a_fault_names_its_place(tmp_path: Path) -> None:
    octets = pcap("<", 0xA1B2C3D4, [0, 0])
    _, fault = read(tmp_path / "x", octets[:-1])
    assert str(fault) == (
        f"{tmp_path}/x: octet 80: the file ends within a packet; it is cut off there: capture or copy it again"
    )


S = section("<")
I = interface("<", 1)  # noqa: E741
WRONG = [
    (b"", 0, "the file ends within the first four octets"),
    (b"hello", 0, "is neither pcap nor pcapng"),
    (b"\x1f\x8b\x08\x00", 0, "is compressed with gzip"),
    (pcap("<", 0xA1B2C3D4, [])[:4] + bytes(20), 0, "is pcap version 0"),
    (pcap("<", 0xA1B2C3D4, []) + struct.pack("<IIII", 0, 0, 262_145, 0), 24, "a packet of 262145 octets"),
    (pcap("<", 0xA1B2C3D4, []) + b"\xff" * 16, 24, "a packet of 4294967295 octets"),
    (S[:8] + b"xxxx" + S[12:], 0, "a section without byte order"),
    (block("<", 0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 2, 0, -1)), 0, "a section of pcapng version 2"),
    (S + enhanced("<", 0, 0, DATA, 61), 28, "a packet of interface 0, which is not described"),
    (
        S + I + section("<") + enhanced("<", 0, 0, DATA, 61),
        76,
        "a packet of interface 0, which is not described",
    ),
    (S + I + simple("<", DATA, 100), 48, "a packet of 100 octets in a block with room for 64"),
    (S + struct.pack("<II", 9, 11) + bytes(4), 28, "a block of 11 octets"),
    (S + struct.pack("<II", 1, 2**32 - 4) + bytes(4), 28, "a block of 4294967292 octets"),
    (S + struct.pack("<II", 9, 2**32 - 4) + bytes(9), 45, "the file ends within a block"),
    (S + I[:-4] + bytes(4), 28, "a block of 20 octets that ends as one of 0"),
    (S + block("<", 1, b""), 28, "an interface description without link type"),
    (S + I + block("<", 6, bytes(16)), 48, "a packet block without header"),
    (S + I + block("<", 3, b""), 48, "a packet block without header"),
    (S + block("<", 1, bytes(8) + b"\x02\x00\xff\xff"), 28, "an option longer than its block"),
]


@pytest.mark.parametrize(("octets", "offset", "what"), WRONG, ids=[what for _, _, what in WRONG])
def test_what_is_wrong(tmp_path: Path, octets: bytes, offset: int, what: str) -> None:
    found, fault = read(tmp_path / "x", octets)
    assert found == []
    assert fault is not None
    assert (fault.offset, fault.what) == (offset, what)
    assert fault.mend


@pytest.mark.parametrize("octets", [pcap(">", 0xA1B2C3D4, [1, 2, 3]), everything()], ids=["pcap", "pcapng"])
def test_damage_is_a_fault_or_another_packet_but_nothing_else(tmp_path: Path, octets: bytes) -> None:
    dice = random.Random(1)
    for _ in range(1000):
        damaged = bytearray(octets)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        read(tmp_path / "x", bytes(damaged))


@pytest.mark.parametrize("path", ["none", ".", "a\0b"])
def test_a_path_that_cannot_be_read_is_a_fault(tmp_path: Path, path: str) -> None:
    with pytest.raises(CaptureError, match="check the path"):
        list(packets(f"{tmp_path}/{path}"))


READER = "import sys; from xflowd.edge.capture import packets; print(sum(len(one.data) for one in packets('-')))"


def test_a_pipe_is_read_as_it_comes() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    octets = everything()
    with subprocess.Popen(
        [sys.executable, "-c", READER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for start in range(0, len(octets), 7):
            process.stdin.write(octets[start : start + 7])
        process.stdin.close()
        assert int(process.stdout.read()) == sum(len(one.data) for one in EVERYTHING)


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_a_long_file_is_never_in_memory_as_a_whole(tmp_path: Path, form: str) -> None:
    one = pcap("<", 0xA1B2C3D4, [0])[24:] if form == "pcap" else enhanced("<", 0, 0, DATA, 61)
    start = pcap("<", 0xA1B2C3D4, []) if form == "pcap" else S + I
    path = tmp_path / "long"
    path.write_bytes(start + one * 150_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in packets(path)) == 150_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


IPV4, IPV6 = b"\x45" + bytes(19), b"\x60" + bytes(39)
ZERO = bytes(12)
MAC = bytes.fromhex("020406080a0c")
FRAMES = [
    (101, IPV4, ZERO + b"\x08\x00" + IPV4),
    (12, IPV6, ZERO + b"\x86\xdd" + IPV6),
    (14, IPV4, ZERO + b"\x08\x00" + IPV4),
    (101, b"\x55", NoFrame.NO_ETHERTYPE),
    (101, b"", NoFrame.TOO_SHORT),
    (228, IPV4, ZERO + b"\x08\x00" + IPV4),
    (229, IPV6, ZERO + b"\x86\xdd" + IPV6),
    (219, b"\0\x01\x2d\xff", ZERO + b"\x88\x47\0\x01\x2d\xff"),
    *((kind, bytes([0, 0, 0, 2]) + IPV4, ZERO + b"\x08\x00" + IPV4) for kind in (0, 108)),
    *((0, bytes([family, 0, 0, 0]) + IPV6, ZERO + b"\x86\xdd" + IPV6) for family in (10, 24, 28, 30)),
    *((108, bytes([0, 0, 0, family]) + IPV6, ZERO + b"\x86\xdd" + IPV6) for family in (10, 24, 28, 30)),
    (0, bytes([7, 0, 0, 0]) + IPV4, NoFrame.NO_ETHERTYPE),
    (0, b"\x02\0\0", NoFrame.TOO_SHORT),
    *((kind, b"\xff\x03\0\x21" + IPV4, ZERO + b"\x08\x00" + IPV4) for kind in (9, 50)),
    *((kind, b"\0\x57" + IPV6, ZERO + b"\x86\xdd" + IPV6) for kind in (9, 50)),
    *((kind, b"\x21" + IPV4, ZERO + b"\x08\x00" + IPV4) for kind in (9, 50)),
    (9, b"\xff\x03\x57" + IPV6, ZERO + b"\x86\xdd" + IPV6),
    (9, b"\x02\x81\0\0", ZERO + b"\x88\x47\0\0"),
    (9, b"\xff\x03\xc0\x21\x01", NoFrame.NO_ETHERTYPE),
    (9, b"\xff\x03", NoFrame.TOO_SHORT),
    (9, b"", NoFrame.TOO_SHORT),
    (50, b"\x0f\0\x08\0" + IPV4, ZERO + b"\x08\x00" + IPV4),
    (204, b"\x01\xff\x03\0\x21" + IPV4, ZERO + b"\x08\x00" + IPV4),
    (104, b"\x8f\0\x86\xdd" + IPV6, ZERO + b"\x86\xdd" + IPV6),
    (104, b"\x8f\0\x86", NoFrame.TOO_SHORT),
    (113, b"\0\0\0\x01\0\x06" + MAC + b"\0\0\x08\0" + IPV4, bytes(6) + MAC + b"\x08\x00" + IPV4),
    (113, b"\0\0\x02\0\0\0" + MAC + b"\0\0\x08\0" + IPV4, ZERO + b"\x08\x00" + IPV4),
    (
        113,
        b"\0\0\0\x01\0\x06" + MAC + b"\0\0\x81\0\0\x05\x08\0" + IPV4,
        bytes(6) + MAC + b"\x81\0\0\x05\x08\x00" + IPV4,
    ),
    (113, b"\0\0\0\x01\0\x06" + MAC + b"\0\0\0\x04" + IPV4, NoFrame.NO_ETHERTYPE),
    (113, b"\0\0\x03\x38\0\0" + bytes(8) + b"\x08\0" + IPV4, NoFrame.NO_ETHERTYPE),
    (113, bytes(15), NoFrame.TOO_SHORT),
    (
        276,
        b"\x86\xdd\0\0\0\0\0\x02\0\x01\x04\x06" + MAC + b"\0\0" + IPV6,
        bytes(6) + MAC + b"\x86\xdd" + IPV6,
    ),
    (276, bytes(19), NoFrame.TOO_SHORT),
    (147, IPV4, NoFrame.UNKNOWN_LINK_TYPE),
]


@pytest.mark.parametrize(("link_type", "data", "frame"), FRAMES)
def test_link_layers(link_type: int, data: bytes, frame: bytes | NoFrame) -> None:
    assert ethernet_frame(link_type, data) == frame


def test_ethernet_is_not_copied() -> None:
    data = bytes(60)
    assert ethernet_frame(1, data) is data


@needs_captures
@pytest.mark.parametrize(
    "name", ["BGP_redist.pcap", "dlt_ppp.pcap", "KakaoTalk_chat.pcap", "mdns.pcap", "nats.pcap", "raw.pcap"]
)
def test_tshark_sees_the_same_packets_in_the_frames(tmp_path: Path, name: str) -> None:
    fields = ["ip.src", "ip.dst", "ip.proto", "ipv6.src", "ipv6.dst", "ipv6.nxt", "ip.len", "mpls.label"]
    copy = tmp_path / "ethernet.pcap"
    with copy.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for packet in packets(CAPTURES / name):
            frame = ethernet_frame(packet.link_type, packet.data)
            assert isinstance(frame, bytes)
            seconds, rest = divmod(packet.time_ns, 10**9)
            longer = len(frame) - len(packet.data)
            original = packet.original_length + longer
            file.write(struct.pack("<IIII", seconds, rest // 1000, len(frame), original) + frame)
    assert tshark(copy, *fields) == tshark(CAPTURES / name, *fields)
