"""What a check has found: how good that is, where, what, and how to mend it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

#: A restart keeps programs where they are, and what was counted: only an agent that was stopped begins anew.
ANEW = "systemctl stop xflowd && systemctl start xflowd; without systemd end it by SIGTERM, and start it again"


class Grade(enum.Enum):
    """`bad`: figures are wrong or nothing arrives. `warning`: it works, and could be better or may break."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `where` is an interface, a collector, or a part of the host."""

    grade: Grade
    where: str
    what: str
    mend: str = ""


def good(where: str, what: str) -> Finding:
    return Finding(Grade.GOOD, where, what)


def warning(where: str, what: str, mend: str) -> Finding:
    return Finding(Grade.WARNING, where, what, mend)


def bad(where: str, what: str, mend: str) -> Finding:
    return Finding(Grade.BAD, where, what, mend)
