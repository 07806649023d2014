"""Proves that the way of a packet is looked up where this host routes it, and nowhere else: by TC and by XDP."""

from __future__ import annotations

import ctypes as c
import os
import struct
from contextlib import closing

import pytest

from kernel.conftest import Load
from kernel.frames import DESTINATION_MAC, IPV4, SOURCE_MAC, UDP, ethernet, ipv4, numbered, udp
from kernel.namespace import devices
from kernel.running import SocketBuffer, live_flows, only, run
from lab.namespaces import Namespace
from xflowd.edge import libbpf
from xflowd.edge.attach import attach_xdp
from xflowd.edge.kernel import Kernel

ONE, TWO = 1001, 1002
PACKET = numbered(ipv4(UDP, udp(1, 2, bytes(20))), 1)
BROADCAST, MULTICAST, ANOTHER = b"\xff" * 6, bytes.fromhex("01005e000001"), bytes.fromhex("020000000b07")


@pytest.fixture
def router(namespace: Namespace) -> Namespace:
    """It routes from one device to the other, and nobody on them says a word."""
    namespace.sysctl(ipv6__conf__all__disable_ipv6=1, ipv6__conf__default__disable_ipv6=1)
    namespace.sysctl(ipv4__ip_forward=1)
    devices(namespace, one=ONE, two=TWO)
    namespace.ip("address add 192.0.2.1/32 dev one", "route add 198.0.0.0/8 dev two", "route add 8.0.0.0/8 dev one")
    return namespace


def frame_to(mac: bytes) -> bytes:
    return mac + SOURCE_MAC + ethernet(IPV4)[12:] + PACKET


@pytest.mark.parametrize(
    ("mac", "egress"),
    [(DESTINATION_MAC, TWO), (ANOTHER, 0), (BROADCAST, 0), (MULTICAST, 0)],
    ids=["own", "another", "broadcast", "multicast"],
)
@pytest.mark.parametrize("program", ["tc_ingress", "tc_egress"])
def test_frame_to_another_station_has_no_way(
    load: Load, router: Namespace, program: str, mac: bytes, egress: int
) -> None:
    """As a mirror port or a bridge shows it: the routing table would name an interface that the packet never takes."""
    kernel = load()
    run(kernel, program, frame_to(mac), SocketBuffer(ifindex=ONE))
    flow = only(live_flows(kernel))
    assert flow["egress_interface"] == (egress if program == "tc_ingress" else ONE)
    assert flow["destination_mac_address"].tobytes() == mac


class XdpContext(c.Structure):
    """struct xdp_md of <linux/bpf.h>."""

    _fields_ = [(name, c.c_uint32) for name in ("data", "data_end", "data_meta", "ingress_ifindex", "queue", "egress")]


@pytest.mark.parametrize("mac", [DESTINATION_MAC, ANOTHER, BROADCAST, MULTICAST], ids=bytes.hex)
@pytest.mark.parametrize("own", [None, DESTINATION_MAC, ANOTHER], ids=lambda own: own.hex() if own else "not told")
def test_xdp_compares_addresses_itself(load: Load, router: Namespace, own: bytes | None, mac: bytes) -> None:
    """With the address of the interface where it has been told; of groups it is none."""
    kernel = load()
    if own:
        tell_own_address(kernel, own)
    frame = frame_to(mac)
    with closing(attach_xdp(kernel.program("xdp_ingress"), ONE)):  # else the device can have no test run
        run(kernel, "xdp_ingress", frame, XdpContext(data_end=len(frame), ingress_ifindex=ONE))
    for_this_host = mac[0] % 2 == 0 and own in (None, mac)
    assert only(live_flows(kernel))["egress_interface"] == (TWO if for_this_host else 0)


def tell_own_address(kernel: Kernel, mac: bytes) -> None:
    """As an agent does that knows it."""
    own_addresses = map_of(kernel.program("xdp_ingress"), b"own_addresses")
    libbpf.call("bpf_map_update_elem", own_addresses, c.byref(c.c_uint32(ONE)), mac + bytes(2), 0)
    os.close(own_addresses)


def map_of(program: int, name: bytes) -> int:
    """A descriptor of the map of that name among a program's (struct bpf_prog_info, struct bpf_map_info)."""
    library, ids = c.CDLL("libbpf.so.1"), (c.c_uint32 * 64)()
    told = c.create_string_buffer(struct.pack("52xIQ", len(ids), c.addressof(ids)), 64)
    library.bpf_obj_get_info_by_fd(program, told, c.byref(c.c_uint32(64)))
    for number in ids[: struct.unpack_from("52xI", told.raw)[0]]:
        descriptor = int(library.bpf_map_get_fd_by_id(number))
        of_map = c.create_string_buffer(64)
        library.bpf_obj_get_info_by_fd(descriptor, of_map, c.byref(c.c_uint32(64)))
        if of_map.raw[24:40].rstrip(b"\0") == name:
            return descriptor
        os.close(descriptor)
    raise AssertionError(f"no map {name!r}")
