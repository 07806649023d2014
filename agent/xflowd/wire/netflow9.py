"""NetFlow v9 (RFC 3954): the packet header, FlowSets, templates and options templates."""

from __future__ import annotations

import io
from collections.abc import Iterator

from construct import Array, Const, Int16ub, Int32ub, Rebuild, StreamError, Struct  # type: ignore[import-untyped]
from construct import this as this

from xflowd.wire.elements import Element, element_of
from xflowd.wire.layout import Layout
from xflowd.wire.malformed import MalformedMessage
from xflowd.wire.template import Field, Template

VERSION = 9
TEMPLATE_SET_ID, OPTIONS_TEMPLATE_SET_ID = 0, 1

HEADER = Layout(
    Struct(
        "version" / Const(VERSION, Int16ub),
        "count" / Int16ub,  # records of every kind, templates included
        "system_uptime" / Int32ub,  # ms
        "unix_seconds" / Int32ub,
        "sequence_number" / Int32ub,  # counts packets
        "source_id" / Int32ub,
    )
)
