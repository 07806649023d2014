"""Every figure of the agent as a metric of Prometheus: the one table of names, and what fills it.

Names follow https://prometheus.io/docs/practices/naming/: base units, and `_total` for what only grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from xflowd.collectors import CRASHED, QUEUE_FULL, STOPPED, TOO_LONG
from xflowd.edge import sending
from xflowd.status import CollectorStatus, Packets, Point, Status, not_metered

#: Of a metric: label values in the order of its labels, and the figure.
Sample = tuple[str, tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name, type (counter, gauge), unit, meaning in a line, and labels."""

    name: str
    kind: str
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectorFigures:
    """Of one collector, what its status does not tell. Flows, datagrams and octets by the names of docs/metrics.md."""

    queue_octets: int
    made: Mapping[str, int]
    unsent: Mapping[str, int]
    not_exportable_flows: Mapping[str, int]
    not_exportable_packets: Mapping[str, int]
    outbox_dropped: int
    interruptions: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that metrics are made of, at one moment."""

    status: Status
    started_unix_seconds: float
    octet_total_count: int
    sampling_interval: int
    sampling_mode: str
    sink_failures: int
    without_prefix_length: int
    as_table_faulty_lines: int
    collectors: Mapping[str, CollectorFigures] = field(default_factory=dict)  # by name
    control: tuple[int, Mapping[str, int]] = (0, field(default_factory=dict))
    scrapes: tuple[int, Mapping[str, int]] = (0, field(default_factory=dict))
    exposition_seconds: float = 0.0  # that the last one took


_POINT = ("interface", "direction")
_ONE = ("collector",)
_REASON = ("collector", "reason")

#: All there are, by their names, in the order of docs/metrics.md.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("xflowd_info", "gauge", "", "1; the version is a label", ("version",)),
        Metric("xflowd_seen_packets_total", "counter", "packets", "passed a hook, also of interfaces that are gone"),
        Metric("xflowd_exported_packets_total", "counter", "packets", "of all ended flows"),
        Metric("xflowd_exported_bytes_total", "counter", "octets", "of all ended flows; no link layer"),
        Metric("xflowd_ignored_packets_total", "counter", "packets", "in no flow", ("reason",)),
        Metric("xflowd_table_packets", "gauge", "packets", "in flows that have not ended"),
        Metric("xflowd_overflow_waiting_packets", "gauge", "packets", "in overflow records not exported yet"),
        Metric("xflowd_unplaced_packets", "gauge", "packets", "seen less all the above: on their way, or a fault"),
        Metric("xflowd_packets_total", "counter", "packets", "of an interface, by outcome", (*_POINT, "outcome")),
        Metric("xflowd_interface_exported_packets_total", "counter", "packets", "of ended flows", _POINT),
        Metric("xflowd_interface_table_packets", "gauge", "packets", "in flows that have not ended", _POINT),
        Metric("xflowd_interface_overflow_waiting_packets", "gauge", "packets", "in overflow records", _POINT),
        Metric("xflowd_interface_kernel_packets_total", "counter", "packets", "by the interface's own count", _POINT),
        Metric("xflowd_interface_kernel_bytes_total", "counter", "octets", "by the interface's own count", _POINT),
        Metric("xflowd_interface_coverage_ratio", "gauge", "0 to 1", "seen, of the kernel's packets", _POINT),
        Metric("xflowd_interface_info", "gauge", "", "1; hook and index are labels", (*_POINT, "hook", "index")),
        Metric("xflowd_interface_refused", "gauge", "", "1: cannot be metered, see reason", (*_POINT, "reason")),
        Metric("xflowd_flows_ended_total", "counter", "flows", "by flowEndReason", ("reason",)),
        Metric("xflowd_table_flows", "gauge", "flows", "in the table"),
        Metric("xflowd_table_free_slots", "gauge", "flows", "for which there is room"),
        Metric("xflowd_table_slots", "gauge", "flows", "max_flows"),
        Metric("xflowd_sink_failed_flows_total", "counter", "flows", "lost for a collector by a fault of xflowd"),
        Metric("xflowd_flows_without_prefix_length_total", "counter", "flows", "that the kernel was not asked of"),
        Metric("xflowd_as_table_skipped_lines", "gauge", "lines", "of as_table, when it was read last"),
        Metric("xflowd_active_timeout_seconds", "gauge", "seconds", "active_timeout"),
        Metric("xflowd_idle_timeout_seconds", "gauge", "seconds", "idle_timeout"),
        Metric("xflowd_idle_timeout_in_force_seconds", "gauge", "seconds", "shorter while the table is nearly full"),
        Metric("xflowd_sampling_interval_packets", "gauge", "packets", "one in so many is counted", ("mode",)),
        Metric("xflowd_collector_info", "gauge", "", "1", (*_ONE, "address", "resolved_address", "protocol")),
        Metric("xflowd_collector_up", "gauge", "", "0 while sending does not work", _ONE),
        Metric("xflowd_collector_encoded_flows_total", "counter", "records", "flow records encoded", _ONE),
        Metric("xflowd_collector_encoded_options_total", "counter", "records", "options records encoded", _ONE),
        Metric("xflowd_collector_encoded_datagrams_total", "counter", "datagrams", "made", _ONE),
        Metric("xflowd_collector_encoded_bytes_total", "counter", "octets", "of these, UDP payload", _ONE),
        Metric("xflowd_collector_sent_flows_total", "counter", "records", "flow records sent", _ONE),
        Metric("xflowd_collector_sent_datagrams_total", "counter", "datagrams", "taken by the socket", _ONE),
        Metric("xflowd_collector_sent_bytes_total", "counter", "octets", "of these, UDP payload", _ONE),
        Metric("xflowd_collector_waiting_datagrams", "gauge", "datagrams", "in the queue", _ONE),
        Metric("xflowd_collector_waiting_bytes", "gauge", "octets", "in the queue", _ONE),
        Metric("xflowd_collector_queue_bytes", "gauge", "octets", "that the queue holds", _ONE),
        Metric("xflowd_collector_unsent_flows_total", "counter", "flows", "lost, by reason", _REASON),
        Metric("xflowd_collector_dropped_datagrams_total", "counter", "datagrams", "lost, by reason", _REASON),
        Metric("xflowd_collector_outbox_dropped_datagrams_total", "counter", "datagrams", "lost from the queue", _ONE),
        Metric("xflowd_collector_not_exportable_flows_total", "counter", "flows", "not in its protocol", _REASON),
        Metric("xflowd_collector_not_exportable_packets_total", "counter", "packets", "of these", _REASON),
        Metric("xflowd_collector_errors_total", "counter", "errors", "of socket and name server", _REASON),
        Metric("xflowd_collector_interruptions_total", "counter", "times", "that sending ceased to work", _ONE),
        Metric("xflowd_collector_templates_age_seconds", "gauge", "seconds", "since templates were sent", _ONE),
        Metric("xflowd_collector_sequence", "gauge", "", "number of the next message; goes round", _ONE),
        Metric("xflowd_control_requests_total", "counter", "requests", "to the control socket"),
        Metric("xflowd_control_faults_total", "counter", "requests", "not answered as asked", ("reason",)),
        Metric("xflowd_scrapes_total", "counter", "requests", "to this endpoint"),
        Metric("xflowd_scrape_faults_total", "counter", "requests", "not answered as asked", ("reason",)),
        Metric("xflowd_exposition_seconds", "gauge", "seconds", "that the last one took of the agent's loop"),
        Metric("xflowd_threads", "gauge", "threads", "of the agent"),
        Metric("process_cpu_seconds_total", "counter", "seconds", "of CPU, user and system"),
        Metric("process_resident_memory_bytes", "gauge", "octets", "resident"),
        Metric("process_start_time_seconds", "gauge", "seconds", "since 1970"),
    )
}


#: Reasons that are told from the start, at 0: of a counter that begins with its first loss, the first loss is not seen.
_LOSSES = (QUEUE_FULL, TOO_LONG, STOPPED, CRASHED)
_ERRORS = (sending.BUFFER_FULL, sending.REFUSED, sending.TOO_LONG, sending.NO_NAME)
_NOT_EXPORTABLE = ("ipv6", "no_interface")


class Monotonic:
    """Keeps packets in flows from going back: seen less the rest, while a packet is between the two counts.

    A counter that goes back by one is a restart to Prometheus, and all of it is counted again.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], tuple[int, int]] = {}

    def in_flows(self, key: tuple[str, ...], seen: int, counted: int) -> int:
        """`counted`, or the last one while that is more; but from 0 again where `seen` is."""
        before_seen, before = self._last.get(key, (0, 0))
        told = counted if seen < before_seen else max(before, counted)
        self._last[key] = seen, told
        return told

    def keep(self, keys: set[tuple[str, ...]]) -> None:
        """Forget all others: their interfaces are gone."""
        self._last = {key: value for key, value in self._last.items() if key in keys}


