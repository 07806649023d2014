"""Proves that interfaces and routes are read as iproute2 reads them, and that hostile attributes end."""

from __future__ import annotations

import errno
import json
import socket
import struct
import subprocess
import sys

import pytest

from xflowd.edge import netlink, network


def attribute(number: int, octets: bytes, length: int | None = None) -> bytes:
    header = struct.pack("=HH", 4 + len(octets) if length is None else length, number)
    return header + octets + bytes(-len(octets) % 4)


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"", {}),
        (attribute(3, b"wan\0"), {3: b"wan\0"}),
        (attribute(3, b"wan0\0") + attribute(5, b"\1\0\0\0"), {3: b"wan0\0", 5: b"\1\0\0\0"}),  # padded to four
        (attribute(0x8012, attribute(1, b"veth")), {18: attribute(1, b"veth")}),  # nested
        (attribute(3, b"a") + attribute(3, b"b"), {3: b"b"}),
        (attribute(3, b"", length=0) + attribute(5, b"1234"), {}),  # would never end
        (attribute(3, b"abcd", length=3), {}),
        (attribute(3, b"abcd", length=0xFFFF), {3: b"abcd"}),
        (attribute(3, b"")[:3], {}),
    ],
)
def test_attributes(octets: bytes, found: dict[int, bytes]) -> None:
    assert netlink.attributes(octets) == found


@pytest.mark.parametrize(
    "block", [b"", bytes(3), bytes(16), struct.pack("=IHHII", 15, 16, 0, 0, 0), b"\xff" * 16, b"\xff" * 17]
)
def test_messages_of_a_block_that_is_none(block: bytes) -> None:
    assert len(list(netlink.messages(block, 16))) <= 1


def ip(*arguments: str) -> list[dict[str, object]]:
    done = subprocess.run(["ip", "-j", *arguments], capture_output=True, text=True, check=True, timeout=10)
    return list(json.loads(done.stdout))


def test_interfaces_as_iproute2_sees_them() -> None:
    mine = {one.index: one for one in network.interfaces()}
    theirs = {int(str(one["ifindex"])): one for one in ip("-d", "link", "show")}
    assert set(mine) & set(theirs), "no interface is there all the time"
    for index in set(mine) & set(theirs):  # other tests make some and take them away
        one, other = mine[index], theirs[index]
        information = other.get("linkinfo", {})
        assert isinstance(information, dict)
        assert (one.name, one.kind) == (other["ifname"], information.get("info_kind", ""))
        assert one.address == bytes.fromhex(str(other.get("address", "")).replace(":", ""))


def test_counters_of_one_interface_and_of_all() -> None:
    before = network.counters({1})[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(bytes(100), ("127.0.0.1", 9))
    after = network.counters()[1]
    assert after.rx_packets > before.rx_packets
    assert after.rx_octets >= before.rx_octets + 100
    assert after.tx_packets > before.tx_packets
    assert network.counters({0x7FFFFFFF}) == {}


def test_an_error_says_what_the_kernel_says() -> None:
    link = struct.Struct("=BxHiII")
    with pytest.raises(OSError, match="netlink: No such device") as caught:
        netlink.ask(netlink.RTM_GETLINK, netlink.RTM_NEWLINK, link, socket.AF_UNSPEC, 0, 0x7FFFFFFF)
    assert caught.value.errno == errno.ENODEV


def test_the_library_for_all_of_netlink_is_not_loaded() -> None:
    code = "import sys; from xflowd.edge import network; network.interfaces(); network.default_route_interface();"
    code += "sys.exit('pyroute2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
