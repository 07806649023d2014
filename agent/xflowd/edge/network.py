"""What netlink says of this host: interfaces, the default route, and that something has changed."""

from __future__ import annotations

import ctypes as c
import enum
import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Collection
from dataclasses import dataclass

from xflowd.edge import netlink

#: What a packet begins with. A tunnel without one far end has its own outer header there, made for each packet.
Link = enum.Enum("Link", ["ETHERNET", "NONE", "TUNNEL", "UNKNOWN"])

#: ARPHRD_* of <linux/if_arp.h>: GRE, GRE over IPv6.
_GRE, _GRE6 = 778, 823
#: Ethernet and loopback; PPP, raw IP, IPIP, IP6 tunnel, SIT, GRE, none.
_LINKS = dict.fromkeys((1, 772), Link.ETHERNET) | dict.fromkeys(
    (512, 519, 768, 769, 776, _GRE, _GRE6, 65534), Link.NONE
)
#: Multicast groups of <linux/rtnetlink.h>: RTMGRP_LINK; routes and rules of IPv4 and IPv6. Of IPv4 routes that go with
#: an interface or an address, the kernel says nothing but that: RTMGRP_LINK, RTMGRP_IPV4_IFADDR.
LINKS, ROUTES = 0x1, 0x40 | 0x80 | 0x400 | 0x40000 | 0x1 | 0x10
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths, class, table, protocol, scope, type, flags
_COUNTERS = struct.Struct("=4Q")  # struct rtnl_link_stats64 begins with packets and octets, of each RX before TX
_HOP = struct.Struct("=HBBi")  # struct rtnexthop
#: <linux/if_link.h>, <linux/rtnetlink.h>
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_STATS64 = 1, 3, 18, 23
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_GRE_REMOTE, _IFLA_GRE_COLLECT_METADATA = 7, 18  # <linux/if_tunnel.h>
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE = 1, 2, 4, 6, 9, 15
_RTA_IP_PROTO, _RTA_SPORT, _RTA_DPORT = 27, 28, 29
_RTN_UNICAST, _MAIN_TABLE = 1, 254
#: <linux/sockios.h>, <linux/ethtool.h>
_SIOCETHTOOL, _ETHTOOL_GFLAGS, _ETH_FLAG_RXVLAN = 0x8946, 0x25, 1 << 8


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as it is now."""

    index: int
    name: str
    link: Link
    kind: str  # of a virtual device: veth, vlan, wireguard...; "" of others
    address: bytes = b""  # MAC address; a tunnel's is that of its own packets, which is none


@dataclass(frozen=True, slots=True)
class InterfaceCounters:
    """An interface's own counters, since it was made; octets with the link layer's header."""

    rx_packets: int
    rx_octets: int
    tx_packets: int
    tx_octets: int


def interfaces() -> list[Interface]:
    """All interfaces of this network namespace. Raises OSError, as all functions here."""
    links = netlink.dump(netlink.RTM_GETLINK, netlink.RTM_NEWLINK, _LINK)
    return [_interface(link) for link in links]


def _interface(link: netlink.Message) -> Interface:
    """An interface may be called anything: octets that are no text are replaced."""
    _, kind, index, *_ = link.fixed
    name = _text(link.attributes.get(_IFLA_IFNAME, b""))
    layer = Link.TUNNEL if kind in (_GRE, _GRE6) and _has_many_ends(link) else _LINKS.get(kind, Link.UNKNOWN)
    address = link.attributes.get(_IFLA_ADDRESS, b"") if layer is Link.ETHERNET else b""
    return Interface(index, name, layer, _kind(link), address)


def _text(octets: bytes) -> str:
    return octets.rstrip(b"\0").decode(errors="replace")


def _number(message: netlink.Message, attribute: int) -> int:
    """An unsigned number of the host's byte order, 0 where there is none."""
    return int.from_bytes(message.attributes.get(attribute, b""), sys.byteorder)


def _information(link: netlink.Message) -> dict[int, bytes]:
    """Of a virtual device."""
    return netlink.attributes(link.attributes.get(_IFLA_LINKINFO, b""))


def _kind(link: netlink.Message) -> str:
    return _text(_information(link).get(_IFLA_INFO_KIND, b""))


def _has_many_ends(link: netlink.Message) -> bool:
    """Whether a GRE device has no far end, or a group of them: the kernel gives it a header of its own then."""
    data = netlink.attributes(_information(link).get(_IFLA_INFO_DATA, b""))
    remote = data.get(_IFLA_GRE_REMOTE, b"")
    is_group = len(remote) == 4 and 224 <= remote[0] < 240
    return (is_group or not any(remote)) and _IFLA_GRE_COLLECT_METADATA not in data


