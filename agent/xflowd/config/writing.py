"""A configuration written down: INI or UCI, values in canonical form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from xflowd.config.elements import ElementNames
from xflowd.config.entries import Entry, Section
from xflowd.config.ini import said
from xflowd.config.problem import ConfigError, Problem, quoted
from xflowd.config.schema import NAMED, SECTIONS, Config, keys
from xflowd.config.values import InterfaceNames, NetworkNames

_LISTS = (InterfaceNames, NetworkNames, ElementNames)
Names = dict[tuple[str, str], str]  # by type and name of a section: the name that it is written with


def dump(config: Config, form: str = "ini") -> str:
    """The text that `load` makes this very Config of, with every key that has a value; `form` is ini or uci.

    UCI has fewer signs for names: sections may come to be called otherwise.
    """
    return write(_sections(config), form)


def write(sections: Iterable[Section], form: str) -> str:
    """The text of checked sections, with what is given there and nothing else. Raises ConfigError where INI cannot."""
    return FORMS[form](list(sections))


def renamed(sections: Iterable[Section]) -> Iterator[str]:
    """What UCI calls otherwise than the sections say, a line each."""
    listed = list(sections)
    for (kind, name), new in _uci_names(listed).items():
        if kind in NAMED and name != new:
            yield f"[{kind} {name}] is called {new}: UCI takes letters, digits and _, and each name once"


def _ini(sections: list[Section]) -> str:
    return "\n".join(_ini_section(section) for section in sections)


def _ini_section(section: Section) -> str:
    lines = [f"[{section.type} {section.name}]" if section.name else f"[{section.type}]"]
    for entry, value in _values(section):
        if said(value) != value:
            what = f"INI cannot have {quoted(value)}: a comment begins in it, or it ends in a blank"
            raise ConfigError([Problem(section.where_is(entry), what, "rename it, or use UCI")])
        lines.append(f"{entry.key} = {value}")
    return "\n".join(lines) + "\n"


def _uci(sections: list[Section]) -> str:
    names = _uci_names(sections)
    return "\n".join(_uci_section(section, names) for section in sections)


def _uci_section(section: Section, names: Names) -> str:
    lines = [f"config {section.type} {_quoted(names[section.type, section.name])}"]
    for entry, value in _values(section):
        if entry.key == "template":
            value = names[entry.key, value]  # noqa: PLW2901
        if isinstance(keys(section.type)[entry.key], _LISTS):
            lines += [f"\tlist {entry.key} {_quoted(item)}" for item in value.split(", ")]
        else:
            lines.append(f"\toption {entry.key} {_quoted(value)}")
    return "\n".join(lines) + "\n"


def _values(section: Section) -> Iterator[tuple[Entry, str]]:
    """Keys and values in the order of the schema; what is empty is as if it were not given."""
    given = {entry.key: entry for entry in section.entries}
    for key, kind in keys(section.type).items():
        if key in given:
            value = kind.render(kind.parse(given[key].value))
            if value:
                yield given[key], value


def _quoted(text: str) -> str:
    """A quote within single quotes ends them, stands for itself behind a backslash, and begins them again."""
    return "'" + text.replace("'", "'\\''") + "'"


def _uci_names(sections: list[Section]) -> Names:
    """A section of which there is one is called like its type."""
    names = {(section.type, section.name): section.type for section in sections if section.type not in NAMED}
    taken = set(SECTIONS) - NAMED
    for section in sections:
        if section.type in NAMED:
            names[section.type, section.name] = _free(re.sub(r"[^A-Za-z0-9_]", "_", section.name), taken)
    return names


def _free(name: str, taken: set[str]) -> str:
    """The name, or the first of name_2, name_3... that nobody has; from now on it is taken."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def _sections(config: Config) -> Iterator[Section]:
    for kind in SECTIONS:
        if kind not in NAMED:
            yield _section(kind, "", getattr(config, kind))
    for template in config.templates:
        yield _section("template", template.name, template)
    for collector in (*config.collectors, *config.disabled):
        yield _section("collector", collector.name, collector)


def _section(kind: str, name: str, values: object) -> Section:
    entries = (Entry(key, of.render(getattr(values, key)), "", 0) for key, of in keys(kind).items())
    return Section(kind, name, "", 0, tuple(entries))


FORMS: dict[str, Callable[[list[Section]], str]] = {"ini": _ini, "uci": _uci}
