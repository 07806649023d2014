"""The words of a filter, one after the other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xflowd.metering.filtertree import FilterError

if TYPE_CHECKING:
    from xflowd.metering.filterterms import Words

MOST_TERMS = 32
#: As they are written, and what is meant.
SIGNS = {"=": "=", "==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}

_TOKEN = re.compile(r'\s*(?:"([^"]*)"|(<=|>=|==|!=|&&|\|\||[()<>=!])|([^\s()<>=!&|"]+))')


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    position: int  # from 1
    quoted: bool = False


@dataclass(slots=True)
class Level:
    """What lies between two brackets: the words of the term before, and what could be misread."""

    words: Words | None = None
    joins: set[str] = field(default_factory=set)
    alone: list[int] = field(default_factory=list)  # where something stands that has its words from the term before


class Reader:
    """The words of a filter, one after the other."""

    def __init__(self, text: str) -> None:
        """Raises FilterError where a character has no meaning."""
        self._tokens, self._at, self._terms = _tokens(text), 0, 0
        self.level, self.has_direction = Level(), False  # the latter of any term so far

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._tokens)

    def word(self, ahead: int = 0) -> str:
        """The next word in lower case, or one after it; empty at the end, and where it is quoted."""
        at = self._at + ahead
        return self._tokens[at].text.lower() if at < len(self._tokens) and not self._tokens[at].quoted else ""

    def skip(self, *words: str) -> bool:
        """Whether the next word is one of these; it is behind us then."""
        if self.word() not in words:
            return False
        self._at += 1
        return True

    def advance(self, words: int) -> None:
        self._at += words

    def value(self, expected: str) -> str:
        """The next word as it stands."""
        if self.is_at_end or self._is_sign():
            raise self.fault(f"expected {expected}")
        self._at += 1
        return self._tokens[self._at - 1].text

    def note_alone(self) -> None:
        """The next word has none of its own before it."""
        self.level.alone.append(self._at)

    def close_level(self) -> None:
        """Raises FilterError where something that stands alone could belong to either side."""
        if self.level.alone and len(self.level.joins) > 1:
            self._at = self.level.alone[0]
            raise self.fault("could be meant in two ways beside and, or: put brackets, such as (port 80 or 443)")

    def count_term(self) -> None:
        self._terms += 1
        if self._terms > MOST_TERMS:
            raise self.fault(f"too many terms: use {MOST_TERMS} at most")

    def fault(self, text: str, back: int = 0) -> FilterError:
        """At the next word, or so many before it."""
        at = self._at - back
        if at >= len(self._tokens):
            return FilterError(f"filter, at its end: {text}")
        return FilterError(f"filter, character {self._tokens[at].position}: {self._tokens[at].text!r}: {text}")

    def _is_sign(self) -> bool:
        token = self._tokens[self._at]
        return not token.quoted and token.text in (*SIGNS, "(", ")", "&&", "||", "!")


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if not found:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise FilterError(f"filter, character {at + 1}: {text[at]!r} has no meaning here")
        quoted = found[1] is not None
        tokens.append(_Token(found[1] or found[2] or found[3] or "", found.end() - len(found[0].lstrip()) + 1, quoted))
        at = found.end()
    return tokens
