"""The report: a line for each finding and its mend below, for 80 columns; or JSON."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from xflowd.doctor.finding import Finding, Grade
from xflowd.notices import counted

WIDTH = 80
_MARKS = {Grade.GOOD: "ok  ", Grade.WARNING: "warn", Grade.BAD: "BAD "}

#: Title of a group, and what it has found.
Group = tuple[str, Sequence[Finding]]


def render(groups: Iterable[Group], width: int = WIDTH) -> str:
    """The groups in their order, and the summary."""
    lines: list[str] = []
    grades: Counter[Grade] = Counter()
    for title, findings in groups:
        lines += [title, *(line for finding in findings for line in _lines(title, finding, width))]
        grades.update(finding.grade for finding in findings)
    return "\n".join([*lines, "", _summary(grades)])


def as_json(groups: Iterable[Group]) -> str:
    """An object: the findings, and how many there are of each grade."""
    rows = [
        {"grade": one.grade.value, "check": title, "where": one.where, "what": one.what, "mend": one.mend}
        for title, findings in groups
        for one in findings
    ]
    summary = {grade.value: sum(row["grade"] == grade.value for row in rows) for grade in Grade}
    return json.dumps({"findings": rows, "summary": summary}, indent=2)


def _lines(title: str, finding: Finding, width: int) -> Iterator[str]:
    where = "" if finding.where == title else f"{_clean(finding.where)}: "
    yield from _wrapped(f"  {_MARKS[finding.grade]} {where}{_clean(finding.what)}", width, " " * 7)
    if finding.mend:
        yield from _wrapped(" " * 7 + "mend: " + _clean(finding.mend), width, " " * 13)


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)


def _clean(text: str) -> str:
    """Without what a terminal might take for a command."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _summary(grades: Counter[Grade]) -> str:
    good, warnings, bad = (grades[grade] for grade in Grade)
    return f"{good:,} good, {counted(warnings, 'warning')}, {bad:,} bad"
