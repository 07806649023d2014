"""What a flow's record holds where nobody has chosen elements: by protocol and IP version, in the order of the wire.

Texts for `fields_of`, without numpy: the configuration is checked by them, and every command reads that.
"""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """Flows that have one template: by IP version, and by that of the tunnel around them where it is told, else 0."""

    ip_version: int
    outer_ip_version: int = 0


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

DEFAULT: dict[tuple[str, int], str] = {
    ("netflow9", 4): _FLOW.format(ip="IPv4", icmp="IPv4", **_NETFLOW9),
    ("netflow9", 6): _FLOW.format(ip="IPv6", icmp="IPv4", **_NETFLOW9),
    ("ipfix", 4): _FLOW.format(ip="IPv4", icmp="IPv4", **_IPFIX),
    ("ipfix", 6): _FLOW.format(ip="IPv6", icmp="IPv6", **_IPFIX),
}
