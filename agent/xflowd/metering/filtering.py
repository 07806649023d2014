"""The language of filters: from a text to its tree. Without numpy, since the command reads a filter before it asks.

    filter = all {"or" all}         all = one {"and" one}         one = ["not"] ( "(" filter ")" | term )

A term is a word or a few, as tcpdump and nfdump have them (`filterterms`). As with tcpdump (pcap-filter(7)), an address
or port that stands alone has the words of the term right before it: `src host A or B`. What could be meant in two ways
is refused. What a text may be is bounded: its length, its terms, and how deep it is.
"""

from __future__ import annotations

from dataclasses import replace

from xflowd.metering.filterreader import Level, Reader
from xflowd.metering.filterterms import AND, OR, is_address, term
from xflowd.metering.filtertree import All, AnyOf, Filter, FilterError, Not

LONGEST = 1000  # characters
DEEPEST = 16  # brackets and nots around a term

_NOT = ("not", "!")


def parse(text: str) -> Filter:
    """The tree of a filter; of an empty one, that of every flow. Raises FilterError."""
    if len(text) > LONGEST:
        raise FilterError(f"filter: {len(text):,} characters: use {LONGEST:,} at most")
    reader = Reader(text)
    if reader.is_at_end:
        return All()
    tree = _any(reader, 0)
    if not reader.is_at_end:
        raise reader.fault("expected and, or, or the end of the filter")
    return tree


def _any(reader: Reader, depth: int) -> Filter:
    outer, reader.level = reader.level, Level()
    parts = [_all(reader, depth)]
    while reader.skip(*OR):
        reader.level.joins.add("or")
        parts.append(_all(reader, depth))
    reader.close_level()
    reader.level = outer
    reader.level.words = None
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def _all(reader: Reader, depth: int) -> Filter:
    parts = [_one(reader, depth)]
    while reader.skip(*AND):
        reader.level.joins.add("and")
        parts.append(_one(reader, depth))
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _one(reader: Reader, depth: int, is_negated: bool = False) -> Filter:
    if depth > DEEPEST:
        raise reader.fault(f"too deep: use {DEEPEST} brackets and nots around a term at most")
    if reader.skip(*_NOT):
        return Not(_one(reader, depth + 1, not is_negated))
    if not reader.skip("("):
        reader.count_term()
        return _alone(reader, is_negated) or _with_words(reader, is_negated)
    tree = _any(reader, depth + 1)
    if not reader.skip(")"):
        raise reader.fault("expected ), and, or or")
    return tree


def _alone(reader: Reader, is_negated: bool) -> Filter | None:
    """An address or a port by itself; None where it is none, or where no words are before it that would matter."""
    words, word = reader.level.words, reader.word()
    if words and words.suit(word):
        if words.is_negated and not is_negated:
            raise reader.fault("is the not before it meant for this too? Write src, dst, host, net or port before it")
        reader.note_alone()
        reader.level.words = replace(words, is_negated=is_negated)
        return words.term(reader)
    if reader.has_direction and is_address(word):
        raise reader.fault("in which direction? Write src, dst, or host before it")
    return None


def _with_words(reader: Reader, is_negated: bool) -> Filter:
    """A term, whose words are those of what comes behind it, if it is one of an address or a port."""
    reader.level.words = None
    tree = term(reader)
    if reader.level.words:
        reader.level.words = replace(reader.level.words, is_negated=is_negated)
        reader.has_direction |= reader.level.words.has_direction
    return tree
