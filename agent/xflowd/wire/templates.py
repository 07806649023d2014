"""The templates that are sent: those of flows that nobody has chosen otherwise, and one for each kind of options.

A number of a template stands for its content for ever, also after a restart or an update: who changes a list here
or in defaults.py gives it new numbers. They are high, so that no other exporter's are the same by chance.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from xflowd.wire import netflow9
from xflowd.wire.defaults import DEFAULT, Kind
from xflowd.wire.elements import BY_NAME
from xflowd.wire.template import Field, Template, fields_of


@dataclass(frozen=True, slots=True)
class ExportTemplates:
    """All templates of one protocol. Of `flows` each has the first whose kind it is of."""

    flows: Mapping[Kind, Template]
    sampler: Template
    interface: Template
    statistics: Template

    @property
    def options(self) -> tuple[Template, ...]:
        """The options templates, in the order in which they are announced."""
        return (self.sampler, self.interface, self.statistics)


_SAMPLER = "samplingInterval samplerRandomInterval samplerMode samplerName/11"
_INTERFACE = "ingressInterface interfaceDescription/32"
_STATISTICS = "exportedMessageTotalCount exportedFlowRecordTotalCount exportedOctetTotalCount"
_METERING_STATISTICS = " ignoredPacketTotalCount notSentFlowTotalCount"  # above 127: not in v9


def _options(template_id: int, scope: tuple[Field, ...], text: str) -> Template:
    return Template(template_id, fields_of(text), scope, is_options=True)


_SYSTEM = (Field(netflow9.SCOPES[1], 4),)
_DOMAIN = fields_of("observationDomainId")

NETFLOW9 = ExportTemplates(
    flows={
        Kind(4): Template(904, fields_of(DEFAULT["netflow9", 4])),
        Kind(6): Template(906, fields_of(DEFAULT["netflow9", 6])),
    },
    sampler=_options(910, _SYSTEM, _SAMPLER),
    interface=_options(911, _SYSTEM, _INTERFACE),
    statistics=_options(912, _SYSTEM, _STATISTICS),
)
IPFIX = ExportTemplates(
    flows={
        Kind(4): Template(1004, fields_of(DEFAULT["ipfix", 4])),
        Kind(6): Template(1006, fields_of(DEFAULT["ipfix", 6])),
    },
    sampler=_options(1010, _DOMAIN, _SAMPLER),
    interface=_options(1011, _DOMAIN, _INTERFACE),
    statistics=_options(1012, _DOMAIN, _STATISTICS + _METERING_STATISTICS),
)
BY_PROTOCOL = {"netflow9": NETFLOW9, "ipfix": IPFIX}

#: The numbers of templates whose elements somebody has chosen: what a number stands for is in the number.
_CHOSEN = range(10_000, 1 << 16)


def chosen(protocol: str, texts: Mapping[Kind, str]) -> ExportTemplates:
    """The templates of a protocol with these fields of flows, as texts for `fields_of`.

    A record is a multiple of four octets: zeros fill it up. Raises ValueError where a kind of flows has no fields.
    """
    told = BY_PROTOCOL[protocol]
    made: dict[Kind, Template] = {}
    for kind, text in texts.items():
        template = _chosen(protocol, kind.ip_version, text, told.flows.get(kind))
        while template.template_id in [other.template_id for other in made.values()]:
            template = replace(template, template_id=_number(template.template_id + 1 - _CHOSEN.start))
        made[kind] = template
    return replace(told, flows=made)


def _chosen(protocol: str, ip_version: int, text: str, default: Template | None) -> Template:
    fields = fields_of(text)
    if not fields:
        raise ValueError(f"no element is of IPv{ip_version} flows")
    if default and fields == default.fields:
        return default
    padding = -sum(field.octets for field in fields) % 4
    if padding:
        fields += (Field(BY_NAME["paddingOctets"], padding),)
    content = " ".join(f"{field.element.number}/{field.octets}" for field in fields)
    return Template(_number(zlib.crc32(f"{protocol} {ip_version} {content}".encode())), fields)


def _number(value: int) -> int:
    return _CHOSEN[value % len(_CHOSEN)]
