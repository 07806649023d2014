"""What is wrong with a configuration: one line each, and all of them at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

_MOST_SHOWN = 120  # characters of what a file says; a line of a megabyte is no message


def shown(text: str) -> str:
    """A text of a file as a message can have it: not too long, and nothing in it that moves a cursor."""
    short = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in short)


def quoted(text: str) -> str:
    """The same, where it stands in a sentence."""
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…")


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: where it stands (file:line [section] key, or an option), what it is, how to mend it."""

    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.mend}"


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` has every fault that was found, in order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def nearest(word: str, known: Iterable[str]) -> str:
    """How to mend an unknown word: the known one that is meant, or else all of them."""
    choice = list(known)
    close = difflib.get_close_matches(word[:_MOST_SHOWN].lower(), choice, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(choice)}"
