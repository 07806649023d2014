"""Devices that put packets into others: one of each kind between the router and a namespace behind host a.

That namespace has the far ends alone, so that its IP counters are of what was within the tunnels.
"""

from __future__ import annotations

import os
import select
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fcntl import ioctl

from kernel.namespace import inside
from lab.flow import UDP
from lab.namespaces import Namespace
from lab.topology import LINKS, Network

LINK = LINKS["a"]
IP_IN_IP, IPV6_IN_IP, GRE = 4, 41, 47
VXLAN_PORT, GENEVE_PORT = 4789, 6081
MTU = 1400  # with any of the headers no packet is a fragment
_MACS = "02:00:00:00:0e:01", "02:00:00:00:0e:02"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # of <linux/if_tun.h>


@dataclass(frozen=True)
class Kind:
    """A kind of device, and what its packets are on the link: the outer protocol, and octets before each of them."""

    name: str
    options: str
    protocol: int
    overhead: int
    port: int = 0
    ethernet: bool = False
    ipv6: bool = False  # within
    over_ipv6: bool = False

    @property
    def addresses(self) -> tuple[str, str]:
        """The router's, and that of the far end: of the range for measurements (RFC 2544), or for documentation."""
        number = 20 + KINDS.index(self)
        base = f"2001:db8:{number}::" if self.ipv6 else f"198.18.{number}."
        return f"{base}1", f"{base}2"

    @property
    def outside(self) -> tuple[set[str], int, int]:
        """What its own packets are told by: addresses, protocol, destination port."""
        return set(self.outer_addresses), self.protocol, self.port

    @property
    def outer_addresses(self) -> tuple[str, str]:
        """Of the tunnel's own packets, the router's first."""
        return (LINK.router6, LINK.host6) if self.over_ipv6 else (LINK.router4, LINK.host4)


KINDS = [
    Kind("vxlan", f"type vxlan id 7 dstport {VXLAN_PORT} udpcsum", UDP, 50, VXLAN_PORT, ethernet=True),
    Kind("geneve", f"type geneve id 7 dstport {GENEVE_PORT}", UDP, 50, GENEVE_PORT, ethernet=True),
    Kind("gre", "type gre key 7", GRE, 28),
    Kind("gretap", "type gretap", GRE, 38, ethernet=True),
    Kind("ipip", "type ipip", IP_IN_IP, 20),
    Kind("sit", "type sit", IPV6_IN_IP, 20, ipv6=True),
    Kind("ip6tnl", "type ip6tnl mode any encaplimit none", IP_IN_IP, 40, over_ipv6=True),
    Kind("ip6gre", "type ip6gre encaplimit none", GRE, 44, over_ipv6=True),
]


def add_tunnels(network: Network, far: Namespace) -> list[Kind]:
    """Add one device of each kind that this kernel has, named after it. Returns these kinds."""
    return [kind for kind in KINDS if _add(kind, network, far)]


def _add(kind: Kind, network: Network, far: Namespace) -> bool:
    here, there = kind.outer_addresses
    created = []
    for space, local, remote, mac in ((network.router, here, there, _MACS[0]), (network.a, there, here, _MACS[1])):
        ends = f"remote {remote}" + ("" if kind.name == "geneve" else f" local {local}")
        address = f"address {mac} " if kind.ethernet else ""
        with suppress(RuntimeError):
            space.ip(f"link add {kind.name} mtu {MTU} {address}{kind.options} {ends}")
            created.append(space)
    if len(created) < 2:
        return False
    network.a.ip(f"link set {kind.name} netns {far.name}")
    _bring_up(kind.name, network.router, far, kind.addresses, ethernet=kind.ethernet)
    return True


def _bring_up(name: str, router: Namespace, far: Namespace, addresses: tuple[str, str], *, ethernet: bool) -> None:
    """Nothing is joined or cut: what IP counts is what passes the tunnel."""
    ipv6 = ":" in addresses[0]
    for space, own, peer, mac in ((router, *addresses, _MACS[1]), (far, *reversed(addresses), _MACS[0])):
        space.sysctl(**{f"ipv6__conf__{name}__disable_ipv6": int(not ipv6)})
        space.run("ethtool", "-K", name, "tso", "off", "gso", "off", "gro", "off")
        space.ip(
            f"link set dev {name} gso_max_segs 1",
            f"address add {own}/{64 if ipv6 else 24} dev {name}{' nodad' if ipv6 else ''}",
            f"link set {name} up",
            *([f"neighbour add {peer} lladdr {mac} nud permanent dev {name}"] if ethernet else []),
        )


# tun: both ends are held by this process, which carries packets from one to the other


TUN_ADDRESSES = ("198.18.40.1", "198.18.40.2")


@contextmanager
def tun(network: Network, far: Namespace) -> Iterator[bool]:
    """A device "tun" in the router and one in `far`, with this process between them; False where there is no tun."""
    with ExitStack() as stack:
        try:
            ends = [_open_tun(stack, space) for space in (network.router, far)]
        except OSError:
            yield False
            return
        _bring_up("tun", network.router, far, TUN_ADDRESSES, ethernet=False)
        quit_read, quit_write = os.pipe()
        stack.callback(os.close, quit_read)
        carrier = threading.Thread(target=_carry, args=(*ends, quit_read), daemon=True)
        carrier.start()
        try:
            yield True
        finally:
            os.close(quit_write)
            carrier.join(10)


def _open_tun(stack: ExitStack, space: Namespace) -> int:
    """Raises OSError where this kernel or its /dev has none."""
    with inside(space):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        stack.callback(os.close, descriptor)
        ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", b"tun", _IFF_TUN | _IFF_NO_PI))
        space.ip(f"link set tun mtu {MTU} txqueuelen 10000")
    return descriptor


def _carry(one: int, other: int, quit_read: int) -> None:
    """Until the far side of `quit_read` is closed."""
    while True:
        readable, _, _ = select.select([one, other, quit_read], [], [])
        if quit_read in readable:
            return
        for end in readable:
            with suppress(BlockingIOError):
                for _ in range(64):
                    os.write(other if end == one else one, os.read(end, 65536))
