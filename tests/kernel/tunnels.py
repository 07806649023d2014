"""GSO packets whose segments repeat more headers than the outermost, and some that only look like it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from kernel.frames import (
    AUTHENTICATION,
    DESTINATION_OPTIONS,
    DOT1Q,
    GRE,
    HOP_BY_HOP,
    ICMP,
    IPV4,
    IPV6,
    SCTP,
    TCP,
    UDP,
    ethernet,
    fragment,
    icmp,
    ipv4,
    ipv6,
    options_header,
    tcp,
    udp,
)

IP_IN_IP, IPV6_IN_IP, TEB = 4, 41, 0x6558
VXLAN_PORT, GENEVE_PORT, FOU_PORT = 4789, 6081, 5555
V4, V6 = ethernet(IPV4), ethernet(IPV6)


@dataclass(frozen=True)
class Repeated:
    """A packet around a payload, and the IP octets that stand before each segment of it on the wire.

    `known_by_kernel`: the parser does not find the inner headers; the kernel's wire_len at egress tells them.
    """

    name: str
    around: Callable[[bytes], bytes]
    headers: int
    known_by_kernel: bool = False


def gre(flags: int, kind: int, payload: bytes) -> bytes:
    """RFC 2784 2, RFC 2890 2: a word for each of checksum, key and sequence number."""
    words = sum(bool(flags & bit) for bit in (0x8000, 0x2000, 0x1000))
    return struct.pack(">HH", flags, kind) + bytes(4 * words) + payload


def vxlan(payload: bytes, flags: int = 0x08) -> bytes:
    """RFC 7348 5, in UDP."""
    return udp(54321, VXLAN_PORT, struct.pack(">BxxxI", flags, 0xABCDE << 8) + payload)


def geneve(payload: bytes, options: bytes = b"", kind: int = TEB) -> bytes:
    """RFC 8926 3.4, in UDP."""
    return udp(54321, GENEVE_PORT, struct.pack(">BBHI", len(options) // 4, 0, kind, 7 << 8) + options + payload)


def jumbo(payload_length: int) -> tuple[int, bytes]:
    """The Jumbo Payload option, alone in its header (RFC 2675 2)."""
    return HOP_BY_HOP, struct.pack(">BBBI", 0, 0xC2, 4, payload_length)


def _web(payload: bytes, options: bytes = b"") -> bytes:
    return tcp(50000, 443, 0x10, options, payload=payload)


def _in4(payload: bytes) -> bytes:
    return ipv4(TCP, _web(payload))


def _in6(payload: bytes) -> bytes:
    return ipv6(TCP, _web(payload))


TUNNELS = [
    Repeated("IPv4 in IPv4", lambda p: V4 + ipv4(IP_IN_IP, _in4(p)), 60),
    Repeated("IPv6 in IPv4", lambda p: V4 + ipv4(IPV6_IN_IP, _in6(p)), 80),
    Repeated("IPv4 in IPv6", lambda p: V6 + ipv6(IP_IN_IP, _in4(p)), 80),
    Repeated("IPv6 in IPv6", lambda p: V6 + ipv6(IPV6_IN_IP, _in6(p)), 100),
    Repeated("IPv4 with options in IPv4 with options",
             lambda p: V4 + ipv4(IP_IN_IP, ipv4(TCP, _web(p, bytes(12)), options=bytes(8)), options=bytes(4)), 84),
    Repeated("GRE", lambda p: V4 + ipv4(GRE, gre(0, IPV4, _in4(p))), 64),
    Repeated("GRE with a key", lambda p: V4 + ipv4(GRE, gre(0x2000, IPV6, _in6(p))), 88),
    Repeated("GRE with all there is", lambda p: V4 + ipv4(GRE, gre(0xB000, IPV4, _in4(p))), 76),
    Repeated("GRE of Ethernet", lambda p: V6 + ipv6(GRE, gre(0, TEB, V4 + _in4(p))), 98),
    Repeated("VXLAN", lambda p: V4 + ipv4(UDP, vxlan(V4 + _in4(p))), 90),
    Repeated("VXLAN of an 802.1Q frame", lambda p: V4 + ipv4(UDP, vxlan(ethernet(IPV4, (DOT1Q, 9)) + _in4(p))), 94),
    Repeated("VXLAN of a frame with two tags",
             lambda p: V4 + ipv4(UDP, vxlan(ethernet(IPV4, (0x88A8, 9), (DOT1Q, 9)) + _in4(p))), 98),
    Repeated("IPv6 with options in IPv4",
             lambda p: V4 + ipv4(IPV6_IN_IP, ipv6(TCP, _web(p), options_header(DESTINATION_OPTIONS, 1))), 96),
    Repeated("VXLAN with a group, of IPv6 over IPv6", lambda p: V6 + ipv6(UDP, vxlan(V6 + _in6(p), flags=0x88)), 130),
    Repeated("VXLAN of UDP", lambda p: V4 + ipv4(UDP, vxlan(V4 + ipv4(UDP, udp(1, 2, p)))), 78),
    Repeated("VXLAN behind two tags",
             lambda p: ethernet(IPV4, (0x88A8, 200), (DOT1Q, 100)) + ipv4(UDP, vxlan(V4 + _in4(p))), 90),
    Repeated("VXLAN, lengths of BIG TCP",
             lambda p: V4 + ipv4(UDP, vxlan(V4 + ipv4(TCP, _web(p), total_length=0)), total_length=0), 90),
    Repeated("GENEVE", lambda p: V4 + ipv4(UDP, geneve(V6 + _in6(p))), 110),
    Repeated("GENEVE with options", lambda p: V4 + ipv4(UDP, geneve(V4 + _in4(p), bytes(12))), 102),
]  # fmt: skip

#: What is no tunnel, or has nothing in it that GSO cuts: each segment has the outermost headers, and no more.
OTHERS = [  # the payload is made shorter by what is then part of it
    Repeated("UDP", lambda p: V4 + ipv4(UDP, udp(1, 2, p)), 28),
    Repeated("VXLAN of ICMP", lambda p: V4 + ipv4(UDP, vxlan(V4 + ipv4(ICMP, icmp(8, 0))) + p[50:]), 28),
    Repeated("VXLAN of a frame with three tags",
             lambda p: V4 + ipv4(UDP, vxlan(ethernet(IPV4, *[(DOT1Q, 1)] * 3) + _in4(p[74:]))), 28),
    Repeated("a fragment of IPv6 in IPv4",
             lambda p: V4 + ipv4(IPV6_IN_IP, ipv6(TCP, _web(p[68:]), fragment(1, more=False))), 20),
    Repeated("IPv6 with AH in IPv4",
             lambda p: V4 + ipv4(IPV6_IN_IP, ipv6(TCP, _web(p[72:]), (AUTHENTICATION, b"\1" + bytes(10)))), 20),
    Repeated("IPv6 with nine options in IPv4",
             lambda p: V4 + ipv4(IPV6_IN_IP, ipv6(TCP, _web(p[132:]), *[options_header(DESTINATION_OPTIONS)] * 9)), 20),
    Repeated("GRE of a later version", lambda p: V4 + ipv4(GRE, gre(1, IPV4, _in4(p[44:]))), 20),
    Repeated("GRE of ARP", lambda p: V4 + ipv4(GRE, gre(0, 0x0806, p[4:])), 20),
    Repeated("SCTP", lambda p: V4 + ipv4(SCTP, bytes(12) + p), 32),
]  # fmt: skip

#: Before each segment stands less than in the frame: the jumbo payload option is the kernel's own.
BIG_TCP = [
    Repeated("BIG TCP, IPv6 with an option",
             lambda p: V6 + ipv6(TCP, _web(p), jumbo(28 + len(p)), payload_length=0), 60),
    Repeated("BIG TCP, IPv6", lambda p: V6 + ipv6(TCP, _web(p), payload_length=0), 60),
]  # fmt: skip

#: Tunnels that the parser does not know.
UNKNOWN = [
    Repeated("IPv4 behind a UDP header", lambda p: V4 + ipv4(UDP, udp(1, FOU_PORT, _in4(p))), 68, True),
    Repeated("IPv4 in IPv4 in IPv4", lambda p: V4 + ipv4(IP_IN_IP, ipv4(IP_IN_IP, _in4(p))), 80, True),
]
