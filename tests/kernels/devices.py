"""Devices of other kinds than veth, added to the router network where this kernel has them."""

from __future__ import annotations

import os
from base64 import b64encode
from contextlib import suppress

from pyroute2 import WireGuard

from kernel.namespace import inside
from lab.namespaces import Namespace
from lab.topology import LINKS, Network

TAGGED, TUNNEL, DUMMY = 1007, 1008, 1009  # ifIndex of the router's
TAG = 7
#: Of the range for measurements (RFC 2544): the router's address, and that of the other end.
ADDRESSES = {
    "vlan": ("198.18.7.1", "198.18.7.2"),
    "wireguard": ("198.18.8.1", "198.18.8.2"),
    "dummy": ("198.18.9.1", "198.18.9.2"),
}
_NAMES = {"vlan": "tagged", "wireguard": "tunnel", "dummy": "dummy"}
_PORT = 51820


def add_devices(network: Network) -> dict[str, str]:
    """Add one device of each kind to the router, and its other end to host a. Kind -> the router's interface.

    A kind that this kernel does not know is left out.
    """
    add = {"vlan": _add_vlan, "wireguard": _add_wireguard, "dummy": _add_dummy}
    return {kind: _NAMES[kind] for kind in add if _is_known(network.a, kind) and add[kind](network) is None}


def _is_known(space: Namespace, kind: str) -> bool:
    over = "link eth0 " if kind == "vlan" else ""
    with suppress(RuntimeError):
        space.ip(f"link add {over}name probe type {kind}{' id 99' if over else ''}", "link delete probe")
        return True
    return False


def _add_vlan(network: Network) -> None:
    here, there = ADDRESSES["vlan"]
    macs = LINKS["a"].router_mac, LINKS["a"].host_mac
    ends = (network.router, "lan", TAGGED, here, there, macs[1]), (network.a, "eth0", 7, there, here, macs[0])
    for space, over, index, address, peer, mac in ends:
        space.ip(
            f"link add link {over} name tagged index {index} type vlan id {TAG}",
            f"address add {address}/24 dev tagged",
            "link set tagged up",
            f"neighbour add {peer} lladdr {mac} nud permanent dev tagged",
        )


def _add_dummy(network: Network) -> None:
    here, _ = ADDRESSES["dummy"]
    network.router.ip(
        f"link add name dummy index {DUMMY} type dummy",
        f"address add {here}/24 dev dummy",
        "link set dummy up",
    )


def _add_wireguard(network: Network) -> None:
    """A tunnel through the lan: a device without link layer, on which packets begin with their IP header."""
    spaces, underlay = (network.router, network.a), (LINKS["a"].router4, LINKS["a"].host4)
    keys = []
    for space, index in zip(spaces, (TUNNEL, 8), strict=True):
        space.ip(f"link add name tunnel index {index} type wireguard")
        keys.append(_new_key(space))
    for i, space in enumerate(spaces):
        peer = {
            "public_key": keys[1 - i],
            "endpoint_addr": underlay[1 - i],
            "endpoint_port": _PORT,
            "allowed_ips": ["0.0.0.0/0"],
        }
        with inside(space), WireGuard() as tunnel:
            tunnel.set("tunnel", peer=peer)
        space.ip(f"address add {ADDRESSES['wireguard'][i]}/24 dev tunnel", "link set tunnel up")


def _new_key(space: Namespace) -> str:
    """Give the tunnel a key. Returns the public half, which the kernel tells."""
    with inside(space), WireGuard() as tunnel:
        tunnel.set("tunnel", private_key=b64encode(os.urandom(32)).decode(), listen_port=_PORT)
        public: bytes = tunnel.info("tunnel")[0].get_attr("WGDEVICE_A_PUBLIC_KEY")
    return public.decode()