def counters(indexes: Collection[int] | None = None) -> dict[int, InterfaceCounters]:
    """What the kernel has counted (IFLA_STATS64), by index: of all interfaces, or of those of `indexes` that exist."""
    if indexes is None:
        links = netlink.dump(netlink.RTM_GETLINK, netlink.RTM_NEWLINK, _LINK)
    else:
        links = [link for index in indexes for link in _link(index)]
    return {link.fixed[2]: _counters(link) for link in links}


def _link(index: int) -> list[netlink.Message]:
    try:
        return [netlink.ask(netlink.RTM_GETLINK, netlink.RTM_NEWLINK, _LINK, socket.AF_UNSPEC, 0, index)]
    except OSError as error:
        if error.errno == errno.ENODEV:
            return []
        raise


def _counters(link: netlink.Message) -> InterfaceCounters:
    rx_packets, tx_packets, rx_octets, tx_octets = _COUNTERS.unpack_from(link.attributes[_IFLA_STATS64])
    return InterfaceCounters(rx_packets, rx_octets, tx_packets, tx_octets)


def default_route_interface() -> str | None:
    """The name of the interface that the default route leaves by, IPv4's before IPv6's."""
    names = {interface.index: interface.name for interface in interfaces()}
    for family in (socket.AF_INET, socket.AF_INET6):
        routes = netlink.dump(netlink.RTM_GETROUTE, netlink.RTM_NEWROUTE, _ROUTE, family, _leads_anywhere)
        mine = [route for route in routes if (_number(route, _RTA_TABLE) or route.fixed[4]) == _MAIN_TABLE]
        mine.sort(key=lambda route: _number(route, _RTA_PRIORITY))
        found = [names.get(index) for route in mine for index in _outgoing(route)]
        if found and found[0]:
            return found[0]
    return None


def leaves_by(connected: socket.socket) -> int:
    """The index of the interface by which the datagrams of a connected UDP socket leave, as rules and routes say.

    Raises OSError where there is no route.
    """
    family, (source, source_port, *_), (to, port, *scope) = (
        connected.family,
        connected.getsockname(),
        connected.getpeername(),
    )
    said = {
        _RTA_DST: socket.inet_pton(family, to.partition("%")[0]),
        _RTA_SRC: socket.inet_pton(family, source.partition("%")[0]),
        _RTA_IP_PROTO: bytes([socket.IPPROTO_UDP]),
        _RTA_SPORT: source_port.to_bytes(2, "big"),
        _RTA_DPORT: port.to_bytes(2, "big"),
    }
    if scope and scope[-1]:  # a link-local address is of one interface
        said[_RTA_OIF] = scope[-1].to_bytes(4, sys.byteorder)
    bits = 8 * len(said[_RTA_DST])
    route = netlink.ask(netlink.RTM_GETROUTE, netlink.RTM_NEWROUTE, _ROUTE, family, bits, bits, attributes=said)
    return _number(route, _RTA_OIF)


def _leads_anywhere(route: tuple[int, ...]) -> bool:
    """Whether its prefix is all addresses, and packets are sent, not refused."""
    _, length, _, _, _, _, _, kind, _ = route
    return length == 0 and kind == _RTN_UNICAST


def _outgoing(route: netlink.Message) -> list[int]:
    """A route's interfaces: one, or those of its paths."""
    if _RTA_OIF in route.attributes:
        return [_number(route, _RTA_OIF)]
    paths, found, at = route.attributes.get(_RTA_MULTIPATH, b""), [], 0
    while at + _HOP.size <= len(paths):
        length, _, _, index = _HOP.unpack_from(paths, at)
        found.append(index)
        at += max(length + 3 & ~3, _HOP.size)
    return found


def strips_vlan_tags(name: str) -> bool:
    """Whether the device takes VLAN tags off frames before XDP sees them (rx-vlan-offload of ethtool(8))."""
    asked = (c.c_uint32 * 2)(_ETHTOOL_GFLAGS)  # struct ethtool_value: the command, and its answer
    request = struct.pack("@16sP16x", os.fsencode(name), c.addressof(asked))  # struct ifreq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
    return bool(asked[1] & _ETH_FLAG_RXVLAN)


class Watch:
    """Says whether netlink had anything to say since it was last asked; what it is, is for the functions above."""

    def __init__(self, groups: int) -> None:
        """`groups`: LINKS, ROUTES, or both."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind((0, groups))

    def fileno(self) -> int:
        """Readable when there is something to say."""
        return self._socket.fileno()

    def changed(self) -> bool:
        """Whether anything was said. An overrun (ENOBUFS) says that much was."""
        heard = False
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return heard
            except OSError:
                return True
            heard = True

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
