"""The pcap format: a header with link type and time unit, then packets (draft-ietf-opsawg-pcap)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from xflowd.edge.capture.octets import MAXIMUM_PACKET, CapturedPacket, Octets


class _Variant(NamedTuple):
    nanoseconds: int  # that one unit of a fraction has
    file_header: int = 24  # octets
    packet_header: int = 16  # octets


_VARIANTS = {
    0xA1B2C3D4: _Variant(1000),
    0xA1B23C4D: _Variant(1),
    0xA1B2CD34: _Variant(1000, packet_header=24),  # patched libpcaps: interface, protocol, direction follow
    0x1C0001AC: _Variant(1000, file_header=28),  # Ixia's hardware, and software: the length of the file follows
    0x1C0001AB: _Variant(1000, file_header=28),
}
#: The first four octets of a file → how the rest is read.
MAGICS = {
    struct.pack(f"{order}I", magic): (order, variant) for magic, variant in _VARIANTS.items() for order in ("<", ">")
}


def pcap_packets(octets: Octets) -> Iterator[CapturedPacket]:
    """The packets of a pcap file. A fraction of a second is taken as written, even one of a second or more.

    Raises CaptureError at the first packet that is not whole, or longer than any packet can be.
    """
    order, variant = MAGICS[octets.buffer[:4]]
    link_type = _link_type(octets, order, variant)
    header = struct.Struct(f"{order}IIII{variant.packet_header - 16}x")
    unpack, size, unit = header.unpack_from, header.size, variant.nanoseconds
    make = tuple.__new__  # half the cost of CapturedPacket(...), which comes to the same
    while octets.has(1):
        # As many packets as the buffer holds, without a call for any of them.
        buffer, position, last = octets.buffer, octets.position, len(octets.buffer) - size
        while position <= last:
            seconds, fraction, captured, original = unpack(buffer, position)
            start = position + size
            end = start + captured
            if captured > MAXIMUM_PACKET or end > len(buffer):
                break
            position = end
            time_ns = seconds * 1_000_000_000 + fraction * unit
            yield make(CapturedPacket, (time_ns, 0, link_type, buffer[start:end], original))
        octets.position = position
        _whole_packet(octets, header)


def _link_type(octets: Octets, order: str, variant: _Variant) -> int:
    octets.need(variant.file_header, "the file header")
    major, link_type = struct.unpack_from(f"{order}4xH14xI", octets.buffer)
    if major != 2:
        raise octets.fault(f"is pcap version {major}", "convert it: editcap -F pcap FILE NEW")
    octets.position = variant.file_header
    return int(link_type) & 0xFFFF  # above: how many octets of checksum follow each packet


def _whole_packet(octets: Octets, header: struct.Struct) -> None:
    """Bring all of the next packet into the buffer, unless the file ends, or raise CaptureError."""
    if not octets.has(1):
        return
    octets.need(header.size, "the header of a packet")
    captured = header.unpack_from(octets.buffer, octets.position)[2]
    if captured > MAXIMUM_PACKET:
        raise octets.fault(f"a packet of {captured} octets", "the file is damaged there: capture it again")
    octets.need(header.size + captured, "a packet")
