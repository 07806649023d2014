"""Proves that no datagram, however false, breaks the decoder: each fault is counted, memory has a limit."""

from __future__ import annotations

import random
import struct
import tracemalloc

import pytest
from wire_helpers import ALL, NOW, flow, flows, many, process

from xflowd.collect import told
from xflowd.exporting.announcing import MeterStatistics
from xflowd.wire.decoder import Decoder
from xflowd.wire.message import MalformedMessage

WALL = 1_700_000_000


def ipfix(content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">HHIII", 10, 16 + len(content) if length is None else length, WALL, 0, 7) + content


def netflow9(content: bytes) -> bytes:
    return struct.pack(">HHIIII", 9, 1, 1000, WALL, 0, 7) + content


def netflow5(count: int, octets: int) -> bytes:
    return struct.pack(">HHIIIIBBH", 5, count, 1000, WALL, 0, 0, 0, 0, 0) + bytes(octets)


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


GOOD = numbers(2, 12, 256, 1, 8, 4) + numbers(256, 8, 1, 2)  # a template and one record of it


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "unknown version"),
        (b"\0", "unknown version"),
        (numbers(7) + bytes(100), "unknown version"),
        (numbers(5), "message shorter than its header"),
        (numbers(5) + bytes(21), "message shorter than its header"),
        (numbers(9) + bytes(17), "message shorter than its header"),
        (numbers(10) + bytes(13), "message shorter than its header"),
        (ipfix(GOOD, length=0), "length shorter than the header"),
        (ipfix(GOOD, length=15), "length shorter than the header"),
    ],
)
def test_what_is_no_message_raises(datagram, reason):
    decoder = Decoder()
    with pytest.raises(MalformedMessage, match=reason):
        decoder.decode(datagram, "x")
    assert decoder.counters.malformed == {reason: 1}
    assert decoder.counters.datagrams == 1


@pytest.mark.parametrize(
    ("datagram", "reason", "records"),
    [
        (ipfix(GOOD + numbers(256, 0)), "set shorter than its header", 1),
        (ipfix(GOOD + numbers(256, 3, 0, 0)), "set shorter than its header", 1),
        (ipfix(GOOD + numbers(256, 65535, 1, 2)), "set longer than the message", 2),
        (netflow9(numbers(0, 12, 256, 1, 8, 4, 256, 14, 1, 2, 3, 4)), "set longer than the message", 2),
        (ipfix(GOOD + bytes(8), length=16 + len(GOOD)), "octets after the message", 1),
        (ipfix(GOOD, length=100), "message cut off", 1),
        (ipfix(GOOD + numbers(256, 4)), "empty set", 1),
        (ipfix(GOOD + numbers(256, 6, 1)), "record longer than its set", 1),
        (ipfix(GOOD + numbers(5, 8, 1, 2)), "reserved set ID", 1),
        (ipfix(GOOD + numbers(2, 12, 255, 1, 8, 4)), "template ID below 256", 1),
        (ipfix(GOOD + numbers(2, 12, 300, 1, 8, 0)), "template of no octets", 1),
        (ipfix(GOOD + numbers(2, 8, 300, 2)), "template cut off", 1),
        (ipfix(GOOD + numbers(2, 12, 300, 9000, 8, 4)), "template cut off", 1),
        (ipfix(GOOD + numbers(2, 12, 300, 1, 0x8008, 4)), "template cut off", 1),
        (ipfix(GOOD + numbers(2, 16, 300, 2, 8, 65534, 8, 65534)), "template longer than a message", 1),
        (ipfix(GOOD + numbers(3, 14, 300, 1, 0, 8, 4)), "options template without a scope", 1),
        (ipfix(GOOD + numbers(3, 14, 300, 1, 2, 8, 4)), "options template without a scope", 1),
        (ipfix(GOOD + numbers(2, 12, 0, 0, 0, 1)), "template ID below 256", 1),
        (ipfix(GOOD + numbers(2, 8, 3, 0)), "template ID below 256", 1),
        (ipfix(GOOD + numbers(3, 8, 2, 0)), "template ID below 256", 1),
        (ipfix(GOOD + numbers(2, 8, 255, 0)), "template ID below 256", 1),
        (netflow9(numbers(0, 8, 300, 0)), "template of no octets", 0),
        (netflow9(numbers(0, 12, 300, 1, 8, 65535)), "template longer than a message", 0),
        (netflow9(numbers(1, 14, 300, 3, 4, 8, 4)), "options template with a part of a field", 0),
        (netflow5(3, 48 * 2 + 47), "message cut off", 2),
        (netflow5(65535, 0), "message cut off", 0),
    ],
)
def test_a_fault_is_counted_and_the_rest_is_used(datagram, reason, records):
    decoder = Decoder()
    found = decoder.decode(datagram, "x")
    assert sum(len(each.array) for each in found) == records
    ((told, count),) = decoder.counters.malformed.items()
    assert (told.startswith(reason), count) == (True, 1)


