"""Proves that `collect` outlives every datagram: what is printed is harmless, in bounded time, whatever it claims."""

from __future__ import annotations

import io
import json
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fuzz import decoder as fuzzing
from xflowd import collect
from xflowd.collect import Collecting, address_of
from xflowd.edge.terminal import JsonLines, Table
from xflowd.wire.elements import BY_NUMBER

AGENT = Path(collect.__file__).resolve().parents[1]
CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"


def ipfix(content: bytes) -> bytes:
    return struct.pack(">HHIII", 10, 16 + len(content), 1_700_000_000, 0, 7) + content


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


GOOD = numbers(2, 12, 256, 1, 8, 4) + numbers(256, 8, 1, 2)  # a template and one record of it


def of(fields: list[tuple[int, int]], data: bytes) -> bytes:
    """An IPFIX message with a template of these elements and lengths, and a set of this data."""
    content = b"".join(numbers(*field) for field in fields)
    return ipfix(numbers(2, 8 + len(content), 300, len(fields)) + content + numbers(300, 4 + len(data)) + data)


def printed(style: str, *datagrams: bytes) -> tuple[str, Collecting]:
    """What `collect` prints of the datagrams."""
    text = io.StringIO()
    collecting = Collecting(JsonLines(text) if style == "json" else Table(text, 200))
    for datagram in datagrams:
        collecting.take(datagram, ("192.0.2.1", 50000))
    return text.getvalue(), collecting


ODD_LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 300, 0xFFFF)


@pytest.mark.parametrize("style", ["json", "table"])
@pytest.mark.parametrize("octets", ODD_LENGTHS)
def test_any_element_of_any_length_is_printed(style: str, octets: int) -> None:
    """A port of 16 octets, a counter of 3, an address of variable length: each is a line, and nobody dies of it."""
    content = b"\x03\x1b[2" if octets == 0xFFFF else b"\xff" * octets
    for number in BY_NUMBER:
        for beside in ([], [(8, 4)], [(82, 0xFFFF)]):
            more = {8: b"\xc0\0\2\1", 82: b"\x02\x1b\n"}
            message = of([(number, octets), *beside], content + b"".join(more[each] for each, _ in beside))
            text, collecting = printed(style, message)
            assert text.count("\n") == (1 if style == "json" else 2), number
            assert all(sign == "\n" or sign.isprintable() for sign in text), number
            assert not collecting.decoder.counters.malformed


READ = [
    ([(2, 3)], b"\1\0\0", "packetDeltaCount", 65536),
    ([(1, 7), (82, 0xFFFF)], bytes(6) + b"\x09\x03eth", "octetDeltaCount", 9),
    ([(82, 0xFFFF)], b"\x04\x1b[2J", "interfaceName", "\x1b[2J"),
    ([(95, 0xFFFF)], b"\x02\xab\xcd", "applicationId", "abcd"),
    ([(8, 4), (82, 0xFFFF)], b"\xc0\0\2\1\0", "sourceIPv4Address", "192.0.2.1"),
    ([(8, 2)], b"\xc0\0", "sourceIPv4Address_octets", "c000"),
    ([(7, 16)], bytes(15) + b"\1", "sourceTransportPort_octets", "00" * 15 + "01"),
    ([(7, 0xFFFF)], b"\x02\0\1", "sourceTransportPort_octets", "0001"),
    ([(7, 16), (7, 16)], bytes(32), "sourceTransportPort_octets_2", "00" * 16),
    ([(7, 4)], b"\0\0\0\1", "sourceTransportPort", 1),
    ([(311, 8)], b"\x7f\xf8" + bytes(6), "samplingProbability", None),
    ([(152, 8), (153, 8)], b"\xff" * 16, "flowStartMilliseconds", "1970-01-01T00:00:00.000Z"),
    ([(150, 8), (151, 8)], b"\x7f" * 16, None, None),
    ([(22, 4), (21, 4), (160, 16)], bytes(24), "systemInitTimeMilliseconds_octets", "00" * 16),
]


@pytest.mark.parametrize(("fields", "data", "name", "value"), READ)
def test_what_is_read_of_odd_lengths(
    fields: list[tuple[int, int]], data: bytes, name: str | None, value: object
) -> None:
    text, _ = printed("json", of(fields, data))
    record = json.loads(text)
    assert name is None or record[name] == value
    assert record["exporterIPv4Address"] == "192.0.2.1"


class Counting:
    """Output that counts how often it is written to."""

    closed = False

    def __init__(self) -> None:
        self.rows: list[int] = []

    def write(self, array) -> None:
        self.rows.append(len(array))


