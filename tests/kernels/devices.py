"""Devices of other kinds than veth, added to the router network where this kernel has them."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack, suppress

from pyroute2 import WireGuard

from kernel.namespace import inside
from kernels.ppp import add_ppp, has_ppp
from lab.namespaces import Namespace
from lab.topology import LINKS, Network

TAG = 7
SERVICE_TAG, CUSTOMER_TAG = 200, 100
#: Of the range for measurements (RFC 2544): the router's address, and that of the other end.
ADDRESSES = {
    "vlan": ("198.18.7.1", "198.18.7.2"),
    "wireguard": ("198.18.8.1", "198.18.8.2"),
    "dummy": ("198.18.9.1", "198.18.9.2"),
    "bridge": ("198.18.10.1", "198.18.10.2"),
    "ppp": ("198.18.11.1", "198.18.11.2"),
    "qinq": ("198.18.12.1", "198.18.12.2"),
}
_PORT = 51820
_BRIDGE_MACS = "02:00:00:00:0d:01", "02:00:00:00:0d:02"


def add_devices(stack: ExitStack, network: Network) -> dict[str, tuple[str, ...]]:
    """Add one device of each kind to the router, and its other end to host a. Kind -> the router's interfaces.

    A kind that this kernel does not know is left out. What is not the namespaces' goes with `stack`.
    """
    kinds: dict[str, Callable[[Network], tuple[str, ...]]] = {
        "vlan": _add_vlan,
        "qinq": _add_qinq,
        "wireguard": _add_wireguard,
        "dummy": _add_dummy,
        "bridge": _add_bridge,
    }
    added = {kind: add(network) for kind, add in kinds.items() if _is_known(network.a, kind)}
    return added | ({"ppp": _add_ppp(stack, network)} if has_ppp() else {})


def _is_known(space: Namespace, kind: str) -> bool:
    kinds = {"vlan": "vlan id 99", "qinq": "vlan proto 802.1ad id 99"}
    over = "link eth0 " if kind in kinds else ""
    with suppress(RuntimeError):
        space.ip(f"link add {over}name probe type {kinds.get(kind, kind)}", "link delete probe")
        return True
    return False


def _add_vlan(network: Network) -> tuple[str, ...]:
    here, there = ADDRESSES["vlan"]
    macs = LINKS["a"].router_mac, LINKS["a"].host_mac
    ends = (network.router, "lan", here, there, macs[1]), (network.a, "eth0", there, here, macs[0])
    for space, over, address, peer, mac in ends:
        space.ip(
            f"link add link {over} name tagged type vlan id {TAG}",
            f"address add {address}/24 dev tagged",
            "link set tagged up",
            f"neighbour add {peer} lladdr {mac} nud permanent dev tagged",
        )
    return ("tagged",)


def _add_qinq(network: Network) -> tuple[str, ...]:
    """IEEE 802.1ad: a provider's tag around a customer's, a device for each."""
    here, there = ADDRESSES["qinq"]
    macs = LINKS["a"].router_mac, LINKS["a"].host_mac
    ends = (network.router, "lan", here, there, macs[1]), (network.a, "eth0", there, here, macs[0])
    for space, over, address, peer, mac in ends:
        space.ip(
            f"link add link {over} name service type vlan proto 802.1ad id {SERVICE_TAG}",
            f"link add link service name customer type vlan proto 802.1Q id {CUSTOMER_TAG}",
            f"address add {address}/24 dev customer",
            "link set service up",
            "link set customer up",
            f"neighbour add {peer} lladdr {mac} nud permanent dev customer",
        )
    return "service", "customer"


def _add_dummy(network: Network) -> tuple[str, ...]:
    here, _ = ADDRESSES["dummy"]
    network.router.ip("link add name dummy type dummy", f"address add {here}/24 dev dummy", "link set dummy up")
    return ("dummy",)


def _add_bridge(network: Network) -> tuple[str, ...]:
    """The router's address is the bridge's, which has one port; both are metered."""
    (here, there), (mac, other) = ADDRESSES["bridge"], _BRIDGE_MACS
    network.router.ip(
        f"link add name bridge address {mac} type bridge",
        f"link add name port type veth peer name bridged address {other} netns {network.a.name}",
        "link set port master bridge",
        f"address add {here}/24 dev bridge",
        "link set port up",
        "link set bridge up",
        f"neighbour add {there} lladdr {other} nud permanent dev bridge",
    )
    network.a.ip(
        f"address add {there}/24 dev bridged",
        "link set bridged up",
        f"neighbour add {here} lladdr {mac} nud permanent dev bridged",
    )
    return "bridge", "port"


def _add_ppp(stack: ExitStack, network: Network) -> tuple[str, ...]:
    """A session over the lan: another device without link layer."""
    link, (here, there) = LINKS["a"], ADDRESSES["ppp"]
    ends = (network.router, "lan", link.host_mac, here), (network.a, "eth0", link.router_mac, there)
    names = []
    for space, over, mac, address in ends:
        names.append(add_ppp(stack, space, over, mac))
        space.ip(f"address add {address}/24 dev {names[-1]}", f"link set {names[-1]} up")
    return (names[0],)


def _add_wireguard(network: Network) -> tuple[str, ...]:
    """A tunnel through the lan: a device without link layer, on which packets begin with their IP header."""
    spaces, underlay = (network.router, network.a), (LINKS["a"].router4, LINKS["a"].host4)
    keys = []
    for space in spaces:
        space.ip("link add name tunnel type wireguard")
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
    return ("tunnel",)


def _new_key(space: Namespace) -> str:
    """Give the tunnel a key. Returns the public half, which the kernel tells."""
    with inside(space), WireGuard() as tunnel:
        tunnel.set("tunnel", private_key=b64encode(os.urandom(32)).decode(), listen_port=_PORT)
        public: bytes = tunnel.info("tunnel")[0].get_attr("WGDEVICE_A_PUBLIC_KEY")
    return public.decode()
