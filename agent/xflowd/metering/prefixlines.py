"""Lines of prefixes and the autonomous systems that announce them, read by columns: no line costs an object."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.metering.prefixes import LONGEST, Octets, Prefixes

Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

_COMMENT = re.compile(rb"#[^\n]*")
_NEWLINE = 10
_IS_BLANK = np.isin(np.arange(256), np.frombuffer(b" \t\r\n,", np.uint8))
_DIGITS = np.full(256, 255, np.uint8)  # the value of a hexadecimal digit
_DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_DIGITS[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)
_AFTER_NUMBER = _IS_BLANK | np.isin(np.arange(256), np.frombuffer(b"_}", np.uint8))
_COLON, _SLASH, _BRACE = b":/{"
_LETTERS = (b"Aa", b"Ss")
_PADDING = 64  # octets behind the text that may be looked at, though nothing is read from them
_LAST_SYSTEM = 2**32 - 1

#: What is wrong with a line.
NO_SYSTEM, NO_PREFIX, NO_LENGTH, NO_NUMBER = (
    "has no AS number",
    "does not begin with a prefix",
    "has no prefix length that fits the address",
    "has no AS number from 1 to 4294967295",
)


@dataclass(frozen=True, slots=True)
class _Form:
    """How addresses of a version are written: numbers of a base, their digits at most, what parts them, how many."""

    version: int
    base: int
    digits: int
    separator: int
    count: int
    kind: str  # of a number in the address
    octets: int  # of the longest text of a prefix


_FORMS = (_Form(4, 10, 3, ord("."), 4, "u1", 18), _Form(6, 16, 4, _COLON, 8, ">u2", 43))


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that is none. Lines are numbered from 1 in their block."""

    line: int
    what: str


