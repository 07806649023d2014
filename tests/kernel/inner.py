"""Packets in tunnels, and the flow of their inner headers; or none, where they stay what they are outside."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from kernel.frames import (
    AUTHENTICATION,
    DESTINATION_OPTIONS,
    DOT1AD,
    DOT1Q,
    ESP,
    GRE,
    HOP_BY_HOP,
    IPV4,
    IPV6,
    MORE_FRAGMENTS,
    MPLS,
    TCP,
    UDP,
    authentication,
    ethernet,
    fragment,
    ipv4,
    ipv6,
    mpls,
    options_header,
    tcp,
    udp,
)
from kernel.packets import Flow
from kernel.tunnels import GENEVE_PORT, IP_IN_IP, IPV6_IN_IP, TEB, VXLAN_PORT, geneve, gre, vxlan

V4, V6 = ethernet(IPV4), ethernet(IPV6)
GTPU_PORT, TEREDO_PORT = 2152, 3544
TCP_SYN = 2

#: The innermost packets: their addresses are of another network than those of the packets around them.
_SYN = tcp(50000, 443, TCP_SYN, payload=bytes(30))


def _moved(packet: bytes) -> bytes:
    """The same packet from and to other addresses: numbered() then finds the inner ones alone."""
    return packet.replace(bytes([198, 51, 254, 220]), bytes([203, 0, 113, 9])).replace(
        bytes.fromhex("20010db8ffff"), bytes.fromhex("20010db8eeee")
    )


INNER4, INNER6 = ipv4(TCP, _SYN, tos=0x20, ttl=9), ipv6(TCP, _SYN, traffic_class=0x28, label=0x12345, hop_limit=7)
_PORTS = {"source_transport_port": 50000, "destination_transport_port": 443, "tcp_control_bits": TCP_SYN}
FLOW4 = Flow(TCP, 70, 4, **_PORTS, ip_class_of_service=0x20, ttl=9)
FLOW6 = Flow(TCP, 90, 6, **_PORTS, ip_class_of_service=0x28, ttl=7, flow_label_ipv6=0x12345)


@dataclass(frozen=True)
class Tunnelled:
    """A frame, and the flow of its inner headers; None where it stays what it is outside."""

    name: str
    frame: bytes
    inner: Flow | None
    details: dict[str, int] = field(default_factory=dict)


def outer4(protocol: int, payload: bytes, **fields: int) -> bytes:
    """An IPv4 frame around a tunnel."""
    return V4 + _around(ipv4(protocol, payload, **fields), len(payload))  # type: ignore[arg-type]


def outer6(protocol: int, payload: bytes, *extensions: tuple[int, bytes]) -> bytes:
    """An IPv6 frame around a tunnel."""
    return V6 + _around(ipv6(protocol, payload, *extensions), len(payload))


def _around(packet: bytes, payload: int) -> bytes:
    """Its own addresses changed: the first that numbered() finds are then the inner ones."""
    headers = len(packet) - payload
    return _moved(packet[:headers]) + packet[headers:]


def gtp(payload: bytes, flags: int = 0x30, *, kind: int = 0xFF, more: bytes = b"") -> bytes:
    """3GPP TS 29.281 5.1, in UDP: `more` is what follows the eight octets, the extension headers too."""
    return udp(
        2152, GTPU_PORT, struct.pack(">BBHI", flags, kind, len(more) + len(payload), 0xABCD1234) + more + payload
    )


def teredo(payload: bytes, *, client: bool = True) -> bytes:
    """RFC 4380 5.1.1, in UDP."""
    return udp(TEREDO_PORT if client else 51234, 51234 if client else TEREDO_PORT, payload)


_ORIGIN = bytes(8)
_QINQ_INSIDE = ethernet(IPV4, (DOT1AD, 3), (DOT1Q, 4))
_VNI, _KEY = 0xABCDE, 0x01020304


def keyed(flags: int, kind: int, payload: bytes) -> bytes:
    """GRE with a key, behind a checksum if there is one."""
    words = (b"\0\0\0\0" if flags & 0x8000 else b"") + struct.pack(">I", _KEY) + (bytes(4) if flags & 0x1000 else b"")
    return struct.pack(">HH", flags, kind) + words + payload


_NUMBERS = {"gre_key": _KEY}
_VXLAN = {"layer2_segment_id": 1 << 56 | _VNI}

INSIDE = [
    Tunnelled("IPv4 in IPv4", outer4(IP_IN_IP, INNER4), FLOW4),
    Tunnelled("IPv6 in IPv4", outer4(IPV6_IN_IP, INNER6), FLOW6),
    Tunnelled("IPv4 in IPv6", outer6(IP_IN_IP, INNER4), FLOW4),
    Tunnelled("IPv6 in IPv6", outer6(IPV6_IN_IP, INNER6), FLOW6),
    Tunnelled("IPv4 in IPv4 with options", outer4(IP_IN_IP, INNER4, options=b"\x01" * 40), FLOW4),  # type: ignore[arg-type]
    Tunnelled("IPv4 in IPv6 with options", outer6(IP_IN_IP, INNER4, options_header(DESTINATION_OPTIONS, 1)), FLOW4),
    Tunnelled(
        "IPv4 in IPv6, hop-by-hop and atomic fragment",
        outer6(IP_IN_IP, INNER4, options_header(HOP_BY_HOP), fragment(0, False)),
        FLOW4,
    ),
    Tunnelled("GRE", outer4(GRE, gre(0, IPV4, INNER4)), FLOW4),
    Tunnelled("GRE over IPv6, of IPv6", outer6(GRE, gre(0, IPV6, INNER6)), FLOW6),
    Tunnelled("GRE with checksum", outer4(GRE, gre(0x8000, IPV4, INNER4)), FLOW4),
    Tunnelled("GRE with key", outer4(GRE, keyed(0x2000, IPV4, INNER4)), FLOW4, _NUMBERS),
    Tunnelled("GRE with sequence", outer4(GRE, gre(0x1000, IPV4, INNER4)), FLOW4),
    Tunnelled("GRE with all there is", outer4(GRE, keyed(0xB000, IPV6, INNER6)), FLOW6, _NUMBERS),
    Tunnelled("GRE of Ethernet", outer4(GRE, gre(0, TEB, V4 + INNER4)), FLOW4),
    Tunnelled(
        "NVGRE",
        outer4(GRE, keyed(0x2000, TEB, V6 + INNER6)),
        FLOW6,
        _NUMBERS | {"layer2_segment_id": 2 << 56 | _KEY >> 8},
    ),
    Tunnelled("GRE of Ethernet with two tags", outer4(GRE, gre(0, TEB, _QINQ_INSIDE + INNER4)), FLOW4),
    Tunnelled("VXLAN", outer4(UDP, vxlan(V4 + INNER4)), FLOW4, _VXLAN),
    Tunnelled("VXLAN on the port that Linux takes", outer4(UDP, udp(1, 8472, vxlan(V4 + INNER4)[8:])), FLOW4, _VXLAN),
    Tunnelled("VXLAN over IPv6, of IPv6", outer6(UDP, vxlan(V6 + INNER6)), FLOW6, _VXLAN),
    Tunnelled("VXLAN of a tagged frame", outer4(UDP, vxlan(ethernet(IPV6, (DOT1Q, 9)) + INNER6)), FLOW6, _VXLAN),
    Tunnelled("VXLAN of a padded frame", outer4(UDP, vxlan(V4 + INNER4 + bytes(20))), FLOW4, _VXLAN),
    Tunnelled("Geneve", outer4(UDP, geneve(V4 + INNER4)), FLOW4),
    Tunnelled("Geneve with options", outer6(UDP, geneve(V6 + INNER6, bytes(24))), FLOW6),
    Tunnelled("Geneve of IPv4", outer4(UDP, geneve(INNER4, kind=IPV4)), FLOW4),
    Tunnelled("GTP-U", outer4(UDP, gtp(INNER4)), FLOW4, {"gtpu_teid": 0xABCD1234}),
    Tunnelled("GTP-U of IPv6, with a sequence number", outer6(UDP, gtp(INNER6, 0x32, more=bytes(4))), FLOW6),
    Tunnelled(
        "GTP-U with extension headers",
        outer4(UDP, gtp(INNER4, 0x34, more=b"\0\0\0\x85" + b"\1\0\0\x85" + b"\2\0\0\0\0\0\0\0")),
        FLOW4,
    ),
    Tunnelled("Teredo from a server", outer4(UDP, teredo(INNER6)), FLOW6),
    Tunnelled("Teredo to a server", outer4(UDP, teredo(INNER6, client=False)), FLOW6),
    Tunnelled("Teredo with an origin", outer4(UDP, teredo(_ORIGIN + INNER6)), FLOW6),
    Tunnelled("two tunnels", outer4(UDP, vxlan(V4 + outer4(IPV6_IN_IP, INNER6)[14:])), FLOW6, _VXLAN),
    Tunnelled(
        "two tunnels, the inner one numbered",
        outer6(GRE, gre(0, IPV4, outer4(UDP, gtp(INNER4))[14:])),
        FLOW4,
        {"gtpu_teid": 0xABCD1234},
    ),
    Tunnelled(
        "in MPLS", ethernet(MPLS) + mpls(16, 17) + outer4(GRE, keyed(0x2000, IPV4, INNER4))[14:], FLOW4, _NUMBERS
    ),
]

#: Told by nothing inside: these stay what they are outside.
OUTSIDE = [
    Tunnelled("fragment of a tunnel", outer4(IP_IN_IP, INNER4, fragment=MORE_FRAGMENTS), None),
    Tunnelled("later fragment of a tunnel", outer4(IP_IN_IP, INNER4, fragment=5), None),
    Tunnelled("IPv6 fragment of a tunnel", outer6(IP_IN_IP, INNER4, fragment(0, True)), None),
    Tunnelled("ESP", outer4(ESP, INNER4), None),
    Tunnelled("authentication header", outer4(AUTHENTICATION, b"\4" + authentication()[1] + INNER4), None),
    Tunnelled("IPv6 authentication header", outer6(IP_IN_IP, INNER4, authentication()), None),
    Tunnelled("another version inside", outer4(IP_IN_IP, INNER6), None),
    Tunnelled("inner packet longer than the outer", outer4(IP_IN_IP, ipv4(TCP, _SYN, total_length=1000)), None),
    Tunnelled("inner header of four words", outer4(IP_IN_IP, ipv4(TCP, _SYN, header_words=4)), None),
    Tunnelled("inner length below its header", outer4(IP_IN_IP, ipv4(TCP, _SYN, total_length=19)), None),
    Tunnelled(
        "inner jumbogram",
        outer4(IPV6_IN_IP, ipv6(TCP, _SYN, (HOP_BY_HOP, b"\0\xc2\4\0\1\0\0"), payload_length=0)),
        None,
    ),
    Tunnelled("GRE, version 1", outer4(GRE, gre(1, IPV4, INNER4)), None),
    Tunnelled("GRE of ARP", outer4(GRE, gre(0, 0x0806, bytes(28))), None),
    Tunnelled("VXLAN of ARP", outer4(UDP, vxlan(ethernet(0x0806) + bytes(28))), None),
    Tunnelled("VXLAN of three tags", outer4(UDP, vxlan(ethernet(IPV4, *[(DOT1Q, 1)] * 3) + INNER4)), None),
    Tunnelled("VXLAN without its flag", outer4(UDP, vxlan(V4 + INNER4, flags=0)), None),
    Tunnelled("VXLAN on another port", outer4(UDP, udp(1, VXLAN_PORT + 1, vxlan(V4 + INNER4)[8:])), None),
    Tunnelled("answers to VXLAN's port are not VXLAN", outer4(UDP, udp(VXLAN_PORT, 1, vxlan(V4 + INNER4)[8:])), None),
    Tunnelled(
        "Geneve of another version", outer4(UDP, udp(1, GENEVE_PORT, b"\x40\0\x65\x58\0\0\7\0" + V4 + INNER4)), None
    ),
    Tunnelled("GTP-U echo", outer4(UDP, gtp(INNER4, kind=1)), None),
    Tunnelled("GTP of version 2", outer4(UDP, gtp(INNER4, 0x50)), None),
    Tunnelled("GTP-U, extension of no length", outer4(UDP, gtp(INNER4, 0x34, more=b"\0\0\0\x85" + bytes(4))), None),
    Tunnelled(
        "GTP-U, five extensions",
        outer4(UDP, gtp(INNER4, 0x34, more=b"\0\0\0\x85" + b"\1\0\0\x85" * 4 + b"\1\0\0\0")),
        None,
    ),
    Tunnelled("Teredo with an authentication", outer4(UDP, teredo(b"\0\1\0\0" + bytes(9) + INNER6)), None),
    Tunnelled("IPv4 behind a UDP header", outer4(UDP, udp(1, 5555, INNER4)), None),
]
