"""Spoilt messages for the decoder of `collect`, spoilt captures for the reader of `replay`: what must hold of each.

Deterministic: case N of a seed is the same on every machine, and needs none of the cases before it.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np

from xflowd.collect import Collecting, told
from xflowd.edge.capture import CaptureError, NoFrame, ethernet_frame, packets
from xflowd.edge.terminal import JsonLines, Table
from xflowd.exporting.announcing import MeterStatistics, SamplingAnnouncement
from xflowd.exporting.process import ExportingProcess
from xflowd.metering.flow import FLOW
from xflowd.metering.instant import Instant
from xflowd.wire.decoder import Decoder

SEED_OCTETS = 6000  # of a capture: enough for every kind of block, and quick to read a thousand times
_SAME_DECODER = 64  # cases: templates of one reach the data of another
_EXPORTERS = 8
_TEMPLATES = 4096
_NUMBERS = (0, 1, 2, 3, 4, 255, 256, 257, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
_NOW = Instant(monotonic_ns=3600 * 10**9, unix_ns=1_700_000_000 * 10**9)


@dataclass(slots=True)
class Outcome:
    """`fault` is empty where everything held; else it says what did not, and the case in hexadecimal."""

    cases: int = 0
    seconds: float = 0.0
    fault: str = ""
    refused: Counter[str] = field(default_factory=Counter)  # by the reason that was told

    @property
    def rate(self) -> float:
        """Cases a second."""
        return self.cases / max(self.seconds, 0.001)


def messages() -> list[bytes]:
    """Datagrams as the exporter makes them: templates, options, flows of both versions, in all three protocols."""
    flows = np.zeros(30, FLOW)
    flows["source_address"][:, :4], flows["destination_address"][:, :4] = (192, 0, 2, 1), (198, 51, 100, 2)
    flows["ip_version"], flows["protocol_identifier"] = 4, 6
    flows["source_address"][20:] = np.frombuffer(ip_address("2001:db8::1").packed, np.uint8)
    flows["ip_version"][20:] = 6
    flows["ingress_interface"], flows["egress_interface"] = 2, 3
    flows["packet_delta_count"], flows["octet_delta_count"] = 10, 5000
    flows["flow_start_ns"], flows["flow_end_ns"] = _NOW.monotonic_ns - 3 * 10**9, _NOW.monotonic_ns - 10**9
    sampling = SamplingAnnouncement("random", 100)
    sent = []
    for protocol in ("netflow5", "netflow9", "ipfix"):
        process = ExportingProcess(protocol, observation_domain=7, sampling=sampling)
        sent += [bytes(each) for each in process.export(flows, _NOW, {2: "eth0"}, MeterStatistics())]
    return [*sent, _variable_lengths()]


def _variable_lengths() -> bytes:
    """What the exporter never sends: fields of variable length, an enterprise's, reduced ones, a scope of two."""
    enterprise = (0x8007, 4, 29305)
    template = struct.pack(">HHHHHHHHIHHHH", 400, 5, 8, 4, 82, 0xFFFF, *enterprise, 95, 0xFFFF, 2, 3)
    data = bytes([192, 0, 2, 1]) + b"\x04eth0" + bytes(4) + b"\xff\x00\x02ab" + b"\0\0\7"
    options = struct.pack(">HHHHHHHHHH", 401, 3, 2, 149, 4, 10, 4, 82, 4, 0)
    told_of = struct.pack(">II4s", 7, 3, b"eth0")
    content = b"".join(
        struct.pack(">HH", set_id, 4 + len(octets)) + octets
        for set_id, octets in ((2, template), (3, options), (400, data * 3), (401, told_of))
    )
    return struct.pack(">HHIII", 10, 16 + len(content), 1_700_000_000, 0, 7) + content


def payloads(files: Iterable[Path]) -> list[bytes]:
    """NetFlow that somebody else sent: what UDP over IPv4 carries in these captures, if it begins like a message."""
    found = []
    for packet in (packet for file in files for packet in packets(file)):
        frame = ethernet_frame(packet.link_type, packet.data)
        if not isinstance(frame, NoFrame) and frame[12:15] == b"\x08\x00\x45" and frame[23:24] == b"\x11":
            payload = frame[42:]
            found += [payload] if payload[:2] in (b"\0\5", b"\0\x09", b"\0\x0a") else []
    return found


def captures(files: Iterable[Path]) -> list[bytes]:
    """The beginnings of capture files; those with more to them, pcapng, more often."""
    return [file.read_bytes()[:SEED_OCTETS] for file in files for _ in range(8 if file.suffix == ".pcapng" else 1)]


