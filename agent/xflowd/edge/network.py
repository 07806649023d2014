"""What netlink says of this host: interfaces, the default route, and that something has changed."""

from __future__ import annotations

import enum
import errno
import socket
import struct
import sys
from collections.abc import Collection
from dataclasses import dataclass

from xflowd.edge import netlink

Link = enum.Enum("Link", ["ETHERNET", "NONE", "UNKNOWN"])  # what a packet begins with

#: ARPHRD_* of <linux/if_arp.h>: Ethernet and loopback; PPP, raw IP, IPIP, IP6 tunnel, SIT, GRE, GRE over IPv6, none.
_LINKS = dict.fromkeys((1, 772), Link.ETHERNET) | dict.fromkeys((512, 519, 768, 769, 776, 778, 823, 65534), Link.NONE)
#: Multicast groups of <linux/rtnetlink.h>: RTMGRP_LINK; routes and rules of IPv4 and IPv6. Of IPv4 routes that go with
#: an interface or an address, the kernel says nothing but that: RTMGRP_LINK, RTMGRP_IPV4_IFADDR.
LINKS, ROUTES = 0x1, 0x40 | 0x80 | 0x400 | 0x40000 | 0x1 | 0x10
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths, class, table, protocol, scope, type, flags
_COUNTERS = struct.Struct("=4Q")  # struct rtnl_link_stats64 begins with packets and octets, of each RX before TX
_HOP = struct.Struct("=HBBi")  # struct rtnexthop
#: <linux/if_link.h>, <linux/rtnetlink.h>
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_STATS64 = 1, 3, 5, 10, 18, 23
_IFLA_INFO_KIND = 1
_RTA_OIF, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE = 4, 6, 9, 15
_RTN_UNICAST, _MAIN_TABLE = 1, 254


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as it is now."""

    index: int
    name: str
    link: Link
    carries_vlans: bool  # VLAN devices stand on it, or it is a port of a bridge
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
    parents = {_number(link, _IFLA_LINK) for link in links if _kind(link) == "vlan"}
    return [_interface(link, parents) for link in links]


def _interface(link: netlink.Message, parents: Collection[int]) -> Interface:
    """An interface may be called anything: octets that are no text are replaced."""
    _, kind, index, *_ = link.fixed
    name = _text(link.attributes.get(_IFLA_IFNAME, b""))
    carries_vlans = index in parents or _IFLA_MASTER in link.attributes
    layer = _LINKS.get(kind, Link.UNKNOWN)
    address = link.attributes.get(_IFLA_ADDRESS, b"") if layer is Link.ETHERNET else b""
    return Interface(index, name, layer, carries_vlans, _kind(link), address)


def _text(octets: bytes) -> str:
    return octets.rstrip(b"\0").decode(errors="replace")


def _number(message: netlink.Message, attribute: int) -> int:
    """An unsigned number of the host's byte order, 0 where there is none."""
    return int.from_bytes(message.attributes.get(attribute, b""), sys.byteorder)


def _kind(link: netlink.Message) -> str:
    information = netlink.attributes(link.attributes.get(_IFLA_LINKINFO, b""))
    return _text(information.get(_IFLA_INFO_KIND, b""))


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
    """Whether the device takes VLAN tags off frames before XDP sees them (rx-vlan-offload)."""
    # Asked of interfaces that carry VLANs only; and it takes 16 MB.
    from pyroute2.ethtool.ethtool import Ethtool  # noqa: PLC0415
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    with Ethtool() as ethtool:
        try:
            features = ethtool.get_features(name).features
        except NetlinkError as error:
            raise OSError(error.code, f"netlink: {error}") from None
        return bool(features["rx-vlan-hw-parse"].enable) if "rx-vlan-hw-parse" in features else False


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
