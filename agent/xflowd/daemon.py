"""`xflowd run`: the Metering and the Exporting Process of this host, from start to the last flow."""

from __future__ import annotations

import logging
import selectors
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from xflowd.collectors import CollectorSink
from xflowd.config import Config, ConfigError, FlowKey, SamplingMode, unmatched
from xflowd.edge import network
from xflowd.edge.clock import Clock
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import LoadOptions
from xflowd.edge.signals import Signals
from xflowd.metering.expiry import Timeouts
from xflowd.metering.instant import Instant
from xflowd.metering.prefixes import PrefixTable
from xflowd.metering.table import Records
from xflowd.notices import Notice, counted
from xflowd.observing import ObservationPoints, buckets
from xflowd.pipeline import Pipeline, Sink
from xflowd.printing import Printer
from xflowd.summary import not_metered, summary

log = logging.getLogger(__name__)

_TICK_NS = 1_000_000_000
_ROUTES_PAUSE_NS = 10_000_000_000
_SETTLE_SECONDS = 0.2  # changes of interfaces come in bursts
_RESOLVE_AT_START_SECONDS = 2.0


class StartError(Exception):
    """The agent cannot start; the message says what, where, and how to mend it."""


def timeouts(config: Config) -> Timeouts:
    """The configuration's timeouts, in nanoseconds."""
    return Timeouts(config.meter.active_timeout * 10**9, config.meter.idle_timeout * 10**9)


def load_options(config: Config, indexes: list[int]) -> LoadOptions:
    """What of the configuration is fixed when the programs are loaded; `indexes` are the interfaces there are."""
    sampled = config.sampling.mode is not SamplingMode.NONE
    return LoadOptions(
        max_flows=config.meter.max_flows,
        key_fields=("KEY_VLAN",) if config.meter.key is FlowKey.VLAN else (),
        sampling_rate=config.sampling.rate if sampled else 1,
        sampling_random=config.sampling.mode is SamplingMode.RANDOM,
        buckets=buckets(indexes),
    )