def test_very_many_sets_are_printed_as_one() -> None:
    templates = numbers(2, 12, 300, 1, 4, 1) + numbers(2, 12, 301, 1, 5, 1)
    message = ipfix(templates + (numbers(300, 5) + b"\1" + numbers(301, 5) + b"\2") * 6000)
    counting = Counting()
    collecting = Collecting(counting)
    collecting.take(message, ("192.0.2.1", 50000))
    assert counting.rows == [6000, 6000]
    assert collecting.decoder.counters.flow_records == 12_000


def test_options_are_counted_and_not_printed() -> None:
    text, collecting = printed(
        "table", ipfix(numbers(3, 16, 300, 1, 1, 149, 4, 0) + numbers(300, 64_004) + bytes(64_000))
    )
    assert text == ""
    assert collecting.decoder.counters.options_records == 16_000


LONGEST = [
    ("withdrawals", ipfix(numbers(2, 64_004) + numbers(2, 0) * 16_000)),
    ("zeros", ipfix(numbers(2, 64_004) + bytes(63_999) + b"\1")),
    ("fields", ipfix(numbers(2, 65_004, 300, 65_535) + numbers(8, 4) * 16_249)),
    ("templates", ipfix(numbers(2, 64_004) + b"".join(numbers(256 + each, 1, 8, 4) for each in range(8000)))),
    ("empty sets", ipfix(numbers(256, 4) * 16_000)),
    ("records", of([(4, 1)], bytes(65_000))),
    ("values", of([(82, 0xFFFF)] * 256, bytes(64_000))),
]


@pytest.mark.parametrize("message", [message for _, message in LONGEST], ids=[name for name, _ in LONGEST])
def test_no_datagram_takes_long(message: bytes) -> None:
    """Some took seconds. The limit leaves room for a slow machine."""
    began = time.process_time()
    printed("json", message, message)
    assert time.process_time() - began < 3.0


@pytest.mark.parametrize(
    ("sender", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:0:c000:201", "::ffff:0:c000:201"),  # translated, not mapped (RFC 6052, RFC 4291 2.5.5.2)
        ("fe80::1%wan", "fe80::1"),
        ("::", "::"),
        ("2001:db8::ffff:1", "2001:db8::ffff:1"),
    ],
)
def test_addresses_of_senders(sender: str, address: str) -> None:
    assert address_of(sender) == address
    text = io.StringIO()
    Collecting(JsonLines(text)).take(ipfix(GOOD), (address_of(sender), 1))
    record = json.loads(text.getvalue())
    assert record.get("exporterIPv6Address", record.get("exporterIPv4Address")) == address


def test_collect_outlives_everything(tmp_path: Path) -> None:
    """The command itself: false datagrams from many ports, then a good one, then SIGTERM."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hostile = [*fuzzing.cases(fuzzing.messages(), 300, seed=3), *(message for _, message in LONGEST), b""]
    command = [sys.executable, "-m", "xflowd", "collect", "--listen", f"127.0.0.1:{port}", "--format", "json"]
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        running = subprocess.Popen(command, stdout=out, stderr=err, env={"PYTHONPATH": str(AGENT), "PATH": ""})
    try:
        wait_for(lambda: b"listening" in (tmp_path / "err").read_bytes())
        for number, datagram in enumerate(hostile):
            send(datagram, port)
            if number % 20 == 0:
                time.sleep(0.02)  # the socket's buffer is as large as the host allows, which may be little
        wait_for(lambda: b'"203.0.113.77"' in (tmp_path / "out").read_bytes(), lambda: send(LAST, port))
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
    finally:
        running.kill()
        running.wait()
    said = (tmp_path / "err").read_text()
    assert "Traceback" not in said
    assert "times malformed: " in said


LAST = ipfix(numbers(2, 12, 256, 1, 8, 4) + numbers(256, 8) + bytes([203, 0, 113, 77]))


def send(datagram: bytes, port: int) -> None:
    """From a port of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.sendto(datagram, ("127.0.0.1", port))


def wait_for(condition, again=lambda: None) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        again()
        time.sleep(0.05)


def test_spoilt_messages() -> None:
    """A short run of scripts/fuzz --decoder."""
    files = [CAPTURES / "netflowv9.pcap"] if CAPTURES.is_dir() else []
    outcome = fuzzing.fuzz_messages(3000, 1, fuzzing.payloads(files))
    assert not outcome.fault, outcome.fault
    assert outcome.cases == 3000
    assert len(outcome.refused) > 12


def test_a_fault_in_the_decoder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the same seed gives the same case again."""
    monkeypatch.setattr(collect, "_readable", lambda records, name, field: records.array[name])
    first, again = (fuzzing.fuzz_messages(3000, 1) for _ in range(2))
    assert first.fault.startswith(f"case {first.cases - 1}: Traceback")
    assert first.fault == again.fault
