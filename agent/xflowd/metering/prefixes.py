"""Prefix lengths of addresses by a routing table: the longest match, for many addresses at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from xflowd.metering.table import Records

#: IP version, the prefix in network order, its length.
Prefix = tuple[int, bytes, int]


class PrefixTable:
    """The destinations of a routing table. Addresses are sixteen octets, an IPv4 address the first four of them."""

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        by_length: dict[tuple[int, int], list[bytes]] = {}
        for version, address, length in prefixes:
            if length:  # a default route has nothing to say: its length is what an unknown one has too
                by_length.setdefault((version, length), []).append(address.ljust(16, b"\0"))
        longest_first = sorted(by_length, reverse=True)
        self._levels = [(*level, _sorted(by_length[level])) for level in longest_first]

    def fill(self, flows: Records) -> None:
        """Set sourcePrefixLength and destinationPrefixLength of flows (of FLOW); 0 where nothing matches."""
        for end in ("source", "destination"):
            flows[f"{end}_prefix_length"] = self.lengths(flows[f"{end}_address"], flows["ip_version"])

    def lengths(self, addresses: npt.NDArray[np.uint8], versions: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The length of the longest prefix of each address, 0 where there is none."""
        lengths = np.zeros(len(addresses), np.uint8)
        for version, length, known in self._levels:
            rows = np.flatnonzero((versions == version) & (lengths == 0))
            if len(rows):
                found = _found(addresses[rows] & _mask(length), known)
                lengths[rows[found]] = length
        return lengths


def _mask(length: int) -> npt.NDArray[np.uint8]:
    return np.packbits(np.arange(128) < length)


def _sorted(addresses: list[bytes]) -> npt.NDArray[np.bytes_]:
    # As strings of sixteen octets: numpy orders those, and that it takes trailing zeroes for padding changes nothing.
    return np.unique(np.array(addresses, "S16"))


def _found(masked: npt.NDArray[np.uint8], known: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
    wanted = np.ascontiguousarray(masked).view("S16").reshape(-1)
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    equal: npt.NDArray[np.bool_] = known[places] == wanted
    return equal
