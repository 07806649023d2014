"""The bank of packets: each with the flow that it must make, written by hand, or what it is counted as."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.frames import (
    ARP,
    DCCP,
    DESTINATION_OPTIONS,
    DO_NOT_FRAGMENT,
    DOT1AD,
    DOT1Q,
    ESP,
    GRE,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    LLDP,
    MORE_FRAGMENTS,
    MPLS,
    MPLS_MULTICAST,
    NO_NEXT,
    OSPF,
    PPP_IPV4,
    PPP_IPV6,
    PPP_LCP,
    PPP_MPLS,
    PPPOE,
    ROUTING,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
    authentication,
    ethernet,
    fragment,
    icmp,
    ipv4,
    ipv6,
    mpls,
    options_header,
    pppoe,
    tcp,
    udp,
)

NOT_IP, TOO_SHORT, MALFORMED = "PACKETS_NOT_IP", "PACKETS_TOO_SHORT", "PACKETS_MALFORMED"
JUMBOGRAM = "PACKETS_JUMBOGRAM"
_20 = b"\xee" * 20  # a payload, and enough of it for a test run of the packet without link layer


@dataclass(frozen=True)
class Flow:
    """The flow of one packet, as far as its headers make it."""

    protocol_identifier: int
    octets: int
    ip_version: int = 4
    source_transport_port: int = 0
    destination_transport_port: int = 0
    icmp_type_code: int = 0
    vlan_id: int = 0
    dot1q_customer_vlan_id: int = 0
    ip_class_of_service: int = 0
    ttl: int = 64
    tcp_control_bits: int = 0
    flow_label_ipv6: int = 0


@dataclass(frozen=True)
class Packet:
    """A packet behind its link layer's header, and what comes of it: a flow, or an outcome."""

    name: str
    link: bytes
    network: bytes
    expected: Flow | str

    @property
    def frame(self) -> bytes:
        return self.link + self.network


V4, V6 = ethernet(IPV4), ethernet(IPV6)
QINQ = ((DOT1AD, 200), (DOT1Q, 100))
_HBH, _ROUTING, _OPTIONS = (options_header(kind) for kind in (HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS))
JUMBOGRAM_BEHIND_ALERT = ipv6(
    UDP, udp(40000, 53, _20), (HOP_BY_HOP, b"\1\5\2\0\0\xc2\4\0\1\0\0\1\2\0\0"), payload_length=0
)
_DNS4, _DNS6 = ipv4(UDP, udp(40000, 53, _20)), ipv6(UDP, udp(40000, 53, _20))


def _dns(octets: int = 48, ip_version: int = 4, **other: int) -> Flow:
    """The flow of the packets that carry udp(40000, 53)."""
    ports = {"source_transport_port": 40000, "destination_transport_port": 53}
    return Flow(UDP, octets, ip_version, **ports, **other)


def _web(octets: int, ip_version: int = 4, flags: int = 0x10, **other: int) -> Flow:
    """The flow of the packets that carry tcp(50000, 443)."""
    ports = {"source_transport_port": 50000, "destination_transport_port": 443}
    return Flow(TCP, octets, ip_version, **ports, tcp_control_bits=flags, **other)


