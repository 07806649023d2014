"""The agent's side of watching: live flows by a filter, and the timeouts that end them.

Requests have the keys and types of document.REQUESTS by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from xflowd.edge.terminal import texts
from xflowd.exporting.catalogue import DEFAULT_WORD, IP_VERSIONS, fields_text
from xflowd.exporting.clock import message_clock
from xflowd.exporting.fillers import RecordContext
from xflowd.exporting.records import fill
from xflowd.metering import selecting
from xflowd.metering.expiry import QUIET_AFTER_END_NS, Numbers, Timeouts
from xflowd.metering.filtering import parse
from xflowd.metering.filtertree import All, Compare, named
from xflowd.metering.instant import Instant
from xflowd.metering.selecting import ORDERS, Look
from xflowd.metering.table import Records, flows
from xflowd.printing import readable
from xflowd.watching.document import MOST_FLOWS, CollectorTimes, Ending, Flows, LiveFlow, TimeoutsInForce
from xflowd.wire.defaults import Kind
from xflowd.wire.template import Template, fields_of

if TYPE_CHECKING:
    from xflowd.daemon import Agent

_SECOND_NS = 10**9
_LONGEST_SECONDS = 10**9
_ENDING_SECONDS = (1, 5, 15, 60, 300, 1800)
#: What is known of a flow only when it has ended.
_AT_ITS_END = {"flowEndReason", "bgpSourceAsNumber", "bgpDestinationAsNumber"}


def look(agent: Agent, request: Mapping[str, Any], now: Instant) -> Look:
    """At the flows that the request's `filter` means; of those that had packets of late, where it wants them alone.

    Raises ValueError.
    """
    kernel = agent.pipeline.kernel
    tree = named(parse(request.get("filter", "")), agent.names)
    if "idle_below_seconds" in request:
        tree = All((Compare("idle", "<", _nanoseconds(request, "idle_below_seconds")), tree))
    return Look(kernel.slots, kernel.slots_used(), tree, now.monotonic_ns)


def live(agent: Agent, request: Mapping[str, Any]) -> Flows:
    """The first `limit` flows by `sort` (`smallest`: the other way round), or, without `sort`, those behind `after`."""
    now = agent.clock.now()
    meant, limit = look(agent, request, now), _number(request, "limit", MOST_FLOWS, MOST_FLOWS)
    order = request.get("sort", "")
    answer = Flows(
        monotonic_ns=now.monotonic_ns,
        sampling_interval=agent.config.sampling.rate,
        packets_seen=agent.pipeline.outcomes()["PACKETS_SEEN"],
        live=None,
        matching=None,
        next=None,
        interfaces={},
        flows=[],
    )
    if order:
        if order not in ORDERS:
            raise ValueError(f"sort: {order!r} is none of {', '.join(ORDERS)}")
        chosen = selecting.largest(meant, order, limit, smallest=request.get("smallest", False))
        numbers, answer["live"], answer["matching"] = chosen.numbers, chosen.live, chosen.matching
    else:
        after = _number(request, "after", -1, 2**32 - 1, least=-1)
        numbers, is_last = selecting.following(meant, after, limit)
        answer["next"] = None if is_last else int(numbers[-1])
    answer["flows"] = _told(agent, numbers, now)
    answer["interfaces"] = _interfaces(answer["flows"], agent.names)
    return answer


def timeouts(agent: Agent, request: Mapping[str, Any]) -> TimeoutsInForce:
    """What ends flows, in how many seconds, and how many of them."""
    now, meter = agent.clock.now(), agent.config.meter
    meant = look(agent, request, now)
    endless = 2**62
    within = [*(seconds * _SECOND_NS for seconds in _ENDING_SECONDS), endless]
    *counts, total = selecting.count_ending(meant, _in_force(agent), within)
    return TimeoutsInForce(
        active=meter.active_timeout,
        idle=meter.idle_timeout,
        idle_in_force=agent.pipeline.pressure.idle_ns / _SECOND_NS,
        quiet_after_end=QUIET_AFTER_END_NS / _SECOND_NS,
        flows=total,
        ending=[Ending(seconds=s, flows=count) for s, count in zip(_ENDING_SECONDS, counts, strict=True)],
        collectors=list(_collectors(agent, now)),
    )


def _collectors(agent: Agent, now: Instant) -> Iterator[CollectorTimes]:
    for collector in agent.collectors:
        yield CollectorTimes(
            name=collector.config.name,
            template_refresh=collector.config.template_refresh if collector.has_templates else None,
            templates_sent_seconds_ago=collector.status(now)["templates_sent_seconds_ago"],
        )


def _in_force(agent: Agent) -> Timeouts:
    return Timeouts(agent.pipeline.timeouts.active_ns, agent.pipeline.pressure.idle_ns)


def _told(agent: Agent, numbers: Numbers, now: Instant) -> list[LiveFlow]:
    """The flows of these slots, in this order. They are copied at once: programs go on counting."""
    slots, kernel = agent.pipeline.kernel.records(numbers), agent.pipeline.kernel
    ended = flows(slots, np.zeros(len(numbers), np.uint8))
    told: list[LiveFlow] = [{} for _ in range(len(numbers))]
    for version in IP_VERSIONS:
        rows = np.flatnonzero(ended["ip_version"] == version)
        if len(rows):
            for row, flow in zip(rows.tolist(), _elements(agent, version, ended[rows], now), strict=True):
                told[row] = flow
    age = now.monotonic_ns - ended["flow_start_ns"].astype(np.int64)
    idle = now.monotonic_ns - ended["flow_end_ns"].astype(np.int64)
    ends_in = selecting.ends_in_ns(kernel.slots, numbers, _in_force(agent), now.monotonic_ns)
    columns = [np.maximum(column, 0).tolist() for column in (age, idle, ends_in)]
    names = [
        f"{number}-{start}" for number, start in zip(numbers.tolist(), ended["flow_start_ns"].tolist(), strict=True)
    ]
    for flow, name, *times in zip(told, names, *columns, strict=True):
        flow["id"] = name
        for key, ns in zip(("age_seconds", "idle_seconds", "ends_in_seconds"), times, strict=True):
            flow[key] = round(ns / _SECOND_NS, 3)
    return told


def _elements(agent: Agent, ip_version: int, ended: Records, now: Instant) -> Iterator[LiveFlow]:
    template = _template(ip_version)
    clock = message_clock(now, int(ended["flow_end_ns"].max()))
    context = RecordContext(clock, agent.config.sampling.rate, agent.names)
    records = fill(template, ended, context).view(readable(template))
    values = [_values(name, records[name]) for name in template.names]
    for row in zip(*values, strict=True):
        yield dict(zip(template.names, row, strict=True))


def _values(name: str, column: texts.Column) -> list[Any]:
    """As JSON lines have them: numbers, addresses, times in UTC."""
    if texts.is_octets(column):
        return texts.of_octets(name, column)
    if unit := texts.time_unit_ms(name):
        return [f"{text}Z" for text in texts.of_times(column.astype(np.uint64) * np.uint64(unit))]
    numbers: list[Any] = column.tolist()
    return numbers


@cache
def _template(ip_version: int) -> Template:
    fields = fields_of(fields_text("ipfix", Kind(ip_version), (DEFAULT_WORD,)))
    kept = [one for one in fields if one.element.name not in _AT_ITS_END and "PrefixLength" not in one.element.name]
    return Template(0, tuple(kept))


def _interfaces(told: list[LiveFlow], names: Mapping[int, str]) -> dict[str, str]:
    indexes = {flow[end] for flow in told for end in ("ingressInterface", "egressInterface")}
    return {str(index): names[index] for index in sorted(indexes) if index in names}


def _number(request: Mapping[str, Any], key: str, default: int, most: int, least: int = 1) -> int:
    value: int = request.get(key, default)
    if not least <= value <= most:
        raise ValueError(f"{key}: use {least} to {most}")
    return value


def _nanoseconds(request: Mapping[str, Any], key: str) -> int:
    value: float = request[key]
    if not 0 < value <= _LONGEST_SECONDS:  # which NaN is not, either
        raise ValueError(f"{key}: use more than 0, and {_LONGEST_SECONDS} at most")
    return round(value * _SECOND_NS)
