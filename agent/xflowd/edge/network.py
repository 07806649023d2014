"""What netlink says of this host: interfaces, the default route, and that something has changed."""

from __future__ import annotations

import contextlib
import enum
import errno
import socket
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

Link = enum.Enum("Link", ["ETHERNET", "NONE", "UNKNOWN"])  # what a packet begins with

#: ARPHRD_* of <linux/if_arp.h>: Ethernet and loopback; PPP, raw IP, IPIP, IP6 tunnel, SIT, GRE, GRE over IPv6, none.
_LINKS = dict.fromkeys((1, 772), Link.ETHERNET) | dict.fromkeys((512, 519, 768, 769, 776, 778, 823, 65534), Link.NONE)
#: Multicast groups of <linux/rtnetlink.h>: RTMGRP_LINK; routes and rules of IPv4 and IPv6. Of IPv4 routes that go with
#: an interface or an address, the kernel says nothing but that: RTMGRP_LINK, RTMGRP_IPV4_IFADDR.
LINKS, ROUTES = 0x1, 0x40 | 0x80 | 0x400 | 0x40000 | 0x1 | 0x10
_MAIN_TABLE = 254


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as it is now."""

    index: int
    name: str
    link: Link
    carries_vlans: bool  # VLAN devices stand on it, or it is a port of a bridge
    kind: str  # of a virtual device: veth, vlan, wireguard...; "" of others
    address: bytes = b""  # of the link layer


@dataclass(frozen=True, slots=True)
class InterfaceCounters:
    """An interface's own counters, since it was made; octets with the link layer's header."""

    rx_packets: int
    rx_octets: int
    tx_packets: int
    tx_octets: int


@contextlib.contextmanager
def _netlink() -> Iterator[IPRoute]:
    """A netlink socket, of which every failure is an OSError."""
    try:
        with IPRoute() as netlink:
            yield netlink
    except NetlinkError as error:
        raise OSError(error.code, f"netlink: {error}") from None


def interfaces() -> list[Interface]:
    """All interfaces of this network namespace. Raises OSError, as all functions here."""
    with _netlink() as netlink:
        links = list(netlink.get_links())
    parents = {link.get_attr("IFLA_LINK") for link in links if _kind(link) == "vlan"}
    return [
        Interface(
            link["index"],
            _name(link),
            _LINKS.get(link["ifi_type"], Link.UNKNOWN),
            link["index"] in parents or link.get_attr("IFLA_MASTER") is not None,
            _kind(link),
            bytes.fromhex((link.get_attr("IFLA_ADDRESS") or "").replace(":", "")),
        )
        for link in links
    ]


def _name(link: object) -> str:
    """An interface may be called anything: octets that are no text come as they are."""
    name = link.get_attr("IFLA_IFNAME")  # type: ignore[attr-defined]
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _kind(link: object) -> str:
    information = link.get_attr("IFLA_LINKINFO")  # type: ignore[attr-defined]
    return (information.get_attr("IFLA_INFO_KIND") or "") if information else ""


def counters(indexes: Collection[int] | None = None) -> dict[int, InterfaceCounters]:
    """What the kernel has counted (IFLA_STATS64), by index: of all interfaces, or of those of `indexes` that exist."""
    with _netlink() as netlink:
        if indexes is None:
            return {link["index"]: _counters(link) for link in netlink.get_links()}
        return {index: _counters(link) for index in indexes for link in _link(netlink, index)}


def _link(netlink: IPRoute, index: int) -> Sequence[object]:
    try:
        return list(netlink.get_links(index))
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return []
        raise


def _counters(link: object) -> InterfaceCounters:
    counted = link.get_attr("IFLA_STATS64")  # type: ignore[attr-defined]
    names = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
    return InterfaceCounters(*(int(counted[name]) for name in names))


def default_route_interface() -> str | None:
    """The name of the interface that the default route leaves by, IPv4's before IPv6's."""
    names = {interface.index: interface.name for interface in interfaces()}
    with _netlink() as netlink:
        for family in (socket.AF_INET, socket.AF_INET6):
            routes = [route for route in netlink.get_routes(family=family) if route["dst_len"] == 0]
            mine = [route for route in routes if route.get_attr("RTA_TABLE", route["table"]) == _MAIN_TABLE]
            mine.sort(key=lambda route: route.get_attr("RTA_PRIORITY") or 0)
            found = [names.get(index) for route in mine for index in _outgoing(route)]
            if found and found[0]:
                return found[0]
    return None


def _outgoing(route: object) -> list[int]:
    """A route's interfaces: one, or those of its paths."""
    index = route.get_attr("RTA_OIF")  # type: ignore[attr-defined]
    paths = route.get_attr("RTA_MULTIPATH") or []  # type: ignore[attr-defined]
    return [index] if index is not None else [path["oif"] for path in paths]


def strips_vlan_tags(name: str) -> bool:
    """Whether the device takes VLAN tags off frames before XDP sees them (rx-vlan-offload)."""
    from pyroute2.ethtool.ethtool import Ethtool  # noqa: PLC0415 - asked of interfaces that carry VLANs only

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
