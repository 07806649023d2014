"""`xflowd run`: the Metering and the Exporting Process of this host, from start to the last flow."""

from __future__ import annotations

import faulthandler
import logging
import os
import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xflowd import logs, loop
from xflowd.answering import answers
from xflowd.collectors import CollectorSink, drain, identity
from xflowd.config import (
    Collector,
    Config,
    ConfigError,
    Meter,
    Sampling,
    SamplingMode,
    doubtful,
    is_pattern,
    unmatched,
)
from xflowd.config.problem import shown
from xflowd.config.schema import Log
from xflowd.edge import instance, network, privileges
from xflowd.edge.asking import ControlError
from xflowd.edge.clock import Clock, TimeNamespaceError, require_host_time
from xflowd.edge.control import Server
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import LoadOptions
from xflowd.edge.notify import Supervisor
from xflowd.edge.signals import Signals
from xflowd.exposing import Exposition, claim
from xflowd.lasting import Lasting, Table, TakenError
from xflowd.metering.flow import Place
from xflowd.metering.instant import Instant
from xflowd.metering.table import Records
from xflowd.networks import Networks, with_devices
from xflowd.notices import Notice, counted
from xflowd.observing import ObservationPoints, buckets
from xflowd.pipeline import Pipeline, Sink
from xflowd.reporting import Baselines
from xflowd.routes import Routes
from xflowd.settings import StartError, load_options, metered, timeouts, with_default_interface
from xflowd.summary import not_metered, summary
from xflowd.systems import Systems, fault

if TYPE_CHECKING:
    from xflowd.printing import Printer

log = logging.getLogger(__name__)

_RESOLVE_AT_START_SECONDS = 2.0
_LAST_WORDS_SECONDS = 3.0  # for what waits to be sent when the agent is told to stop
_TRY_AGAIN_SECONDS = 1.0
_MOST_LISTED = 8  # names of interfaces in a line