def test_a_variable_length_that_leads_out_of_the_set():
    template = numbers(2, 12, 300, 1, 82, 65535)
    for tail in (b"\x09abc", b"\xff\xff", b"\xff\xff\xff\xff"):
        decoder = Decoder()
        data = b"\x02ab" + tail
        (records,) = decoder.decode(ipfix(template + numbers(300, 4 + len(data)) + data), "x")
        assert records.array.tolist() == [(b"ab",)]
        assert decoder.counters.malformed == {"record longer than its set": 1}


def test_fields_of_no_octets_have_no_column():
    decoder = Decoder()
    (records,) = decoder.decode(ipfix(numbers(2, 16, 300, 2, 82, 0, 8, 4) + numbers(300, 8, 0, 1)), "x")
    assert records.array.dtype.names == ("sourceIPv4Address",)


def test_a_template_of_very_many_fields_is_not_kept():
    fields = numbers(8, 1) * 257
    decoder = Decoder()
    decoder.decode(ipfix(numbers(2, 8 + len(fields), 300, 257) + fields), "x")
    assert decoder.counters.malformed == {"template of too many fields": 1}
    assert decoder.counters.templates == 0


def test_the_oldest_templates_of_an_exporter_go_first():
    decoder = Decoder(max_templates=100, max_templates_per_exporter=10)
    decoder.decode(ipfix(GOOD), "neighbour")
    for number in range(256, 300):
        decoder.decode(ipfix(numbers(2, 12, number, 1, 8, 4)), "greedy")
    kept = [number for number in range(256, 300) if decoder.decode(ipfix(numbers(number, 8, 0, 1)), "greedy")]
    assert kept == list(range(290, 300))
    assert decoder.decode(ipfix(numbers(256, 8, 1, 2)), "neighbour")


def test_the_exporter_silent_for_the_longest_goes_first():
    decoder = Decoder(max_templates=5)
    for name in "abcde":
        decoder.decode(ipfix(GOOD), name)
    decoder.decode(ipfix(numbers(256, 8, 1, 2)), "a")
    decoder.decode(ipfix(GOOD), "f")
    kept = [name for name in "fedcab" if decoder.decode(ipfix(numbers(256, 8, 1, 2)), name)]
    assert kept == ["f", "e", "d", "c", "a"]


def test_memory_is_limited_whoever_sends():
    decoder = Decoder(max_templates=200)
    content = b"".join(numbers(number, 1, 8, 4) for number in range(256, 356))
    message = ipfix(numbers(2, 4 + len(content)) + content)
    tracemalloc.start()
    try:
        for exporter in range(500):
            decoder.decode(message, exporter)
        before, _ = tracemalloc.get_traced_memory()
        for exporter in range(500, 1500):
            decoder.decode(message, exporter)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 100_000


@pytest.mark.parametrize("protocol", ALL)
def test_any_octets_at_all(protocol):
    """A real datagram cut off everywhere, and many damaged ones: nothing but MalformedMessage comes out."""
    generator = random.Random(5)
    mixed = flows(many(20), many(5, flow("2001:db8::1", "2001:db8::2")))
    sent = process(protocol).export(mixed, NOW, {2: "eth0"}, MeterStatistics())
    first = bytes(sent[0])
    cases = [first[:end] for end in range(0, len(first), 3)]
    cases += [damaged(bytes(generator.choice(sent)), generator) for _ in range(1500)]
    decoder = Decoder()
    refused = 0
    for case in cases:
        try:
            for records in decoder.decode(case, "x"):
                records.array.tolist()
        except MalformedMessage:
            refused += 1
    assert decoder.counters.datagrams == len(cases)
    assert 0 < refused < len(cases)
    assert decoder.counters.malformed.total() >= refused


