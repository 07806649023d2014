"""The elements that a flow's record can have, and what of a chosen list the template of each kind of flows gets.

Without numpy: the configuration is checked by it, and every command reads that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xflowd.wire.defaults import DEFAULT, Kind
from xflowd.wire.elements import BY_NAME, OUTER, Element

DEFAULT_WORD = "default"  # stands for all of the protocol's own template
IP_VERSIONS = (4, 6)
_ICMP4, _ICMP6, _DESTINATION_PORT = "icmpTypeCodeIPv4", "icmpTypeCodeIPv6", "destinationTransportPort"

#: By what the programs must look at for them (enum detail of ebpf/flow.h, without DETAIL_); "" is always there. After
#: a slash the octets on the wire, where they are fewer than the type's: what collectors are used to, and enough.
_BY_DETAIL = {
    "": """
        sourceIPv4Address sourceIPv6Address destinationIPv4Address destinationIPv6Address ipVersion
        sourceTransportPort destinationTransportPort protocolIdentifier icmpTypeCodeIPv4 icmpTypeCodeIPv6
        icmpTypeIPv4 icmpTypeIPv6 icmpCodeIPv4 icmpCodeIPv6 tcpControlBits/1 ipClassOfService flowLabelIPv6
        packetDeltaCount octetDeltaCount minimumIpTotalLength/2 maximumIpTotalLength/2 minimumTTL maximumTTL
        flowStartSysUpTime flowEndSysUpTime systemInitTimeMilliseconds flowStartSeconds flowEndSeconds
        flowStartMilliseconds flowEndMilliseconds flowStartMicroseconds flowEndMicroseconds
        flowStartNanoseconds flowEndNanoseconds flowDurationMilliseconds flowDurationMicroseconds flowEndReason
        ingressInterface egressInterface interfaceName/16 flowDirection samplingInterval
        sourceMacAddress destinationMacAddress vlanId dot1qVlanId dot1qCustomerVlanId
        sourceIPv4PrefixLength sourceIPv6PrefixLength destinationIPv4PrefixLength destinationIPv6PrefixLength
        ipNextHopIPv4Address ipNextHopIPv6Address bgpSourceAsNumber bgpDestinationAsNumber
        """,
    "MPLS": "mplsTopLabelStackSection/3 mplsLabelStackSection2/3 mplsLabelStackSection3/3 mplsLabelStackDepth",
    "FRAGMENTS": "fragmentIdentification fragmentFlags fragmentOffset",
    "OPTIONS": "ipv4Options ipv6ExtensionHeaders tcpOptions",
    "TCP": "tcpWindowSize tcpWindowScale",
    "TCP_COUNTS": """
        tcpSynTotalCount/4 tcpFinTotalCount/4 tcpRstTotalCount/4 tcpPshTotalCount/4 tcpAckTotalCount/4
        tcpUrgTotalCount/4
        """,
    "TUNNEL": """
        outer:sourceIPv4Address outer:sourceIPv6Address outer:destinationIPv4Address outer:destinationIPv6Address
        layer2SegmentId greKey gtpuTEid
        """,
}


@dataclass(frozen=True, slots=True)
class Offered:
    """An element that can be chosen. `octets` is its width on the wire, `detail` what the programs must look at.

    `outer`: of the header around the flow's own.
    """

    element: Element
    octets: int
    detail: str
    outer: bool = False

    @property
    def name(self) -> str:
        """As it is chosen."""
        return OUTER + self.element.name if self.outer else self.element.name

    @property
    def ip_version(self) -> int | None:
        """The only IP version that has it, by its name; None if it is of both. With `outer`, of the header around."""
        name = self.element.name.lower()
        return next((version for version in IP_VERSIONS if f"ipv{version}" in name), None)

    @property
    def counterpart(self) -> str | None:
        """The element that says the same of the other IP version, as it is chosen."""
        name = self.element.name
        swapped = name.replace("IPv4", "IPv6") if "IPv4" in name else name.replace("IPv6", "IPv4")
        if swapped == name or swapped not in BY_NAME:
            return None
        return OUTER + swapped if self.outer else swapped


def _offered(word: str, detail: str) -> Offered:
    name, _, octets = word.partition("/")
    element = BY_NAME[name.removeprefix(OUTER)]
    return Offered(element, int(octets) if octets else element.octets, detail, name.startswith(OUTER))


_EVERY = [_offered(word, detail) for detail, text in _BY_DETAIL.items() for word in text.split()]
OFFERED = {each.name: each for each in _EVERY}


def kinds(elements: Iterable[str]) -> tuple[Kind, ...]:
    """Those that these elements have a template each for: a flow has the first one that it is of."""
    plain = tuple(map(Kind, IP_VERSIONS))
    if not any(name.startswith(OUTER) for name in elements):
        return plain
    return (*(Kind(inner, outer) for inner in IP_VERSIONS for outer in IP_VERSIONS), *plain)


def fields_text(protocol: str, kind: Kind, elements: Iterable[str]) -> str:
    """What a template has of the chosen `elements`, for `fields_of`; empty if nothing of them is of such flows.

    Order is that of the list, but what is of the header around comes first (RFC 7011 section 8), and ICMP type and code
    stand before the destination port: nfdump takes the last of the two for ICMP. `protocol` is one with templates.
    """
    chosen: dict[str, str] = {}
    for name in elements:
        is_default = name == DEFAULT_WORD
        words = DEFAULT[protocol, kind.ip_version].split() if is_default else _words(protocol, kind, name)
        for word in words:
            chosen.setdefault(word.partition("/")[0], word)
    return " ".join(sorted(_icmp_first(list(chosen.values())), key=lambda word: not word.startswith(OUTER)))


def details(elements: Iterable[str]) -> set[str]:
    """What the programs must look at for these elements, by names of enum detail."""
    groups = {OFFERED[name].detail for name in elements if name != DEFAULT_WORD}
    return {f"DETAIL_{group}" for group in groups if group}


def defaults(name: str) -> list[str]:
    """The protocols whose own template has this element, for one IP version or both."""
    return [
        protocol
        for protocol in dict.fromkeys(protocol for protocol, _ in DEFAULT)
        if any(name in _names(DEFAULT[protocol, ip_version]) for ip_version in IP_VERSIONS)
    ]


def _names(text: str) -> list[str]:
    return [word.partition("/")[0] for word in text.split()]


def _words(protocol: str, kind: Kind, name: str) -> list[str]:
    """The element as the template of these flows has it: one word, or none."""
    offered = OFFERED[name]
    ip_version = kind.outer_ip_version if offered.outer else kind.ip_version
    if not ip_version:
        return []
    if offered.ip_version not in (None, ip_version):
        if offered.counterpart is None:
            return []
        offered = OFFERED[offered.counterpart]
    if protocol == "netflow9" and offered.element.name == _ICMP6:
        offered = OFFERED[_ICMP4]  # v9 has one number for both
    return [f"{offered.name}/{offered.octets}"]


def _icmp_first(words: list[str]) -> list[str]:
    names = [word.partition("/")[0] for word in words]
    icmp = next((name for name in (_ICMP4, _ICMP6) if name in names), None)
    if icmp is None or _DESTINATION_PORT not in names or names.index(icmp) < names.index(_DESTINATION_PORT):
        return words
    words.insert(names.index(_DESTINATION_PORT), words.pop(names.index(icmp)))
    return words
