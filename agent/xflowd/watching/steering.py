"""The agent's side of steering: ending flows now, and sending templates now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xflowd.edge.control import UnableError
from xflowd.metering import selecting
from xflowd.metering.expiry import Numbers
from xflowd.watching.document import Announced, Flushed
from xflowd.watching.live import look

if TYPE_CHECKING:
    from xflowd.collectors import CollectorSink
    from xflowd.daemon import Agent

_AT_ONCE = 8192  # flows a request: what a transaction holds, and what the loop has time for


def flush(agent: Agent, request: Mapping[str, Any]) -> Flushed:
    """End some of the flows that the request's `filter` means, in one transaction: what collectors have room for.

    Raises UnableError where they stay in the table, ValueError where the request is wrong.
    """
    now = agent.clock.now()
    meant, begun_by_ns = look(agent, request, now), request.get("begun_by_ns", now.monotonic_ns)
    if not 0 <= begun_by_ns < 2**63:
        raise ValueError("begun_by_ns: a monotonic time in nanoseconds is expected")
    numbers = selecting.every(meant, begun_by_ns)
    ended = _through(agent, numbers[: _room(agent)])
    return Flushed(ended=ended, left=max(0, len(numbers) - ended), begun_by_ns=begun_by_ns)


def templates(agent: Agent, request: Mapping[str, Any]) -> list[Announced]:
    """Send templates and options to the collector of this `name`, or to all.

    Raises ValueError if there is none of this name, UnableError if there is none at all.
    """
    wanted = request.get("name")
    if not agent.collectors:
        raise UnableError("there is no collector: flows are printed")
    chosen = [one for one in agent.collectors if wanted in (None, one.config.name)]
    if not chosen:
        known = ", ".join(one.config.name for one in agent.collectors)
        raise ValueError(f"there is no collector {wanted}: use one of {known}")
    for collector in chosen:
        collector.announce()
    _through(agent, np.zeros(0, np.uint32))
    return list(_announced(agent, chosen))


def _announced(agent: Agent, chosen: list[CollectorSink]) -> Iterator[Announced]:
    now = agent.clock.now()
    for collector in chosen:
        reason = None
        if not collector.has_templates:
            reason = "the protocol has none"
        elif collector.process.refresh_due(now):
            reason = collector.destination.trouble or "no room: others wait to be sent"
        protocol = collector.config.protocol.name.lower()
        yield Announced(name=collector.config.name, protocol=protocol, sent=reason is None, reason=reason)


def _room(agent: Agent) -> int:
    """Flows that no collector loses, but one that loses flows anyway: its queue is full, and it cannot be reached.

    Where that is so of all of them, there is no room.
    """
    reached = [one for one in agent.collectors if one.room or not one.destination.trouble]
    return min([_AT_ONCE, *(one.room for one in reached or agent.collectors)])


def _through(agent: Agent, numbers: Numbers) -> int:
    """Through the pipeline; the loop pushes after each request."""
    try:
        ended = agent.pipeline.flush_chosen(numbers, agent.clock.now())
    except OSError as error:
        raise UnableError(f"flows stay in the table: {error}") from error
    return ended
