"""Ended flows become data records: which column of a flow fills which element.

The IANA name of an element is the name of the column, in the other spelling; IPv4 and IPv6 share columns.
Only what is not a column of the flow has a filler.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.exporting.fillers import FILLERS, Filler, RecordContext, snake_case
from xflowd.metering.flow import FLOW
from xflowd.wire.defaults import Kind
from xflowd.wire.template import Field, Template

Array = npt.NDArray[Any]


def fill(template: Template, flows: Array, context: RecordContext) -> Array:
    """The data records of `flows` (of FLOW, or with other columns), one each, as an array of `template.dtype`.

    Raises LookupError for an element that neither a column nor a filler gives.
    """
    plan = _plan(template, flows.dtype)
    records = np.empty(len(flows), plan.target)
    source = flows.view(plan.source)
    for name in plan.columns:
        records[name] = source[name]
    for name, filler in plan.fillers:
        records[name] = filler(flows, context)
    return records.view(template.dtype)


def by_template(flows: Array, templates: Mapping[Kind, Template], among: Array) -> Iterator[tuple[Template, Array]]:
    """Which flows `among` these each template tells, as masks over `flows`; a template of no flow is left out."""
    remaining = among
    for kind, template in templates.items():
        chosen = remaining & (flows["ip_version"] == kind.ip_version)
        if kind.outer_ip_version:
            chosen &= flows["outer_ip_version"] == kind.outer_ip_version
        remaining = remaining & ~chosen
        if chosen.any():
            yield template, chosen


def column_of(field_name: str, flow: np.dtype[np.void] = FLOW) -> str | None:
    """The column of a flow that a field is filled from: `sourceIPv4Address` → `source_address`."""
    for name in (field_name, re.sub("IPv[46]", "", field_name)):
        column = snake_case(name)
        if column in (flow.names or ()):
            return column
    return None


@dataclass(frozen=True, slots=True)
class _Plan:
    """Two views under the template's names, over the record and over the flow: a column is one assignment."""

    target: np.dtype[np.void]
    source: np.dtype[np.void]
    columns: tuple[str, ...]
    fillers: tuple[tuple[str, Filler], ...]


@lru_cache(maxsize=64)
def _plan(template: Template, flow: np.dtype[np.void]) -> _Plan:
    pairs = list(zip(template.names, template.all_fields, strict=True))
    columns = {name: field for name, field in pairs if field.name not in FILLERS}
    fillers = tuple((name, FILLERS[field.name]) for name, field in pairs if name not in columns)
    sources = [_source(field, flow) for field in columns.values()]
    source = np.dtype(
        {
            "names": list(columns),
            "formats": [kind for kind, _ in sources],
            "offsets": [offset for _, offset in sources],
            "itemsize": flow.itemsize,
        }
    )
    target = np.dtype([(name, _as_block(template.dtype[name])) for name in template.names])
    return _Plan(target, source, tuple(columns), fillers)


def _source(field: Field, flow: np.dtype[np.void]) -> tuple[npt.DTypeLike, int]:
    column = column_of(field.name, flow)
    if column is None:
        raise LookupError(f"no column of a flow and no filler for element {field.name}")
    assert flow.fields is not None
    kind, offset = flow.fields[column][:2]
    if kind.subdtype is None:
        return kind, offset
    # Octets in network order; an IPv4 address is the first four of its sixteen.
    return (">u4" if field.element.type == "ipv4Address" else np.dtype((np.void, field.octets))), offset


def _as_block(column: np.dtype[Any]) -> np.dtype[Any]:
    """An array of octets as one value of as many, which numpy copies in one go."""
    return column if column.subdtype is None else np.dtype((np.void, column.itemsize))
