"""What is wrong with a configuration: one line each, and all of them at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


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
    close = difflib.get_close_matches(word.lower(), choice, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(choice)}"