def samples(figures: Figures, monotonic: Monotonic) -> Iterator[Sample]:
    """Every sample there is now, in the order of METRICS as far as groups go."""
    status = figures.status
    yield "xflowd_info", (status["version"],), 1
    yield from _totals(figures)
    keys: set[tuple[str, ...]] = set()
    for point in status["interfaces"]:
        key = (_name(point), point["direction"])
        keys.add(key)
        yield from _interface(point, key, monotonic)
    monotonic.keep(keys)
    for refused in status["refused"]:
        yield "xflowd_interface_refused", (refused["name"], refused["direction"], refused["reason"]), 1
    yield from _table(figures)
    for collector in status["collectors"]:
        yield from _collector(collector)
        yield from _made(collector["name"], figures.collectors[collector["name"]])
    yield from _agent(figures)


def _totals(figures: Figures) -> Iterator[Sample]:
    totals = figures.status["totals"]
    yield "xflowd_seen_packets_total", (), totals["seen"]
    yield "xflowd_exported_packets_total", (), totals["exported"]
    yield "xflowd_exported_bytes_total", (), figures.octet_total_count
    ignored = {"sampled_out": totals["sampled_out"], **totals["not_metered"]}
    yield from (("xflowd_ignored_packets_total", (reason,), count) for reason, count in ignored.items())
    yield "xflowd_table_packets", (), totals["in_table"]
    yield "xflowd_overflow_waiting_packets", (), totals["overflow_waiting"]
    yield "xflowd_unplaced_packets", (), totals["difference"]


