"""Proves that first ≤ last ≤ header, whatever the uptime and the wall clock do (read by tshark)."""

from __future__ import annotations

from pathlib import Path

import pytest
from wire_helpers import ALL, NOW, NS_PER_S, Seen, flow, flows, process

from xflowd.exporting.announcing import MeterStatistics
from xflowd.exporting.clock import message_clock, uptime_fold_ms
from xflowd.metering.instant import Instant

DAY = 86400 * NS_PER_S
WALL = 1_700_000_000 * NS_PER_S
UPTIMES = (
    NS_PER_S,
    3600 * NS_PER_S,
    (1 << 31) * 1_000_000 - 1,  # 24.8 days
    (1 << 31) * 1_000_000 + 1,
    (1 << 32) * 1_000_000 + 5,  # 49.7 days
    365 * DAY,
    30 * 365 * DAY,
)


def wall_ms(record: dict[str, int]) -> tuple[int, int, int]:
    """First, last and header time of a flow in Unix ms, as a collector reckons them."""
    seconds = record.get("cflow.unix_secs", record.get("cflow.exporttime", 0))
    now = seconds * 1000 + record.get("cflow.unix_nsecs", 0) // 1_000_000
    if "cflow.abstimestart" in record:
        return record["cflow.abstimestart"], record["cflow.abstimeend"], now
    boot = now - record["cflow.sysuptime"]
    return boot + record["cflow.timestart"], boot + record["cflow.timeend"], now


def exported(protocol: str, now: Instant, *ages_ns: tuple[int, int]) -> list[memoryview]:
    """The datagrams of flows that began and ended so long before `now`."""
    uptime = now.monotonic_ns
    made = [flow(flow_start_ns=uptime - start, flow_end_ns=uptime - end) for start, end in ages_ns]
    return process(protocol).export(flows(*made), now, {}, MeterStatistics())


def seen_at(protocol: str, now: Instant, tmp_path: Path, *ages_ns: tuple[int, int]) -> list[tuple[int, int, int]]:
    return list(map(wall_ms, Seen(tmp_path, exported(protocol, now, *ages_ns)).flow_octets))


@pytest.mark.parametrize("protocol", ALL)
def test_times_are_exact_to_the_millisecond(protocol, tmp_path):
    parts = (0, 1, 499_999_999, 999_999_999)
    instants = [Instant(uptime, WALL + part) for uptime in UPTIMES for part in parts]
    ages = [(900_000_000, 0), (1, 0), (1_500_000, 999_999), (750_000_000, 750_000_000)]
    datagrams = [datagram for now in instants for datagram in exported(protocol, now, *ages)]
    told = list(map(wall_ms, Seen(tmp_path, datagrams).flow_octets))
    expected = [(now.unix_ns, start, end) for now in instants for start, end in ages]
    for (first, last, header), (now, start, end) in zip(told, expected, strict=True):
        assert (first, last) == ((now - start) // 1_000_000, (now - end) // 1_000_000)
        assert first <= last <= header
        assert header - now // 1_000_000 <= 1000


@pytest.mark.parametrize("protocol", ALL)
def test_a_start_after_the_end_is_told_as_the_end(protocol, tmp_path):
    ((first, last, _),) = seen_at(protocol, NOW, tmp_path, (NS_PER_S, 3 * NS_PER_S))
    assert first == last == (NOW.unix_ns - 3 * NS_PER_S) // 1_000_000


@pytest.mark.parametrize("protocol", ALL)
def test_an_end_after_now_moves_the_header(protocol, tmp_path):
    ((first, last, header),) = seen_at(protocol, NOW, tmp_path, (0, -2_500_000_000))
    assert first <= last <= header
    assert last == (NOW.unix_ns + 2_500_000_000) // 1_000_000


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("step", [-10 * 365 * DAY, -3600 * NS_PER_S, 3600 * NS_PER_S, 10 * 365 * DAY])
def test_a_step_of_the_clock_moves_all_times_with_it(protocol, step, tmp_path):
    exporting = process(protocol)
    exporting.export(flow(), NOW, {}, MeterStatistics())
    stepped = Instant(NOW.monotonic_ns + NS_PER_S, NOW.unix_ns + NS_PER_S + step)
    again = process(protocol).export(flow(), stepped, {}, MeterStatistics())
    ((first, last, header),) = map(wall_ms, Seen(tmp_path, again).flow_octets)
    assert first == (NOW.unix_ns + step - 3 * NS_PER_S) // 1_000_000
    assert first <= last <= header


@pytest.mark.parametrize("protocol", ALL)
def test_a_clock_that_was_not_set_yet_breaks_nothing(protocol, tmp_path):
    barely = Instant(3600 * NS_PER_S, 5 * NS_PER_S)  # booted an hour ago, five seconds after 1970 began
    ((first, last, header),) = seen_at(protocol, barely, tmp_path, (10 * NS_PER_S, 0))
    assert first == (0 if protocol == "ipfix" else -5000)
    assert last == header == 5000


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("seconds", [(1 << 32) - 1, 1 << 32, 7_258_118_400, -5])
def test_a_clock_set_to_nonsense_costs_no_flow(protocol, seconds, tmp_path):
    """Messages have 32 bits for seconds: those from 2106 on look like 1970."""
    now = Instant(NOW.monotonic_ns, seconds * NS_PER_S + 5_000_000)
    ((first, last, header),) = seen_at(protocol, now, tmp_path, (2 * NS_PER_S, NS_PER_S))
    era = 0 if protocol == "ipfix" else seconds >> 32 << 32
    assert header // 1000 == seconds % (1 << 32)
    told = tuple((seconds - age - era) * 1000 + 5 for age in (2, 1))
    assert (first, last) == (told if seconds > 0 or protocol != "ipfix" else (0, 0))


@pytest.mark.parametrize("uptime_ms", [0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) + 7, 3 << 30, 1 << 43])
def test_the_uptime_fits_31_bits_with_room_for_the_flows_before(uptime_ms):
    folded = uptime_ms - uptime_fold_ms(uptime_ms)
    assert folded < 1 << 31
    assert folded == uptime_ms or folded >= 1 << 30
    assert folded % (1 << 30) == uptime_ms % (1 << 30)


def test_header_and_uptime_are_of_one_instant():
    clock = message_clock(NOW, NOW.monotonic_ns)
    boot_ms = NOW.boot_unix_ns // 1_000_000
    assert clock.unix_seconds * 1000 - clock.uptime_ms_at_seconds == boot_ms
    assert clock.unix_ns // 1_000_000 - clock.uptime_ms == boot_ms
