"""Proves that datagrams are full, never too long, and numbered as each protocol wants it (read by tshark)."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pytest
from wire_helpers import ALL, NOW, WITH_TEMPLATES, Seen, after, flow, flows, many, process

from xflowd.exporting.announcing import MeterStatistics

NOTHING = MeterStatistics()
IPV6 = flow("2001:db8::1", "2001:db8::2")


def announced(protocol: str, **options):
    """An Exporting Process whose templates went at NOW, and the datagrams of that."""
    exporting = process(protocol, **options)
    return exporting, exporting.export(flows(), NOW, {}, NOTHING)


@pytest.mark.parametrize(
    ("protocol", "like", "payload", "records", "octets"),
    [
        ("netflow5", None, 1400, 28, 1368),
        ("netflow5", None, 1464, 30, 1464),
        ("netflow5", None, 9000, 30, 1464),
        ("netflow9", None, 1400, 16, 1368),
        ("netflow9", IPV6, 1400, 11, 1344),
        ("ipfix", None, 1400, 15, 1400),
        ("ipfix", IPV6, 1400, 10, 1300),
        ("ipfix", None, 1399, 14, 1308),
    ],
)
def test_full_datagrams(protocol, like, payload, records, octets):
    exporting, _ = announced(protocol, max_payload=payload)
    datagrams = exporting.export(many(3 * records + 1, like), after(1), {}, NOTHING)
    lengths = list(map(len, datagrams))
    assert lengths[:3] == [octets] * 3
    assert len(lengths) == 4
    assert lengths[3] < octets


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (0, 1), (15, 1), (16, 11), (45, 3), (100, 100), (8200, 30)])
def test_every_flow_arrives_once_and_in_order(protocol, counts, tmp_path):
    ipv4, ipv6 = many(counts[0]), many(counts[1], IPV6)
    exporting = process(protocol)
    seen = Seen(tmp_path, exporting.export(np.concatenate([ipv4, ipv6]), NOW, {2: "eth0"}, NOTHING))
    expected = ipv4 if protocol == "netflow5" else np.concatenate([ipv4, ipv6])
    assert [int(record["cflow.octets"]) for record in seen.flows] == expected["octet_delta_count"].tolist()
    assert seen.expert == []
    skipped = {} if protocol != "netflow5" or not counts[1] else {"ipv6": counts[1]}
    assert exporting.counters.not_exportable_flows == skipped
    assert exporting.counters.not_exportable_packets == dict.fromkeys(skipped, 10 * counts[1])


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("payload", range(500, 1500, 61))
def test_no_datagram_is_longer_than_the_path_allows(protocol, payload):
    exporting = process(protocol, max_payload=payload)
    mixed = np.concatenate([many(70), many(40, IPV6), many(3)])
    datagrams = exporting.export(mixed, NOW, dict.fromkeys(range(1, 30), "x"), NOTHING)
    assert max(map(len, datagrams)) <= payload
    assert min(map(len, datagrams)) > 24


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_the_room_left_is_shared_by_sets(protocol, tmp_path):
    exporting, first = announced(protocol)
    datagrams = exporting.export(np.concatenate([many(3), many(2, IPV6)]), after(1), {2: "eth0"}, NOTHING)
    seen = Seen(tmp_path, [*first, *datagrams])
    assert len(datagrams) == 1
    assert len(seen.sets[1]) == 3
    assert len(seen.flows) == 5


def test_the_sequence_of_netflow5_counts_flows(tmp_path):
    exporting = process("netflow5")
    sent = [exporting.export(many(count), after(at), {}, NOTHING) for at, count in enumerate((30, 1, 57))]
    headers = Seen(tmp_path, [datagram for each in sent for datagram in each]).headers
    numbers = [(int(header["cflow.sequence"]), int(header["cflow.count"])) for header in headers]
    assert numbers == [(0, 28), (28, 2), (30, 1), (31, 28), (59, 28), (87, 1)]


def test_the_sequence_of_netflow9_counts_packets(tmp_path):
    exporting = process("netflow9")
    sent = [exporting.export(many(count), after(at), {}, NOTHING) for at, count in enumerate((30, 1, 57))]
    headers = Seen(tmp_path, [datagram for each in sent for datagram in each]).headers
    assert [int(header["cflow.sequence"]) for header in headers] == list(range(len(headers)))


def test_the_sequence_of_ipfix_counts_the_data_records_before(tmp_path):
    exporting = process("ipfix")
    timeline = ((100, {2: "eth0"}), (1, {2: "wan"}), (40, {2: "wan", 3: "x"}))
    sent = [exporting.export(many(n), after(at), names, NOTHING) for at, (n, names) in enumerate(timeline)]
    seen = Seen(tmp_path, [datagram for each in sent for datagram in each])
    before = 0
    for datagram, header in zip([each for part in sent for each in part], seen.headers, strict=True):
        assert int(header["cflow.sequence"]) == before
        before += data_records(bytes(datagram))
    assert before == len(seen.records) == 141 + 3 + 2  # flows, interface options, sampler and statistics


def data_records(message: bytes) -> int:
    """The data records of an IPFIX message of fixed templates."""
    octets = {1004: 92, 1006: 128, 1010: 24, 1011: 40, 1012: 44}
    offset, count = 16, 0
    while offset < len(message):
        set_id, length = struct.unpack_from(">HH", message, offset)
        count += (length - 4) // octets[set_id] if set_id >= 256 else 0
        offset += length
    assert offset == len(message)
    return count


@pytest.mark.parametrize("protocol", ALL)
def test_the_sequence_goes_round(protocol, tmp_path):
    exporting = process(protocol)
    exporting._sequence = (1 << 32) - 20  # what days of export would take
    datagrams = exporting.export(many(1000), NOW, {}, NOTHING)
    numbers = [int(header["cflow.sequence"]) for header in Seen(tmp_path, datagrams).headers]
    steps = [(later - sooner) % (1 << 32) for sooner, later in pairwise(numbers)]
    assert min(numbers) < 1000 < max(numbers)
    assert {step < 40 for step in steps} == {True}


def test_the_count_of_netflow9_is_of_all_records(tmp_path):
    seen = Seen(tmp_path, process("netflow9").export(many(40), NOW, {2: "eth0", 3: "eth1"}, NOTHING))
    counts = [int(header["cflow.count"]) for header in seen.headers]
    assert sum(counts) == 5 + 4 + 40  # templates, options data, flows
    flows_in_first = seen.headers[0][""].split("(")[1].split(" ")[0]
    assert counts[0] == 5 + 4 + int(flows_in_first)


def test_collectors_have_a_sequence_of_their_own(tmp_path):
    one, other = process("ipfix"), process("ipfix")
    one.export(many(100), NOW, {}, NOTHING)
    first = Seen(tmp_path, other.export(many(1), NOW, {}, NOTHING))
    assert first.headers[0]["cflow.sequence"] == "0"
    assert first.expert == []


@pytest.mark.parametrize("protocol", ALL)
def test_flows_without_any_interface_are_counted_not_sent(protocol, tmp_path):
    exporting = process(protocol)
    nowhere = flow(ingress_interface=0, egress_interface=0, packet_delta_count=7)
    mixed = flows(nowhere, flow(), flow(ingress_interface=0), flow(egress_interface=0), flow(ip_version=0))
    seen = Seen(tmp_path, exporting.export(mixed, NOW, {}, NOTHING))
    assert len(seen.flows) == exporting.counters.exported_flow_record_total_count == 3
    assert exporting.counters.not_exportable_flows == {"no_interface": 1, "ipv0": 1}
    assert exporting.counters.not_exportable_packets == {"no_interface": 7, "ipv0": 10}


@pytest.mark.parametrize("protocol", ALL)
def test_the_counters_are_of_what_was_sent(protocol):
    exporting = process(protocol)
    datagrams = exporting.export(many(500), NOW, {2: "eth0"}, NOTHING)
    counters = exporting.counters
    assert counters.exported_message_total_count == len(datagrams)
    assert counters.exported_octet_total_count == sum(map(len, datagrams))
    assert counters.exported_flow_record_total_count == 500
    assert counters.exported_options_record_total_count == (0 if protocol == "netflow5" else 3)


def test_a_datagram_is_read_without_a_copy():
    datagrams = process("ipfix").export(many(100), NOW, {}, NOTHING)
    assert {type(datagram) for datagram in datagrams} == {memoryview}
    shapes = {(datagram.contiguous, datagram.format, datagram.ndim) for datagram in datagrams}
    assert shapes == {(True, "B", 1)}
