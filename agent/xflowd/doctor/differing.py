"""What a running agent does otherwise than its file says: the file has changed since, or an option is over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from xflowd.config import Collector, Config
from xflowd.doctor.finding import Finding, warning
from xflowd.doctor.situation import Situation
from xflowd.exposing import DEFAULT_PORT
from xflowd.status import CollectorReport, Status

_MEND = "systemctl reload xflowd, or kill -HUP; or name its file with -c; or leave out the option that says so"

#: What is told of, as the agent says it, and as the file does.
_Pair = tuple[str, object, object]


def check(situation: Situation, status: Status) -> Iterator[Finding]:
    """A warning for each thing. Of a configuration that is made of the agent's own words there is none."""
    file = situation.file
    running = {(one["name"], one["protocol"], one["address"]) for one in status["collectors"]}
    if running != {_identity(one) for one in situation.config.collectors}:
        yield warning("agent", f"the agent's collectors are not those of {file}", _MEND)
    for what, now, written in _of_the_agent(status, situation.config):
        if now != written:
            yield warning("agent", f"{what} is {now} in the agent, and {written} by {file}", _MEND)
    by_name = {one.name: one for one in situation.config.collectors}
    for collector in status["collectors"]:
        if one := by_name.get(collector["name"]):
            for what, now, written in _of_a_collector(collector, one):
                if now != written:
                    yield warning(one.name, f"{what} is {now} in the agent, and {written} by {file}", _MEND)


def _identity(one: Collector) -> tuple[str, str, str]:
    return one.name, one.protocol.name.lower(), str(replace(one.address, port=one.port))


def _of_the_agent(status: Status, config: Config) -> Iterator[_Pair]:
    chosen, timeouts, listen = status["chosen"], status["timeouts"], config.metrics.listen
    written = str(replace(listen, port=listen.port or DEFAULT_PORT)) if listen else "nowhere"
    yield "sampling mode", chosen["sampling_mode"], config.sampling.mode.name.lower()
    yield "sampling rate", chosen["sampling_rate"], config.sampling.rate
    yield "active_timeout", round(timeouts["active"]), config.meter.active_timeout
    yield "idle_timeout", round(timeouts["idle"]), config.meter.idle_timeout
    yield "max_flows", status["flows"]["slots"], config.meter.max_flows
    yield "where metrics are answered", chosen["metrics_listen"] or "nowhere", written


def _of_a_collector(now: CollectorReport, written: Collector) -> Iterator[_Pair]:
    domain = now["observation_domain"] if now["observation_domain_chosen"] else "the host's"
    yield "source", now["source"] or "any", str(written.source) if written.source else "any"
    yield "max_payload", now["max_payload"], written.max_payload
    if now["template_refresh"]:
        yield "template_refresh", now["template_refresh"], written.template_refresh
    if now["observation_domain"]:
        yield "observation_domain", domain, written.observation_domain or "the host's"