def cases(seeds: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` spoilt seeds."""
    for number in range(count):
        dice = random.Random(seed << 32 | number)
        octets = bytearray(dice.choice(seeds))
        for _ in range(dice.choice((1, 1, 2, 3, 5, 8))):
            dice.choice(_WAYS)(octets, dice, seeds)
        yield bytes(octets[:65_535])


def fuzz_messages(count: int, seed: int, more: Iterable[bytes] = ()) -> Outcome:
    """Spoilt messages, through decoder and both kinds of output."""
    return _run(cases([*messages() * 4, *more], count, seed), _MessageCheck())


def fuzz_captures(count: int, seed: int, seeds: list[bytes]) -> Outcome:
    """Spoilt captures, through the reader and the link layers."""
    with tempfile.TemporaryDirectory() as name:
        return _run(cases(seeds, count, seed), _CaptureCheck(Path(name) / "capture"))


def _run(spoilt: Iterable[bytes], check: _MessageCheck | _CaptureCheck) -> Outcome:
    outcome, began = Outcome(refused=check.refused), time.monotonic()
    for octets in spoilt:
        try:
            fault = check(octets, outcome.cases)
        except Exception:  # whatever it is: that is what is looked for
            fault = traceback.format_exc()
        outcome.cases += 1
        if fault:
            outcome.fault = f"case {outcome.cases - 1}: {fault.strip()}\n{octets.hex()}"
            break
    outcome.seconds = time.monotonic() - began
    return outcome


class _MessageCheck:
    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()
        self._begin()

    def _begin(self) -> None:
        self._text = io.StringIO()
        self._table = Collecting(Table(self._text, 200))
        self._lines = Collecting(JsonLines(self._text))

    def __call__(self, datagram: bytes, number: int) -> str:
        if number % _SAME_DECODER == 0:
            self._begin()
        exporter = (f"192.0.2.{number % _EXPORTERS}", 50000)
        before = self._lines.decoder.counters.malformed.copy()
        self._lines.take(datagram, exporter)
        lines = self._taken()
        self._table.take(datagram, exporter)
        self.refused += self._lines.decoder.counters.malformed - before
        return _fault_of_lines(lines) or _fault_of_text(self._taken()) or _fault_of_counters(self._lines.decoder)

    def _taken(self) -> str:
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return text


def _fault_of_lines(text: str) -> str:
    """Each line is an object, and nothing in it means something to a terminal."""
    for line in text.splitlines():
        if not isinstance(json.loads(line), dict):
            return f"not an object: {line}"
    return _fault_of_text(text)


def _fault_of_text(text: str) -> str:
    wrong = next((sign for sign in text if sign != "\n" and not sign.isprintable()), None)
    return "" if wrong is None else f"{wrong!r} is printed"


def _fault_of_counters(decoder: Decoder) -> str:
    lines = list(told(decoder.counters))
    if not all(line.isprintable() and len(line) < 200 for line in lines):
        return f"not a line each: {lines}"
    return "" if len(decoder._memory) <= _TEMPLATES else "too many templates are kept"


class _CaptureCheck:
    def __init__(self, path: Path) -> None:
        self.refused: Counter[str] = Counter()
        self._path = path

    def __call__(self, octets: bytes, _: int) -> str:
        self._path.write_bytes(octets)
        total = 0
        try:
            for packet in packets(self._path):
                total += len(packet.data)
                if not isinstance(ethernet_frame(packet.link_type, packet.data), (bytes, NoFrame)):
                    return "neither a frame nor a reason"
        except CaptureError as error:
            self.refused[re.sub("[0-9,]+", "N", error.what)] += 1
            if not (str(error).isprintable() and error.mend and 0 <= error.offset <= len(octets)):
                return f"no fault that helps anybody: {error}"
        return "" if total <= len(octets) else f"{total} octets out of {len(octets)}"


def _octet(octets: bytearray, dice: random.Random, _: list[bytes]) -> None:
    with suppress(ValueError):  # nothing is left
        octets[dice.randrange(len(octets))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))


def _number(octets: bytearray, dice: random.Random, _: list[bytes]) -> None:
    """A length, a set ID, an element: most of them are two octets at an even place, near the beginning."""
    place = 2 * dice.randrange(dice.choice((20, 100, 1000)))
    if place + 2 <= len(octets):
        octets[place : place + 2] = dice.choice(_NUMBERS).to_bytes(2, dice.choice(("big", "little")))


def _cut(octets: bytearray, dice: random.Random, _: list[bytes]) -> None:
    del octets[dice.randrange(len(octets) + 1) :]


def _without(octets: bytearray, dice: random.Random, _: list[bytes]) -> None:
    start = dice.randrange(len(octets) + 1)
    del octets[start : start + dice.choice((1, 2, 4, 8, 50))]


def _twice(octets: bytearray, dice: random.Random, _: list[bytes]) -> None:
    start = dice.randrange(len(octets) + 1)
    octets[start:start] = octets[start : start + dice.choice((1, 4, 12, 100, 1000))]


def _joined(octets: bytearray, dice: random.Random, seeds: list[bytes]) -> None:
    other = dice.choice(seeds)
    start = dice.randrange(len(other) + 1)
    octets[dice.randrange(len(octets) + 1) :] = other[start:]


_WAYS: tuple[Callable[[bytearray, random.Random, list[bytes]], Any], ...] = (
    _octet,
    _octet,
    _number,
    _number,
    _number,
    _cut,
    _without,
    _twice,
    _joined,
)