def _name(point: Point) -> str:
    """Two interfaces that go just now may both have lost their names."""
    return point["name"] if point["name"] != "?" else f"?{point['index']}"


def _interface(point: Point, key: tuple[str, ...], monotonic: Monotonic) -> Iterator[Sample]:
    in_flows = monotonic.in_flows(key, point["packets"]["seen"], point["in_flows"])
    for outcome, count in _outcomes(point["packets"], in_flows).items():
        yield "xflowd_packets_total", (*key, outcome), count
    if placed := point["placed"]:
        yield "xflowd_interface_exported_packets_total", key, placed["exported"]
        yield "xflowd_interface_table_packets", key, placed["in_table"]
        yield "xflowd_interface_overflow_waiting_packets", key, placed["overflow_waiting"]
    if kernel := point["kernel"]:
        yield "xflowd_interface_kernel_packets_total", key, kernel["packets"]
        yield "xflowd_interface_kernel_bytes_total", key, kernel["octets"]
    if point["coverage_percent"] is not None:
        yield "xflowd_interface_coverage_ratio", key, point["coverage_percent"] / 100
    yield "xflowd_interface_info", (*key, point["hook"], str(point["index"])), 1


def _outcomes(counted: Packets, in_flows: int) -> dict[str, int]:
    """Packets by outcome, whose sum is what was seen."""
    return {
        "in_flows": in_flows,
        "overflow": counted["overflow"],
        "sampled_out": counted["sampled_out"],
        **not_metered(counted),
    }


