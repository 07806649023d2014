"""[metrics] listen: the agent's figures for Prometheus, gathered and answered in the agent's own loop."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from xflowd.config import Endpoint
from xflowd.edge.http import Answer, Server, listening
from xflowd.lacking import client
from xflowd.metrics import METRICS, CollectorFigures, Figures, Monotonic, Sample, samples
from xflowd.reporting import report
from xflowd.settings import StartError

if TYPE_CHECKING:
    import socket

    from xflowd.collectors import CollectorSink
    from xflowd.daemon import Agent

DEFAULT_PORT = 9995
_MENDS = {
    errno.EACCES: "give a port of 1024 or above, or CAP_NET_BIND_SERVICE at the start",
    errno.EADDRINUSE: "stop what listens there, or give another port",
    errno.EADDRNOTAVAIL: "give an address of this host",
}
_SECOND_NS = 1_000_000_000
_REST = 20  # times as long as making an exposition took, it is given again: 5 % of the loop's time at most
#: The two forms of an answer; what a client writes into Accept makes no other one.
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_OPENMETRICS_VERSIONS = ("", "0.0.1", "1.0.0")  # asked for by who understands 1.0.0


class Exposition:
    """What is answered to a scrape. Without an address it does nothing, and prometheus_client is not loaded."""

    def __init__(self, agent: Agent, made: socket.socket | None) -> None:
        """`made` as claim() has it."""
        self._agent, self._monotonic = agent, Monotonic()
        self.server = Server({"/metrics": self._answer})
        self._listen = agent.config.metrics.listen
        self._registry: _Registry | None = None  # the figures that were gathered last
        self._made: dict[str, Answer] = {}  # of these figures, by form
        self._gathered_ns = self._took_ns = self._good_until_ns = 0
        self.server.listen(made)

    def claim(self, listen: Endpoint | None) -> socket.socket | None:
        """A socket for an address that is not the one in use; keep() or move() has to follow. Raises StartError."""
        if listen == self._listen:
            return None
        try:
            return claim(listen)
        except StartError:
            if listen is None or self._listen is None or _port(listen) != _port(self._listen):
                raise
        self.server.listen(None)  # the two may overlap: 0.0.0.0 is every address
        return claim(listen)

    def move(self, listen: Endpoint | None, made: socket.socket | None) -> None:
        """Answer at another address from now on, if `listen` is another one; `made` as claim() has it."""
        if listen != self._listen:
            self._listen = listen
            self.server.listen(made)

    def keep(self, made: socket.socket | None) -> None:
        """Let go of what claim() has made, and go on where it was."""
        if made is not None:
            made.close()
        if self.server.address is None and self._listen is not None:
            self.server.listen(claim(self._listen))

    def told(self) -> str:
        """What went wrong with clients so far, in a line; empty when nothing did."""
        return f"metrics: {self.server.told()}" if self.server.faults else ""

    def _answer(self, headers: Mapping[str, str], now_ns: int) -> Answer:
        """However many ask, and for whatever, figures are gathered once a second at most, less often where it takes
        long; each form is made of them once.
        """
        form, registry = _form(headers.get("accept", "")), self._registry
        if registry is None or now_ns >= self._good_until_ns:
            began_ns = time.monotonic_ns()
            registry = self._registry = _Registry(samples(figures(self._agent), self._monotonic))
            self._made.clear()
            self._gathered_ns, self._took_ns = now_ns, time.monotonic_ns() - began_ns
            self._rest()
        if form not in self._made:
            began_ns = time.monotonic_ns()
            self._made[form] = Answer(200, form, _encoded(registry, form))
            self._took_ns += time.monotonic_ns() - began_ns
            self._rest()
        return self._made[form]

    def _rest(self) -> None:
        self._good_until_ns = self._gathered_ns + max(_SECOND_NS, _REST * self._took_ns)

    @property
    def seconds(self) -> float:
        """How long the last exposition took to make, in all forms that were asked for."""
        return self._took_ns / 10**9

    @property
    def listen(self) -> Endpoint | None:
        """Where it is answered, with the port; None: nowhere."""
        return None if self._listen is None else replace(self._listen, port=_port(self._listen))


def _form(accept: str) -> str:
    """OpenMetrics to who asks for a version that is spoken here; plain text to all others, whatever they write."""
    for asked in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in asked.split(";"))
        version = next((value for key, _, value in (one.partition("=") for one in parameters) if key == "version"), "")
        if kind == "application/openmetrics-text" and version.strip('"') in _OPENMETRICS_VERSIONS:
            return _OPENMETRICS
    return _TEXT


def _encoded(registry: _Registry, form: str) -> bytes:
    """By prometheus_client, which is loaded where there is an endpoint alone."""
    from prometheus_client import exposition  # noqa: PLC0415
    from prometheus_client.openmetrics import exposition as openmetrics  # noqa: PLC0415

    encode: Callable[[Any], bytes] = openmetrics.generate_latest if form == _OPENMETRICS else exposition.generate_latest
    return encode(registry)


def claim(listen: Endpoint | None) -> socket.socket | None:
    """A socket that listens there, bound while the right to do so is held; none where no address is given.

    Raises StartError where it cannot be had, or prometheus_client cannot.
    """
    if listen is None:
        return None
    try:
        import prometheus_client  # noqa: F401, PLC0415
    except ImportError:
        lack = client()
        raise StartError(f"{lack.where}: {lack.what}: {lack.mend}") from None
    try:
        return listening(listen.host, _port(listen))
    except OSError as error:
        mend = _MENDS.get(error.errno or 0, "give an address of this host, and a port that is free")
        raise StartError(f"[metrics] listen = {listen}: {error.strerror or error}: {mend}") from None


def _port(listen: Endpoint) -> int:
    return listen.port or DEFAULT_PORT


class _Registry:
    """What prometheus_client takes for a registry: the samples, as families."""

    def __init__(self, found: Iterable[Sample]) -> None:
        self._families = list(_families(found))

    def collect(self) -> Iterable[Any]:
        return self._families


def _families(found: Iterable[Sample]) -> Iterator[Any]:
    """Families of prometheus_client, in the order of METRICS; each but those without samples."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    by_name: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for name, labels, figure in found:
        by_name.setdefault(name, []).append((labels, figure))
    for metric in METRICS.values():
        family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        text = f"{metric.unit}, {metric.meaning}" if metric.unit else metric.meaning
        made = family(metric.name, text, labels=metric.labels)
        for labels, figure in by_name.get(metric.name, ()):
            made.add_metric(labels, figure)
        if made.samples:
            yield made


