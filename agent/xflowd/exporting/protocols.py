"""The three protocols as one table: framing, templates, and what their message headers carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from xflowd.exporting.catalogue import fields_text, kinds
from xflowd.exporting.clock import NS_PER_S, MessageClock
from xflowd.exporting.packing import Framing
from xflowd.wire import ipfix, netflow5, netflow9, sets, templates
from xflowd.wire.defaults import Kind
from xflowd.wire.elements import OUTER
from xflowd.wire.template import Template
from xflowd.wire.templates import ExportTemplates

_UNSIGNED16 = (1 << 16) - 1


@dataclass(frozen=True, slots=True)
class Protocol:
    """What an Exporting Process must know of its protocol.

    `flow_templates`: a flow is told by the first whose kind it is of. `header_values`: from clock, observation domain
    and sampling interval, the fields of the header that are alike in all messages of an export. `wire` and `announced`
    are None without templates.
    """

    name: str
    framing: Framing
    flow_templates: Mapping[Kind, Template]
    header_values: Callable[[MessageClock, int, int], Mapping[str, int]]
    wire: ModuleType | None = None
    announced: ExportTemplates | None = None


def _netflow5_header(clock: MessageClock, domain: int, sampling_interval: int) -> Mapping[str, int]:
    """Engine type and ID are 0: v5 has no domain. The mode stays 00: some read it as part of the rate."""
    return {
        "version": netflow5.VERSION,
        "system_uptime": clock.uptime_ms,
        "unix_seconds": clock.unix_ns // NS_PER_S,
        "unix_nanoseconds": clock.unix_ns % NS_PER_S,
        "engine_type": 0,
        "engine_id": 0,
        "sampling": sampling_interval,
    }


def _netflow9_header(clock: MessageClock, domain: int, sampling_interval: int) -> Mapping[str, int]:
    return {
        "version": netflow9.VERSION,
        "system_uptime": clock.uptime_ms_at_seconds,
        "unix_seconds": clock.unix_seconds,
        "source_id": domain,
    }


def _ipfix_header(clock: MessageClock, domain: int, sampling_interval: int) -> Mapping[str, int]:
    return {
        "version": ipfix.VERSION,
        "export_time": clock.unix_seconds,
        "observation_domain": domain,
    }


_NETFLOW5 = Protocol(
    "netflow5",
    Framing(netflow5.HEADER, None, netflow5.MAXIMUM_RECORDS, sequence_counts_messages=False),
    {Kind(4): netflow5.RECORD},
    _netflow5_header,
)
_NETFLOW9 = Protocol(
    "netflow9",
    Framing(netflow9.HEADER, sets.HEADER, _UNSIGNED16, sequence_counts_messages=True),
    templates.NETFLOW9.flows,
    _netflow9_header,
    netflow9,
    templates.NETFLOW9,
)
_IPFIX = Protocol(
    "ipfix",
    Framing(ipfix.HEADER, sets.HEADER, _UNSIGNED16, sequence_counts_messages=False),
    templates.IPFIX.flows,
    _ipfix_header,
    ipfix,
    templates.IPFIX,
)
PROTOCOLS = {each.name: each for each in (_NETFLOW5, _NETFLOW9, _IPFIX)}


def with_elements(name: str, elements: Sequence[str]) -> Protocol:
    """The protocol of this name, its flows told by chosen `elements` (see catalogue.py); by its own if there are none.

    Raises ValueError where it has no templates, or the elements leave a kind of flows without any.
    """
    protocol = PROTOCOLS[name]
    if not elements:
        return protocol
    if protocol.announced is None:
        raise ValueError(f"{name} has one form of record: no elements can be chosen")
    if name != "ipfix" and any(each.startswith(OUTER) for each in elements):
        raise ValueError(f"{name} has an element once in a record: none of a header around can be chosen")
    announced = templates.chosen(name, {kind: fields_text(name, kind, elements) for kind in kinds(elements)})
    return replace(protocol, announced=announced, flow_templates=announced.flows)
