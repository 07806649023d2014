"""Proves that the exposition is what Prometheus reads, adds up, and never goes back by a packet that is on its way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from xflowd import status
from xflowd.exposing import _Registry
from xflowd.metrics import METRICS, CollectorFigures, Figures, Monotonic, samples

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
HOSTILE = 'wan"\\\n{evil="1"} 2'


def counted(**outcomes: int) -> status.Packets:
    names = ("seen", "sampled_out", "not_ip", "too_short", "malformed", "jumbogram", "overflow", "lost")
    return status.Packets(**{name: outcomes.get(name, 0) for name in names})  # type: ignore[typeddict-item]


LAN = counted(seen=1000, sampled_out=500, not_ip=20, too_short=3, malformed=2, jumbogram=1, overflow=4, lost=5)
KERNEL = status.KernelCounters(packets=1010, octets=64_000)
COLLECTOR: status.CollectorStatus = {
    "name": "office",
    "address": "collector.example:4739",
    "resolved_address": None,
    "protocol": "ipfix",
    "flows_exported": 3,
    "datagrams_sent": 2,
    "octets_sent": 900,
    "waiting_datagrams": 1,
    "waiting_octets": 800,
    "flows_not_sent": {"queue full": 12},
    "datagrams_dropped": {"queue full": 1},
    "errors": {"No route to host": 7},
    "last_error": None,
    "trouble": "No route to host",
    "templates_sent_seconds_ago": 3,
    "sequence": 5,
}
MADE = CollectorFigures(
    queue_octets=1_048_512,
    made={
        "exported_flow_record_total_count": 4,
        "exported_options_record_total_count": 12,
        "exported_message_total_count": 3,
        "exported_octet_total_count": 1700,
    },
    unsent={"queue full": 12},
    not_exportable_flows={"ipv6": 6},
    not_exportable_packets={"ipv6": 60},
    outbox_dropped=1,
    interruptions=2,
)


def figures(packets: status.Packets = LAN, name: str = "lan") -> Figures:
    point = status.point((name, 7), "ingress", "XDP", packets, kernel=KERNEL, flows=(400, 60, 4))
    return Figures(
        status=status.Status(
            version="1.2.3",
            pid=1,
            since="2026-11-21T09:30:00+00:00",
            uptime_seconds=5.0,
            interfaces=[point],
            refused=[status.Refused(name="wg0", direction="egress", reason="no hook")],
            totals=status.totals(packets, 400, 60, 4),
            flows=status.Flows(live=9, free=55, slots=64, ended={"idle_timeout": 3, "lack_of_resources": 1}),
            timeouts=status.Timeouts(active=60, idle=15, idle_in_force=2.5),
            collectors=[COLLECTOR],
            agent=status.AgentUse(cpu_seconds=1.5, cpu_percent=3, memory_octets=66 << 20, threads=1),
        ),
        started_unix_seconds=1.7e9,
        octet_total_count=123_456_789_012_345,
        sampling_interval=2,
        sampling_mode="random",
        sink_failures=1,
        without_prefix_length=2,
        as_table_faulty_lines=3,
        collectors={"office": MADE},
        control=(4, {"busy": 1}),
        scrapes=(5, {"not found": 2}),
        exposition_seconds=0.004,
    )


def exposed(of: Figures, accept: str = "") -> str:
    encode, _ = choose_encoder(accept)
    text: bytes = encode(_Registry(samples(of, Monotonic())))  # type: ignore[arg-type]
    return text.decode()


def read(text: str, parse: Any = text_string_to_metric_families) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in parse(text):
        yield from ((one.name, one.labels, one.value) for one in family.samples)


@pytest.mark.parametrize(("accept", "parse"), [("", text_string_to_metric_families), (OPENMETRICS, openmetrics)])
def test_each_metric_is_there_with_its_labels(accept: str, parse: Any) -> None:
    found = list(read(exposed(figures(), accept), parse))
    assert {name for name, _, _ in found} == METRICS.keys()
    for name, labels, _ in found:
        assert set(labels) == set(METRICS[name].labels)
    assert len({(name, *sorted(labels.items())) for name, labels, _ in found}) == len(found)


def test_types_are_those_of_the_table() -> None:
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", exposed(figures()), re.MULTILINE))
    assert kinds == {metric.name: metric.kind for metric in METRICS.values()}


def test_figures_arrive_whole() -> None:
    found = {(name, *sorted(labels.items())): value for name, labels, value in read(exposed(figures()))}
    assert found[("xflowd_exported_bytes_total",)] == 123_456_789_012_345
    assert found["xflowd_collector_up", ("collector", "office")] == 0
    assert found["xflowd_interface_coverage_ratio", ("direction", "ingress"), ("interface", "lan")] == 0.99
    assert found["xflowd_collector_errors_total", ("collector", "office"), ("reason", "port unreachable")] == 0
    assert found["xflowd_collector_errors_total", ("collector", "office"), ("reason", "No route to host")] == 7
    assert found["xflowd_idle_timeout_in_force_seconds",] == 2.5


def test_the_equation_holds_in_what_is_exposed() -> None:
    sums: Counter[str] = Counter()
    for name, _, value in read(exposed(figures())):
        sums[name] += int(value)
    assert sums["xflowd_packets_total"] == sums["xflowd_seen_packets_total"] == 1000
    places = ("exported_packets_total", "ignored_packets_total", "table_packets", "overflow_waiting_packets")
    assert sum(sums[f"xflowd_{place}"] for place in places) + sums["xflowd_unplaced_packets"] == 1000


def test_names_of_interfaces_break_nothing() -> None:
    found = {labels["interface"] for name, labels, _ in read(exposed(figures(name=HOSTILE))) if "outcome" in labels}
    assert found == {HOSTILE}


TIMELINE = [
    # seen, not IP, what is told to be in flows
    (10, 0, 10),
    (10, 1, 10),  # one of them was on its way to "not IP": Prometheus would take 9 for a restart
    (12, 1, 11),
    (3, 0, 3),  # the interface was made anew
]


def test_packets_in_flows_never_go_back_by_one() -> None:
    monotonic = Monotonic()
    for seen, not_ip, told in TIMELINE:
        found = samples(figures(counted(seen=seen, not_ip=not_ip)), monotonic)
        assert [
            figure for name, labels, figure in found if name == "xflowd_packets_total" and "in_flows" in labels
        ] == [told]


def test_interfaces_that_are_gone_are_forgotten() -> None:
    monotonic = Monotonic()
    monotonic.in_flows(("wan", "ingress"), 100, 100)
    monotonic.keep({("lan", "ingress")})
    assert monotonic.in_flows(("wan", "ingress"), 100, 90) == 90
