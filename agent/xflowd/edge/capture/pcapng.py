"""The pcapng format: sections, each with its own byte order and interfaces (draft-ietf-opsawg-pcapng)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from xflowd.edge.capture.octets import MAXIMUM_PACKET, CapturedPacket, Octets

SECTION_HEADER = b"\x0a\x0d\x0d\x0a"  # the same in both byte orders
MAXIMUM_BLOCK = 1 << 24  # of a block that is looked into; others are skipped, whatever their length
MAXIMUM_INTERFACES = 1 << 16  # of a section: what of them is kept has a limit
_BYTE_ORDER_MAGIC = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_INTERFACE, _PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 2, 3, 6
_END_OF_OPTIONS, _TIME_RESOLUTION, _TIME_OFFSET = 0, 9, 14
_DAMAGED = "the file is damaged there: capture it again"


class _Interface(NamedTuple):
    number: int  # over all sections
    link_type: int
    snap_length: int  # 0: none
    multiplier: int  # ticks * multiplier // divisor are nanoseconds
    divisor: int
    offset_ns: int


class _Section:
    """What the blocks of a section are read with."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.interfaces: list[_Interface] = []
        self.block = struct.Struct(f"{order}II")
        self.trailer = struct.Struct(f"{order}I")
        self.enhanced = struct.Struct(f"{order}8xIIIII")
        self.obsolete = struct.Struct(f"{order}8xHHIIII")


def pcapng_packets(octets: Octets) -> Iterator[CapturedPacket]:
    """The packets of a pcapng file. A Simple Packet Block has no time: it gets that of the packet before it.

    Raises CaptureError at the first block that is not whole or contradicts itself.
    """
    section = _Section("<")
    interfaces, time_ns = 0, 0
    while octets.has(1):
        octets.need(12, "the header of a block")
        if octets.buffer.startswith(SECTION_HEADER, octets.position):
            section = _begin_section(octets)
            continue
        block_type, length = section.block.unpack_from(octets.buffer, octets.position)
        if block_type != _INTERFACE and block_type not in _READ:
            octets.skip(_padded(octets, length), "a block")
            continue
        end = _whole_block(octets, section, length)
        if block_type == _INTERFACE:
            if len(section.interfaces) >= MAXIMUM_INTERFACES:
                raise octets.fault(f"a section of more than {MAXIMUM_INTERFACES:,} interfaces", _DAMAGED)
            section.interfaces.append(_interface(octets, section, end, interfaces))
            interfaces += 1
        else:
            packet = _READ[block_type](octets, section, end, time_ns)
            time_ns = packet.time_ns
            yield packet
        octets.position = end + 4


def _begin_section(octets: Octets) -> _Section:
    order = _BYTE_ORDER_MAGIC.get(octets.buffer[octets.position + 8 : octets.position + 12])
    if order is None:
        raise octets.fault("a section without byte order", _DAMAGED)
    octets.need(28, "a section header")
    length, major = struct.unpack_from(f"{order}4xI4xH", octets.buffer, octets.position)
    if major != 1:
        raise octets.fault(f"a section of pcapng version {major}", "convert it: editcap -F pcapng FILE NEW")
    section = _Section(order)
    octets.position = _whole_block(octets, section, length) + 4
    return section


def _padded(octets: Octets, length: int) -> int:
    """A block's length on a boundary of four octets, where some programs do not count the padding."""
    if length < 12:
        raise octets.fault(f"a block of {length} octets", _DAMAGED)
    return (length + 3) & ~3


def _whole_block(octets: Octets, section: _Section, length: int) -> int:
    """Bring a whole block into the buffer, its length said twice alike; where in the buffer its body ends."""
    padded = _padded(octets, length)
    if padded > MAXIMUM_BLOCK:
        raise octets.fault(f"a block of {length} octets", _DAMAGED)
    octets.need(padded, "a block")
    end = octets.position + padded - 4
    (again,) = section.trailer.unpack_from(octets.buffer, end)
    if again != length:
        raise octets.fault(f"a block of {length} octets that ends as one of {again}", _DAMAGED)
    return end