class Agent:
    """Everything that lives as long as the agent runs, and one method for each thing that can happen to it."""

    def __init__(self, config: Config, reread: Callable[[], Config], style: str, supervisor: Supervisor) -> None:
        """`reread` gives the configuration as it is at SIGHUP; without a collector flows are printed in `style`."""
        self.supervisor = supervisor
        self._reread, self._style = reread, style
        self.names: dict[int, str] = {}
        self._notice, self._troubles, self._pressed, self._relieved = Notice(), Notice(), Notice(), Notice(logging.INFO)
        self._unscraped, self._unnotified = Notice(), Notice()
        self._unslotted, self._was_pressed = (0, 0), False
        self._printer: Printer | None = None
        self.started_ns = time.monotonic_ns()
        self.routes, self.systems = Routes(), Systems()
        present = network.interfaces()
        self._networks = Networks()
        self.config, self._named = self._with_networks(config)
        self._warn(present)
        self._lasting = Lasting(instance.name())
        self._journal = self._lasting.journal
        try:
            self.exposition = Exposition(self, claim(self.config.metrics.listen))
            self._take_over(present)
        except BaseException:
            self._give_back()
            raise
        self.watch = network.Watch(network.LINKS)

    def run(self, signals: Signals) -> None:
        """Meter and export until SIGTERM or SIGINT, then end every flow and leave the host as it was.

        SIGQUIT, and any fault of the agent's own, leaves the host as it is: the next agent goes on from there.
        """
        try:
            self._wait_for_names()
            self.supervisor.ready(self._doing())
            loop.run(self, signals)
        except BaseException:
            self._leave()
            raise
        if signals.leave:
            self._leave()
        else:
            self.close()

    def close(self) -> None:
        """Take the programs off, end and send what they have counted, leave nothing behind."""
        self.supervisor.stopping("sending what is in the table")
        self.points.close()
        self.pipeline.kernel.wait_grace_period()
        self.pipeline.flush(self.clock.now())
        drain(self.collectors, self.clock.now, _LAST_WORDS_SECONDS)
        for line in summary(self.pipeline, self.collectors):
            log.info("%s", line)
        self._close_all()
        self._lasting.remove()

    @property
    def unheard(self) -> bool:
        """Whether flows are printed and nobody reads them any more."""
        return self._printer is not None and self._printer.closed

    def look(self) -> int:
        """Look through the table. Returns when to look again (monotonic ns)."""
        began_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        try:
            self.pipeline.tick(self.clock.now())
        except OSError as error:
            self._troubles.tell(f"flows stay in the table: {error}", began_ns)
            self.pipeline.fail()
        return self.pipeline.pressure.looked(began_ns, time.monotonic_ns(), time.thread_time_ns() - cpu_ns)

    def each_second(self) -> None:
        """What is done once a second, whatever else happens."""
        now = self.clock.now()
        try:
            self.pipeline.kernel.adjust_clock()
        except OSError as error:
            self._troubles.tell(str(error), now.monotonic_ns)
        self.routes.follow(now.monotonic_ns)
        self._follow_networks(now.monotonic_ns)
        outcomes = self.pipeline.outcomes()
        ignored = not_metered(outcomes)
        for collector in self.collectors:
            collector.ignored_packets = ignored
            collector.tell(now)
        self._tell_pressure(outcomes, now)
        self.control.serve(now.monotonic_ns)
        self._notice.tell(_told("control socket", self.control.told()), now.monotonic_ns)
        self.supervisor.status(self._doing())
        self._unnotified.tell(_told("service manager", self.supervisor.told()), now.monotonic_ns)
        logs.catch_up(now.monotonic_ns)
        self.exposition.server.serve(now.monotonic_ns)
        self._unscraped.tell(self.exposition.told(), now.monotonic_ns)

    def push(self) -> int | None:
        """Send some of what waits. Returns when to do so again (monotonic ns), None if nothing waits."""
        now = self.clock.now()
        times = [due_ns for collector in self.collectors if (due_ns := collector.push(now)) is not None]
        return min(times, default=None)

    def follow_interfaces(self) -> bool:
        """Look at the interfaces again; where the system does not say which there are, that is for another time."""
        self._networks.hurry()
        try:
            self._follow(network.interfaces())
        except OSError as error:
            self._troubles.tell(f"interfaces: {error}", time.monotonic_ns())
            return False
        return True

    def reload(self) -> None:
        """Read the configuration again. One with faults changes nothing."""
        self.supervisor.reloading(time.monotonic_ns())
        claimed = None
        try:
            present = network.interfaces()
            config, named = self._with_networks(self._reread())
            claimed = self.exposition.claim(config.metrics.listen)
            self._reload_programs(load_options(config, metered(config, present)))
        except (ConfigError, StartError, OSError) as error:
            self._refuse(error)
            self._keep_exposition(claimed)
            return
        before, self.config, self._named = self.config, config, named
        self.exposition.move(config.metrics.listen, claimed)
        self._reload_collectors(before)
        self.pipeline.configure(timeouts(config), self._sinks())
        self.systems.reload(config.meter.as_table)
        self._warn(present)
        if before.meter.hook is not config.meter.hook:
            self.points.close()
        if before.agent != config.agent:
            log.warning("[agent] counts at the start only: restart, no packet is missed by it")
        self._follow(present)
        log.info("configuration read again", extra=logs.ANSWER)
        self.supervisor.ready(self._doing())

    def _refuse(self, error: Exception) -> None:
        """A configuration that changes nothing: a line for each of its faults."""
        faults = error.problems if isinstance(error, ConfigError) else [error]
        for one in faults:
            log.error("configuration not read again, going on as before: %s", one, extra=logs.ANSWER)
        self.supervisor.ready(f"{self._doing()}; configuration not read again: {faults[0]}")

    def _keep_exposition(self, claimed: socket.socket | None) -> None:
        try:
            self.exposition.keep(claimed)
        except StartError as error:
            log.error("%s", error)

    def _doing(self) -> str:
        """For whoever asks the service manager."""
        places = self.points.places()
        names = sorted({self.names.get(index, str(index)) for index, _ in places})
        listed = ", ".join(names) if len(names) <= _MOST_LISTED else counted(len(names), "interface")
        return f"metering {listed or 'no interface'} for {counted(len(self.collectors), 'collector')}"

    def _take_over(self, present: list[network.Interface]) -> None:
        """Go on where an agent before this one was killed, or begin."""
        self.clock = Clock(self._journal.remembered("clock"))
        self._journal.include("clock", lambda: self.clock.difference_ns)
        older, current = self._lasting.tables(load_options(self.config, metered(self.config, present)))
        self.collectors: list[CollectorSink] = []
        states = self._journal.remembered("collectors") or {}
        self.collectors = [self._collector(one, states) for one in self.config.collectors]
        self._drop_outboxes(states)
        self._journal.include("collectors", lambda: {one.identity: one.state() for one in self.collectors})
        self.points = ObservationPoints(self._lasting.pins)
        self.points.adopt(current.kernel, [table.kernel for table in older], present)
        self.points.restore(self._journal.remembered("points") or [])
        self._journal.include("points", self.points.state)
        self.baselines = Baselines(self._journal.remembered("baselines") or [])
        self._journal.include("baselines", self.baselines.state)
        self._know(_names(present))
        if self._lasting.found:
            self._wait_for_names()
        self._empty([*older, current])
        self._follow(present)
        self._require_points()
        self._journal.commit()
        self.control = _control_server(self)
        self._lessen_rights()
        self._read_systems()

    def _read_systems(self) -> None:
        """With the rights that reading them again will have."""
        try:
            self.systems.load(self.config.meter.as_table)
        except OSError as error:
            self.control.close()
            raise StartError(f"[meter] as_table: {fault(error)}") from None

    def _empty(self, tables: list[Table]) -> None:
        """Older tables give up their flows, one after the other; the last is the one to meter into."""
        first = tables[0]
        self.pipeline = Pipeline(
            first.kernel,
            timeouts(self.config),
            self._sinks(),
            self._journal,
            own=self._own_traffic,
            lookups=(self.routes, self.systems),
            table=first.number,
        )
        now = self.clock.now()
        for table, after in pairwise(tables):
            table.kernel.wait_grace_period()
            self.points.carry_over(table.kernel)
            self._resample(_sampling(table.kernel))
            self.pipeline.recover(now)
            self.pipeline.flush(now)
            self._resample(self.config.sampling)
            self._switch(table, after)
        if self._lasting.found:
            self.pipeline.recover(now)
            log.info("taken over: %s", counted(int(np.count_nonzero(tables[-1].kernel.slots["state"])), "flow"))

    def _resample(self, sampling: Sampling) -> None:
        for collector in self.collectors:
            collector.resample(sampling)

    def _switch(self, old: Table, new: Table) -> None:
        self.pipeline.switch(new.kernel, new.number)
        self._lasting.remove_table(old.number)
        old.kernel.close()

    def _collector(self, config: Collector, states: Mapping[str, dict[str, Any]]) -> CollectorSink:
        """A collector, which goes on where one of the same identity has ended."""
        who = identity(config)
        memory = self._lasting.outbox(who, config.queue)
        try:
            made = CollectorSink(config, self.config.sampling, memory)
        except ValueError as error:
            raise StartError(str(error)) from None
        if who in states:
            made.restore(states[who])
        return made

    def _lessen_rights(self) -> None:
        """What is pinned and the socket belong to the user from now on, so that the agent can clean up after itself.

        To root too, where no user is named: without its rights it may not open what another user's agent has left.
        """
        user = self.config.agent.user or None
        try:
            owner = privileges.owner(user)
            if os.geteuid() == 0:
                if self._lasting.pins:
                    self._lasting.pins.give_to(*owner)
                for path in (self.control.path, self.control.path.parent):
                    os.chown(path, *owner)
            privileges.drop(user)
        except OSError as error:
            raise StartError(f"[agent] user: {error}") from None

    def _give_back(self) -> None:
        """The start failed: an agent before this one has left what is there, or nobody has."""
        if hasattr(self, "exposition"):
            self.exposition.server.close()
        if self._lasting.found:
            self._lasting.leave()
            return
        if hasattr(self, "points"):
            self.points.close()
        self._lasting.remove()

    def _leave(self) -> None:
        """Go, and leave everything to the next agent."""
        self.supervisor.stopping("leaving the table to the next agent")
        self._close_all()
        self._lasting.leave()

    def _close_all(self) -> None:
        for collector in self.collectors:
            collector.close()
        self.control.close()
        self.exposition.server.close()
        self.watch.close()
        self.routes.close()
        self.pipeline.kernel.close()

    def _sinks(self) -> list[Sink]:
        if self.collectors:
            return list(self.collectors)
        if self._printer is None:
            from xflowd.printing import Printer  # noqa: PLC0415 - for who has no collector

            self._printer = Printer(self._style, self.names, self.config.elements)
        self._printer.sampling_interval = self.config.sampling.rate
        return [self._printer]

    def _own_traffic(self, ended: Records) -> npt.NDArray[np.bool_]:
        mask = np.zeros(len(ended), np.bool_)
        for collector in self.collectors:
            mask |= collector.own_traffic(ended)
        return mask

    def _follow(self, present: list[network.Interface]) -> None:
        """Meter what has come, let go of what is gone, and remember both. What is gone goes by its old name."""
        names = _names(present)
        self._know(names | self.names)
        self._keep_counters_apart(present)
        before = self.points.places()
        come = self.points.follow(self.config.meter, self.pipeline.kernel, present, self._forget)
        self._know(names)
        stations = {one.index: one.address for one in present if one.index in self.points.names and one.address}
        self.pipeline.kernel.know_addresses(stations)
        if come:
            self.baselines.add(come, network.counters({index for index, _ in come}))
        if come or before != self.points.places():
            self._journal.commit()

    def _with_networks(self, config: Config) -> tuple[Config, Meter]:
        """The configuration with the devices of its networks, and the meter without them."""
        config = with_default_interface(config)
        return with_devices(config, self._networks), config.meter

    def _follow_networks(self, now_ns: int) -> None:
        """Meter the devices that networks have now."""
        try:
            changed = self._networks.follow(self._named, now_ns)
        except OSError as error:
            self._troubles.tell(f"[meter] network, going on as before: {error}", now_ns)
            return
        if changed:
            self.config = replace(self.config, meter=self._networks.resolved(self._named))
            self.follow_interfaces()

    def _keep_counters_apart(self, present: list[network.Interface]) -> None:
        """Interfaces that come can need more counters than there are: each is to have its own."""
        options = self.pipeline.kernel.options
        needed = buckets(metered(self.config, present))
        if needed > options.buckets:
            self._exchange_programs(replace(options, buckets=needed))

    def _forget(self, places: set[Place]) -> None:
        """The flows of places that are metered no more go out now: nothing can come to them."""
        self.pipeline.kernel.wait_grace_period()
        self.pipeline.flush_places(places, self.clock.now())
        self.baselines.remove(places)

    def _know(self, names: dict[int, str]) -> None:
        """Remember interfaces' names by index, for collectors and for the table."""
        self.names.clear()
        self.names.update(names)
        for collector in self.collectors:
            collector.interfaces = self.names

    def _tell_pressure(self, outcomes: Mapping[str, int], now: Instant) -> None:
        """A table that is full costs accuracy, not packets; both are worth a line, and so is its end."""
        pressure = self.pipeline.pressure
        overflow, lost = outcomes["PACKETS_OVERFLOW"], outcomes["PACKETS_UNCOUNTED"]
        text = ""
        if (overflow, lost) != self._unslotted:
            text = f"table full: {counted(overflow, 'packet')} without a flow of their own, {lost:,} lost"
        elif pressure.lowered:
            text = f"table nearly full: idle timeout {pressure.idle_ns / 10**9:.1f} s"
        if text:
            self._pressed.tell(f"{text}: raise max_flows in [meter]", now.monotonic_ns)
        elif self._was_pressed:
            self._relieved.tell(f"the table has room again, {overflow:,} packets later", now.monotonic_ns)
        self._unslotted, self._was_pressed = (overflow, lost), bool(text)

    def _require_points(self) -> None:
        """At the start what is named has to be metered, and of what a glob means something; later it is only told."""
        for (name, _), reason in self.points.refused.items():
            if not len(self.points) or any(name == one and not is_pattern(one) for one in self.config.meter.interfaces):
                raise StartError(f"interface {shown(name)}: {reason}")

    def _warn(self, present: list[network.Interface]) -> None:
        for pattern in unmatched(self.config.meter.interfaces, [interface.name for interface in present]):
            log.warning("no interface matches %s now: it is metered when it appears", shown(pattern))
        for doubt in (*self._networks.doubts(self.config.meter.network), *doubtful(self.config)):
            log.warning("%s", doubt)

    def _wait_for_names(self) -> None:
        """Give name servers a moment, so that the first templates go out at once."""
        until = time.monotonic() + _RESOLVE_AT_START_SECONDS
        for collector in self.collectors:
            if not collector.ready(self.clock.now()):
                collector.wait(max(0.0, until - time.monotonic()))

    def _reload_programs(self, options: LoadOptions) -> None:
        """Where table or programs have to be other ones: they go into the place of the old, which are emptied."""
        kernel = self.pipeline.kernel
        if replace(options, buckets=kernel.options.buckets) != kernel.options:
            self._exchange_programs(options)

    def _exchange_programs(self, options: LoadOptions) -> None:
        """Raises LoadError before anything has changed. What fails later is for the next agent: it finds two tables."""
        kernel = self.pipeline.kernel
        old = Table(self.pipeline.table, kernel)
        new = self._lasting.new_table(options, old.number + 1)
        try:
            self.points.replace(new.kernel)
            kernel.wait_grace_period()
            self.points.carry_over(kernel)
            self.pipeline.flush(self.clock.now())
            self._switch(old, new)
        except OSError as error:
            raise RuntimeError(f"the table could not be exchanged, restart: {error}") from error

    def _reload_collectors(self, before: Config) -> None:
        """A collector whose section is as before keeps its socket; one that is still the same keeps its sequence."""
        known = {collector.config: collector for collector in self.collectors}
        leaving = [collector for config, collector in known.items() if config not in self.config.collectors]
        drain(leaving, self.clock.now, _LAST_WORDS_SECONDS)
        states = {}
        for collector in leaving:
            states[collector.identity] = {**collector.state(), "written": 0}
            log.info("%s", collector.summary())
            collector.close()
            self._lasting.remove_outbox(collector.identity)
        if before.sampling != self.config.sampling:
            self._resample(self.config.sampling)
        self.collectors = [known.get(one) or self._collector(one, states) for one in self.config.collectors]

    def _drop_outboxes(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Of collectors that an agent before this one had, and that are none any more."""
        for who in states.keys() - {one.identity for one in self.collectors}:
            log.warning("collector %s is gone from the configuration: what waited for it is dropped", who.split()[0])
            self._lasting.remove_outbox(who)


def _names(present: list[network.Interface]) -> dict[int, str]:
    return {interface.index: interface.name for interface in present}


def _told(what: str, text: str) -> str:
    return f"{what}: {text}" if text else ""


def _control_server(agent: Agent) -> Server:
    try:
        return Server(instance.control_socket(), answers(agent))
    except ControlError as error:
        raise StartError(str(error)) from None


def run(config: Config, reread: Callable[[], Config], style: str) -> int:
    """Run until told to stop; the exit code."""
    supervisor = Supervisor()
    if not config.agent.enabled:
        logs.fail("enabled = 0 in [agent]: nothing is metered")
        return 2 if supervisor.is_there else 0  # which a service is not started again after
    if supervisor.is_there:
        faulthandler.enable()  # where it was stuck, when a watchdog aborts it
    with Signals() as signals:
        try:
            _log_to(config.agent.log)
            require_host_time()
            agent = _started(lambda: Agent(config, reread, style, supervisor), supervisor, signals)
        except (StartError, TakenError, TimeNamespaceError) as error:
            logs.fail(error)
            return 2
        if agent is None:
            return 1
        agent.run(signals)
    return 0


def _log_to(where: Log) -> None:
    if where is Log.STDERR:
        return
    try:
        logs.to_syslog()
    except OSError as error:
        mend = "start a syslog daemon, or set it to stderr"
        raise StartError(f"[agent] log = syslog: {logs.DEV_LOG}: {error.strerror}; {mend}") from None


def _started(start: Callable[[], Agent], supervisor: Supervisor, signals: Signals) -> Agent | None:
    """An agent. As a service it tries until it can, for interfaces come late at boot; None: it was told to stop.

    It tries once in any case: what one before it has left is to be cleaned up.
    """
    while True:
        try:
            return start()
        except (StartError, TakenError, OSError) as error:
            if not supervisor.is_there:
                raise
            supervisor.status(f"waiting: {error}")
            log.error("%s; trying again each second", error)
        logs.catch_up(time.monotonic_ns())
        select.select([signals], [], [], _TRY_AGAIN_SECONDS)
        signals.drain()
        if signals.stop:
            return None


def _sampling(kernel: Kernel) -> Sampling:
    """How the packets in a table were sampled."""
    rate, is_random = kernel.options.sampling_rate, kernel.options.sampling_random
    if rate == 1:
        return Sampling()
    return Sampling(SamplingMode.RANDOM if is_random else SamplingMode.SYSTEMATIC, rate)
