"""Where fuzzing begins: packets of the captures and of the bank, as they come to a hook."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kernel.frames import (
    ARP,
    DCCP,
    ESP,
    GRE,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    MPLS,
    PPP_MPLS,
    PPPOE,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
    ethernet,
    fragment,
    ipv4,
    ipv6,
    mpls,
    options_header,
    pppoe,
    tcp,
)
from kernel.inner import INNER4, INNER6, INSIDE, OUTSIDE, gtp, keyed, outer4
from kernel.packets import CUT, ENCAPSULATIONS, LINK_LAYER, PACKETS
from kernel.test_details import CASES, tcp_syn
from kernel.tunnels import BIG_TCP, IP_IN_IP, IPV6_IN_IP, OTHERS, TEB, TUNNELS, UNKNOWN, jumbo
from xflowd.edge.capture import CaptureError, ethernet_frame, packets

MOST_OCTETS = 2300  # two extension headers of the greatest length
_OF_A_CAPTURE = 2000  # packets of each file that are looked at
_HEADERS = 96  # octets of a packet from the captures: what it carries says nothing to the parser
_OUTER_OCTETS = 34  # of the shortest headers before a tunnel's
_CUT_WITHIN = 110  # octets: the longest headers of a tunnel
_SEGMENT = 500
MOBILITY, COMPRESSION = 135, 108  # IP protocol numbers
_TWO_SEGMENTS = bytes(_SEGMENT + 100)
#: enum input_bit of target.c
_NO_LINK_LAYER, _TAG_TAKEN, _GSO, _IPV6, _OTHER, _INSIDE, _CHANGED = 1, 2, 4, 8, 16, 32, 64


@dataclass(frozen=True, slots=True)
class Seed:
    """A packet; of one without link layer `ether_type` is its type, else it is 0."""

    packet: bytes
    ether_type: int = 0

    def plain(self) -> bytes:
        """An input of target.c: the packet as it is."""
        return self._input(0, 0)

    def variants(self) -> Iterator[bytes]:
        """The packet as it is, behind a tag that was taken off, and as a GSO packet that tells its segments or not."""
        yield self.plain()
        yield self._input(_TAG_TAKEN, 0x2064)
        yield self._input(_GSO, 0, segments=2, size=_SEGMENT)
        yield self._input(_GSO, 0, segments=0, size=_SEGMENT)
        yield self._input(_INSIDE, 0)
        yield self._input(_INSIDE | _GSO, 0, segments=2, size=_SEGMENT)

    def _input(self, bits: int, tci: int, segments: int = 0, size: int = 0) -> bytes:
        if not self.ether_type:
            return struct.pack(">BBHH", bits, segments, size, tci) + self.packet
        bits |= _NO_LINK_LAYER | {IPV4: 0, IPV6: _IPV6, MPLS: _OTHER}[self.ether_type]
        return struct.pack(">BBHHH", bits, segments, size, tci, 0) + self.packet


def seed_of(content: bytes) -> Seed | None:
    """The packet in an input of target.c; None where there is none."""
    begin = 8 if content[:1] and content[0] & _NO_LINK_LAYER else 6
    if len(content) <= begin:
        return None
    if begin == 6:
        return Seed(content[begin:])
    if content[0] & _OTHER:
        return Seed(content[begin:], MPLS)
    return Seed(content[begin:], IPV6 if content[0] & _IPV6 else IPV4)


def bank() -> list[Seed]:
    """The packets that tests/kernel tells the flows of, with and without their link layer."""
    known = [*PACKETS, *(packet for packet, _ in CUT)]
    whole = [Seed(packet.frame) for packet in known]
    whole += [Seed(frame) for frame in _repeated()]
    whole += [Seed(packet.frame) for packet in (*INSIDE, *OUTSIDE)]
    whole += [Seed(frame) for frame in (*_cut(), *_odd(), *_detailed())]
    types = {kind.to_bytes(2, "big"): kind for kind in (IPV4, IPV6, MPLS)}
    bare = [Seed(packet.network, types[packet.link[12:]]) for packet in known if packet.link[12:] in types]
    return [seed for seed in whole + bare if len(seed.packet) <= MOST_OCTETS]


def _repeated() -> Iterator[bytes]:
    """Packets in tunnels and the like, and where their headers end too soon."""
    for packet in (*TUNNELS, *OTHERS, *BIG_TCP, *UNKNOWN):
        yield packet.around(_TWO_SEGMENTS)
        headers = packet.around(b"")
        yield from (headers[:length] for length in range(_OUTER_OCTETS, len(headers), 4))


def _cut() -> Iterator[bytes]:
    """Headers before the flow's IP header that end too soon: mutations alone find few of these."""
    for packet in (*LINK_LAYER, *ENCAPSULATIONS, *INSIDE):
        headers = packet.frame[:_CUT_WITHIN]
        yield from (headers[:length] for length in range(2, len(headers), 4 if packet in INSIDE else 2))


