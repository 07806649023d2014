"""Where flows go: the configured collectors, or the terminal where there are none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xflowd.collectors import CollectorSink, drain, identity
from xflowd.config import Collector, Config, Sampling
from xflowd.lasting import Lasting
from xflowd.metering.instant import Instant
from xflowd.metering.table import Records
from xflowd.pipeline import Sink
from xflowd.settings import StartError

if TYPE_CHECKING:
    from xflowd.printing import Printer

log = logging.getLogger(__name__)

_RESOLVE_AT_START_SECONDS = 2.0
_LAST_WORDS_SECONDS = 3.0  # for what waits to be sent when a collector is not to be served any more


class Sinks:
    """The collectors, each with what lasts of it. `names` are interfaces' names by index, which the agent keeps."""

    def __init__(self, config: Config, lasting: Lasting, style: str, names: Mapping[int, str]) -> None:
        """Go on where an agent before this one has ended. Flows are printed in `style` if nobody collects them.

        Raises StartError.
        """
        self._lasting, self._style, self._names = lasting, style, names
        self._printer: Printer | None = None
        self._sampling, self._elements, self._key = config.sampling, config.elements, config.meter.key
        states = lasting.journal.remembered("collectors") or {}
        self.collectors = [self._collector(one, states) for one in config.collectors]
        self._drop_outboxes(states)
        lasting.journal.include("collectors", lambda: {one.identity: one.state() for one in self.collectors})

    def all(self) -> list[Sink]:
        """Whom the pipeline gives flows to."""
        if self.collectors:
            return list(self.collectors)
        if self._printer is None:
            from xflowd.printing import Printer  # noqa: PLC0415 - for who has no collector

            self._printer = Printer(self._style, self._names, self._elements)
        self._printer.know_key(self._key)
        self._printer.sampling_interval = self._sampling.rate
        return [self._printer]

    @property
    def unheard(self) -> bool:
        """Whether flows are printed and nobody reads them any more."""
        return self._printer is not None and self._printer.closed

    def require_written(self) -> None:
        """Raises OSError where flows were printed and not all could be written, though somebody wants them."""
        if self._printer is not None:
            self._printer.require_written()

    def reload(self, config: Config, clock: Callable[[], Instant]) -> None:
        """A collector whose section is as before keeps its socket; one that is still the same keeps its sequence, and
        counts on.
        """
        self._key = config.meter.key
        known = {collector.config: collector for collector in self.collectors}
        leaving = {collector.identity: collector for one, collector in known.items() if one not in config.collectors}
        drain(list(leaving.values()), clock, _LAST_WORDS_SECONDS)
        for who, collector in leaving.items():
            collector.destination.close()  # whoever takes its place may be told the same source port
            self._lasting.remove_outbox(who)
            if who not in map(identity, config.collectors):
                log.info("collector %s is no more: %s", collector.config.name, collector.account())
        if config.sampling != self._sampling:
            self._sampling = config.sampling
            self.resample(config.sampling)
        self._elements = config.elements
        self.collectors = [
            known.get(one) or self._collector(one, {}, leaving.get(identity(one))) for one in config.collectors
        ]
        for collector in leaving.values():
            collector.close()

    def resample(self, sampling: Sampling) -> None:
        """Tell collectors how the packets of the flows that come now were sampled."""
        for collector in self.collectors:
            collector.resample(sampling)

    def know(self, names: Mapping[int, str]) -> None:
        """Of the interfaces that flows name from now on."""
        for collector in self.collectors:
            collector.interfaces = names

    def tell(self, ignored: int, now: Instant) -> None:
        """Once a second: templates, options and what is wrong. `ignored` packets were not metered so far."""
        for collector in self.collectors:
            collector.ignored_packets = ignored
            collector.tell(now)

    def push(self, now: Instant) -> int | None:
        """Send some of what waits. Returns when to do so again (monotonic ns), None if nothing waits."""
        times = [due_ns for collector in self.collectors if (due_ns := collector.push(now)) is not None]
        return min(times, default=None)

    def own_traffic(self, ended: Records) -> npt.NDArray[np.bool_]:
        """Which of the records are of what these collectors are sent."""
        mask = np.zeros(len(ended), np.bool_)
        for collector in self.collectors:
            mask |= collector.own_traffic(ended)
        return mask

    def wait_for_names(self, clock: Callable[[], Instant]) -> None:
        """Give name servers a moment, so that the first templates go out at once."""
        until = time.monotonic() + _RESOLVE_AT_START_SECONDS
        for collector in self.collectors:
            if not collector.ready(clock()):
                collector.wait(max(0.0, until - time.monotonic()))

    def drain(self, clock: Callable[[], Instant]) -> None:
        """Send what waits, as far as that goes quickly."""
        drain(self.collectors, clock, _LAST_WORDS_SECONDS)

    def close(self) -> None:
        """Close the sockets. What waits is kept for the next agent, where outboxes outlive this one."""
        for collector in self.collectors:
            collector.close()

    def _collector(
        self, config: Collector, states: Mapping[str, dict[str, Any]], before: CollectorSink | None = None
    ) -> CollectorSink:
        """A collector, which goes on where one of the same identity has ended: `before`, or in another agent's life."""
        who = identity(config)
        memory = self._lasting.outbox(who, config.queue)
        try:
            made = CollectorSink(config, self._sampling, memory)
        except ValueError as error:
            raise StartError(str(error)) from None
        if before:
            made.replace(before)
        elif who in states:
            made.restore(states[who])
        return made

    def _drop_outboxes(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Of collectors that an agent before this one had, and that are none any more."""
        for who in states.keys() - {one.identity for one in self.collectors}:
            log.warning("collector %s is gone from the configuration: what waited for it is dropped", who.split()[0])
            self._lasting.remove_outbox(who)