def damaged(datagram: bytes, generator: random.Random) -> bytes:
    """Some octets other than they were, the version not among them."""
    changed = bytearray(datagram)
    for _ in range(generator.randint(1, 8)):
        place = generator.randrange(2, min(500, len(changed)))
        changed[place] = generator.choice((0, 1, 255, generator.randrange(256)))
    return bytes(changed)


def of(fields: list[tuple[int, int]], data: bytes) -> bytes:
    """An IPFIX message with a template of these elements and lengths, and a set of this data."""
    content = b"".join(numbers(*field) for field in fields)
    return ipfix(numbers(2, 8 + len(content), 300, len(fields)) + content + numbers(300, 4 + len(data)) + data)


@pytest.mark.parametrize("count", [0, 1, 2, 65535])
def test_the_count_of_a_netflow9_header_changes_nothing(count: int) -> None:
    content = numbers(0, 12, 256, 1, 8, 4) + numbers(256, 8, 1, 2)
    message = bytearray(netflow9(content))
    message[2:4] = numbers(count)
    decoder = Decoder()
    assert [len(each.array) for each in decoder.decode(bytes(message), "x")] == [1]
    assert not decoder.counters.malformed


def test_a_withdrawal_of_all_has_the_number_of_its_set() -> None:
    decoder = Decoder()
    data = numbers(256, 8, 1, 2)
    for wrong in (numbers(2, 8, 0, 0), numbers(2, 8, 3, 0), numbers(3, 8, 2, 0), numbers(2, 8, 1, 0)):
        decoder.decode(ipfix(GOOD + wrong), "x")
        assert decoder.decode(ipfix(data), "x"), wrong
    decoder.decode(ipfix(numbers(2, 8, 2, 0)), "x")
    assert not decoder.decode(ipfix(data), "x")


def test_exporters_and_domains_are_kept_within_limits_and_what_goes_is_counted() -> None:
    decoder = Decoder()
    tracemalloc.start()
    try:
        for exporter in range(600):
            for domain in range(70):
                message = bytearray(ipfix(b""))
                message[12:16] = domain.to_bytes(4, "big")
                decoder.decode(bytes(message), ("192.0.2.1", exporter))
            if exporter == 300:
                before, _ = tracemalloc.get_traced_memory()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 100_000
    assert decoder.counters.pushed_out == {"observation domains": 600 * 6, "exporters": 600 - 16384 // 64}
    assert "exporters forgotten for lack of room" in "\n".join(told(decoder.counters))


def test_big_templates_are_kept_within_limits() -> None:
    """What counts is fields: 4,096 templates of 256 would be half a gigabyte."""
    decoder = Decoder()
    message = ipfix(numbers(2, 8 + 4 * 250, 300, 250) + numbers(8, 4) * 250)
    for exporter in range(600):
        decoder.decode(message, exporter)
    kept = (1 << 17) // 250
    assert decoder.counters.pushed_out == {"templates": 600 - kept, "exporters": 600 - kept}
    assert decoder.decode(ipfix(numbers(300, 1004) + bytes(1000)), 599)
    assert not decoder.decode(ipfix(numbers(300, 1004) + bytes(1000)), 600 - kept - 1)


def test_one_exporter_takes_no_room_from_others_by_itself() -> None:
    decoder = Decoder()
    decoder.decode(ipfix(GOOD), "neighbour")
    for domain in range(3000):
        message = bytearray(ipfix(numbers(2, 12, 256 + domain, 1, 8, 4)))
        message[12:16] = domain.to_bytes(4, "big")
        decoder.decode(bytes(message), "greedy")
    assert decoder.decode(ipfix(numbers(256, 8, 1, 2)), "neighbour")
    assert set(decoder.counters.pushed_out) == {"templates", "observation domains"}


def test_records_of_empty_fields_take_no_room() -> None:
    """255 fields of no octets in records of one: 16 million values, were they kept."""
    message = of([(82, 0xFFFF)] + [(8, 0)] * 255, bytes(60_000))
    tracemalloc.start()
    try:
        (records,) = Decoder().decode(message, "x")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(records.array) == 60_000
    assert most < 20 << 20