def _odd() -> Iterator[bytes]:
    """What no test of tests/kernel has a flow for, but the parser a branch."""
    six = ethernet(IPV6)
    segments = tcp(50000, 443, payload=_TWO_SEGMENTS)
    for option in (b"\0\5\4\0\0\0\0", b"\0\xc2\5\0\0\0\0", b"\1\xc2\4" + bytes(12)):
        yield six + ipv6(TCP, segments, (jumbo(0)[0], option), payload_length=0)
    yield ethernet(PPPOE) + pppoe(PPP_MPLS + 2, mpls(16) + INNER6)
    yield outer4(IPV6_IN_IP, ipv6(TCP, bytes(8), payload_length=0))
    yield outer4(IPV6_IN_IP, INNER4 + _TWO_SEGMENTS)
    yield outer4(IP_IN_IP, ipv4(TCP, b"", header_words=15, total_length=2000))
    yield outer4(UDP, gtp(INNER4, 0x34, more=b"\0\0\0\x85" + b"\x40\0\0\0"))
    yield outer4(UDP, gtp(bytes(20)))
    yield outer4(UDP, gtp(b"", 0x34, more=bytes(4)))
    for protocol in (TCP, UDP, UDPLITE, SCTP, DCCP, ICMP, ICMPV6, GRE):
        for version in (ethernet(IPV4) + ipv4(protocol, b""), six + ipv6(protocol, b"", options_header(HOP_BY_HOP))):
            yield version
            yield version + bytes(3)
    yield (six + ipv6(IPV6_IN_IP, INNER6, options_header(HOP_BY_HOP)))[: 14 + 40 + 2]


def _detailed() -> Iterator[bytes]:
    """What is kept beside a slot, and what only looks like it: behind the packet's own length there is padding."""
    four, six, syn = ethernet(IPV4), ethernet(IPV6), tcp_syn(b"\3\3\7\1", 0)
    for _, frames, _ in CASES:
        yield from frames
    for length in range(len(syn)):
        yield four + ipv4(TCP, syn, total_length=20 + length)
        yield six + ipv6(TCP, syn, options_header(HOP_BY_HOP), payload_length=8 + length)
    for kind in (*range(32), 0x5E, 0x7E, 0x94, 0xDE):
        yield four + ipv4(UDP, bytes(8), options=bytes([kind, 2, 1, 0]))
    yield four + ipv4(UDP, bytes(8), options=b"\1\1\1\7")
    for options in (b"\3\4\7\0", b"\2\0\0\0", b"\1\1\1\2", b"\1\1\3\3", b"\1" * 40):
        yield four + ipv4(TCP, tcp_syn(options, 0))
    for length in (4, 8):
        yield six + ipv6(UDP, bytes(8), fragment(3, True), payload_length=length)
    for last in (MOBILITY, ESP, COMPRESSION):
        yield six + ipv6(last, bytes(8))
    yield outer4(GRE, keyed(0xB000, TEB, four + INNER4))
    yield outer4(GRE, keyed(0x2000, IPV4, outer4(GRE, keyed(0x2000, IPV4, INNER4))[14:]))
    yield outer4(UDP, gtp(outer4(UDP, gtp(INNER4))[14:]))


def changed_inputs() -> Iterator[bytes]:
    """Inputs of which the frame is another when the details are read than it was before: cut, or an octet of it."""
    arp = ethernet(ARP) + bytes(28)
    for frame, step in [(frames[0], 1) for _, frames, _ in CASES] + [(packet.frame, 4) for packet in INSIDE]:
        for length in range(14, min(len(frame), _CUT_WITHIN), step):
            yield struct.pack(">BBHH", _CHANGED | _INSIDE, 0, 0, length) + frame
    for length in (20, len(arp)):
        yield struct.pack(">BBHH", _CHANGED, 0, 0, length) + arp
    for packet in ENCAPSULATIONS:
        for place in range(12, min(len(packet.frame), 60)):
            yield struct.pack(">BBHH", _CHANGED, 0x11, 0, place) + packet.frame


def of_captures(files: Iterable[Path]) -> list[Seed]:
    """Headers of real packets: of each file one packet of each shape, so that long files do not outweigh others."""
    seeds = {frame[:_HEADERS]: None for path in files for frame in _shapes(path).values()}
    return [Seed(headers) for headers in seeds]


def _shapes(path: Path) -> dict[bytes, bytes]:
    """By EtherType, IP version and length of header, and what lies where IPv4 and IPv6 have the protocol."""
    shapes: dict[bytes, bytes] = {}
    with suppress(CaptureError):  # one of the captures is cut off on purpose
        for _, packet in zip(range(_OF_A_CAPTURE), packets(path), strict=False):
            frame = ethernet_frame(packet.link_type, packet.data)
            if isinstance(frame, bytes):
                shapes.setdefault(frame[12:15] + frame[20:21] + frame[23:24], frame)
    return shapes
