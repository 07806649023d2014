"""The templates that are sent: one list of elements for the four of flows, one for each kind of options.

A number of a template stands for its content for ever, also after a restart or an update: who changes a list
here gives it new numbers. They are high, so that no other exporter's are the same by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

from xflowd.wire import netflow9
from xflowd.wire.template import Field, Template, fields_of


@dataclass(frozen=True, slots=True)
class ExportTemplates:
    """All templates of one protocol."""

    ipv4: Template
    ipv6: Template
    sampler: Template
    interface: Template
    statistics: Template

    @property
    def options(self) -> tuple[Template, ...]:
        """The options templates, in the order in which they are announced."""
        return (self.sampler, self.interface, self.statistics)


# ICMP type and code stand before the destination port: nfdump takes the last of the two for ICMP otherwise.
_FLOW = (
    "source{ip}Address destination{ip}Address ipNextHop{ip}Address ingressInterface egressInterface"
    " packetDeltaCount octetDeltaCount {start} {end}"
    " icmpTypeCode{icmp} sourceTransportPort destinationTransportPort vlanId"
    " tcpControlBits/1 protocolIdentifier ipClassOfService flowDirection"
    " source{ip}PrefixLength destination{ip}PrefixLength ipVersion {last_octet}"
    " samplingInterval bgpSourceAsNumber bgpDestinationAsNumber sourceMacAddress destinationMacAddress"
)
# v9 has no flowEndReason, and 32 for ICMPv6 too; in IPFIX, times are of the wall clock.
_NETFLOW9 = {"start": "flowStartSysUpTime", "end": "flowEndSysUpTime", "last_octet": "minimumTTL"}
_IPFIX = {"start": "flowStartMilliseconds", "end": "flowEndMilliseconds", "last_octet": "flowEndReason"}

_SAMPLER = "samplingInterval samplerRandomInterval samplerMode samplerName/11"
_INTERFACE = "ingressInterface interfaceDescription/32"
_STATISTICS = "exportedMessageTotalCount exportedFlowRecordTotalCount exportedOctetTotalCount"
_METERING_STATISTICS = " ignoredPacketTotalCount notSentFlowTotalCount"  # above 127: not in v9


def _options(template_id: int, scope: tuple[Field, ...], text: str) -> Template:
    return Template(template_id, fields_of(text), scope, is_options=True)


_SYSTEM = (Field(netflow9.SCOPES[1], 4),)
_DOMAIN = fields_of("observationDomainId")

NETFLOW9 = ExportTemplates(
    ipv4=Template(904, fields_of(_FLOW.format(ip="IPv4", icmp="IPv4", **_NETFLOW9))),
    ipv6=Template(906, fields_of(_FLOW.format(ip="IPv6", icmp="IPv4", **_NETFLOW9))),
    sampler=_options(910, _SYSTEM, _SAMPLER),
    interface=_options(911, _SYSTEM, _INTERFACE),
    statistics=_options(912, _SYSTEM, _STATISTICS),
)
IPFIX = ExportTemplates(
    ipv4=Template(1004, fields_of(_FLOW.format(ip="IPv4", icmp="IPv4", **_IPFIX))),
    ipv6=Template(1006, fields_of(_FLOW.format(ip="IPv6", icmp="IPv6", **_IPFIX))),
    sampler=_options(1010, _DOMAIN, _SAMPLER),
    interface=_options(1011, _DOMAIN, _INTERFACE),
    statistics=_options(1012, _DOMAIN, _STATISTICS + _METERING_STATISTICS),
)