LINK_LAYER = [
    Packet("untagged", V4, _DNS4, _dns()),
    Packet("802.1Q", ethernet(IPV4, (DOT1Q, 100)), _DNS4, _dns(vlan_id=100)),
    Packet("802.1Q, priority and DEI set", ethernet(IPV4, (DOT1Q, 0xF064)), _DNS4, _dns(vlan_id=100)),
    Packet("802.1Q, priority tag", ethernet(IPV4, (DOT1Q, 0xA000)), _DNS4, _dns()),
    Packet("802.1Q, highest VLAN", ethernet(IPV4, (DOT1Q, 4094)), _DNS4, _dns(vlan_id=4094)),
    Packet("802.1ad", ethernet(IPV4, (DOT1AD, 200)), _DNS4, _dns(vlan_id=200)),
    Packet("QinQ", ethernet(IPV4, *QINQ), _DNS4, _dns(vlan_id=200, dot1q_customer_vlan_id=100)),
    Packet("two 802.1Q tags", ethernet(IPV4, (DOT1Q, 7), (DOT1Q, 8)), _DNS4,
           _dns(vlan_id=7, dot1q_customer_vlan_id=8)),
    Packet("IPv6, 802.1Q", ethernet(IPV6, (DOT1Q, 100)), _DNS6, _dns(68, 6, vlan_id=100)),
    Packet("IPv6, QinQ", ethernet(IPV6, *QINQ), _DNS6, _dns(68, 6, vlan_id=200, dot1q_customer_vlan_id=100)),
    Packet("three tags", ethernet(IPV4, (DOT1AD, 3), *QINQ), _DNS4, NOT_IP),
    Packet("tag of a TPID that no standard has", ethernet(IPV4, (0x9100, 100)), _DNS4, NOT_IP),
    Packet("ARP", ethernet(ARP), bytes.fromhex("0001080006040001") + bytes(20), NOT_IP),
    Packet("ARP, 802.1Q", ethernet(ARP, (DOT1Q, 100)), bytes(28), NOT_IP),
    Packet("LLDP", ethernet(LLDP), bytes(46), NOT_IP),
    Packet("802.3 with LLC", ethernet(46), bytes.fromhex("424203") + bytes(43), NOT_IP),
    Packet("802.3 with SNAP", ethernet(56), bytes.fromhex("aaaa03000000") + b"\x08\x00" + _DNS4, NOT_IP),
]  # fmt: skip

_FOUR = mpls(16, 17, 18, MPLS << 4, bottom=False)[:-2] + b"\x01\x3f"  # in the place of an EtherType, without link layer
ENCAPSULATIONS = [
    Packet("PPPoE", ethernet(PPPOE), pppoe(PPP_IPV4, _DNS4), _dns()),
    Packet("PPPoE of IPv6", ethernet(PPPOE), pppoe(PPP_IPV6, _DNS6), _dns(68, 6)),
    Packet("PPPoE, 802.1Q", ethernet(PPPOE, (DOT1Q, 7)), pppoe(PPP_IPV4, _DNS4), _dns(vlan_id=7)),
    Packet("PPPoE, QinQ", ethernet(PPPOE, *QINQ), pppoe(PPP_IPV6, _DNS6),
           _dns(68, 6, vlan_id=200, dot1q_customer_vlan_id=100)),
    Packet("PPPoE, padded to the least frame", ethernet(PPPOE), pppoe(PPP_IPV4, ipv4(UDP, udp(40000, 53))) + bytes(10),
           _dns(28)),
    Packet("PPPoE of LCP", ethernet(PPPOE), pppoe(PPP_LCP, bytes(20)), NOT_IP),
    Packet("PPPoE discovery", ethernet(0x8863), pppoe(PPP_IPV4, _DNS4, code=9), NOT_IP),
    Packet("PPPoE session of another code", ethernet(PPPOE), pppoe(PPP_IPV4, _DNS4, code=9), NOT_IP),
    Packet("PPPoE of another version", ethernet(PPPOE), pppoe(PPP_IPV4, _DNS4, version_type=0x21), NOT_IP),
    Packet("PPPoE of another type", ethernet(PPPOE), pppoe(PPP_IPV4, _DNS4, version_type=0x12), NOT_IP),
    Packet("PPPoE, IPv6 by its version, IPv4 by its protocol", ethernet(PPPOE), pppoe(PPP_IPV4, _DNS6), MALFORMED),
    Packet("MPLS", ethernet(MPLS), mpls(16) + _DNS4, _dns()),
    Packet("MPLS multicast", ethernet(MPLS_MULTICAST), mpls(16) + _DNS4, _dns()),
    Packet("MPLS, two labels, IPv6", ethernet(MPLS), mpls(16, 17) + _DNS6, _dns(68, 6)),
    Packet("MPLS, four labels", ethernet(MPLS), _FOUR + _DNS4, _dns()),
    Packet("MPLS, ten labels", ethernet(MPLS), mpls(*range(16, 26)) + ipv4(TCP, tcp(50000, 443)), _web(40)),
    Packet("MPLS, ten labels, TCP over IPv6", ethernet(MPLS), mpls(*range(16, 26)) + ipv6(TCP, tcp(50000, 443, 2)),
           _web(60, 6, 2)),
    Packet("MPLS, eleven labels", ethernet(MPLS), mpls(*range(16, 27)) + _DNS4, NOT_IP),
    Packet("MPLS, explicit null", ethernet(MPLS), mpls(0) + _DNS4, _dns()),
    Packet("MPLS, 802.1Q", ethernet(MPLS, (DOT1Q, 7)), mpls(16) + _DNS4, _dns(vlan_id=7)),
    Packet("MPLS, QinQ", ethernet(MPLS, *QINQ), mpls(16, 17, 18) + _DNS6,
           _dns(68, 6, vlan_id=200, dot1q_customer_vlan_id=100)),
    Packet("MPLS in PPPoE", ethernet(PPPOE, (DOT1Q, 7)), pppoe(PPP_MPLS, mpls(16, 17) + _DNS4), _dns(vlan_id=7)),
    Packet("PPPoE in MPLS", ethernet(MPLS), mpls(16) + pppoe(PPP_IPV4, _DNS4), NOT_IP),
    Packet("Ethernet in MPLS", ethernet(MPLS), mpls(16) + bytes(4) + ethernet(IPV4) + _DNS4, NOT_IP),
    Packet("MPLS, four words of header", ethernet(MPLS), mpls(16) + ipv4(UDP, _20, header_words=4), MALFORMED),
    Packet("jumbogram", V6, ipv6(TCP, tcp(50000, 443), (HOP_BY_HOP, b"\0\xc2\4\0\1\0\0"), payload_length=0),
           JUMBOGRAM),
    Packet("jumbogram, its option behind another", V6, JUMBOGRAM_BEHIND_ALERT, JUMBOGRAM),
    Packet("jumbogram in MPLS", ethernet(MPLS), mpls(16) + JUMBOGRAM_BEHIND_ALERT, JUMBOGRAM),
    Packet("payload length 0, other options", V6, ipv6(TCP, tcp(50000, 443), _OPTIONS, payload_length=0),
           Flow(DESTINATION_OPTIONS, 40, 6)),
]  # fmt: skip

