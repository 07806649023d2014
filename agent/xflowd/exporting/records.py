"""Ended flows become data records: which column of a flow fills which element.

The IANA name of an element is the name of the column, in the other spelling; IPv4 and IPv6 share columns.
Only what is not a column of the flow has a filler here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.exporting.clock import NS_PER_MS, MessageClock
from xflowd.metering.flow import FLOW
from xflowd.wire.template import Field, Template

Array = npt.NDArray[Any]
_UNSIGNED32 = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class RecordContext:
    """What a record tells that is not of the flow: by which clock, and one of how many packets is counted."""

    clock: MessageClock
    sampling_interval: int


Filler = Callable[[Array, RecordContext], Array | int | bytes]


def _start_ns(flows: Array) -> Array:
    """Never after the end, which two CPUs can leave behind by the step of a coarse clock."""
    start: Array = np.minimum(flows["flow_start_ns"], flows["flow_end_ns"])
    return start


def _unix_ms(monotonic_ns: Array, clock: MessageClock) -> Array:
    """Signed: a flow that began before the clock of a device without battery was set can be before 1970."""
    milliseconds: Array = (monotonic_ns.astype(np.int64) + clock.monotonic_zero_unix_ns) // NS_PER_MS
    return milliseconds


def _uptime_ms(monotonic_ns: Array, clock: MessageClock) -> Array:
    uptime: Array = np.clip(_unix_ms(monotonic_ns, clock) - clock.uptime_zero_unix_ms, 0, _UNSIGNED32)
    return uptime


#: Element → its values, for all that a flow has no column of.
FILLERS: Mapping[str, Filler] = {
    "flowStartSysUpTime": lambda flows, context: _uptime_ms(_start_ns(flows), context.clock),
    "flowEndSysUpTime": lambda flows, context: _uptime_ms(flows["flow_end_ns"], context.clock),
    "flowStartMilliseconds": lambda flows, context: _unix_ms(_start_ns(flows), context.clock).clip(0),
    "flowEndMilliseconds": lambda flows, context: _unix_ms(flows["flow_end_ns"], context.clock).clip(0),
    "samplingInterval": lambda flows, context: context.sampling_interval,
    "paddingOctets": lambda flows, context: b"",  # as many zeros as the field has octets
}


def fill(template: Template, flows: Array, context: RecordContext) -> Array:
    """The data records of `flows` (of FLOW), one each, as an array of `template.dtype`.

    Raises LookupError for an element that neither a column nor a filler gives.
    """
    plan = _plan(template)
    records = np.empty(len(flows), plan.target)
    source = flows.view(plan.source)
    for name in plan.columns:
        records[name] = source[name]
    for name, filler in plan.fillers:
        records[name] = filler(flows, context)
    return records.view(template.dtype)


def column_of(element_name: str) -> str | None:
    """The column of FLOW that an element is filled from: `sourceIPv4Address` → `source_address`."""
    for name in (element_name, re.sub("IPv[46]", "", element_name)):
        column = snake_case(name)
        if column in (FLOW.names or ()):
            return column
    return None


def snake_case(name: str) -> str:
    """IANA's spelling → that of code: `flowLabelIPv6` → `flow_label_ipv6`, `minimumTTL` → `minimum_ttl`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.replace("IPv", "Ipv"))
    return words.lower()


@dataclass(frozen=True, slots=True)
class _Plan:
    """Two views under the template's names, over the record and over the flow: a column is one assignment."""

    target: np.dtype[np.void]
    source: np.dtype[np.void]
    columns: tuple[str, ...]
    fillers: tuple[tuple[str, Filler], ...]


@lru_cache(maxsize=64)
def _plan(template: Template) -> _Plan:
    pairs = list(zip(template.names, template.all_fields, strict=True))
    columns = {name: field for name, field in pairs if field.element.name not in FILLERS}
    fillers = tuple((name, FILLERS[field.element.name]) for name, field in pairs if name not in columns)
    formats, offsets = zip(*(_source(field) for field in columns.values()), strict=True)
    source = np.dtype({"names": list(columns), "formats": formats, "offsets": offsets, "itemsize": FLOW.itemsize})
    target = np.dtype([(name, _as_block(template.dtype[name])) for name in template.names])
    return _Plan(target, source, tuple(columns), fillers)


def _source(field: Field) -> tuple[npt.DTypeLike, int]:
    column = column_of(field.element.name)
    if column is None:
        raise LookupError(f"no column of a flow and no filler for element {field.element.name}")
    assert FLOW.fields is not None
    kind, offset = FLOW.fields[column][:2]
    if kind.subdtype is None:
        return kind, offset
    # Octets in network order; an IPv4 address is the first four of its sixteen.
    return (">u4" if field.element.type == "ipv4Address" else np.dtype((np.void, field.octets))), offset


def _as_block(column: np.dtype[Any]) -> np.dtype[Any]:
    """An array of octets as one value of as many, which numpy copies in one go."""
    return column if column.subdtype is None else np.dtype((np.void, column.itemsize))
