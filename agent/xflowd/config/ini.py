"""INI: sections and keys, each with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from xflowd.config.check import MAXIMUM_PROBLEMS
from xflowd.config.entries import Entry, Section
from xflowd.config.problem import Problem, quoted, shown

_COMMENT = re.compile(r"(?:^|\s)[#;].*")  # a sign within a word is part of the word


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


def said(content: str) -> str:
    """What a line says, or a value: without the comment, and the blanks around it."""
    return _COMMENT.sub("", content, count=1).strip()


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that say something, without comments. Only a line feed ends one, as in every editor."""
    for line, content in enumerate(text.split("\n"), start=1):
        stripped = said(content)
        if stripped:
            yield line, stripped


def _title(content: str) -> tuple[str, str] | None:
    """`[ collector  nas ]` → ('collector', 'nas'); None for what is no title. Takes no longer for any length."""
    if not (content.startswith("[") and content.endswith("]")):
        return None
    words = content[1:-1].split(None, 1)
    return words[0] if words else "", words[1].strip() if len(words) > 1 else ""