_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
_COMBINATIONS = {"none": 0, "all": 255} | {name: 1 << bit for bit, name in enumerate(_FLAGS)}
_TCP4 = [
    Packet(f"TCP flags {name}", V4, ipv4(TCP, tcp(50000, 443, flags, payload=_20)), _web(60, flags=flags))
    for name, flags in _COMBINATIONS.items()
]
_OTHERS4 = [
    Packet(f"IPv4, protocol {protocol}", V4, ipv4(protocol, _20), Flow(protocol, 40))
    for protocol in (0, 4, 41, 43, 44, GRE, ESP, 51, ICMPV6 + 1, OSPF, 103, 112, 115, 253, 255)
]
IPV4_PACKETS = [
    *_TCP4,
    Packet("TCP, accurate ECN bit", V4, ipv4(TCP, tcp(50000, 443, 0x110, payload=_20)), _web(60)),
    Packet("TCP with options", V4, ipv4(TCP, tcp(50000, 443, 2, b"\x02\x04\x05\xb4" * 10)),
           _web(80, flags=2)),
    Packet("TCP after IPv4 options", V4, ipv4(TCP, tcp(50000, 443), options=b"\x94\x04\0\0"), _web(44)),
    Packet("UDP after 40 octets of options", V4, ipv4(UDP, udp(40000, 53, _20), options=b"\x01" * 40),
           _dns(88)),
    Packet("UDP without payload", V4, ipv4(UDP, udp(40000, 53)), _dns(28)),
    Packet("UDP, padded to the least frame", V4, ipv4(UDP, udp(40000, 53)) + bytes(18), _dns(28)),
    Packet("TCP, padded to the least frame", V4, ipv4(TCP, tcp(50000, 443)) + bytes(6), _web(40)),
    Packet("UDP-Lite", V4, ipv4(UDPLITE, udp(1, 65535, _20)), Flow(UDPLITE, 48, 4, 1, 65535)),
    Packet("SCTP", V4, ipv4(SCTP, udp(36412, 36412, _20)), Flow(SCTP, 48, 4, 36412, 36412)),
    Packet("DCCP", V4, ipv4(DCCP, udp(5001, 5002, _20)), Flow(DCCP, 48, 4, 5001, 5002)),
    Packet("echo request", V4, ipv4(ICMP, icmp(8, 0, _20)), Flow(ICMP, 48, icmp_type_code=0x0800)),
    Packet("echo reply", V4, ipv4(ICMP, icmp(0, 0, _20)), Flow(ICMP, 48)),
    Packet("administratively filtered", V4, ipv4(ICMP, icmp(3, 13, _DNS4)),
           Flow(ICMP, 76, icmp_type_code=0x030D)),
    *_OTHERS4,
    Packet("no payload", V4, ipv4(253, b""), Flow(253, 20)),
    Packet("no payload, padded", V4, ipv4(253, b"") + bytes(26), Flow(253, 20)),
    Packet("type of service", V4, ipv4(UDP, udp(40000, 53, _20), tos=0xB9), _dns(ip_class_of_service=0xB9)),
    Packet("TTL 0", V4, ipv4(UDP, udp(40000, 53, _20), ttl=0), _dns(ttl=0)),
    Packet("TTL 255", V4, ipv4(UDP, udp(40000, 53, _20), ttl=255), _dns(ttl=255)),
    Packet("do not fragment", V4, ipv4(UDP, udp(40000, 53, _20), fragment=DO_NOT_FRAGMENT), _dns()),
    Packet("first fragment", V4, ipv4(UDP, udp(40000, 53, _20), fragment=MORE_FRAGMENTS), _dns()),
    Packet("middle fragment", V4, ipv4(UDP, _DNS4, fragment=MORE_FRAGMENTS | 185), Flow(UDP, 68)),
    Packet("last fragment", V4, ipv4(TCP, tcp(50000, 443, payload=_20), fragment=0x1FFF), Flow(TCP, 60)),
    Packet("later fragment of ICMP", V4, ipv4(ICMP, icmp(8, 0, _20), fragment=1), Flow(ICMP, 48)),
    Packet("more octets than the frame has", V4, ipv4(UDP, udp(40000, 53, _20), total_length=1500),
           _dns(1500)),
    Packet("ports in the padding", V4, ipv4(UDP, b"") + udp(40000, 53) + bytes(18), Flow(UDP, 20)),
    Packet("flags in the padding", V4, ipv4(TCP, tcp(50000, 443, 1), total_length=33) + bytes(6), _web(33, flags=0)),
    Packet("65,535 octets", V4, ipv4(UDP, udp(40000, 53, _20), total_length=65535), _dns(65535)),
    Packet("1,500 octets", V4, ipv4(UDP, udp(40000, 53, bytes(1472))), _dns(1500)),
    Packet("jumbo", V4, ipv4(UDP, udp(40000, 53, bytes(8972))), _dns(9000)),
    Packet("jumbo, QinQ", ethernet(IPV4, *QINQ), ipv4(TCP, tcp(50000, 443, payload=bytes(8960))),
           _web(9000, vlan_id=200, dot1q_customer_vlan_id=100)),
    Packet("header of four words", V4, ipv4(UDP, udp(40000, 53, _20), header_words=4), MALFORMED),
    Packet("header of no words", V4, ipv4(UDP, udp(40000, 53, _20), header_words=0), MALFORMED),
    Packet("IPv6 by its version, IPv4 by its type", V4, ipv4(UDP, udp(40000, 53, _20), version=6), MALFORMED),
    Packet("version 0", V4, ipv4(UDP, udp(40000, 53, _20), version=0), MALFORMED),
    Packet("total length of a header less one", V4, ipv4(UDP, udp(40000, 53, _20), total_length=19),
           MALFORMED),
    Packet("total length 0", V4, ipv4(UDP, udp(40000, 53, _20), total_length=0), MALFORMED),
    Packet("total length within the options", V4, ipv4(UDP, _20, options=b"\x01" * 8, total_length=27),
           MALFORMED),
    Packet("options longer than the frame", V4, ipv4(UDP, _20, header_words=15, total_length=1500),
           TOO_SHORT),
]  # fmt: skip

