"""Frames, header by header, in network order. Checksums are zero: the meter does not look at them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

SOURCE_MAC, DESTINATION_MAC = bytes.fromhex("020000000a02"), bytes.fromhex("020000000a01")

#: A test run takes octets 12 and 13 for an EtherType, also of a packet that begins with its IP header. There
#: they lie in the source address: these addresses say IPv4 and IPv6.
SOURCE_IPV4 = bytes([8, 0, 0, 1])
SOURCE_IPV6 = bytes.fromhex("20010db886dd00000000000000000001")
#: Stand for a destination: numbered() writes an address into their place.
DESTINATION_IPV4 = b"\xc6\x33\xfe\xdc"
DESTINATION_IPV6 = bytes.fromhex("20010db8ffff") + b"to be numbered"[:10]

IPV4, IPV6, ARP, LLDP = 0x0800, 0x86DD, 0x0806, 0x88CC
DOT1Q, DOT1AD = 0x8100, 0x88A8
PPPOE, MPLS, MPLS_MULTICAST = 0x8864, 0x8847, 0x8848
PPP_IPV4, PPP_IPV6, PPP_MPLS, PPP_LCP = 0x0021, 0x0057, 0x0281, 0xC021

HOP_BY_HOP, ROUTING, FRAGMENT, ESP, AUTHENTICATION, NO_NEXT, DESTINATION_OPTIONS = 0, 43, 44, 50, 51, 59, 60
ICMP, TCP, UDP, DCCP, GRE, ICMPV6, OSPF, SCTP, UDPLITE = 1, 6, 17, 33, 47, 58, 89, 132, 136

MORE_FRAGMENTS, DO_NOT_FRAGMENT = 0x2000, 0x4000

#: An IPv6 extension header: its number, and what follows its Next Header octet.
Extension = tuple[int, bytes]


def ethernet(carries: int, *tags: tuple[int, int]) -> bytes:
    """An Ethernet header with VLAN tags, the outermost first: pairs of TPID and TCI."""
    types = b"".join(struct.pack(">HH", tpid, tci) for tpid, tci in tags)
    return DESTINATION_MAC + SOURCE_MAC + types + struct.pack(">H", carries)


def pppoe(protocol: int, payload: bytes, *, version_type: int = 0x11, code: int = 0) -> bytes:
    """RFC 2516 4: the header behind Ethernet's, and PPP's protocol field."""
    return struct.pack(">BBHHH", version_type, code, 1, 2 + len(payload), protocol) + payload


def mpls(*labels: int, bottom: bool = True) -> bytes:
    """RFC 3032 2.1: a stack, the top first; class 5 and a TTL of 63 in each entry."""
    last = len(labels) - 1
    entries = (label << 12 | 5 << 9 | (bottom and i == last) << 8 | 63 for i, label in enumerate(labels))
    return struct.pack(f">{len(labels)}I", *entries)


def ipv4(  # noqa: PLR0913 - a header has many fields, and the tests set one each
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    tos: int = 0,
    ttl: int = 64,
    fragment: int = 0,
    total_length: int | None = None,
    version: int = 4,
    header_words: int | None = None,
) -> bytes:
    """RFC 791 3.1. `fragment` is the field with flags and offset; lengths are true unless given."""
    words = 5 + len(options) // 4 if header_words is None else header_words
    length = 20 + len(options) + len(payload) if total_length is None else total_length
    begin = struct.pack(">BBHHHBBH", version << 4 | words, tos, length, 1, fragment, ttl, protocol, 0)
    return begin + SOURCE_IPV4 + DESTINATION_IPV4 + options + payload


def ipv6(  # noqa: PLR0913 - as above
    protocol: int,
    payload: bytes,
    *extensions: Extension,
    traffic_class: int = 0,
    label: int = 0,
    hop_limit: int = 64,
    payload_length: int | None = None,
    version: int = 6,
) -> bytes:
    """RFC 8200 3 and 4: `extensions` in their order, then the payload, of type `protocol`."""
    first, chain = chained(extensions, protocol)
    length = len(chain) + len(payload) if payload_length is None else payload_length
    begin = struct.pack(">IHBB", version << 28 | traffic_class << 20 | label, length, first, hop_limit)
    return begin + SOURCE_IPV6 + DESTINATION_IPV6 + chain + payload


def chained(extensions: Sequence[Extension], protocol: int) -> tuple[int, bytes]:
    """The first Next Header, and the extension headers' octets."""
    kinds = [kind for kind, _ in extensions] + [protocol]
    bodies = zip(kinds[1:], extensions, strict=True)
    return kinds[0], b"".join(bytes([following]) + body for following, (_, body) in bodies)


def options_header(kind: int, units: int = 0) -> Extension:
    """Hop-by-Hop, Routing or Destination Options: `units` of eight octets behind the first eight."""
    return kind, bytes([units]) + b"\x01" * (8 * units + 6)


def fragment(offset: int, more: bool) -> Extension:
    """RFC 8200 4.5; `offset` in units of eight octets."""
    return FRAGMENT, struct.pack(">BHI", 0, offset << 3 | more, 77)


def authentication(check_octets: int = 12) -> Extension:
    """RFC 4302 2: its length counts words of four octets, less two."""
    return AUTHENTICATION, bytes([(12 + check_octets) // 4 - 2]) + b"\x02" * (10 + check_octets)


def tcp(source: int, destination: int, flags: int = 0x10, options: bytes = b"", *, payload: bytes = b"") -> bytes:
    """RFC 9293 3.1; bit 8 of `flags` is the one that lies beside the data offset."""
    offset = (5 + len(options) // 4) << 12 | flags
    return struct.pack(">HHIIHHHH", source, destination, 1, 2, offset, 512, 0, 0) + options + payload


def udp(source: int, destination: int, payload: bytes = b"") -> bytes:
    """RFC 768; UDP-Lite has the same shape."""
    return struct.pack(">HHHH", source, destination, 8 + len(payload), 0) + payload


def icmp(kind: int, code: int, payload: bytes = b"") -> bytes:
    """RFC 792, RFC 4443 2.1"""
    return struct.pack(">BBHI", kind, code, 0, 7) + payload


def dns(source_port: int, payload: bytes = bytes(20)) -> bytes:
    """A whole IPv4 frame: 28 octets of IP and the payload, a flow for each source port."""
    return ethernet(IPV4) + ipv4(UDP, udp(source_port, 53, payload))


def numbered(frame: bytes, number: int) -> bytes:
    """The frame with the destination address of that number: each number makes a flow of its own."""
    frame = frame.replace(DESTINATION_IPV4, destination(4, number)[:4], 1)
    return frame.replace(DESTINATION_IPV6, destination(6, number), 1)


def destination(version: int, number: int) -> bytes:
    """An address as the agent has it: sixteen octets, an IPv4 address in the first four."""
    if version == 4:
        return struct.pack(">I12x", 0xC6000000 + number)
    return DESTINATION_IPV6[:6] + number.to_bytes(10, "big")