def _interface(octets: Octets, section: _Section, end: int, number: int) -> _Interface:
    """An Interface Description Block: link type, reserved, snap length, options (4.2)."""
    start = octets.position + 16
    if start > end:
        raise octets.fault("an interface description without link type", _DAMAGED)
    link_type, snap_length = struct.unpack_from(f"{section.order}8xH2xI", octets.buffer, octets.position)
    resolution, offset = 6, 0
    for code, value in _options(octets, section, start, end):
        if code == _TIME_RESOLUTION and len(value) == 1:
            resolution = value[0]
        elif code == _TIME_OFFSET and len(value) == 8:
            (offset,) = struct.unpack(f"{section.order}q", value)
    return _Interface(number, link_type, snap_length, *_scale(resolution), offset * 1_000_000_000)


def _scale(resolution: int) -> tuple[int, int]:
    """if_tsresol: units of 10^-n seconds, or with the highest bit set of 2^-n."""
    if resolution & 0x80:
        return 1_000_000_000, 1 << (resolution & 0x7F)
    if resolution <= 9:
        return 10 ** (9 - resolution), 1
    return 1, 10 ** (resolution - 9)


def _options(octets: Octets, section: _Section, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    while start + 4 <= end:
        code, length = struct.unpack_from(f"{section.order}HH", octets.buffer, start)
        if code == _END_OF_OPTIONS:
            return
        start += 4
        if start + length > end:
            raise octets.fault("an option longer than its block", _DAMAGED)
        yield code, octets.buffer[start : start + length]
        start += (length + 3) & ~3


def _enhanced_packet(octets: Octets, section: _Section, end: int, _: int) -> CapturedPacket:
    """Interface, time in two halves, captured and original length, the packet, options (4.3)."""
    if octets.position + 28 > end:
        raise octets.fault("a packet block without header", _DAMAGED)
    number, high, low, captured, original = section.enhanced.unpack_from(octets.buffer, octets.position)
    interface = _known_interface(octets, section, number)
    data = _data(octets, octets.position + 28, captured, end)
    return _packet(interface, high << 32 | low, data, original)


def _obsolete_packet(octets: Octets, section: _Section, end: int, _: int) -> CapturedPacket:
    """As an enhanced one, but interface and drop count share the first four octets (appendix A)."""
    if octets.position + 28 > end:
        raise octets.fault("a packet block without header", _DAMAGED)
    number, _drops, high, low, captured, original = section.obsolete.unpack_from(octets.buffer, octets.position)
    interface = _known_interface(octets, section, number)
    data = _data(octets, octets.position + 28, captured, end)
    return _packet(interface, high << 32 | low, data, original)


def _simple_packet(octets: Octets, section: _Section, end: int, time_ns: int) -> CapturedPacket:
    """Original length and the packet, up to the snap length of the first interface (4.4)."""
    start = octets.position + 12
    if start > end:
        raise octets.fault("a packet block without header", _DAMAGED)
    (original,) = struct.unpack_from(f"{section.order}8xI", octets.buffer, octets.position)
    interface = _known_interface(octets, section, 0)
    captured = min(original, interface.snap_length or original)
    data = _data(octets, start, captured, end)
    return CapturedPacket(time_ns, interface.number, interface.link_type, data, original)


def _known_interface(octets: Octets, section: _Section, number: int) -> _Interface:
    if number >= len(section.interfaces):
        raise octets.fault(f"a packet of interface {number}, which is not described", _DAMAGED)
    return section.interfaces[number]


def _data(octets: Octets, start: int, captured: int, end: int) -> bytes:
    if captured > end - start or captured > MAXIMUM_PACKET:
        raise octets.fault(f"a packet of {captured} octets in a block with room for {end - start}", _DAMAGED)
    return octets.buffer[start : start + captured]


def _packet(interface: _Interface, ticks: int, data: bytes, original: int) -> CapturedPacket:
    time_ns = ticks * interface.multiplier // interface.divisor + interface.offset_ns
    return CapturedPacket(time_ns, interface.number, interface.link_type, data, original)


_READ = {_ENHANCED_PACKET: _enhanced_packet, _PACKET: _obsolete_packet, _SIMPLE_PACKET: _simple_packet}