_WEB_SYN = tcp(50000, 443, 2, payload=_20)
_OTHERS6 = [
    Packet(f"IPv6, protocol {protocol}", V6, ipv6(protocol, _20), Flow(protocol, 60, 6))
    for protocol in (4, 41, GRE, ESP, NO_NEXT, OSPF, 135, 139, 140, 253, 255)
]
IPV6_PACKETS = [
    Packet("IPv6 UDP", V6, _DNS6, _dns(68, 6)),
    Packet("IPv6 TCP", V6, ipv6(TCP, _WEB_SYN), _web(80, 6, 2)),
    Packet("IPv6 UDP-Lite", V6, ipv6(UDPLITE, udp(1, 2, _20)), Flow(UDPLITE, 68, 6, 1, 2)),
    Packet("IPv6 SCTP", V6, ipv6(SCTP, udp(36412, 36413, _20)), Flow(SCTP, 68, 6, 36412, 36413)),
    Packet("IPv6 DCCP", V6, ipv6(DCCP, udp(5001, 5002, _20)), Flow(DCCP, 68, 6, 5001, 5002)),
    Packet("neighbour solicitation", V6, ipv6(ICMPV6, icmp(135, 0, _20)),
           Flow(ICMPV6, 68, 6, icmp_type_code=0x8700)),
    Packet("port unreachable", V6, ipv6(ICMPV6, icmp(1, 4, _20)), Flow(ICMPV6, 68, 6, icmp_type_code=0x0104)),
    Packet("report after a router alert", V6, ipv6(ICMPV6, icmp(143, 0, _20), _HBH),
           Flow(ICMPV6, 76, 6, icmp_type_code=0x8F00)),
    *_OTHERS6,
    Packet("traffic class, flow label, hop limit", V6,
           ipv6(UDP, udp(40000, 53, _20), traffic_class=0xB9, label=0xFEDCB, hop_limit=1),
           _dns(68, 6, ip_class_of_service=0xB9, flow_label_ipv6=0xFEDCB, ttl=1)),
    Packet("hop-by-hop options", V6, ipv6(TCP, _WEB_SYN, _HBH), _web(88, 6, 2)),
    Packet("routing header", V6, ipv6(TCP, _WEB_SYN, _ROUTING), _web(88, 6, 2)),
    Packet("routing header of 40 octets", V6, ipv6(TCP, _WEB_SYN, options_header(ROUTING, 4)),
           _web(120, 6, 2)),
    Packet("destination options", V6, ipv6(TCP, _WEB_SYN, _OPTIONS), _web(88, 6, 2)),
    Packet("extension header of 2,048 octets", V6,
           ipv6(TCP, _WEB_SYN, options_header(DESTINATION_OPTIONS, 255)),
           _web(2128, 6, 2)),
    Packet("authentication header", V6, ipv6(TCP, _WEB_SYN, authentication()), _web(104, 6, 2)),
    Packet("authentication header, 64 octets of check", V6,
           ipv6(UDP, udp(40000, 53, _20), authentication(64)),
           _dns(144, 6)),
    Packet("the order of RFC 8200", V6,
           ipv6(TCP, _WEB_SYN, _HBH, _OPTIONS, _ROUTING, fragment(0, True), authentication(), _OPTIONS),
           _web(144, 6, 2)),
    Packet("eight extension headers", V6, ipv6(TCP, _WEB_SYN, *[_OPTIONS] * 8), _web(144, 6, 2)),
    Packet("nine extension headers", V6, ipv6(TCP, _WEB_SYN, *[_OPTIONS] * 9),
           Flow(DESTINATION_OPTIONS, 152, 6)),
    Packet("first IPv6 fragment", V6, ipv6(UDP, udp(40000, 53, _20), fragment(0, True)), _dns(76, 6)),
    Packet("atomic fragment", V6, ipv6(UDP, udp(40000, 53, _20), fragment(0, False)), _dns(76, 6)),
    Packet("middle IPv6 fragment", V6, ipv6(UDP, udp(40000, 53, _20), fragment(181, True)), Flow(UDP, 76, 6)),
    Packet("last IPv6 fragment", V6, ipv6(TCP, _WEB_SYN, fragment(8191, False)), Flow(TCP, 88, 6)),
    Packet("later fragment behind options", V6, ipv6(TCP, _WEB_SYN, _HBH, _ROUTING, fragment(1, True)),
           Flow(TCP, 104, 6)),
    Packet("later fragment of a packet with options", V6, ipv6(TCP, _WEB_SYN, fragment(1, True), _OPTIONS),
           Flow(DESTINATION_OPTIONS, 96, 6)),
    Packet("later IPv6 fragment of ICMPv6", V6, ipv6(ICMPV6, icmp(128, 0, _20), fragment(9, False)),
           Flow(ICMPV6, 76, 6)),
    Packet("nothing follows", V6, ipv6(NO_NEXT, b"", _HBH) + bytes(12), Flow(NO_NEXT, 48, 6)),
    Packet("extension header longer than the frame", V6,
           ipv6(TCP, _WEB_SYN, (HOP_BY_HOP, b"\xff" + bytes(6))),
           Flow(TCP, 88, 6)),
    Packet("payload length 0", V6, ipv6(UDP, udp(40000, 53, _20), payload_length=0), Flow(UDP, 40, 6)),
    Packet("65,535 octets with the header", V6, ipv6(UDP, udp(40000, 53, _20), payload_length=65495),
           _dns(65535, 6)),
    Packet("IPv6 jumbo", V6, ipv6(UDP, udp(40000, 53, bytes(8952))), _dns(9000, 6)),
    Packet("IPv4 by its version, IPv6 by its type", V6, ipv6(UDP, udp(40000, 53, _20), version=4), MALFORMED),
    Packet("version 15", V6, ipv6(UDP, udp(40000, 53, _20), version=15), MALFORMED),
]  # fmt: skip

