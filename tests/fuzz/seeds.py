"""Where fuzzing begins: packets of the captures and of the bank, as they come to a hook."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kernel.frames import IPV4, IPV6, MPLS
from kernel.inner import INSIDE, OUTSIDE
from kernel.packets import CUT, PACKETS
from kernel.tunnels import BIG_TCP, OTHERS, TUNNELS, UNKNOWN
from xflowd.edge.capture import CaptureError, ethernet_frame, packets

MOST_OCTETS = 2300  # two extension headers of the greatest length
_OF_A_CAPTURE = 2000  # packets of each file that are looked at
_HEADERS = 96  # octets of a packet from the captures: what it carries says nothing to the parser
_OUTER_OCTETS = 34  # of the shortest headers before a tunnel's
_SEGMENT = 500
_TWO_SEGMENTS = bytes(_SEGMENT + 100)
#: enum input_bit of target.c
_NO_LINK_LAYER, _TAG_TAKEN, _GSO, _IPV6, _OTHER, _INSIDE = 1, 2, 4, 8, 16, 32


@dataclass(frozen=True, slots=True)
class Seed:
    """A packet; of one without link layer `ether_type` is its type, else it is 0."""

    packet: bytes
    ether_type: int = 0

    def plain(self) -> bytes:
        """An input of target.c: the packet as it is."""
        return self._input(0, 0)

    def variants(self) -> Iterator[bytes]:
        """The packet as it is, behind a tag that was taken off, and as a GSO packet."""
        yield self.plain()
        yield self._input(_TAG_TAKEN, 0x2064)
        yield self._input(_GSO, 0, segments=2, size=_SEGMENT)
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
    types = {kind.to_bytes(2, "big"): kind for kind in (IPV4, IPV6, MPLS)}
    bare = [Seed(packet.network, types[packet.link[12:]]) for packet in known if packet.link[12:] in types]
    return [seed for seed in whole + bare if len(seed.packet) <= MOST_OCTETS]


def _repeated() -> Iterator[bytes]:
    """Packets in tunnels and the like, and where their headers end too soon."""
    for packet in (*TUNNELS, *OTHERS, *BIG_TCP, *UNKNOWN):
        yield packet.around(_TWO_SEGMENTS)
        headers = packet.around(b"")
        yield from (headers[:length] for length in range(_OUTER_OCTETS, len(headers), 4))


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
