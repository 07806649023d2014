"""What the agent says of itself: the figures behind `xflowd status`, gathered when somebody asks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from xflowd import __version__, status
from xflowd.collectors import CollectorSink
from xflowd.config import ExportProtocol
from xflowd.edge import network
from xflowd.edge.network import InterfaceCounters
from xflowd.metering.flow import INGRESS, Place
from xflowd.metering.instant import Instant
from xflowd.metering.table import SlotState
from xflowd.observing import DIRECTION_NAMES
from xflowd.summary import agent_use

if TYPE_CHECKING:
    from xflowd.daemon import Agent


class Baselines:
    """The interfaces' own counters at the time when metering began at each place."""

    def __init__(self, state: Iterable[tuple[int, int, Sequence[int] | Mapping[str, int]]] = ()) -> None:
        """`state`: of a predecessor, see state(); an older one has the counters by their names."""
        self._at = {(index, way): _counters(way, counters) for index, way, counters in state}

    def state(self) -> list[Any]:
        """For a successor: packets and octets of each place. The journal has room for them: test_journal_room.py."""
        return [[*place, _way(place[1], counters)] for place, counters in self._at.items()]

    def add(self, places: Iterable[Place], counters: Mapping[int, InterfaceCounters]) -> None:
        """Metering has begun there, unless it had begun before."""
        for place in places:
            if place[0] in counters:
                self._at.setdefault(place, counters[place[0]])

    def remove(self, places: Iterable[Place]) -> None:
        """Metering has ended there."""
        for place in places:
            self._at.pop(place, None)

    def since(self, place: Place, now: Mapping[int, InterfaceCounters]) -> status.KernelCounters | None:
        """What the interface has counted since then; None where it cannot be told."""
        then = self._at.get(place)
        if then is None or place[0] not in now:
            return None
        return status.kernel_counters(DIRECTION_NAMES[place[1]], now[place[0]], then)


def _counters(direction: int, state: Sequence[int] | Mapping[str, int]) -> InterfaceCounters:
    """Those of the other direction are nobody's business, and 0."""
    if isinstance(state, Mapping):
        return InterfaceCounters(**state)
    packets, octets = state
    return (
        InterfaceCounters(packets, octets, 0, 0) if direction == INGRESS else InterfaceCounters(0, 0, packets, octets)
    )


def _way(direction: int, counters: InterfaceCounters) -> tuple[int, int]:
    if direction == INGRESS:
        return counters.rx_packets, counters.rx_octets
    return counters.tx_packets, counters.tx_octets


def report(agent: Agent, now: Instant) -> status.Status:
    """The document of `xflowd status`."""
    meter, pipeline = agent.config.meter, agent.pipeline
    in_table, waiting = pipeline.in_table(), pipeline.overflow_waiting()
    uptime = (now.monotonic_ns - agent.started_ns) / 10**9
    return status.Status(
        version=__version__,
        pid=os.getpid(),
        since=datetime.fromtimestamp(now.unix_ns / 10**9 - uptime, timezone.utc).isoformat(timespec="seconds"),
        uptime_seconds=round(uptime, 1),
        interfaces=_points(agent, in_table, waiting),
        refused=[
            status.Refused(name=name, direction=DIRECTION_NAMES[direction], reason=reason)
            for (name, direction), reason in agent.points.refused.items()
        ],
        totals=status.totals(
            status.packets(pipeline.outcomes()),
            pipeline.counters.packet_total_count,
            in_table.total(),
            waiting.total(),
        ),
        flows=_flows(agent),
        timeouts=status.Timeouts(
            active=meter.active_timeout, idle=meter.idle_timeout, idle_in_force=pipeline.pressure.idle_ns / 10**9
        ),
        chosen=_chosen(agent),
        collectors=[_collector(collector, now) for collector in agent.collectors],
        agent=agent_use(uptime),
    )


def _chosen(agent: Agent) -> status.Chosen:
    meter, sampling, listen = agent.config.meter, agent.config.sampling, agent.exposition.listen
    return status.Chosen(
        direction=meter.direction.name.lower(),
        hook=meter.hook.name.lower(),
        sampling_mode=sampling.mode.name.lower(),
        sampling_rate=sampling.rate,
        metrics_listen=str(listen) if listen else None,
    )


def _collector(sink: CollectorSink, now: Instant) -> status.CollectorReport:
    config, has_domain = sink.config, sink.config.protocol is not ExportProtocol.NETFLOW5
    return {
        **sink.status(now),
        "source": str(config.source) if config.source else None,
        "template_refresh": config.template_refresh if sink.has_templates else None,
        "max_payload": config.max_payload,
        "observation_domain": sink.domain if has_domain else None,
        "observation_domain_chosen": config.observation_domain is not None,
        "elements": list(config.elements) or None,
    }


def _points(agent: Agent, in_table: Counter[Place], waiting: Counter[Place]) -> list[status.Point]:
    points, exported = agent.points, agent.pipeline.counters.packets_by_place
    hooks = points.hooks()
    kernel = network.counters({index for index, _ in hooks})
    return [
        status.point(
            (points.names.get(place[0], "?"), place[0]),
            DIRECTION_NAMES[place[1]],
            hooks[place],
            status.packets(outcomes),
            kernel=agent.baselines.since(place, kernel),
            flows=(exported[place], in_table[place], waiting[place]),
        )
        for place, outcomes in sorted(points.outcomes(agent.pipeline.kernel).items())
    ]


def _flows(agent: Agent) -> status.Flows:
    pipeline = agent.pipeline
    slots = pipeline.kernel.slots
    states = np.bincount(slots["state"][: pipeline.kernel.slots_used()], minlength=len(SlotState))
    return status.Flows(
        live=int(states[SlotState.LIVE]),
        free=len(slots) - int(states.sum() - states[SlotState.FREE]),
        slots=len(slots),
        ended={reason.name.lower(): count for reason, count in pipeline.counters.flows.items()},
    )
