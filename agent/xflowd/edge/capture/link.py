"""Frames of every link layer as Ethernet frames, which is what a program in the kernel takes apart.

Link types and layouts are those of https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable

ETHERNET = 1
_NO_ADDRESS = bytes(6)
_IPV4, _IPV6, _MPLS, _MPLS_MULTICAST = b"\x08\x00", b"\x86\xdd", b"\x88\x47", b"\x88\x48"
_LOWEST_ETHERTYPE = 0x0600  # below, the field is a length (IEEE 802.3 3.2.6)
#: AF_INET everywhere, AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS
_ADDRESS_FAMILIES = {2: _IPV4, 10: _IPV6, 24: _IPV6, 28: _IPV6, 30: _IPV6}
_PPP_PROTOCOLS = {0x0021: _IPV4, 0x0057: _IPV6, 0x0281: _MPLS, 0x0283: _MPLS_MULTICAST}
#: ARPHRD_NETLINK, ARPHRD_FRAD, ARPHRD_IEEE80211_RADIOTAP: the protocol field means something else
_UNCOOKED = {824, 770, 803}


class NoFrame(enum.Enum):
    """Why there is no Ethernet frame: a reason to count by."""

    UNKNOWN_LINK_TYPE = "the link type is not known"
    TOO_SHORT = "the frame ends within its link header"
    NO_ETHERTYPE = "what the frame carries has no EtherType"


Frame = bytes | NoFrame


def ethernet_frame(link_type: int, data: bytes) -> Frame:
    """The Ethernet frame that stands for a frame of another link layer, or the reason why there is none.

    Addresses that are not known are zero. An Ethernet frame comes back as it is, without a copy.
    """
    if link_type == ETHERNET:
        return data
    convert = _LINK_TYPES.get(link_type)
    if convert is None:
        return NoFrame.UNKNOWN_LINK_TYPE
    try:
        return convert(data)
    except (struct.error, IndexError):
        return NoFrame.TOO_SHORT


def _frame(ethertype: bytes | None, payload: bytes, source: bytes = _NO_ADDRESS) -> Frame:
    if ethertype is None:
        return NoFrame.NO_ETHERTYPE
    return _NO_ADDRESS + source + ethertype + payload


def _raw(data: bytes) -> Frame:
    return _frame({4: _IPV4, 6: _IPV6}.get(data[0] >> 4), data)


def _ipv4(data: bytes) -> Frame:
    return _frame(_IPV4, data)


def _ipv6(data: bytes) -> Frame:
    return _frame(_IPV6, data)


def _mpls(data: bytes) -> Frame:
    return _frame(_MPLS, data)


def _null(data: bytes) -> Frame:
    """BSD loopback: an address family, below 65,536, in the byte order of the host that captured."""
    (family,) = struct.unpack_from("<I", data)
    if family > 0xFFFF:
        (family,) = struct.unpack_from(">I", data)
    return _frame(_ADDRESS_FAMILIES.get(family), data[4:])


def _ppp(data: bytes) -> Frame:
    """RFC 1661 2, in HDLC-like framing (RFC 1662 3.1) or without: address and control may be left out.

    A protocol field of one octet is odd, the first octet of two is even.
    """
    start = 2 if data[:2] == b"\xff\x03" else 0
    if data[start] & 1:
        protocol, start = data[start], start + 1
    else:
        (protocol,), start = struct.unpack_from(">H", data, start), start + 2
    return _frame(_PPP_PROTOCOLS.get(protocol), data[start:])


def _ppp_with_direction(data: bytes) -> Frame:
    return _ppp(data[1:])


def _ppp_or_cisco_hdlc(data: bytes) -> Frame:
    return _cisco_hdlc(data) if data[:2] in (b"\x0f\x00", b"\x8f\x00") else _ppp(data)


def _cisco_hdlc(data: bytes) -> Frame:
    """Address, control, EtherType (RFC 1547 4.3.1)."""
    (ethertype,) = struct.unpack_from(">2xH", data)
    return _checked(ethertype, data[4:])


def _linux_cooked(data: bytes) -> Frame:
    """Packet type, ARPHRD_ type, address length, address (8 octets), protocol."""
    hardware, length, address, protocol = struct.unpack_from(">2xHH8sH", data)
    return _cooked(hardware, length, address, protocol, data[16:])


def _linux_cooked_2(data: bytes) -> Frame:
    """Protocol, reserved, interface, ARPHRD_ type, packet type, address length, address (8 octets)."""
    protocol, hardware, length, address = struct.unpack_from(">H6xHxB8s", data)
    return _cooked(hardware, length, address, protocol, data[20:])


def _cooked(hardware: int, length: int, address: bytes, protocol: int, payload: bytes) -> Frame:
    if hardware in _UNCOOKED:
        return NoFrame.NO_ETHERTYPE
    return _checked(protocol, payload, address[:6] if length == 6 else _NO_ADDRESS)


def _checked(ethertype: int, payload: bytes, source: bytes = _NO_ADDRESS) -> Frame:
    if ethertype < _LOWEST_ETHERTYPE:
        return NoFrame.NO_ETHERTYPE
    return _frame(ethertype.to_bytes(2, "big"), payload, source)


_LINK_TYPES: dict[int, Callable[[bytes], Frame]] = {
    0: _null,
    108: _null,  # the same, always in network byte order
    9: _ppp,
    50: _ppp_or_cisco_hdlc,
    204: _ppp_with_direction,
    104: _cisco_hdlc,
    12: _raw,  # DLT_RAW, which is 14 on OpenBSD, found in files of old libpcaps
    14: _raw,
    101: _raw,
    228: _ipv4,
    229: _ipv6,
    219: _mpls,
    113: _linux_cooked,
    276: _linux_cooked_2,
}
