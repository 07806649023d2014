"""From a construct Struct of unsigned numbers to what bulk work needs: a numpy type and a quick reader."""

from __future__ import annotations

import struct
from typing import Any

import construct  # type: ignore[import-untyped]
import numpy as np

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Layout:
    """A header of fixed length, network byte order: declared once as a construct Struct, used three ways."""

    def __init__(self, declared: construct.Struct) -> None:
        self.struct = declared
        widths = [(field.name, declared_octets(field)) for field in declared.subcons]
        self.names = tuple(name for name, _ in widths)
        self.dtype: np.dtype[np.void] = np.dtype([(name, f">u{octets}") for name, octets in widths])
        self.octets = self.dtype.itemsize
        self._quick = struct.Struct(">" + "".join(_CODES[octets] for _, octets in widths))

    def build(self, **values: int) -> bytes:
        """The octets. Fields that are constant may be left out."""
        octets: bytes = self.struct.build(values)
        return octets

    def read(self, octets: bytes, offset: int = 0) -> dict[str, int]:
        """The values at `offset`; constants are not checked. Raises struct.error past the end."""
        return dict(zip(self.names, self._quick.unpack_from(octets, offset), strict=True))


def declared_octets(field: Any) -> int:
    """Octets of one field of a Struct, whatever it is wrapped in (Renamed, Const, Default)."""
    while hasattr(field, "subcon"):
        field = field.subcon
    octets: int = field.sizeof()
    return octets
