"""What a filter says, as a tree: made by filtering.parse(), evaluated over columns by selecting.matching()."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias


class FilterError(ValueError):
    """A filter that cannot be understood; the message says where, and what would be."""


@dataclass(frozen=True, slots=True)
class All:
    """Every one of these; without any, every flow."""

    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of these at least."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Whatever that is not."""

    part: Filter


@dataclass(frozen=True, slots=True)
class Compare:
    """A column of selecting.Columns against a number; `sign` is one of = != < <= > >=."""

    column: str
    sign: str
    value: int


@dataclass(frozen=True, slots=True)
class Network:
    """The address of an `end` (source, destination) is in a network: octets in network order, masked already."""

    end: str
    network: bytes
    mask: bytes


@dataclass(frozen=True, slots=True)
class Station:
    """The MAC address of an `end` (source, destination)."""

    end: str
    address: bytes


@dataclass(frozen=True, slots=True)
class Flags:
    """All of these TCP flags were seen."""

    bits: int


@dataclass(frozen=True, slots=True)
class Interface:
    """By name, pattern or index, until named() makes numbers of it; `columns`: any of which may have it."""

    columns: tuple[str, ...]
    name: str


Filter: TypeAlias = "All | AnyOf | Not | Compare | Network | Station | Flags | Interface"


def named(tree: Filter, names: Mapping[int, str]) -> Filter:
    """The tree with interfaces by number. Raises FilterError for one that is neither a number nor in `names`."""
    if isinstance(tree, All | AnyOf):
        return type(tree)(tuple(named(part, names) for part in tree.parts))
    if isinstance(tree, Not):
        return Not(named(tree.part, names))
    if not isinstance(tree, Interface):
        return tree
    indexes = [index for index, name in names.items() if name == tree.name or fnmatchcase(name, tree.name)]
    if not indexes and tree.name.isascii() and tree.name.isdecimal() and len(tree.name) <= 10:
        indexes = [int(tree.name)]
    if not indexes:
        raise FilterError(f"interface {tree.name}: there is none of this name: see ip link")
    return AnyOf(tuple(Compare(column, "=", index) for column in tree.columns for index in indexes))
