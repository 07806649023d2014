"""Proves that what v5 has no room for is told exactly or not at all, never wrongly (read by tshark)."""

from __future__ import annotations

import pytest
from wire_helpers import NOW, Seen, flow, flows, many, process

from xflowd.exporting.announcing import MeterStatistics, SamplingAnnouncement

LIMIT = (1 << 32) - 1


def told(tmp_path, made, **options) -> list[dict[str, str]]:
    return Seen(tmp_path, process("netflow5", **options).export(made, NOW, {}, MeterStatistics())).flows


@pytest.mark.parametrize(
    ("packets", "octets", "records"),
    [
        (10, LIMIT, 1),
        (10, LIMIT + 1, 2),
        (7_000_000_001, 7_000_000_001 * 64, 105),
        (LIMIT, LIMIT, 1),
        (LIMIT + 1, LIMIT + 1, 2),
        (3 * LIMIT, 3 * LIMIT, 3),
        (1_000_003, 5 * LIMIT + 3, 6),
        (1 << 40, (1 << 40) + 1, 257),
    ],
)
def test_wide_counters_are_split_without_loss(packets, octets, records, tmp_path):
    made = flow(packet_delta_count=packets, octet_delta_count=octets)
    parts = told(tmp_path, made)
    counts = [(int(part["cflow.packets"]), int(part["cflow.octets"])) for part in parts]
    assert len(parts) == records
    assert [sum(column) for column in zip(*counts, strict=True)] == [packets, octets]
    assert all(0 < packet_part <= octet_part <= LIMIT for packet_part, octet_part in counts)
    assert len({(part["cflow.timestart"], part["cflow.timeend"]) for part in parts}) == 1


def test_a_split_flow_among_others_leaves_them_alone(tmp_path):
    wide = flow(packet_delta_count=1_000_000, octet_delta_count=3 * LIMIT, source_transport_port=9)
    exporting = process("netflow5")
    datagrams = exporting.export(flows(many(5), wide, many(5)), NOW, {}, MeterStatistics())
    parts = Seen(tmp_path, datagrams).flows
    assert [int(part["cflow.srcport"]) for part in parts] == [0, 1, 2, 3, 4, 9, 9, 9, 0, 1, 2, 3, 4]
    assert exporting.counters.exported_flow_record_total_count == 13


@pytest.mark.parametrize(
    ("column", "shown", "value", "expected"),
    [
        ("ingress_interface", "inputint", 65535, "65535"),
        ("ingress_interface", "inputint", 65536, "0"),
        ("egress_interface", "outputint", 1 << 31, "0"),
        ("bgp_source_as_number", "srcas", 65535, "65535"),
        ("bgp_source_as_number", "srcas", 65536, "23456"),
        ("bgp_destination_as_number", "dstas", 4_200_000_000, "23456"),
    ],
)
def test_numbers_over_16_bits(column, shown, value, expected, tmp_path):
    (record,) = told(tmp_path, flow(**{column: value}))
    assert record[f"cflow.{shown}"] == expected


@pytest.mark.parametrize("rate", [1, 2, 16383])
def test_the_sampling_field_is_mode_00_and_the_interval(rate, tmp_path):
    sampling = SamplingAnnouncement("none" if rate == 1 else "random", rate)
    seen = Seen(tmp_path, process("netflow5", sampling=sampling).export(flow(), NOW, {}, MeterStatistics()))
    (header,) = seen.headers
    assert (header["cflow.samplingmode"], header["cflow.samplerate"]) == ("0", str(rate))
    assert (header["cflow.engine_type"], header["cflow.engine_id"]) == ("0", "0")


def test_the_padding_is_zero():
    (datagram,) = process("netflow5").export(many(2), NOW, {}, MeterStatistics())
    for start in (24, 72):
        record = bytes(datagram[start : start + 48])
        assert (record[36], record[46:48]) == (0, b"\0\0")
