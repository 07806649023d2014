"""Flows as JSON, an object a line, under the IANA names of their elements."""

from __future__ import annotations

import json
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from xflowd.edge.terminal import texts
from xflowd.edge.terminal.output import Output


class JsonLines:
    """Writes record arrays to a stream. Numbers are numbers; addresses and times (ISO 8601) are strings."""

    def __init__(self, stream: TextIO) -> None:
        self._output = Output(stream)

    @property
    def closed(self) -> bool:
        """True once nobody reads any more."""
        return self._output.closed

    def write(self, array: npt.NDArray[Any]) -> None:
        """Write one line for each record; fields become keys in the order of the record."""
        names = array.dtype.names or ()
        pairs = ", ".join(f"{json.dumps(name).replace('%', '%%')}: %s" for name in names)
        line = f"{{{pairs}}}\n"
        columns = [values(name, array[name]) for name in names]
        self._output.write("".join([line % row for row in zip(*columns, strict=True)]))


def values(name: str, column: texts.Column) -> list[str]:
    """The column of an element as JSON, value by value."""
    unit, kind = texts.time_unit_ms(name), column.dtype.kind
    if texts.is_octets(column):
        return [f'"{text}"' for text in texts.of_octets(name, column)]
    if unit and kind == "u":
        return [f'"{text}Z"' for text in texts.of_times(column.astype(np.uint64) * np.uint64(unit))]
    if (ntp := texts.ntp_unit(name)) and kind == "u" and column.itemsize == 8:
        return [f'"{text}Z"' for text in texts.of_ntp(column, ntp)]
    if kind in "iu" and column.ndim == 1:
        return list(map(str, column.tolist()))
    if kind in "SU":
        return [json.dumps(text) for text in texts.of_characters(column)]
    return [_number(value) for value in column.tolist()]


def _number(value: object) -> str:
    """JSON has neither NaN nor infinity."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return "null"
