"""Flows as a plain table with a column for each element, under its own name: for records that were chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

import numpy.typing as npt

from xflowd.edge.terminal.jsonlines import values
from xflowd.edge.terminal.output import Output

_GAP = "  "


class Columns:
    """Writes record arrays to a stream. Lines are as long as they are: there is no choosing among what was chosen.

    A header comes before the first line, and where the elements change with the IP version or a column grows wider.
    """

    def __init__(self, stream: TextIO) -> None:
        self._output = Output(stream)
        self._names: tuple[str, ...] = ()
        self._widths: dict[str, int] = {}

    @property
    def closed(self) -> bool:
        """True once nobody reads any more."""
        return self._output.closed

    def write(self, array: npt.NDArray[Any]) -> None:
        """Write one line for each record: numbers to the right, all else to the left."""
        names = array.dtype.names or ()
        columns = [[text.strip('"') for text in values(name, array[name])] for name in names]
        wider = self._widen(names, columns)
        lines = [self._line(names, names)] if wider or names != self._names else []
        self._names = names
        lines += [self._line(names, row) for row in zip(*columns, strict=True)]
        self._output.write("".join(lines))

    def _widen(self, names: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
        widest = [max(map(len, (name, *column))) for name, column in zip(names, columns, strict=True)]
        grown = {name: width for name, width in zip(names, widest, strict=True) if width > self._widths.get(name, 0)}
        self._widths |= grown
        return bool(grown)

    def _line(self, names: Sequence[str], row: Sequence[str]) -> str:
        cells = (
            text.rjust(self._widths[name]) if text.isdecimal() else text.ljust(self._widths[name])
            for name, text in zip(names, row, strict=True)
        )
        return _GAP.join(cells).rstrip() + "\n"
