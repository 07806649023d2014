"""Proves that a file of prefixes and AS numbers is read as its lines say, its faults told, and at what price."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xflowd.edge import astable
from xflowd.metering.prefixes import Prefixes
from xflowd.metering.prefixlines import NO_LENGTH, NO_NUMBER, NO_PREFIX, NO_SYSTEM, read

Row = tuple[str, int]
MOST_SECONDS, MOST_OCTETS = 2.0, 64_000_000


def rows(prefixes: Prefixes) -> list[Row]:
    columns = (prefixes.versions, prefixes.addresses, prefixes.lengths, prefixes.values)
    return [
        (f"{ipaddress.ip_address(address.tobytes()[: 4 if version == 4 else 16])}/{length}", int(value))
        for version, address, length, value in zip(*columns, strict=True)
    ]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("192.0.2.0/24 64496", ("192.0.2.0/24", 64496)),
        ("192.0.2.0/24\t64496", ("192.0.2.0/24", 64496)),
        ("  192.0.2.0/24 \t 64496  \r", ("192.0.2.0/24", 64496)),
        ("192.0.2.0/24,64496", ("192.0.2.0/24", 64496)),
        ("192.0.2.0/24 64496 # office", ("192.0.2.0/24", 64496)),
        ("192.0.2.0/24 64496 EXAMPLE-NET, ZZ", ("192.0.2.0/24", 64496)),
        ("192.0.2.0/24 AS64496", ("192.0.2.0/24", 64496)),
        ("192.0.2.0/24 as64496", ("192.0.2.0/24", 64496)),
        ("192.0.2.0/24 {64496,64497}", ("192.0.2.0/24", 64496)),
        ("192.0.2.0/24 {64496}", ("192.0.2.0/24", 64496)),
        ("192.0.2.0/24 64496_64497", ("192.0.2.0/24", 64496)),
        ("192.0.2.0/24 64496,64497_64498", ("192.0.2.0/24", 64496)),
        ("192.0.2.0\t24\t64496", ("192.0.2.0/24", 64496)),
        ("192.0.2.0 24 64496_64497", ("192.0.2.0/24", 64496)),
        ("192.0.2.0/24 4294967295", ("192.0.2.0/24", 4294967295)),
        ("0.0.0.0/0 1", ("0.0.0.0/0", 1)),
        ("255.255.255.255/32 1", ("255.255.255.255/32", 1)),
        ("2001:db8::/32 64496", ("2001:db8::/32", 64496)),
        ("2001:DB8:ABCD::/48 64496", ("2001:db8:abcd::/48", 64496)),
        ("2001:db8:: 32 64496", ("2001:db8::/32", 64496)),
        ("::/0 1", ("::/0", 1)),
        ("::1/128 1", ("::1/128", 1)),
        ("1::/16 1", ("1::/16", 1)),
        ("1:2:3:4:5:6:7:8/128 1", ("1:2:3:4:5:6:7:8/128", 1)),
        ("1:2:3:4:5:6:7::/112 1", ("1:2:3:4:5:6:7:0/112", 1)),
        ("::2:3:4:5:6:7:8/128 1", ("0:2:3:4:5:6:7:8/128", 1)),
        ("1:2::7:8/128 1", ("1:2::7:8/128", 1)),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128 1", ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", 1)),
    ],
)
def test_lines(line: str, row: Row) -> None:
    prefixes, faults = read(f"# first\n\n{line}\n".encode())
    assert (rows(prefixes), faults) == ([row], [])


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("192.0.2.0/24", NO_SYSTEM),
        ("192.0.2.0", NO_SYSTEM),
        ("192.0.2.0 24", NO_SYSTEM),
        ("192.0.2.0 64496", NO_LENGTH),
        ("192.0.2.0/ 64496", NO_LENGTH),
        ("192.0.2.0/33 64496", NO_LENGTH),
        ("192.0.2.0/1000 64496", NO_LENGTH),
        ("192.0.2.0/24x 64496", NO_LENGTH),
        ("192.0.2.0/-1 64496", NO_LENGTH),
        ("2001:db8::/129 64496", NO_LENGTH),
        ("192.0.2.0/24/24 64496", NO_LENGTH),
        ("192.0.2/24 64496", NO_PREFIX),
        ("192.0.2.0.0/24 64496", NO_PREFIX),
        ("192.0..0/24 64496", NO_PREFIX),
        (".192.0.2/24 64496", NO_PREFIX),
        ("192.0.2./24 64496", NO_PREFIX),
        ("192.0.2.256/24 64496", NO_PREFIX),
        ("192.0.2.010/32 64496", NO_PREFIX),
        ("192.0.2.0000/24 64496", NO_PREFIX),
        ("192.0.2.a/24 64496", NO_PREFIX),
        ("192.0.2.0.1.1.1.1.1.1.1/24 64496", NO_PREFIX),
        ("/24 64496", NO_PREFIX),
        ("prefix asn", NO_PREFIX),
        ("[192.0.2.0/24] 64496", NO_PREFIX),
        ("2001:db8/32 64496", NO_PREFIX),
        (":2001:db8::/32 64496", NO_PREFIX),
        ("2001:db8:::/32 64496", NO_PREFIX),
        ("2001::db8::/32 64496", NO_PREFIX),
        ("2001:db8::1:/32 64496", NO_PREFIX),
        ("1:2:3:4:5:6:7:8:9/32 64496", NO_PREFIX),
        ("1:2:3:4:5:6:7::8/128 64496", NO_PREFIX),
        ("1:2:3:4:5:6:7:8::/32 64496", NO_PREFIX),
        ("1:2:3:4:5:6:7:/32 64496", NO_PREFIX),
        ("20011:db8::/32 64496", NO_PREFIX),
        ("2001:dg8::/32 64496", NO_PREFIX),
        ("::ffff:192.0.2.0/120 64496", NO_PREFIX),
        ("fe80::1%eth0/64 64496", NO_PREFIX),
        ("0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/32 64496", NO_PREFIX),
        ("192.0.2.0/24 0", NO_NUMBER),
        ("192.0.2.0/24 4294967296", NO_NUMBER),
        ("192.0.2.0/24 99999999999", NO_NUMBER),
        ("192.0.2.0/24 -1", NO_NUMBER),
        ("192.0.2.0/24 1.10", NO_NUMBER),
        ("192.0.2.0/24 AS", NO_NUMBER),
        ("192.0.2.0/24 A64496", NO_NUMBER),
        ("192.0.2.0/24 {}", NO_NUMBER),
        ("192.0.2.0/24 64496x", NO_NUMBER),
        ("192.0.2.0/24 \xff", NO_NUMBER),
        ("\x00\x01\x02 \x03", NO_PREFIX),
    ],
)
def test_faulty_lines(line: str, what: str) -> None:
    prefixes, faults = read(f"198.51.100.0/24 1\n#\n{line}\n2001:db8::/32 2\n".encode("latin-1"))
    assert [(fault.line, fault.what) for fault in faults] == [(3, what)]
    assert rows(prefixes) == [("198.51.100.0/24", 1), ("2001:db8::/32", 2)]


@pytest.mark.parametrize("block", [b"", b"\n", b"#", b"# 192.0.2.0/24 1", b" \t \n\n", b"192.0.2.0/24 1"])
def test_blocks_that_end_anywhere(block: bytes) -> None:
    prefixes, faults = read(block)
    assert (len(prefixes.values), faults) == (block == b"192.0.2.0/24 1", [])


SOUND = [
    b"192.0.2.0/24 64496",
    b"10.1.2.3 30\t7_8",
    b"2001:db8::/32 {64496,2}",
    b"1:2:3:4:5:6:7:8/128 AS9",
    b"::1/96 1",
]


@pytest.mark.parametrize("seed", range(4))
def test_lines_with_an_octet_or_two_changed_are_read_where_python_takes_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    alphabet = np.frombuffer(b"0123456789abcf.:::..//  \t,_{}AS#", np.uint8)
    lines = []
    for sound in SOUND * 400:
        line = np.frombuffer(sound, np.uint8).copy()
        line[random.integers(0, len(line), 2)] = random.choice(alphabet, 2)
        lines.append(line.tobytes())
    prefixes, faults = read(b"\n".join(lines))
    faulty = {fault.line for fault in faults}
    for number, line in enumerate(lines, 1):
        words = line.split(b"#")[0].replace(b",", b" ").split()
        assert (number not in faulty) == (is_right(words) or not words), line
    assert len(prefixes.values) > 150 < len(faulty)


def is_right(words: list[bytes]) -> bool:
    """Whether Python's own reader of addresses, and its numbers, take the line."""
    texts = [word.decode() for word in words]
    if texts and "/" not in texts[0] and len(texts) > 2:
        texts = [f"{texts[0]}/{texts[1]}", *texts[2:]]
    if len(texts) < 2 or texts[0].count("/") != 1 or ("." in texts[0] and ":" in texts[0]):
        return False
    length = texts[0].split("/")[1]
    number = texts[1].upper().removeprefix("{").removeprefix("AS").replace("}", "_").split("_")[0]
    try:
        ipaddress.ip_network(texts[0], strict=False)
    except ValueError:
        return False
    return (
        length.isdecimal() and len(length) < 4 and number.isdecimal() and len(number) < 11 and 0 < int(number) < 2**32
    )


