"""What the command line changes in a configuration, with the checks and errors of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from xflowd.config.contradictions import Place, contradictions
from xflowd.config.problem import ConfigError, Problem, quoted, shown
from xflowd.config.schema import NOWHERE, Collector, Config, SamplingMode, keys
from xflowd.config.values import UnacceptableError, split_setting

INTERFACE, COLLECTOR, PROTOCOL = "--interface", "--collector", "--protocol"
SAMPLING, TIMEOUT = "--sampling", "--timeout"
KEY, ELEMENTS = "--key", "--elements"


@dataclass(slots=True)
class _Findings:
    """Where keys were given on the command line, and what was wrong with them."""

    places: dict[Place, str] = field(default_factory=dict)
    wrong: set[Place] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def value(self, option: str, place: Place, text: str, otherwise: Any) -> Any:
        """The value of a key as an option gives it, or `otherwise` where it is no value of its kind."""
        section_type, _, key = place
        self.places[place] = f"{option} {shown(text)}"
        try:
            return keys(section_type)[key].parse(text)
        except UnacceptableError as error:
            self.wrong.add(place)
            self.problems.append(Problem(f"{option} {shown(text)}", error.what, error.mend))
            return otherwise


def override(  # noqa: PLR0913 - one argument an option
    config: Config,
    *,
    interfaces: Sequence[str] = (),
    collectors: Sequence[str] = (),
    protocol: str | None = None,
    sampling: str | None = None,
    timeouts: Sequence[str] = (),
    key: str | None = None,
    elements: str | None = None,
) -> Config:
    """`config` with what the options say instead; raises ConfigError with every problem there is.

    `interfaces`, `collectors` (HOST:PORT) and `timeouts` ("active=60", "idle=15") have one text for each time
    the option is given. `collectors` replace those of `config`; `protocol` is then theirs, else everybody's.
    `sampling` is the N of systematic 1-in-N. `elements` take the place of every collector's template.
    """
    found = _Findings()
    config = _with_interfaces(config, interfaces, found)
    config = _with_timeouts(config, timeouts, found)
    config = _with_key(config, key, found)
    config = _with_sampling(config, sampling, found)
    config = _with_collectors(config, collectors, found)
    config = _with_protocol(config, protocol, found)
    config = _with_elements(config, elements, found)
    found.problems += contradictions(config, found.places, found.wrong)
    if found.problems:
        raise ConfigError(found.problems)
    return config


def _with_interfaces(config: Config, texts: Sequence[str], found: _Findings) -> Config:
    if not texts:
        return config
    place = ("meter", "", "interfaces")
    for text in texts:
        if not text.strip(" ,"):  # in the file it means the default route's: here a shell's variable is not set
            mend = "name one, or leave the option out for that of the default route"
            found.problems.append(Problem(f"{INTERFACE} {quoted(text)}", "names no interface", mend))
    patterns = [name for text in texts for name in found.value(INTERFACE, place, text, ())]
    return replace(config, meter=replace(config.meter, interfaces=tuple(dict.fromkeys(patterns)), network=()))


def _with_timeouts(config: Config, texts: Sequence[str], found: _Findings) -> Config:
    for text in texts:
        try:
            name, value = split_setting(text, ("active", "idle"))
        except UnacceptableError as error:
            found.problems.append(Problem(f"{TIMEOUT} {shown(text)}", error.what, error.mend))
            continue
        key = f"{name}_timeout"
        seconds = found.value(f"{TIMEOUT} {name}", ("meter", "", key), value, getattr(config.meter, key))
        config = replace(config, meter=replace(config.meter, **{key: seconds}))
    return config


def _with_key(config: Config, text: str | None, found: _Findings) -> Config:
    if text is None:
        return config
    key = found.value(KEY, ("meter", "", "key"), text, config.meter.key)
    return replace(config, meter=replace(config.meter, key=key))


def _with_elements(config: Config, text: str | None, found: _Findings) -> Config:
    if text is None:
        return config
    elements = found.value(ELEMENTS, ("template", "", "elements"), text, ())
    for collector in config.collectors:
        found.places[("collector", collector.name, "template")] = f"{ELEMENTS} {shown(text)}"
    collectors = tuple(replace(one, template="", elements=elements) for one in config.collectors)
    return replace(config, collectors=collectors, elements=elements)


def _with_sampling(config: Config, text: str | None, found: _Findings) -> Config:
    if text is None:
        return config
    rate = found.value(SAMPLING, ("sampling", "", "rate"), text, config.sampling.rate)
    return replace(config, sampling=replace(config.sampling, mode=SamplingMode.SYSTEMATIC, rate=rate))


def _with_collectors(config: Config, texts: Sequence[str], found: _Findings) -> Config:
    if not texts:
        return config
    collectors = []
    for text in texts:
        place = ("collector", text, "address")
        if place in found.places:
            found.problems.append(Problem(f"{COLLECTOR} {shown(text)}", "is given twice", "keep one of the two"))
            continue
        collectors.append(Collector(text, found.value(COLLECTOR, place, text, NOWHERE)))
    return replace(config, collectors=tuple(collectors))


def _with_protocol(config: Config, text: str | None, found: _Findings) -> Config:
    if text is None:
        return config
    default = Collector("").protocol
    protocol = found.value(PROTOCOL, ("collector", "", "protocol"), text, default)
    for collector in config.collectors:
        found.places[("collector", collector.name, "protocol")] = f"{PROTOCOL} {shown(text)}"
    return replace(config, collectors=tuple(replace(one, protocol=protocol) for one in config.collectors))
