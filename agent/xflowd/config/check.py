"""From sections and texts to a checked Config: every fault is found before any is reported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from xflowd.config.contradictions import Place, contradictions
from xflowd.config.entries import Entry, Section
from xflowd.config.problem import ConfigError, Problem, nearest
from xflowd.config.schema import NAMED, REQUIRED, SECTIONS, Config, keys
from xflowd.config.values import UnacceptableError

MAXIMUM_PROBLEMS = 100  # nobody reads on behind so many, and a file of another kind has one in each line
_LONGEST_NAME = 255
_NAME = re.compile(r"[!-~]+")


@dataclass(slots=True)
class _Draft:
    """What has been read so far: values of the good keys, the places of all, and the faults."""

    values: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # by (section type, name)
    places: dict[Place, str] = field(default_factory=dict)
    wrong: set[Place] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)  # where a section or key stood first


def check(sections: Iterable[Section], problems: Iterable[Problem] = ()) -> Config:
    """The Config that `sections` say; `problems` are those met before. Raises ConfigError with the first hundred."""
    draft = _Draft(problems=list(problems))
    for section in sections:
        _add(draft, _read_section(section, draft))
    config = _assemble(draft)
    _add(draft, contradictions(config, draft.places, draft.wrong))
    if draft.problems:
        raise ConfigError(draft.problems)
    return config


def _add(draft: _Draft, problems: Iterable[Problem]) -> None:
    """Note more problems; raise ConfigError as soon as there are more than anybody reads."""
    draft.problems += islice(problems, max(0, MAXIMUM_PROBLEMS + 1 - len(draft.problems)))
    if len(draft.problems) > MAXIMUM_PROBLEMS:
        told, next_one = draft.problems[:MAXIMUM_PROBLEMS], draft.problems[MAXIMUM_PROBLEMS]
        what = f"is the next of more than {MAXIMUM_PROBLEMS} faults"
        raise ConfigError([*told, Problem(next_one.where, what, "is this a configuration of xflowd?")])


def _assemble(draft: _Draft) -> Config:
    def make(section_type: str) -> Any:
        return SECTIONS[section_type](**draft.values.get((section_type, ""), {}))

    def make_named(section_type: str) -> tuple[Any, ...]:
        named = ((name, values) for (kind, name), values in draft.values.items() if kind == section_type)
        return tuple(SECTIONS[section_type](name=name, **values) for name, values in named)

    templates = make_named("template")
    elements = {template.name: template.elements for template in templates}
    collectors = [replace(one, elements=elements.get(one.template, ())) for one in make_named("collector")]
    return Config(
        make("meter"),
        make("sampling"),
        tuple(one for one in collectors if one.enabled),
        make("agent"),
        templates,
        metrics=make("metrics"),
        disabled=tuple(one for one in collectors if not one.enabled),
    )


def _read_section(section: Section, draft: _Draft) -> Iterator[Problem]:
    fault = _fault_of_title(section, draft)
    if fault:
        yield fault
    if section.type not in SECTIONS:
        return
    identity = (section.type, section.name)
    draft.lines.setdefault(identity, section.line)
    for entry in section.entries:
        yield from _read_entry(section, entry, draft)
    if fault:
        return  # its keys have been checked, but a Config cannot hold it
    values = draft.values.setdefault(identity, {})
    key, example = REQUIRED.get(section.type, ("", ""))
    if key and (*identity, key) not in draft.places and values.get("enabled", True):
        yield Problem(section.where, f"has no {key}", f"add {section.assignment(key, example)}")
        draft.wrong.add((*identity, key))


def _read_entry(section: Section, entry: Entry, draft: _Draft) -> Iterator[Problem]:
    place = (section.type, section.name, entry.key)
    where = section.where_is(entry)
    if entry.key not in keys(section.type):
        yield Problem(where, "unknown key", nearest(entry.key, keys(section.type)))
        return
    if place in draft.lines:
        yield Problem(where, f"is given twice, first in line {draft.lines[place]}", "keep one of the two")
        return
    draft.lines[place] = entry.line
    draft.places[place] = where
    try:
        value = keys(section.type)[entry.key].parse(entry.value)
    except UnacceptableError as error:
        draft.wrong.add(place)
        yield Problem(section.where_is(entry, entry.line_of(error.what)), error.what, error.mend)
        return
    draft.values.setdefault((section.type, section.name), {})[entry.key] = value


def _fault_of_title(section: Section, draft: _Draft) -> Problem | None:
    if section.type not in SECTIONS:
        return Problem(section.where, "unknown section", nearest(section.type, SECTIONS))
    first = draft.lines.get((section.type, section.name))
    if first is not None:
        return Problem(section.where, f"is there twice, first in line {first}", "make one section of the two")
    return _fault_of_name(section)


def _fault_of_name(section: Section) -> Problem | None:
    if section.type not in NAMED:
        return Problem(section.where, "takes no name", f"write {section.head()}") if section.name else None
    if not section.name:
        return Problem(section.where, "has no name", f"write {section.head('NAME')}")
    if not _NAME.fullmatch(section.name):
        return Problem(section.where, "has a name of more than one word", "use letters, digits, - . : _")
    if len(section.name) > _LONGEST_NAME:
        return Problem(section.where, "has too long a name", f"use {_LONGEST_NAME} characters at most")
    return None
