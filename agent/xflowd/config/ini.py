"""The configuration file: INI in, with the line of every key; canonical INI out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace

from xflowd.config.check import check
from xflowd.config.entries import Entry, Section
from xflowd.config.problem import ConfigError, Problem
from xflowd.config.schema import Config, keys

MAXIMUM_OCTETS = 1 << 20  # no configuration is as long: whatever is longer was meant to be something else
_COMMENT = re.compile(r"(?:^|\s)[#;].*")  # a sign within a word is part of the word
_TITLE = re.compile(r"\[\s*(\S*)\s*(.*?)\s*\]")


def load(path: str | os.PathLike[str]) -> Config:
    """The checked configuration of a file; raises ConfigError, and nothing else, with every problem in it."""
    file = os.fspath(path)
    sections, problems = read_ini(_text(file), file)
    return check(sections, problems)


def read_ini(text: str, file: str) -> tuple[list[Section], list[Problem]]:
    """The sections of `text`, in order, and a problem for each line that cannot be read."""
    found: list[tuple[Section, list[Entry]]] = []
    problems: list[Problem] = []
    for line, content in _lines(text):
        where = f"{file}:{line}"
        title = _TITLE.fullmatch(content)
        key, equals, value = (part.strip() for part in content.partition("="))
        if title:
            found.append((Section(title[1], title[2], file, line), []))
        elif not equals or not key:
            mend = "write [section], key = value or # comment"
            problems.append(Problem(where, f"cannot read {content!r}", mend))
        elif not found:
            mend = "put a line like [meter] before it"
            problems.append(Problem(f"{where} {key}", "belongs to no section", mend))
        else:
            found[-1][1].append(Entry(key, value, file, line))
    return [replace(section, entries=tuple(entries)) for section, entries in found], problems


def dump(config: Config) -> str:
    """The INI text that `load` makes this very Config of, with every key in it."""
    parts = [("[meter]", "meter", config.meter), ("[sampling]", "sampling", config.sampling)]
    parts += [(f"[collector {collector.name}]", "collector", collector) for collector in config.collectors]
    return "\n".join(_section_text(*part) for part in parts)


def _section_text(title: str, section_type: str, section: object) -> str:
    lines = [title]
    for key, kind in keys(section_type).items():
        lines.append(f"{key} = {kind.render(getattr(section, key))}".rstrip())
    return "\n".join(lines) + "\n"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that say something, without comments. Only a line feed ends one, as in every editor."""
    for line, content in enumerate(text.split("\n"), start=1):
        stripped = _COMMENT.sub("", content, count=1).strip()
        if stripped:
            yield line, stripped


def _text(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            octets = stream.read(MAXIMUM_OCTETS + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        problem = Problem(file, f"cannot be read ({reason})", "check the path and its permissions")
        raise ConfigError([problem]) from error
    if len(octets) > MAXIMUM_OCTETS:
        raise ConfigError([Problem(file, "is longer than 1 MiB", "name a configuration file")])
    return _decoded(octets, file)


def _decoded(octets: bytes, file: str) -> str:
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        what = f"octet 0x{octets[error.start]:02x} is not UTF-8"
        raise ConfigError([Problem(f"{file}:{line}", what, "save the file as UTF-8 text")]) from error
