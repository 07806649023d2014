"""Flows on standard output: as the records that a collector would get, made readable."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from xflowd.config.flowkey import FlowKey, zeroed
from xflowd.edge.terminal import Columns, JsonLines, Table, terminal_size
from xflowd.edge.terminal.output import require_written
from xflowd.exporting.catalogue import DEFAULT_WORD, fields_text, kinds
from xflowd.exporting.clock import message_clock
from xflowd.exporting.fillers import RecordContext
from xflowd.exporting.records import by_template, fill
from xflowd.metering.instant import Instant
from xflowd.metering.table import Records
from xflowd.wire.defaults import Kind
from xflowd.wire.template import Template, fields_of

_PORTION = 1024  # flows printed at once


def output(style: str, names: Mapping[int, str] | None = None) -> Table | JsonLines:
    """Standard output as a table for people or as JSON lines; `names` are interfaces' by index."""
    if style == "json":
        return JsonLines(sys.stdout)
    return Table(sys.stdout, *terminal_size(sys.stdout), names=names)


class Printer:
    """Prints flows as they end: the records are those of IPFIX, with `elements` where they are chosen."""

    def __init__(self, style: str, names: Mapping[int, str], elements: Sequence[str] = ()) -> None:
        self._output: Table | JsonLines | Columns = output(style, names)
        if elements and style != "json":
            self._output = Columns(sys.stdout)
        self._names = names
        elements = elements or (DEFAULT_WORD,)
        self._templates = {kind: _template(kind, elements) for kind in kinds(elements)}
        self.sampling_interval = 1
        self.portion = _PORTION

    def know_key(self, key: FlowKey) -> None:
        """By what flows are told apart: what is left out is not known."""
        if isinstance(self._output, Table):
            unknown = zeroed(key)
            self._output.with_types = not {"icmpTypeCodeIPv4", "icmpTypeCodeIPv6"} & unknown
            self._output.with_protocol = "protocolIdentifier" not in unknown

    @property
    def closed(self) -> bool:
        """True once nobody reads any more."""
        return self._output.closed

    def take(self, ended: Records, now: Instant) -> None:
        """Print flows of type FLOW."""
        for template, told in by_template(ended, self._templates, np.ones(len(ended), np.bool_)):
            chosen = ended[told]
            clock = message_clock(now, int(chosen["flow_end_ns"].max()))
            records = fill(template, chosen, RecordContext(clock, self.sampling_interval, self._names))
            self._output.write(records.view(readable(template)))

    def require_written(self) -> None:
        """Raises OSError where not all could be written, though somebody wants it."""
        require_written()

    def commit(self) -> None:
        """What is printed is printed."""

    def rollback(self) -> None:
        """What is printed is printed."""

    def due(self, now: Instant) -> bool:
        """Nothing is printed without flows."""
        return False


def _template(kind: Kind, elements: Sequence[str]) -> Template:
    """The record that is printed; it needs no number and no padding."""
    return Template(0, fields_of(fields_text("ipfix", kind, elements)))


@lru_cache(maxsize=64)
def readable(template: Template) -> np.dtype[np.void]:
    """A template's record with IPv4 addresses as four octets, which is how addresses are told from numbers."""
    columns = []
    for name, field in zip(template.names, template.all_fields, strict=True):
        is_ipv4 = field.element.type == "ipv4Address" and field.octets == 4
        columns.append((name, np.dtype((np.uint8, 4)) if is_ipv4 else template.dtype[name]))
    return np.dtype(columns)