PACKETS = LINK_LAYER + ENCAPSULATIONS + IPV4_PACKETS + IPV6_PACKETS

_FULL4 = Packet("IPv4 options and TCP", V4, ipv4(TCP, _WEB_SYN, options=b"\x01" * 8), _web(68, flags=2))
_QINQ4 = Packet("QinQ and UDP", ethernet(IPV4, *QINQ), _DNS4, _dns(vlan_id=200, dot1q_customer_vlan_id=100))
_CHAIN6 = Packet("IPv6 chain and TCP", V6, ipv6(TCP, _WEB_SYN, _HBH, _OPTIONS), _web(96, 6, 2))
_VLAN6 = Packet("802.1Q and ICMPv6", ethernet(IPV6, (DOT1Q, 100)), ipv6(ICMPV6, icmp(128, 0)),
                Flow(ICMPV6, 48, 6, icmp_type_code=0x8000, vlan_id=100))  # fmt: skip
_TAGS = {"vlan_id": 200, "dot1q_customer_vlan_id": 100}
_PPPOE4 = Packet("PPPoE, 802.1Q and UDP", ethernet(PPPOE, (DOT1Q, 100)), pppoe(PPP_IPV4, _DNS4), _dns(vlan_id=100))
_PPPOE6 = Packet("MPLS in PPPoE, IPv6 and TCP", ethernet(PPPOE), pppoe(PPP_MPLS, mpls(16, 17) + ipv6(TCP, _WEB_SYN)),
                 _web(80, 6, 2))  # fmt: skip