def read(block: bytes) -> tuple[Prefixes, list[Fault]]:
    """The prefixes of whole lines, and the lines that have none.

    A line has a prefix and an AS number, or an address, a length and an AS number, and perhaps more that is not read;
    or nothing. The number may begin with AS. Of several that are parted by _ or commas, the first counts.
    """
    octets = np.frombuffer(b"\n" + _COMMENT.sub(b"", block) + b"\n" * _PADDING, np.uint8)
    blank = _IS_BLANK[octets]
    begins = np.flatnonzero(~blank[1:] & blank[:-1]) + 1
    ends = np.flatnonzero(blank[1:] & ~blank[:-1]) + 1
    lines = np.searchsorted(np.flatnonzero(octets == _NEWLINE), begins)
    first = np.flatnonzero(np.diff(lines, prepend=0))
    words = np.diff(first, append=len(lines))
    enough = words > 1
    faults = [Fault(int(line), NO_SYSTEM) for line in lines[first[~enough]]]
    first, words = first[enough], words[enough]
    portions = []
    is_ipv6 = (octets[begins[first][:, None] + np.arange(5)] == _COLON).any(axis=1)
    for form, mine in zip(_FORMS, (~is_ipv6, is_ipv6), strict=True):
        columns = _Columns(octets, begins, ends, first[mine], words[mine])
        prefixes, wrong = _prefixes(columns, form)
        portions.append(prefixes)
        faults += [
            Fault(int(line), what) for what, rows in wrong.items() for line in lines[first[mine]][np.flatnonzero(rows)]
        ]
    return _joined(portions), sorted(faults, key=lambda fault: fault.line)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Words, by where they begin and end, and which is the first of each line, of how many."""

    octets: Octets
    begins: Places
    ends: Places
    first: Places
    words: Places


def _prefixes(columns: _Columns, form: _Form) -> tuple[Prefixes, dict[str, Flags]]:
    octets, begins, first = columns.octets, columns.begins, columns.first
    begin, end = begins[first], columns.ends[first]
    text = np.lib.stride_tricks.sliding_window_view(octets, form.octets + form.digits)[begin]
    inside = np.arange(text.shape[1]) < np.minimum(end - begin, form.octets)[:, None]
    slashes = (text == _SLASH) & inside
    slashed = slashes.any(axis=1)
    inside &= ~np.logical_or.accumulate(slashes, axis=1)
    addresses, good = _addresses(text, inside, form)
    good &= end - begin <= form.octets

    # Without a slash the length is a word of its own.
    length_at = np.where(slashed, begin + slashes.argmax(axis=1) + 1, begins[first + 1])
    lengths, stop = _numbers(octets, length_at, 3)
    fits = (stop > length_at) & _IS_BLANK[octets[stop]] & (lengths <= LONGEST[form.version])
    system_word = np.where(slashed, first + 1, first + 2)
    is_there = slashed | (columns.words > 2)
    system_at = _behind_letters(octets, begins[np.minimum(system_word, len(begins) - 1)])
    systems, stop = _numbers(octets, system_at, 10)
    known = (stop > system_at) & _AFTER_NUMBER[octets[stop]] & (systems > 0) & (systems <= _LAST_SYSTEM)

    whole = good & fits & is_there & known
    wrong = {
        NO_PREFIX: ~good,
        NO_LENGTH: good & ~fits,
        NO_SYSTEM: good & fits & ~is_there,
        NO_NUMBER: good & fits & is_there & ~known,
    }
    versions = np.full(np.count_nonzero(whole), form.version, np.uint8)
    columns_of_whole = addresses[whole], lengths[whole].astype(np.uint8), systems[whole].astype(np.uint32)
    return Prefixes(versions, *columns_of_whole), wrong


def _joined(portions: list[Prefixes]) -> Prefixes:
    names = ("versions", "addresses", "lengths", "values")
    return Prefixes(*(np.concatenate([getattr(portion, name) for portion in portions]) for name in names))


def _behind_letters(octets: Octets, at: Places) -> Places:
    """Where the digits of AS64496 or of {64496,64497} begin."""
    at = at + (octets[at] == _BRACE)
    is_as = np.isin(octets[at], list(_LETTERS[0])) & np.isin(octets[at + 1], list(_LETTERS[1]))
    return at + 2 * is_as


def _numbers(octets: Octets, at: Places, digits: int) -> tuple[npt.NDArray[np.uint64], Places]:
    """Decimal numbers, and where they stop. One of more than `digits` digits does not stop where it should."""
    values, stop, going = np.zeros(len(at), np.uint64), at.copy(), np.ones(len(at), np.bool_)
    for place in range(digits):
        digit = _DIGITS[octets[at + place]]
        going &= digit < 10
        values = np.where(going, values * np.uint64(10) + digit, values)
        stop += going
    return values, stop


def _addresses(text: Octets, inside: Flags, form: _Form) -> tuple[Octets, Flags]:
    """Addresses of sixteen octets, and which are well-formed. A row of `text` is one; it goes as far as `inside`."""
    is_digit = (_DIGITS[text] < form.base) & inside
    is_separator = (text == form.separator) & inside
    begins = is_digit.copy()
    begins[:, 1:] &= ~is_digit[:, :-1]
    count = _sums(begins)
    rows, columns = np.nonzero(begins)
    values, fits = _groups(text, is_digit, rows, columns, form)
    rank = np.arange(len(rows)) - (np.cumsum(count) - count)[rows]

    # Between two groups is one separator at least: with as many as there must be, each is in its place.
    separators, needed = _sums(is_separator), np.full(len(text), form.count - 1)
    good = count == form.count
    gap = (is_separator[:, 1:] & is_separator[:, :-1]).argmax(axis=1)
    with_gap = is_separator[np.arange(len(text)), gap] & is_separator[np.arange(len(text)), gap + 1]
    if form.version == 6 and with_gap.any():
        left = _sums(begins & (np.arange(text.shape[1]) < gap[:, None]))
        needed = np.where(with_gap, np.maximum(left - 1, 0) + np.maximum(count - left - 1, 0) + 2, needed)
        good = np.where(with_gap, count < form.count, good)
        rank += np.where(with_gap[rows] & (rank >= left[rows]), form.count - count[rows], 0)
    good &= separators == needed
    good &= separators + _sums(is_digit) == _sums(inside)
    good[rows[~fits]] = False

    usable = good[rows]
    groups = np.zeros((len(text), 16 // np.dtype(form.kind).itemsize), form.kind)
    groups[rows[usable], rank[usable]] = values[usable]
    return groups.view(np.uint8), good


def _sums(flags: Flags) -> Places:
    """How many flags are set in each row."""
    sums: Places = flags.sum(axis=1, dtype=np.uint8).astype(np.intp)
    return sums


def _groups(text: Octets, is_digit: Flags, rows: Places, columns: Places, form: _Form) -> tuple[Any, Flags]:
    """The numbers that begin there, and which of them are written as they should be."""
    values, going = np.zeros(len(rows), np.uint32), np.ones(len(rows), np.bool_)
    for place in range(form.digits):
        going &= is_digit[rows, columns + place]
        values = np.where(going, values * np.uint32(form.base) + _DIGITS[text[rows, columns + place]], values)
    ends = ~(going & is_digit[rows, columns + form.digits])
    if form.version == 6:
        return values, ends
    # 010 is eight to some, and ten to others.
    leading_zero = (text[rows, columns] == ord("0")) & is_digit[rows, columns + 1]
    return values, ends & ~leading_zero & (values < 256)
