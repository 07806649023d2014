"""Prefixes of addresses: the longest match of many addresses at once, and what a host's routes say of flows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.metering.table import Records

Octets = npt.NDArray[np.uint8]
Keys = npt.NDArray[Any]  # addresses as numpy orders them, by the form of _FORMS

LONGEST = {4: 32, 6: 128}
_AT_ONCE = 4096
_MASKS = np.packbits(np.arange(128) < np.arange(129)[:, None], axis=1)


@dataclass(frozen=True, slots=True)
class _Form:
    """How addresses of a version are searched for: so many of their octets, as numbers or as strings of octets."""

    version: int
    octets: int
    lengths: range
    kind: str


#: What is longer than 64 bits is rare, and the only thing that takes the whole of an IPv6 address.
_FORMS = (
    _Form(4, 4, range(33), "u4"),
    _Form(6, 16, range(65, 129), "S16"),
    _Form(6, 8, range(65), "u8"),
)


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Prefixes and a number for each, as columns of one length.

    Addresses are sixteen octets each, in network order; an IPv4 address is the first four, and the rest zero. What an
    address has behind its length counts for nothing. Lengths are within their version's, values are not 0.
    """

    versions: Octets
    addresses: Octets
    lengths: Octets
    values: npt.NDArray[np.uint32]


class LongestMatch:
    """The value of the longest prefix that an address is in: prefixes as one row of intervals, which is searched."""

    def __init__(self, portions: Iterable[Prefixes] = ()) -> None:
        """Of a prefix that is there twice, the later value counts."""
        columns: dict[_Form, list[tuple[Keys, Octets, Keys]]] = {form: [] for form in _FORMS}
        for portion in portions:
            for form, parts in columns.items():
                rows = np.flatnonzero((portion.versions == form.version) & np.isin(portion.lengths, form.lengths))
                if len(rows):
                    lengths = portion.lengths[rows]
                    parts.append(
                        (_keys(form, portion.addresses[rows] & _MASKS[lengths]), lengths, portion.values[rows])
                    )
        self._rows = {}
        for form, parts in columns.items():
            if parts:
                self._rows[form] = _flattened(form, parts)

    def find(self, addresses: Octets, versions: Octets) -> npt.NDArray[np.uint32]:
        """The value for each address, 0 where it is in no prefix."""
        found = np.zeros(len(addresses), np.uint32)
        for form, (points, values) in self._rows.items():
            rows = np.flatnonzero((versions == form.version) & (found == 0))
            if len(rows):
                places = np.searchsorted(points, _keys(form, addresses[rows]), side="right") - 1
                found[rows] = values[places]
        return found


class RoutingTables:
    """Routing tables in the order in which the kernel asks them: the first that knows an address has the say."""

    #: The value of a route that leads nowhere: no prefix length is told, but other routes are not asked either.
    NOWHERE = 255
    #: The value of a route that ends the search in its table: the next one is asked.
    THROW = 254

    def __init__(self, tables: Sequence[LongestMatch] = ()) -> None:
        """The value of a route is its prefix length and one."""
        self._tables = tables

    def fill(self, flows: Records) -> None:
        """Set sourcePrefixLength and destinationPrefixLength of flows (of FLOW); 0 where nothing matches."""
        for end in ("source", "destination"):
            flows[f"{end}_prefix_length"] = self.lengths(flows[f"{end}_address"], flows["ip_version"])

    def lengths(self, addresses: Octets, versions: Octets) -> Octets:
        """The length of the prefix of each address's route; 0 of none: it is not in the key."""
        found = np.zeros(len(addresses), np.uint32)
        for table in self._tables:
            rows = np.flatnonzero(found == 0)
            if len(rows):
                found[rows] = table.find(addresses[rows], versions[rows])
                found[found == self.THROW] = 0
        found[(found == 0) | (found == self.NOWHERE) | ~addresses.any(axis=1)] = 1
        lengths: Octets = (found - 1).astype(np.uint8)
        return lengths


class AutonomousSystems:
    """Which autonomous system announces which prefix."""

    def __init__(self, prefixes: Iterable[Prefixes] = ()) -> None:
        """The value of a prefix is the number of its system."""
        self._systems = LongestMatch(prefixes)

    def fill(self, flows: Records) -> None:
        """Set bgpSourceAsNumber and bgpDestinationAsNumber of flows (of FLOW); 0 where they are not known."""
        for end in ("source", "destination"):
            addresses = flows[f"{end}_address"]
            numbers = self._systems.find(addresses, flows["ip_version"])
            flows[f"bgp_{end}_as_number"] = np.where(addresses.any(axis=1), numbers, 0)  # of none: not in the key


def _keys(form: _Form, addresses: Octets) -> Keys:
    """Strings take trailing zeroes for padding, which changes nothing in their order."""
    whole = np.ascontiguousarray(addresses[:, : form.octets])
    if form.kind == "S16":
        keys: Keys = whole.view("S16")[:, 0]
        return keys
    numbers: Keys = whole.view(f">{form.kind}")[:, 0].astype(form.kind)
    return numbers


def _ends(form: _Form, starts: Keys, lengths: Octets) -> Keys:
    """What follows the last address of each prefix; numbers go round to 0 behind the last address there is."""
    if form.kind != "S16":
        sizes = [(1 << 8 * form.octets - length) % (1 << 8 * form.octets) for length in form.lengths]
        ends: Keys = starts + np.array(sizes, form.kind)[lengths]
        return ends
    halves = starts.view(">u8").reshape(-1, 2).astype(np.uint64)
    low = halves[:, 1] + (np.uint64(1) << (128 - lengths).astype(np.uint64))
    high = halves[:, 0] + (low < halves[:, 1])
    return np.stack([high, low], axis=1).astype(">u8").view("S16")[:, 0]


def _flattened(form: _Form, parts: list[tuple[Keys, Octets, Keys]]) -> tuple[Keys, npt.NDArray[np.uint32]]:
    """From which address on which value is in force. Shorter prefixes are laid down before the longer ones in them.

    Takes starts, lengths and values out of `parts`: with a million of them, memory is to be had once and not twice.
    """
    starts, lengths, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    parts.clear()
    points = _distinct(np.concatenate([np.zeros(1, starts.dtype), starts, _ends(form, starts, lengths)]))
    in_force = np.zeros(len(points), np.uint32)
    for length in np.flatnonzero(np.bincount(lengths)):
        rows = np.flatnonzero(lengths == length)
        rows = rows[np.argsort(starts[rows], kind="stable")]  # searching is quicker in order
        first = np.searchsorted(points, starts[rows])
        last = np.searchsorted(points, _ends(form, starts[rows], lengths[rows]))
        last[last == 0] = len(points)
        _lay(in_force, first, last, values[rows])
    kept = np.concatenate([[True], in_force[1:] != in_force[:-1]])
    return points[kept], in_force[kept]


def _distinct(keys: Keys) -> Keys:
    """Each once, in order: numpy's own unique() may be a hash table, which takes ten times as long and much memory."""
    keys.sort()
    kept: Keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    return kept


def _lay(in_force: npt.NDArray[np.uint32], first: Keys, last: Keys, values: npt.NDArray[np.uint32]) -> None:
    """Prefixes of one length: most have no others in them, and are one place each."""
    wide = last - first > 1
    in_force[first[~wide]] = values[~wide]
    rows = np.flatnonzero(wide)
    for at in range(0, len(rows), _AT_ONCE):
        part = rows[at : at + _AT_ONCE]
        for begin, end, value in zip(first[part].tolist(), last[part].tolist(), values[part].tolist(), strict=True):
            in_force[begin:end] = value
