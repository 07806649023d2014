"""Proves that datagrams of other exporters are read as specified. They are made by hand, octet by octet."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from wire_helpers import tshark

from xflowd.wire.decoder import Decoder
from xflowd.wire.times import flow_times

CAPTURE = Path(__file__).resolve().parents[3] / "shared" / "captures" / "netflowv9.pcap"
EXPORTER = ("192.0.2.254", 50000)
WALL = 1_700_000_000
NTP_UNIX = 2_208_988_800
IN_2039 = 2_200_000_000


def ipfix(*sets: bytes, sequence: int = 0, domain: int = 7) -> bytes:
    content = b"".join(sets)
    return struct.pack(">HHIII", 10, 16 + len(content), WALL, sequence, domain) + content


def netflow9(*sets: bytes, sequence: int = 0, domain: int = 7, uptime: int = 60_000) -> bytes:
    return struct.pack(">HHIIII", 9, len(sets), uptime, WALL, sequence, domain) + b"".join(sets)


def netflow5(count: int, sequence: int = 0, engine: int = 0, uptime: int = 60_000) -> bytes:
    header = struct.pack(">HHIIIIBBH", 5, count, uptime, WALL, 500_000_000, sequence, 0, engine, 2 << 14 | 100)
    record = struct.pack(">4s4s4sHHIIIIHHBBBBHHBBH", *V5_RECORD)
    return header + record * count


V5_ADDRESSES = (b"\xc0\0\2\1", b"\xc0\0\2\2", bytes(4))
V5_RECORD = (*V5_ADDRESSES, 1, 2, 10, 1500, 1000, 2000, 80, 443, 0, 0x1B, 6, 8, 11, 12, 24, 16, 0)


def a_set(set_id: int, content: bytes) -> bytes:
    return struct.pack(">HH", set_id, 4 + len(content)) + content


def template(template_id: int, *fields: tuple[int, int], set_id: int = 2) -> bytes:
    """One template in a set; `set_id` 0 for v9. A number of three parts is of an enterprise."""
    specified = b"".join(struct.pack(">HHI" if len(field) == 3 else ">HH", *field) for field in fields)
    return a_set(set_id, struct.pack(">HH", template_id, len(fields)) + specified)


def decoded(*datagrams: bytes):
    """The records of the last datagram, and the decoder."""
    decoder = Decoder()
    records = [decoder.decode(datagram, EXPORTER) for datagram in datagrams]
    return records[-1], decoder


def test_netflow5():
    (records,), decoder = decoded(netflow5(2, engine=3))
    row = records.array[1]
    assert (row["sourceIPv4Address"], row["destinationIPv4Address"]) == (0xC0000201, 0xC0000202)
    names = ("ingressInterface", "packetDeltaCount", "octetDeltaCount", "destinationTransportPort")
    assert [int(row[name]) for name in (*names, "tcpControlBits")] == [1, 10, 1500, 443, 0x1B]
    assert [int(row[name]) for name in ("bgpSourceAsNumber", "destinationIPv4PrefixLength")] == [11, 16]
    assert (records.header.sampling_mode, records.header.sampling_interval) == (2, 100)
    assert (records.observation_domain, records.is_options) == (3, False)
    assert decoder.counters.flow_records == 2
    start, end = flow_times(records)
    assert (start[0], end[0]) == (WALL * 10**9 - 58_500_000_000, WALL * 10**9 - 57_500_000_000)


def test_netflow9_with_options_and_padding():
    options = a_set(1, struct.pack(">HHHHHHHHH", 300, 4, 8, 1, 4, 34, 4, 48, 1) + b"\0\0")
    sampler = a_set(300, struct.pack(">IIB", 7, 1000, 5) + bytes(3))
    flows = template(256, (8, 4), (1, 4), (22, 4), (21, 4), set_id=0)
    data = a_set(256, struct.pack(">IIII", 0x0A000001, 77, 50_000, 55_000) + bytes(3))
    (told, seen), decoder = decoded(netflow9(options, flows, sampler, data))
    assert told.is_options
    assert not seen.is_options
    assert told.array.dtype.names == ("scopeSystem", "samplingInterval", "samplerId")
    assert told.array[0].tolist() == (7, 1000, 5)
    assert seen.array["octetDeltaCount"].tolist() == [77]
    start, end = flow_times(seen)
    assert (WALL * 10**9 - start[0], WALL * 10**9 - end[0]) == (10 * 10**9, 5 * 10**9)
    counters = decoder.counters
    assert (counters.options_records, counters.flow_records, counters.templates) == (1, 1, 2)


def test_ipfix_with_enterprise_unknown_and_repeated_elements():
    fields = ((7 | 0x8000, 4, 29305), (12345, 2), (82, 4), (82, 4), (2, 3), (27, 16), (56, 6))
    data = struct.pack(">I2s4s4s3s16s6s", 9, b"\1\2", b"eth0", b"lo\0\0", b"\1\0\0", bytes(range(16)), b"abcdef")
    (records,), _ = decoded(ipfix(template(400, *fields), a_set(400, data)))
    expected = ("enterprise_29305_7", "element_12345", "interfaceName", "interfaceName_2")
    assert records.array.dtype.names[:4] == expected
    row = records.array[0]
    assert (row["interfaceName"], row["interfaceName_2"]) == (b"eth0", b"lo")
    assert records.numbers("packetDeltaCount").tolist() == [65536]
    assert records.numbers("enterprise_29305_7").tolist() == [9]
    assert row["sourceIPv6Address"].tolist() == list(range(16))
    assert row["sourceMacAddress"].tobytes() == b"abcdef"


def test_ipfix_options_with_a_scope_of_two_fields():
    options = a_set(3, struct.pack(">HHHHHHHHH", 300, 3, 2, 149, 4, 10, 4, 82, 4) + b"\0\0")
    (records,), _ = decoded(ipfix(options, a_set(300, struct.pack(">II4s", 7, 3, b"eth0"))))
    assert records.is_options
    assert [field.element.number for field in records.template.scope_fields] == [149, 10]
    assert records.array[0].tolist() == (7, 3, b"eth0")


def test_variable_length():
    long = b"n" * 300 + b"\0"
    rows = [(1, b"eth0", 5), (2, b"", 6), (3, long, 7)]
    parts = [(struct.pack(">I", number), length_of(name), name, struct.pack(">H", port)) for number, name, port in rows]
    data = b"".join(octets for part in parts for octets in part)
    message = ipfix(template(400, (10, 4), (82, 65535), (7, 2)), a_set(400, data + bytes(3)))
    (records,), decoder = decoded(message)
    assert [tuple(row) for row in records.array.tolist()] == rows
    assert not decoder.counters.malformed


def length_of(value: bytes) -> bytes:
    return bytes([len(value)]) if len(value) < 255 else struct.pack(">BH", 255, len(value))


def ntp(unix_s: int, fraction: float) -> int:
    return (unix_s + NTP_UNIX) % (1 << 32) << 32 | int(fraction * (1 << 32))


@pytest.mark.parametrize(
    ("numbers", "octets", "values", "start_ns", "end_ns"),
    [
        ((150, 151), 4, (WALL, WALL + 2), WALL * 10**9, (WALL + 2) * 10**9),
        ((152, 153), 8, (WALL * 1000 + 1, WALL * 1000 + 2), WALL * 10**9 + 10**6, WALL * 10**9 + 2 * 10**6),
        (
            (154, 155),
            8,
            (ntp(WALL, 0.5), ntp(WALL, 0.75)),
            WALL * 10**9 + 5 * 10**8,
            WALL * 10**9 + 75 * 10**7,
        ),
        ((156, 157), 8, (ntp(WALL, 0), ntp(WALL, 0.25)), WALL * 10**9, WALL * 10**9 + 25 * 10**7),
        ((156, 157), 8, (ntp(IN_2039, 0), ntp(IN_2039, 0)), IN_2039 * 10**9, IN_2039 * 10**9),
    ],
)
def test_times_of_the_wall_clock(numbers, octets, values, start_ns, end_ns):
    data = b"".join(value.to_bytes(octets, "big") for value in values)
    (records,), _ = decoded(ipfix(template(400, *((number, octets) for number in numbers)), a_set(400, data)))
    start, end = flow_times(records)
    assert (start.tolist(), end.tolist()) == ([start_ns], [end_ns])


@pytest.mark.parametrize(("uptime", "first"), [(60_000, 50_000), (4_000, (1 << 32) - 6_000), (60_000, 61_000)])
def test_times_of_an_uptime_that_goes_round(uptime, first):
    data = struct.pack(">II", first, uptime)
    message = netflow9(template(400, (22, 4), (21, 4), set_id=0), a_set(400, data), uptime=uptime)
    (records,), _ = decoded(message)
    age_ms = (uptime - first + (1 << 31)) % (1 << 32) - (1 << 31)
    assert flow_times(records)[0].tolist() == [(WALL * 1000 - age_ms) * 10**6]


def test_times_by_the_start_of_the_device_in_ipfix():
    fields = template(400, (22, 4), (21, 4), (160, 8))
    (records,), _ = decoded(ipfix(fields, a_set(400, struct.pack(">IIQ", 1, 2, WALL * 1000))))
    start, end = flow_times(records)
    assert (start.tolist(), end.tolist()) == ([WALL * 10**9 + 10**6], [WALL * 10**9 + 2 * 10**6])
    (without,), _ = decoded(ipfix(template(400, (22, 4), (21, 4)), a_set(400, bytes(8))))
    assert flow_times(without) is None


def test_templates_belong_to_one_exporter_and_one_domain():
    decoder = Decoder()
    data = a_set(256, bytes([192, 0, 2, 1]))
    decoder.decode(ipfix(template(256, (8, 4)), domain=1), "one")
    assert len(decoder.decode(ipfix(data, domain=1), "one")) == 1
    assert decoder.decode(ipfix(data, domain=2), "one") == []
    assert decoder.decode(ipfix(data, domain=1), "other") == []
    assert decoder.decode(netflow9(data, domain=1), "one") == []
    assert decoder.counters.sets_without_template == 3


def test_a_template_is_replaced_and_withdrawn():
    decoder = Decoder()
    data = a_set(256, bytes([0, 0, 0, 9]))
    decoder.decode(ipfix(template(256, (8, 4)), template(257, (8, 4))), EXPORTER)
    (records,) = decoder.decode(ipfix(template(256, (10, 4)), data), EXPORTER)
    assert records.array["ingressInterface"].tolist() == [9]
    assert decoder.decode(ipfix(a_set(2, struct.pack(">HH", 256, 0)), data), EXPORTER) == []
    options = a_set(3, struct.pack(">HHHHH", 300, 1, 1, 10, 4) + b"\0\0")
    decoder.decode(ipfix(options, a_set(2, struct.pack(">HH", 2, 0))), EXPORTER)
    assert decoder.decode(ipfix(a_set(257, bytes(4))), EXPORTER) == []
    assert len(decoder.decode(ipfix(a_set(300, bytes(4))), EXPORTER)) == 1
    decoder.decode(ipfix(a_set(3, struct.pack(">HH", 3, 0))), EXPORTER)
    assert decoder.decode(ipfix(a_set(300, bytes(4))), EXPORTER) == []
    assert not decoder.counters.malformed


def ipfix_records(count: int, sequence: int) -> bytes:
    return ipfix(template(256, (8, 4)), a_set(256, bytes(4 * count)), sequence=sequence)


@pytest.mark.parametrize(
    ("timeline", "lost", "late", "restarts"),
    [
        ([netflow5(5, 100), netflow5(5, 105)], 0, 0, 0),
        ([netflow5(5, 100), netflow5(5, 115)], 10, 0, 0),
        ([netflow5(5, 100), netflow5(5, 110), netflow5(5, 105), netflow5(5, 115)], 0, 1, 0),
        ([netflow5(5, (1 << 32) - 5), netflow5(5, 0), netflow5(5, 5)], 0, 0, 0),
        ([netflow5(5, 100), netflow5(5, 0), netflow5(5, 5)], 0, 0, 1),
        ([netflow5(5, 100), netflow5(5, 50, uptime=1000), netflow5(5, 55, uptime=1000)], 0, 0, 1),
        ([netflow5(5, 1_000_000), netflow5(5, 500), netflow5(5, 505)], 0, 0, 1),
        ([netflow5(5, 100), netflow5(5, 900, engine=1), netflow5(5, 105)], 0, 0, 0),
        ([netflow9(sequence=7), netflow9(sequence=8), netflow9(sequence=11)], 2, 0, 0),
        ([netflow9(sequence=70_000), netflow9(sequence=3), netflow9(sequence=4)], 0, 0, 1),
        ([netflow9(sequence=7, domain=1), netflow9(sequence=100, domain=2)], 0, 0, 0),
        ([ipfix_records(3, 10), ipfix_records(2, 13), ipfix_records(1, 20)], 5, 0, 0),
        ([ipfix_records(3, 10), ipfix(a_set(999, bytes(8)), sequence=13), ipfix_records(1, 99)], 0, 0, 0),
        ([ipfix_records(3, 1 << 31), ipfix_records(2, 0), ipfix_records(2, 2)], 0, 0, 1),
    ],
)
def test_what_the_sequence_tells(timeline, lost, late, restarts):
    _, decoder = decoded(*timeline)
    counters = decoder.counters
    assert (counters.lost.total(), counters.out_of_order, counters.restarts) == (lost, late, restarts)


def test_records_are_counted_in_ipfix_with_options():
    options = a_set(3, struct.pack(">HHHHH", 300, 1, 1, 10, 4) + b"\0\0")
    first = ipfix(options, template(256, (8, 4)), a_set(300, bytes(8)), a_set(256, bytes(12)), sequence=0)
    _, decoder = decoded(first, ipfix_records(1, 5), ipfix_records(1, 6))
    assert decoder.counters.lost.total() == 0


@pytest.mark.skipif(not CAPTURE.exists(), reason=f"no capture {CAPTURE}")
def test_a_real_capture_is_read_as_tshark_reads_it():
    """Its templates were sent before it began: headers, sets and sequence are all there is to read."""
    payloads = tshark(CAPTURE, "-d", "udp.port==2057,data", "-Y", "udp", "-T", "fields", "-e", "data.data").split()
    decoder = Decoder()
    for text in payloads:
        decoder.decode(bytes.fromhex(text), EXPORTER)
    options = ["-d", "udp.port==2057,cflow", "-Y", "cflow", "-T", "fields", "-e", "cflow.flowset_id"]
    sets = tshark(CAPTURE, *options).replace(",", " ").split()
    assert decoder.counters.datagrams == len(payloads) > 0
    assert decoder.counters.sets_without_template == len(sets) > 0
    assert not decoder.counters.malformed
    assert (decoder.counters.lost.total(), decoder.counters.restarts) == (0, 0)


def test_the_view_of_a_datagram_is_not_a_copy():
    datagram = netflow5(30)
    (records,), _ = decoded(datagram)
    assert np.shares_memory(records.array, np.frombuffer(datagram, np.uint8))