def test_a_file_in_pieces(tmp_path: Path) -> None:
    """Longer than what is read at a time, with its faults' lines counted from its beginning, and no end of its last."""
    count = 60_000
    lines = [f"10.{number >> 8 & 255}.{number & 255}.{number >> 16 << 6}/26 {number + 1}" for number in range(count)]
    for number in range(1000, count, 5000):
        lines[number] = "nothing"
    path = tmp_path / "as.txt"
    path.write_text("\n".join(lines))
    table = astable.load(path)
    assert (table.prefixes, table.faulty) == (count - 12, 12)
    assert [fault.line for fault in table.faults] == [1001, 6001, 11001, 16001, 21001]


def test_what_is_no_file_of_lines(tmp_path: Path) -> None:
    pipe, long = tmp_path / "pipe", tmp_path / "long"
    os.mkfifo(pipe)
    long.write_bytes(bytes(1_000_000))
    cases = {
        tmp_path / "none": "No such file",
        tmp_path: "is no regular file",
        pipe: "is no regular file",
        long: "a line has no end",
    }
    for path, what in cases.items():
        with pytest.raises(OSError, match=what) as caught:
            astable.load(path)
        assert caught.value.filename == str(path)


#: A process of its own: what this one has taken before would hide what reading takes.
PRICE = r"""
import re, resource, sys, time
from pathlib import Path
from xflowd.edge import astable
from xflowd.metering.flow import FLOW
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before, began = resident(), time.process_time()
table = astable.load(Path(sys.argv[1]))
seconds = time.process_time() - began
peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
print(table.prefixes, table.faulty, seconds, peak - before, resident() - before)
"""


