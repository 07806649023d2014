"""The configuration file: INI in, with the line of every key; canonical INI out."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace

from xflowd.config.check import MAXIMUM_PROBLEMS, check
from xflowd.config.entries import Entry, Section
from xflowd.config.problem import ConfigError, Problem, quoted, shown
from xflowd.config.schema import Config, keys

MAXIMUM_OCTETS = 1 << 20  # no configuration is as long: whatever is longer was meant to be something else
_COMMENT = re.compile(r"(?:^|\s)[#;].*")  # a sign within a word is part of the word
_CONTROL = re.compile("[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")  # all but blanks and ends of lines


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
        title = _title(content)
        key, equals, value = (part.strip() for part in content.partition("="))
        if title:
            found.append((Section(*title, file, line), []))
        elif not equals or not key:
            mend = "write [section], key = value or # comment"
            problems.append(Problem(where, f"cannot read {quoted(content)}", mend))
        elif not found:
            mend = "put a line like [meter] before it"
            problems.append(Problem(f"{where} {shown(key)}", "belongs to no section", mend))
        else:
            found[-1][1].append(Entry(key, value, file, line))
        if len(problems) > MAXIMUM_PROBLEMS:
            break  # check() tells the first of them, and that there are more
    return [replace(section, entries=tuple(entries)) for section, entries in found], problems


def dump(config: Config) -> str:
    """The INI text that `load` makes this very Config of, with every key in it."""
    parts = [("[meter]", "meter", config.meter), ("[sampling]", "sampling", config.sampling)]
    parts += [(f"[template {template.name}]", "template", template) for template in config.templates]
    parts += [(f"[collector {collector.name}]", "collector", collector) for collector in config.collectors]
    parts.append(("[agent]", "agent", config.agent))
    parts.append(("[metrics]", "metrics", config.metrics))
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


def _title(content: str) -> tuple[str, str] | None:
    """`[ collector  nas ]` → ('collector', 'nas'); None for what is no title. Takes no longer for any length."""
    if not (content.startswith("[") and content.endswith("]")):
        return None
    words = content[1:-1].split(None, 1)
    return words[0] if words else "", words[1].strip() if len(words) > 1 else ""


def _text(file: str) -> str:
    try:
        with open(file, "rb", opener=_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):  # one that never ends, or is gone at a SIGHUP
                raise ConfigError([Problem(file, "is not a regular file", "name a configuration file")])
            octets = stream.read(MAXIMUM_OCTETS + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        problem = Problem(file, f"cannot be read ({reason})", "check the path and its permissions")
        raise ConfigError([problem]) from error
    if len(octets) > MAXIMUM_OCTETS:
        raise ConfigError([Problem(file, "is longer than 1 MiB", "name a configuration file")])
    return _decoded(octets, file)


def _without_waiting(path: str, flags: int) -> int:
    """Opening a FIFO waits until somebody writes to it, for ever perhaps."""
    return os.open(path, flags | os.O_NONBLOCK)


def _decoded(octets: bytes, file: str) -> str:
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        what = f"octet 0x{octets[error.start]:02x} is not UTF-8"
        raise ConfigError([Problem(f"{file}:{line}", what, "save the file as UTF-8 text")]) from error
    wrong = _CONTROL.search(text)
    if wrong:
        line = text.count("\n", 0, wrong.start()) + 1
        problem = Problem(f"{file}:{line}", f"has a control character, {wrong[0]!r}", "save the file as UTF-8 text")
        raise ConfigError([problem])
    return text