def _table(figures: Figures) -> Iterator[Sample]:
    flows, timeouts = figures.status["flows"], figures.status["timeouts"]
    yield from (("xflowd_flows_ended_total", (reason,), count) for reason, count in flows["ended"].items())
    yield "xflowd_table_flows", (), flows["live"]
    yield "xflowd_table_free_slots", (), flows["free"]
    yield "xflowd_table_slots", (), flows["slots"]
    yield "xflowd_sink_failed_flows_total", (), figures.sink_failures
    yield "xflowd_flows_without_prefix_length_total", (), figures.without_prefix_length
    yield "xflowd_as_table_skipped_lines", (), figures.as_table_faulty_lines
    yield "xflowd_active_timeout_seconds", (), timeouts["active"]
    yield "xflowd_idle_timeout_seconds", (), timeouts["idle"]
    yield "xflowd_idle_timeout_in_force_seconds", (), timeouts["idle_in_force"]
    yield "xflowd_sampling_interval_packets", (figures.sampling_mode,), figures.sampling_interval


def _collector(one: CollectorStatus) -> Iterator[Sample]:
    name = (one["name"],)
    about = (one["address"], one["resolved_address"] or "", one["protocol"])
    yield "xflowd_collector_info", (*name, *about), 1
    yield "xflowd_collector_up", name, 0 if one["trouble"] else 1
    yield "xflowd_collector_sent_flows_total", name, one["flows_exported"]
    yield "xflowd_collector_sent_datagrams_total", name, one["datagrams_sent"]
    yield "xflowd_collector_sent_bytes_total", name, one["octets_sent"]
    yield "xflowd_collector_waiting_datagrams", name, one["waiting_datagrams"]
    yield "xflowd_collector_waiting_bytes", name, one["waiting_octets"]
    yield from _by_reason("xflowd_collector_dropped_datagrams_total", name, one["datagrams_dropped"], _LOSSES)
    yield from _by_reason("xflowd_collector_errors_total", name, one["errors"], _ERRORS)
    if one["templates_sent_seconds_ago"] is not None:
        yield "xflowd_collector_templates_age_seconds", name, one["templates_sent_seconds_ago"]
    yield "xflowd_collector_sequence", name, one["sequence"]


def _made(collector: str, figures: CollectorFigures) -> Iterator[Sample]:
    name = (collector,)
    yield "xflowd_collector_encoded_flows_total", name, figures.made["exported_flow_record_total_count"]
    yield "xflowd_collector_encoded_options_total", name, figures.made["exported_options_record_total_count"]
    yield "xflowd_collector_encoded_datagrams_total", name, figures.made["exported_message_total_count"]
    yield "xflowd_collector_encoded_bytes_total", name, figures.made["exported_octet_total_count"]
    yield "xflowd_collector_queue_bytes", name, figures.queue_octets
    yield from _by_reason("xflowd_collector_unsent_flows_total", name, figures.unsent, _LOSSES)
    not_exportable = figures.not_exportable_flows
    yield from _by_reason("xflowd_collector_not_exportable_flows_total", name, not_exportable, _NOT_EXPORTABLE)
    not_exportable = figures.not_exportable_packets
    yield from _by_reason("xflowd_collector_not_exportable_packets_total", name, not_exportable, _NOT_EXPORTABLE)
    yield "xflowd_collector_outbox_dropped_datagrams_total", name, figures.outbox_dropped
    yield "xflowd_collector_interruptions_total", name, figures.interruptions


def _by_reason(
    metric: str, name: tuple[str, ...], counts: Mapping[str, int], always: tuple[str, ...]
) -> Iterator[Sample]:
    for reason, count in {**dict.fromkeys(always, 0), **counts}.items():
        yield metric, (*name, reason), count


def _agent(figures: Figures) -> Iterator[Sample]:
    agent = figures.status["agent"]
    for prefix, (requests, faults) in (("control", figures.control), ("scrape", figures.scrapes)):
        yield f"xflowd_{'scrapes' if prefix == 'scrape' else 'control_requests'}_total", (), requests
        yield from ((f"xflowd_{prefix}_faults_total", (reason,), count) for reason, count in faults.items())
    yield "xflowd_exposition_seconds", (), figures.exposition_seconds
    yield "xflowd_threads", (), agent["threads"]
    yield "process_cpu_seconds_total", (), agent["cpu_seconds"]
    yield "process_resident_memory_bytes", (), agent["memory_octets"]
    yield "process_start_time_seconds", (), figures.started_unix_seconds