_MPLS4 = Packet("MPLS, four labels and TCP", ethernet(MPLS), _FOUR + ipv4(TCP, _WEB_SYN), _web(60, flags=2))

#: Packets that are cut off, and what the first octets make of them: from that many octets on.
CUT: list[tuple[Packet, dict[int, Flow | str]]] = [
    (_FULL4, {14: TOO_SHORT, 42: Flow(TCP, 68), 46: _web(68, flags=0), 56: _web(68, flags=2)}),
    (_QINQ4, {14: TOO_SHORT, 42: Flow(UDP, 48, **_TAGS), 46: _dns(**_TAGS)}),
    (_CHAIN6, {14: TOO_SHORT, 54: Flow(HOP_BY_HOP, 96, 6), 58: Flow(DESTINATION_OPTIONS, 96, 6),
               66: Flow(TCP, 96, 6), 74: _web(96, 6, 0), 84: _web(96, 6, 2)}),
    (_VLAN6, {14: TOO_SHORT, 58: Flow(ICMPV6, 48, 6, vlan_id=100),
              60: Flow(ICMPV6, 48, 6, icmp_type_code=0x8000, vlan_id=100)}),
    (_PPPOE4, {14: TOO_SHORT, 46: Flow(UDP, 48, vlan_id=100), 50: _dns(vlan_id=100)}),
    (_PPPOE6, {14: TOO_SHORT, 70: Flow(TCP, 80, 6), 74: _web(80, 6, 0), 84: _web(80, 6, 2)}),
    (_MPLS4, {14: TOO_SHORT, 50: Flow(TCP, 60), 54: _web(60, flags=0), 64: _web(60, flags=2)}),
]  # fmt: skip