def test_the_price_of_a_million_prefixes(tmp_path: Path) -> None:
    """Lengths about as in the Internet's table, and in no order: processor time, for others are at work here too."""
    path = tmp_path / "million.txt"
    path.write_text("\n".join(million()))
    run = [sys.executable, "-c", PRICE, str(path)]
    done = subprocess.run(
        run, capture_output=True, text=True, check=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    )
    prefixes, faulty, seconds, peak, left = map(float, done.stdout.split())
    print(done.stdout)
    assert (prefixes, faulty) == (1_000_000, 0)
    assert peak < MOST_OCTETS
    assert left < MOST_OCTETS / 2
    assert seconds < 2 * MOST_SECONDS  # a machine that is busy takes longer


def million() -> list[str]:
    random = np.random.default_rng(5)
    lengths = random.choice(
        [8, 12, 16, 19, 20, 21, 22, 23, 24], 780_000, p=[0.0002, 0.0018, 0.028, 0.04, 0.045, 0.055, 0.12, 0.1, 0.61]
    )
    starts = (random.integers(1 << 24, 224 << 24, len(lengths)) >> 32 - lengths) << 32 - lengths
    systems = random.integers(1, 400_000, 1_000_000).tolist()
    lines = [
        f"{start >> 24}.{start >> 16 & 255}.{start >> 8 & 255}.{start & 255}/{length}\t{system}"
        for start, length, system in zip(starts.tolist(), lengths.tolist(), systems[: len(lengths)], strict=True)
    ]
    lengths = random.choice([28, 29, 32, 36, 40, 44, 48], 220_000, p=[0.02, 0.02, 0.15, 0.05, 0.13, 0.13, 0.5])
    starts = (random.integers(0x2001 << 32, 0x2C10 << 32, len(lengths)) >> 48 - lengths) << 48 - lengths
    lines += [
        f"{start >> 32:x}:{start >> 16 & 0xFFFF:x}:{start & 0xFFFF:x}::/{length} {system}"
        for start, length, system in zip(starts.tolist(), lengths.tolist(), systems[780_000:], strict=True)
    ]
    return lines
