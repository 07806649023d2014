"""Keys that are each well-formed and cannot be had together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from xflowd.config.elements import ONE_FORM, Elements, least_payload, of_tunnels, unsuited
from xflowd.config.problem import Problem, nearest, quoted, shown
from xflowd.config.schema import (
    NETFLOW5_MAXIMUM_RATE,
    Collector,
    Config,
    ExportProtocol,
    SamplingMode,
    Template,
    Tunnels,
)
from xflowd.config.values import Endpoint, is_ip_address

Place = tuple[str, str, str]  # section type, section name, key
_Finding = tuple[list[Place], str, str]  # the keys at odds (the one to name first), what, how to mend it

_MOST_COLLECTORS = 64  # each has a socket, and memory for what waits to be sent
_MODE, _RATE = ("sampling", "", "mode"), ("sampling", "", "rate")


def contradictions(config: Config, places: Mapping[Place, str], wrong: Collection[Place] = ()) -> Iterator[Problem]:
    """Every contradiction in `config`, but none that a `wrong` key has part in: its value is not the user's.

    `places` says where a key was given; of the keys at odds, the first that is there names the place.
    """
    for involved, what, mend in _findings(config):
        if not any(place in wrong for place in involved):
            yield Problem(_where(involved, places), what, mend)


def _where(involved: list[Place], places: Mapping[Place, str]) -> str:
    for place in involved:
        if place in places:
            return places[place]
    section_type, name, key = involved[0]
    return f"[{section_type} {name}] {key}" if name else f"[{section_type}] {key}"


def _findings(config: Config) -> Iterator[_Finding]:
    rate = config.sampling.rate
    if config.sampling.mode is SamplingMode.NONE and rate != 1:
        yield [_RATE, _MODE], f"{rate} without a mode", "set mode to systematic or random, or rate to 1"
    if config.meter.tunnels is Tunnels.OUTER:
        for name, elements in (*((each.name, each.elements) for each in config.templates), ("", config.elements)):
            yield from _of_unopened(name, elements)
    for collector in (*config.collectors, *config.disabled):
        yield from _of_collector(collector, rate, config.templates)
    yield from _duplicates(config.collectors)
    for collector in config.collectors[_MOST_COLLECTORS : _MOST_COLLECTORS + 1]:
        what = f"is one of {len(config.collectors):,} collectors"
        yield [("collector", collector.name, "address")], what, f"keep {_MOST_COLLECTORS} at most"


def _of_unopened(template: str, elements: Elements) -> Iterator[_Finding]:
    """What tells of a tunnel around a flow, where none is opened."""
    for name in of_tunnels(elements):
        what = f"{name} is of a tunnel around the flow, and tunnels = outer opens none"
        mend = f"set tunnels = inner in [meter], or leave {name} out"
        yield [("template", template, "elements"), ("meter", "", "tunnels")], what, mend


def _of_collector(collector: Collector, rate: int, templates: tuple[Template, ...]) -> Iterator[_Finding]:
    def place(key: str) -> Place:
        return ("collector", collector.name, key)

    if collector.protocol is ExportProtocol.NETFLOW5 and rate > NETFLOW5_MAXIMUM_RATE:
        what = f"netflow5 cannot tell a sampling rate of {rate}"
        mend = f"sample at a rate of {NETFLOW5_MAXIMUM_RATE} or less, or use netflow9 or ipfix"
        yield [place("protocol"), _RATE], what, mend
    yield from _of_template(collector, templates)
    source = collector.source
    if source and _family(source) != _family(collector.address) != "name":
        what = f"{source.host} cannot send to {collector.address.host}"
        mend = f"give an {_family(collector.address)} address of this host"
        yield [place("source"), place("address")], what, mend


def _of_template(collector: Collector, templates: tuple[Template, ...]) -> Iterator[_Finding]:
    names = [template.name for template in templates]
    place, section = ("collector", collector.name, "template"), ("template", collector.template, "elements")
    if collector.template and collector.template not in names:
        mend = nearest(collector.template, names) if names else f"add [template {shown(collector.template)}]"
        yield [place], f"there is no template {quoted(collector.template)}", mend
        return
    protocol = ("collector", collector.name, "protocol")
    if collector.template and collector.protocol is ExportProtocol.NETFLOW5:  # whatever its elements are
        yield [place, protocol], *ONE_FORM
        return
    found = unsuited(collector.elements, collector.protocol.name.lower())
    if found:
        yield [place, protocol, section], *found
    elif collector.elements:
        least, payload = least_payload(collector.elements, collector.protocol.name.lower()), collector.max_payload
        if payload < least:
            where = [("collector", collector.name, "max_payload"), place, section]
            yield (
                where,
                f"{payload} octets do not hold the templates",
                f"allowed are {least} or more with this template",
            )


def _family(endpoint: Endpoint) -> str:
    if not is_ip_address(endpoint.host):
        return "name"
    return "IPv6" if ":" in endpoint.host else "IPv4"


def _duplicates(collectors: tuple[Collector, ...]) -> Iterator[_Finding]:
    """Two with one address, protocol and domain: that collector would count every flow twice."""
    seen: dict[tuple[str, int, ExportProtocol, int | None], str] = {}
    for collector in collectors:
        place = ("collector", collector.name, "address")
        target = (
            collector.address.host.lower(),
            collector.port,
            collector.protocol,
            collector.observation_domain,
        )
        first = seen.setdefault(target, collector.name)
        if first != collector.name:
            involved = [place, ("collector", first, "address")]
            what = f"{collector.address} is already that of collector {first}"
            yield involved, what, "remove one of the two"