class Agent:
    """Everything that lives as long as the agent runs, and one method for each thing that can happen to it."""

    def __init__(self, config: Config, reread: Callable[[], Config], style: str) -> None:
        """`reread` gives the configuration as it is at SIGHUP; without a collector flows are printed in `style`."""
        self._reread, self._style = reread, style
        self._names: dict[int, str] = {}
        self._notice, self._troubles = Notice(), Notice()
        self._printer: Printer | None = None
        self._clock = Clock()
        self._watch, self._route_watch = network.Watch(network.LINKS), network.Watch(network.ROUTES)
        self._routes_read_ns: int | None = None
        present = network.interfaces()
        self.config = _with_default_interface(config)
        self._warn_unmatched(present)
        self.kernel = _loaded(load_options(self.config, [interface.index for interface in present]))
        self._collectors = [CollectorSink(one, self.config.sampling) for one in self.config.collectors]
        self._points = ObservationPoints()
        self._know(present)
        self.pipeline = Pipeline(self.kernel, timeouts(self.config), self._sinks(), self._own_traffic)
        try:
            self._follow_interfaces(present)
            self._require_points()
        except BaseException:
            self._points.close()
            raise

    def run(self, signals: Signals) -> None:
        """Meter and export until SIGTERM or SIGINT, then end every flow and leave the host as it was."""
        try:
            self._wait_for_names()
            self._loop(signals)
        finally:
            self.close()

    def close(self) -> None:
        """Take the programs off, end and send what they have counted."""
        self._points.close()
        self.kernel.wait_grace_period()
        self.pipeline.flush(self._clock.now())
        for line in summary(self.pipeline, self._collectors):
            log.info("%s", line)
        for collector in self._collectors:
            collector.close()
        self._watch.close()
        self._route_watch.close()
        self.kernel.close()

    def tick(self) -> None:
        """What is done once a second."""
        now = self._clock.now()
        self.kernel.adjust_clock()
        self._follow_routes(now)
        ignored = not_metered(self.pipeline.outcomes())
        for collector in self._collectors:
            collector.ignored_packets = ignored
        self.pipeline.tick(now)
        for collector in self._collectors:
            collector.tell(now)
        self._tell_overflow(now)

    def _tell_overflow(self, now: Instant) -> None:
        """A table that is full costs accuracy, not packets; both are worth a line."""
        outcomes = self.pipeline.outcomes()
        overflow, lost = outcomes["PACKETS_OVERFLOW"], outcomes["PACKETS_UNCOUNTED"]
        if overflow or lost:
            text = f"table full: {counted(overflow, 'packet')} without a flow of their own, {lost:,} lost"
            self._notice.tell(f"{text}: raise max_flows in [meter]", now.monotonic_ns)

    def reload(self) -> None:
        """Read the configuration again. One with faults changes nothing."""
        try:
            present = network.interfaces()
            config = _with_default_interface(self._reread())
            self._reload_programs(load_options(config, [interface.index for interface in present]))
        except (ConfigError, StartError, OSError) as error:
            log.error("configuration not read again, going on as before: %s", error)
            return
        before, self.config = self.config, config
        self._reload_collectors(before)
        self.pipeline.timeouts, self.pipeline.sinks = timeouts(config), self._sinks()
        self._warn_unmatched(present)
        if before.meter.hook is not config.meter.hook:
            self._points.close()
        self._follow_interfaces(present)
        log.info("configuration read again")

    def _loop(self, signals: Signals) -> None:
        next_tick = time.monotonic_ns() + _TICK_NS
        follow_at: float | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(self._watch, selectors.EVENT_READ)
            selector.register(signals, selectors.EVENT_READ)
            while not signals.stop and not (self._printer and self._printer.closed):
                until = min(next_tick, follow_at * 10**9 if follow_at else next_tick)
                selector.select(max(0.0, (until - time.monotonic_ns()) / 10**9))
                signals.drain()
                if signals.take_reload():
                    self.reload()
                if self._watch.changed() and follow_at is None:
                    follow_at = time.monotonic() + _SETTLE_SECONDS
                if follow_at is not None and time.monotonic() >= follow_at:
                    follow_at = None if self._interfaces_followed() else time.monotonic() + 1
                if time.monotonic_ns() >= next_tick:
                    self.tick()
                    next_tick = max(next_tick + _TICK_NS, time.monotonic_ns())

    def _sinks(self) -> list[Sink]:
        if self._collectors:
            return list(self._collectors)
        if self._printer is None:
            self._printer = Printer(self._style, self._names)
        self._printer.sampling_interval = self.config.sampling.rate
        return [self._printer]

    def _own_traffic(self, ended: Records) -> npt.NDArray[np.bool_]:
        mask = np.zeros(len(ended), np.bool_)
        for collector in self._collectors:
            mask |= collector.own_traffic(ended)
        return mask

    def _follow_interfaces(self, present: list[network.Interface]) -> None:
        self._know(present)
        self._points.follow(self.config.meter, self.kernel, present)

    def _follow_routes(self, now: Instant) -> None:
        """Read the routing table again when it has changed, and not all the time while it keeps changing."""
        recently = self._routes_read_ns is not None and now.monotonic_ns < self._routes_read_ns + _ROUTES_PAUSE_NS
        if recently or not (self._route_watch.changed() or self._routes_read_ns is None):
            return
        self._routes_read_ns = now.monotonic_ns
        try:
            self.pipeline.prefixes = PrefixTable(network.prefixes())
        except OSError as error:
            self._troubles.tell(f"prefix lengths stay as they were: {error}", now.monotonic_ns)

    def _know(self, present: list[network.Interface]) -> None:
        """Remember interfaces' names, for collectors and for the table."""
        self._names.clear()
        self._names.update((interface.index, interface.name) for interface in present)
        for collector in self._collectors:
            collector.interfaces = self._names

    def _interfaces_followed(self) -> bool:
        """Look at the interfaces again; where the system does not say which there are, that is for another time."""
        try:
            self._follow_interfaces(network.interfaces())
        except OSError as error:
            self._troubles.tell(f"interfaces: {error}", time.monotonic_ns())
            return False
        return True

    def _require_points(self) -> None:
        """At the start every interface that matches has to be metered; later a failure is only told."""
        for (name, _), reason in self._points.refused.items():
            raise StartError(f"interface {name}: {reason}")

    def _warn_unmatched(self, present: list[network.Interface]) -> None:
        for pattern in unmatched(self.config.meter.interfaces, [interface.name for interface in present]):
            log.warning("no interface matches %s now: it is metered when it appears", pattern)

    def _wait_for_names(self) -> None:
        """Give name servers a moment, so that the first templates go out at once."""
        until = time.monotonic() + _RESOLVE_AT_START_SECONDS
        for collector in self._collectors:
            if not collector.ready(self._clock.now()):
                collector.wait(max(0.0, until - time.monotonic()))

    def _reload_programs(self, options: LoadOptions) -> None:
        """Where table or programs have to be other ones: they go into the place of the old, which are emptied."""
        if replace(options, buckets=self.kernel.options.buckets) == self.kernel.options:
            return
        old, self.kernel = self.kernel, _loaded(options)
        self._points.replace(self.kernel)
        old.wait_grace_period()
        self.pipeline.flush(self._clock.now())
        self.pipeline.switch(self.kernel)
        old.close()

    def _reload_collectors(self, before: Config) -> None:
        """A collector whose section is as before keeps its sequence and its socket."""
        known = {collector.config: collector for collector in self._collectors}
        for config, collector in known.items():
            if config not in self.config.collectors:
                collector.close()
            elif before.sampling != self.config.sampling:
                collector.resample(self.config.sampling)
        self._collectors = [
            known.get(one) or CollectorSink(one, self.config.sampling) for one in self.config.collectors
        ]


def _loaded(options: LoadOptions) -> Kernel:
    kernel = Kernel(options)
    kernel.start_sampling_anywhere()
    return kernel


def _with_default_interface(config: Config) -> Config:
    """Where no interface is named, the one of the default route is meant."""
    if config.meter.interfaces:
        return config
    name = network.default_route_interface()
    if name is None:
        raise StartError("no interface is named and there is no default route: name one with -i or in [meter]")
    return replace(config, meter=replace(config.meter, interfaces=(name,)))


def run(config: Config, reread: Callable[[], Config], style: str) -> int:
    """Run until told to stop; the exit code."""
    with Signals() as signals:
        try:
            agent = Agent(config, reread, style)
        except StartError as error:
            print(f"xflowd: {error}", file=sys.stderr)
            return 2
        agent.run(signals)
    return 0