def figures(agent: Agent) -> Figures:
    """Everything the agent knows of itself, now."""
    now = agent.clock.now()
    status, counters = report(agent, now), agent.pipeline.counters
    since = datetime.fromisoformat(status["since"]).timestamp()
    exposition, control = agent.exposition, agent.control
    return Figures(
        status=status,
        started_unix_seconds=since,
        octet_total_count=counters.octet_total_count,
        sampling_interval=agent.config.sampling.rate,
        sampling_mode=agent.config.sampling.mode.name.lower(),
        sink_failures=counters.sink_failures,
        without_prefix_length=agent.routes.unasked,
        as_table_faulty_lines=agent.systems.faulty,
        collectors={one.config.name: _figures(one) for one in agent.collectors},
        control=(control.requests, control.faults),
        scrapes=(exposition.server.requests, exposition.server.faults),
        exposition_seconds=exposition.seconds,
    )


def _figures(sink: CollectorSink) -> CollectorFigures:
    made = sink.process.counters
    return CollectorFigures(
        queue_octets=sink.outbox.capacity,
        made={name: count for name, count in asdict(made).items() if isinstance(count, int)},
        unsent=sink.unsent,
        not_exportable_flows=made.not_exportable_flows,
        not_exportable_packets=made.not_exportable_packets,
        outbox_dropped=sink.outbox.dropped_datagrams,
        interruptions=sink.destination.interruptions,
    )
