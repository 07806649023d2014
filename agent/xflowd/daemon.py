"""The Metering and the Exporting Process of this host, from start to the last flow."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise

import numpy as np

from xflowd import logs, loop
from xflowd.answering import answers
from xflowd.collectors import CollectorSink
from xflowd.config import Config, ConfigError, Meter, doubtful, is_pattern, unmatched
from xflowd.config.problem import shown
from xflowd.edge import instance, network
from xflowd.edge.asking import ControlError
from xflowd.edge.clock import Clock
from xflowd.edge.control import Server
from xflowd.edge.loading import LoadOptions
from xflowd.edge.notify import Supervisor
from xflowd.edge.signals import Signals
from xflowd.exposing import Exposition, claim
from xflowd.lasting import Lasting, Table
from xflowd.metering.flow import Place
from xflowd.networks import Networks, with_devices
from xflowd.notices import counted
from xflowd.observing import ObservationPoints, buckets
from xflowd.pipeline import Pipeline
from xflowd.reporting import Baselines
from xflowd.rights import lessen_rights, require
from xflowd.routes import Routes
from xflowd.settings import StartError, load_options, metered, sampling, timeouts, with_default_interface
from xflowd.sinks import Sinks
from xflowd.summary import not_metered, summary
from xflowd.systems import Systems, fault
from xflowd.telling import Telling

log = logging.getLogger(__name__)

_MOST_LISTED = 8  # names of interfaces in a line


class Agent:
    """Everything that lives as long as the agent runs, and one method for each thing that can happen to it."""

    def __init__(self, config: Config, reread: Callable[[], Config], style: str, supervisor: Supervisor) -> None:
        """`reread` gives the configuration as it is at SIGHUP; without a collector flows are printed in `style`."""
        self.supervisor = supervisor
        self._reread, self._style = reread, style
        self.names: dict[int, str] = {}
        self._telling, self._refused = Telling(), ""
        self.started_ns = time.monotonic_ns()
        self._held, self._undo = ExitStack(), ExitStack()  # by this process; of a start that fails
        self._tables: list[Table] = []
        present = network.interfaces()
        self._networks = Networks()
        self.config, self._named = self._with_networks(config)
        require(self.config)
        self._warn(present)
        self.routes, self.systems = Routes(), Systems()
        self._held.callback(self.routes.close)
        self._lasting = Lasting(instance.name())
        self._journal = self._lasting.journal
        try:
            self.exposition = Exposition(self, claim(self.config.metrics.listen))
            self._held.callback(self.exposition.server.close)
            self._take_over(present)
            self.watch = network.Watch(network.LINKS)
            self._held.callback(self.watch.close)
        except BaseException:
            self._give_back()
            raise

    def run(self, signals: Signals) -> None:
        """Meter and export until SIGTERM or SIGINT, then end every flow and leave the host as it was.

        SIGQUIT, and any fault of the agent's own, leaves the host as it is: the next agent goes on from there.
        """
        try:
            self.sinks.wait_for_names(self.clock.now)
            self.supervisor.ready(self._doing())
            loop.run(self, signals)
        except BaseException:
            self._leave()
            raise
        if signals.leave:
            log.info("leaving the table to the next agent: %s", self._in_table())
            self._leave()
        else:
            self.close()

    def close(self) -> None:
        """Take the programs off, end and send what they have counted, leave nothing behind."""
        self.supervisor.stopping("sending what is in the table")
        self.points.close()
        self.pipeline.kernel.wait_grace_period()
        self.pipeline.flush(self.clock.now())
        self.sinks.drain(self.clock.now)
        for line in summary(self.pipeline, self.collectors):
            log.info("%s", line)
        self._held.close()
        self._lasting.remove()

    @property
    def collectors(self) -> list[CollectorSink]:
        """Those that flows are sent to."""
        return self.sinks.collectors

    @property
    def unheard(self) -> bool:
        """Whether flows are printed and nobody reads them any more."""
        return self.sinks.unheard

    def look(self) -> int:
        """Look through the table. Returns when to look again (monotonic ns)."""
        began_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        try:
            self.pipeline.tick(self.clock.now())
        except OSError as error:
            self._telling.trouble(f"flows stay in the table: {error}", began_ns)
            self.pipeline.fail()
        return self.pipeline.pressure.looked(began_ns, time.monotonic_ns(), time.thread_time_ns() - cpu_ns)

    def each_second(self) -> None:
        """What is done once a second, whatever else happens."""
        now = self.clock.now()
        try:
            self.pipeline.kernel.adjust_clock()
        except OSError as error:
            self._telling.trouble(str(error), now.monotonic_ns)
        self.routes.follow(now.monotonic_ns)
        self._follow_networks(now.monotonic_ns)
        outcomes = self.pipeline.outcomes()
        self.sinks.tell(not_metered(outcomes), now)
        self._telling.pressure(self.pipeline.pressure, outcomes, now.monotonic_ns)
        self.control.serve(now.monotonic_ns)
        self.exposition.server.serve(now.monotonic_ns)
        self.supervisor.status(self._doing())
        told = self.control.told(), self.exposition.told(), self.supervisor.told()
        self._telling.clients(*told, now.monotonic_ns)
        logs.catch_up(now.monotonic_ns)

    def push(self) -> int | None:
        """Send some of what waits. Returns when to do so again (monotonic ns), None if nothing waits."""
        return self.sinks.push(self.clock.now())

    def follow_interfaces(self) -> bool:
        """Look at the interfaces again; where the system does not say which there are, that is for another time."""
        self._networks.hurry()
        try:
            self._follow(network.interfaces())
        except OSError as error:
            self._telling.trouble(f"interfaces: {error}", time.monotonic_ns())
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
        before, self.config, self._named, self._refused = self.config, config, named, ""
        self.exposition.move(config.metrics.listen, claimed)
        self.sinks.reload(config, self.clock.now)
        self.sinks.know(self.names)
        self.pipeline.configure(timeouts(config), self.sinks.all())
        self.systems.reload(config.meter.as_table)
        self._warn(present)
        if before.meter.hook is not config.meter.hook:
            self.points.close()
        if before.agent != config.agent:
            log.warning("[agent] counts at the start only: restart, no packet is missed by it")
        self._follow(present)
        self._journal.commit()
        log.info("configuration read again", extra=logs.ANSWER)
        self.supervisor.ready(self._doing())

    def _refuse(self, error: Exception) -> None:
        """A configuration that changes nothing: a line for each of its faults."""
        faults = error.problems if isinstance(error, ConfigError) else [error]
        for one in faults:
            log.error("configuration not read again, going on as before: %s", one, extra=logs.ANSWER)
        self._refused = f"; configuration not read again: {faults[0]}"
        self.supervisor.ready(self._doing())

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
        return f"metering {listed or 'no interface'} for {counted(len(self.collectors), 'collector')}{self._refused}"

    def _take_over(self, present: list[network.Interface]) -> None:
        """Go on where an agent before this one was killed, or begin."""
        self.clock = Clock(self._journal.remembered("clock"))
        self._journal.include("clock", lambda: self.clock.difference_ns)
        older, current = self._lasting.tables(load_options(self.config, metered(self.config, present)))
        self._tables = [*older, current]
        self._held.callback(self._close_tables)
        self.sinks = Sinks(self.config, self._lasting, self._style, self.names)
        self._held.callback(self.sinks.close)
        self.points = ObservationPoints(self._lasting.pins)
        self._undo.callback(self.points.close)
        self.points.adopt(current.kernel, [table.kernel for table in older], present)
        self.points.restore(self._journal.remembered("points") or [])
        self._journal.include("points", self.points.state)
        self.baselines = Baselines(self._journal.remembered("baselines") or [])
        self._journal.include("baselines", self.baselines.state)
        self._know(_names(present))
        self.control = _control_server(self)
        self._held.callback(self.control.close)
        # Before the first thread, which the first name to be looked up starts.
        lessen_rights(self.config.agent, self._lasting.pins, (self.control.path, self.control.path.parent))
        self._read_systems()
        if self._lasting.found:
            self.sinks.wait_for_names(self.clock.now)
        self._empty()
        self._follow(present)
        self._require_points()
        self._journal.commit()
        if self._lasting.found:
            log.info("taken over: %s; %s", self._in_table(), self._doing())

    def _read_systems(self) -> None:
        """With the rights that reading them again will have."""
        try:
            self.systems.load(self.config.meter.as_table)
        except OSError as error:
            raise StartError(f"[meter] as_table: {fault(error)}") from None

    def _empty(self) -> None:
        """Older tables give up their flows, one after the other; the last is the one to meter into."""
        first = self._tables[0]
        self.pipeline = Pipeline(
            first.kernel,
            timeouts(self.config),
            self.sinks.all(),
            self._journal,
            own=self.sinks.own_traffic,
            lookups=(self.routes, self.systems),
            table=first.number,
        )
        now = self.clock.now()
        for table, after in pairwise(list(self._tables)):
            table.kernel.wait_grace_period()
            self.points.carry_over(table.kernel)
            self.sinks.resample(sampling(table.kernel.options))
            self.pipeline.recover(now)
            self.pipeline.flush(now)
            self.sinks.resample(self.config.sampling)
            self._switch(table, after)
        if self._lasting.found:
            self.pipeline.recover(now)

    def _switch(self, old: Table, new: Table) -> None:
        self.pipeline.switch(new.kernel, new.number)
        self._lasting.remove_table(old.number)
        self._tables = [one for one in self._tables if one.number not in (old.number, new.number)] + [new]
        old.kernel.close()

    def _close_tables(self) -> None:
        for table in self._tables:
            table.kernel.close()

    def _in_table(self) -> str:
        return counted(int(np.count_nonzero(self._tables[-1].kernel.slots["state"])), "flow")

    def _give_back(self) -> None:
        """The start failed: an agent before this one has left what is there, or nobody has."""
        if not self._lasting.found:
            self._undo.close()
        self._held.close()
        if self._lasting.found:
            self._lasting.leave()
        else:
            self._lasting.remove()

    def _leave(self) -> None:
        """Go, and leave everything to the next agent."""
        self.supervisor.stopping("leaving the table to the next agent")
        self._held.close()
        self._lasting.leave()

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
            self._telling.trouble(f"[meter] network, going on as before: {error}", now_ns)
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
        self.sinks.know(self.names)

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


def _names(present: list[network.Interface]) -> dict[int, str]:
    return {interface.index: interface.name for interface in present}


def _control_server(agent: Agent) -> Server:
    try:
        return Server(instance.control_socket(), answers(agent))
    except ControlError as error:
        raise StartError(str(error)) from None
