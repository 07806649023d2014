"""Proves that the fields of a key are what makes a flow: each of them by itself, and none that is not chosen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from kernel.conftest import Load
from kernel.frames import (
    DESTINATION_IPV4,
    DOT1AD,
    DOT1Q,
    ICMP,
    IPV4,
    IPV6,
    SOURCE_IPV4,
    TCP,
    UDP,
    ethernet,
    icmp,
    ipv4,
    ipv6,
    tcp,
    udp,
)
from kernel.running import SocketBuffer, live_flows, needs_other_interface, numbers_of, outcomes, run
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import DEFAULT_KEY, LoadOptions
from xflowd.metering.table import Records, SlotState

V4, V6 = ethernet(IPV4), ethernet(IPV6)
ALL = (*DEFAULT_KEY, "KEY_SOURCE_MAC", "KEY_DESTINATION_MAC", "KEY_CLASS_OF_SERVICE", "KEY_FLOW_LABEL")
IP = ("KEY_SOURCE_ADDRESS", "KEY_DESTINATION_ADDRESS")
PROTO = (*IP, "KEY_PROTOCOL")
FULL = (*PROTO, "KEY_SOURCE_PORT", "KEY_DESTINATION_PORT")
ETHER = (*DEFAULT_KEY, "KEY_SOURCE_MAC", "KEY_DESTINATION_MAC")
PROGRAMS = ("xdp_ingress", "tc_egress")

#: Two frames for each field that differ in it alone, of either version where there are two.
_TCP4, _TCP6 = V4 + ipv4(TCP, tcp(1, 2)), V6 + ipv6(TCP, tcp(1, 2))
_OTHER = b"\x02\0\0\0\0\x99"


def _with(frame: bytes, at: int, octets: bytes) -> bytes:
    return frame[:at] + octets + frame[at + len(octets) :]


PAIRS: list[tuple[str, bytes, bytes]] = [
    ("KEY_SOURCE_ADDRESS", _TCP4, _TCP4.replace(SOURCE_IPV4, bytes([8, 0, 0, 2]))),
    ("KEY_SOURCE_ADDRESS", _TCP6, _with(_TCP6, 37, b"\x77")),
    ("KEY_DESTINATION_ADDRESS", _TCP4, _TCP4.replace(DESTINATION_IPV4, bytes([198, 0, 0, 2]))),
    ("KEY_DESTINATION_ADDRESS", _TCP6, _with(_TCP6, 53, b"\x77")),
    ("KEY_PROTOCOL", V4 + ipv4(UDP, udp(1, 2)), V4 + ipv4(136, udp(1, 2))),
    ("KEY_PROTOCOL", V6 + ipv6(UDP, udp(1, 2)), V6 + ipv6(136, udp(1, 2))),
    ("KEY_SOURCE_PORT", _TCP4, V4 + ipv4(TCP, tcp(3, 2))),
    ("KEY_SOURCE_PORT", _TCP6, V6 + ipv6(TCP, tcp(3, 2))),
    ("KEY_DESTINATION_PORT", _TCP4, V4 + ipv4(TCP, tcp(1, 3))),
    ("KEY_DESTINATION_PORT", V4 + ipv4(ICMP, icmp(8, 0)), V4 + ipv4(ICMP, icmp(3, 1))),
    ("KEY_VLAN", ethernet(IPV4, (DOT1Q, 1)) + _TCP4[14:], ethernet(IPV4, (DOT1Q, 2)) + _TCP4[14:]),
    ("KEY_CUSTOMER_VLAN", ethernet(IPV6, (DOT1AD, 1), (DOT1Q, 1)) + _TCP6[14:],
     ethernet(IPV6, (DOT1AD, 1), (DOT1Q, 2)) + _TCP6[14:]),
    ("KEY_CLASS_OF_SERVICE", _TCP4, V4 + ipv4(TCP, tcp(1, 2), tos=0xB8)),
    ("KEY_CLASS_OF_SERVICE", _TCP6, V6 + ipv6(TCP, tcp(1, 2), traffic_class=0xB8)),
    ("KEY_SOURCE_MAC", _TCP4, _with(_TCP4, 6, _OTHER)),
    ("KEY_SOURCE_MAC", _TCP6, _with(_TCP6, 6, _OTHER)),
    ("KEY_DESTINATION_MAC", _TCP4, _with(_TCP4, 0, _OTHER)),
    ("KEY_DESTINATION_MAC", _TCP6, _with(_TCP6, 0, _OTHER)),
    ("KEY_FLOW_LABEL", _TCP6, V6 + ipv6(TCP, tcp(1, 2), label=0xFEDCB)),
]  # fmt: skip

COLUMNS = {
    "KEY_SOURCE_ADDRESS": ("source_address",),
    "KEY_DESTINATION_ADDRESS": ("destination_address",),
    "KEY_PROTOCOL": ("protocol_identifier",),
    "KEY_SOURCE_PORT": ("source_transport_port",),
    "KEY_DESTINATION_PORT": ("destination_transport_port", "icmp_type_code"),
    "KEY_VLAN": ("vlan_id",),
    "KEY_CUSTOMER_VLAN": ("dot1q_customer_vlan_id",),
}


def counted(kernel: Kernel, program: str, *frames: bytes) -> Records:
    """The flows of these frames, each run twice; their slots are given back, and their keys are in no index."""
    for frame in frames + frames:
        run(kernel, program, frame)
    found = live_flows(kernel)
    live = numbers_of(kernel, SlotState.LIVE)
    kernel.detach(live)
    kernel.release(live)
    assert found["packet_delta_count"].sum() == 2 * len(frames)
    return found


@pytest.fixture(scope="module")
def kernels() -> Iterator[dict[tuple[str, ...], Kernel]]:
    """One for each key: filled by kernel_of()."""
    kernels: dict[tuple[str, ...], Kernel] = {}
    yield kernels
    for kernel in kernels.values():
        kernel.close()


def kernel_of(kernels: dict[tuple[str, ...], Kernel], fields: tuple[str, ...]) -> Kernel:
    if fields not in kernels:
        kernels[fields] = Kernel(LoadOptions(64, key_fields=fields, programs=("read_clocks", *PROGRAMS)))
    return kernels[fields]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(("field", "one", "other"), PAIRS, ids=lambda value: value if isinstance(value, str) else "")
def test_field_makes_a_flow_where_it_is_chosen(
    kernels: dict[tuple[str, ...], Kernel], program: str, field: str, one: bytes, other: bytes
) -> None:
    """Alone, among all others, and among none; a second time through the same slots, which shows the index empty."""
    without = tuple(name for name in ALL if name != field)
    for fields, flows in (((field,), 2), (ALL, 2), (without, 1), ((), 1)):
        kernel = kernel_of(kernels, fields)
        for _ in range(2):
            found = counted(kernel, program, one, other)
            assert (fields, len(found)) == (fields, flows)
            assert outcomes(kernel).keys() == {"PACKETS_SEEN"}
            for name in COLUMNS.get(field, ()):
                assert field in fields or not found[name].any()


@pytest.mark.parametrize(
    ("fields", "flows"),
    [(IP, 1), (PROTO, 2), (FULL, 4), (DEFAULT_KEY, 6), (ETHER, 7)],
    ids=lambda value: str(value)[:40],
)
def test_levels(load: Load, fields: tuple[str, ...], flows: int) -> None:
    frames = [
        _TCP4,
        V4 + ipv4(TCP, tcp(1, 3)),
        V4 + ipv4(UDP, udp(1, 2)),
        V4 + ipv4(UDP, udp(2, 2)),
        ethernet(IPV4, (DOT1Q, 5)) + _TCP4[14:],
        ethernet(IPV4, (DOT1Q, 5), (DOT1Q, 6)) + _TCP4[14:],
        _with(_TCP4, 6, _OTHER),
    ]
    assert len(counted(load(key_fields=fields), "xdp_ingress", *frames)) == flows


@pytest.mark.parametrize("field", ["KEY_SOURCE_MAC", "KEY_DESTINATION_MAC", "KEY_FLOW_LABEL"])
def test_what_is_not_in_the_key_is_the_first_packets(load: Load, field: str) -> None:
    """Of an extended key too: addresses and label of a flow are there whether they make it or not."""
    first = V6 + ipv6(TCP, tcp(1, 2), label=0x11111, traffic_class=0x20)
    later = {
        "KEY_SOURCE_MAC": _with(_with(first, 0, _OTHER), 16, b"\x22"),
        "KEY_DESTINATION_MAC": _with(_with(first, 6, _OTHER), 16, b"\x22"),
        "KEY_FLOW_LABEL": _with(first, 0, _OTHER + _OTHER),
    }[field]
    found = counted(load(key_fields=(*DEFAULT_KEY, field)), "xdp_ingress", first, later)
    assert len(found) == 1
    assert found["source_mac_address"].tobytes() == first[6:12]
    assert found["destination_mac_address"].tobytes() == first[:6]
    assert (found["flow_label_ipv6"][0], found["ip_class_of_service"][0]) == (0x11111, 0x20)


@pytest.mark.parametrize(("fields", "end"), [(IP, 0), (PROTO, 0), (FULL, 1), (DEFAULT_KEY, 1), (ETHER, 1)])
def test_a_connection_that_ends_is_no_flow_of_many_that_does(load: Load, fields: tuple[str, ...], end: int) -> None:
    kernel = load(key_fields=fields)
    for segment in (tcp(1, 2, 0x11), tcp(3, 2)):
        run(kernel, "xdp_ingress", V4 + ipv4(TCP, segment))
    assert kernel.slots["end_seen"].max() == end


@needs_other_interface
@pytest.mark.parametrize(("fields", "told"), [(DEFAULT_KEY, 7), (IP, 7), (("KEY_DESTINATION_ADDRESS",), 0)])
def test_packets_of_any_source_came_in_anywhere(load: Load, fields: tuple[str, ...], told: int) -> None:
    """At egress: the interface is the first packet's where packets of one source come in by one, else it is 0."""
    kernel = load(key_fields=fields)
    for interface in (7, 8):
        run(kernel, "tc_egress", _TCP4, SocketBuffer(ifindex=1, ingress_ifindex=interface))
    found = live_flows(kernel)
    assert found["ingress_interface"].tolist() == [told]
    assert found["packet_delta_count"].tolist() == [2]


def test_many_flows_of_an_extended_key(load: Load) -> None:
    """Each address its flow, found again by hints and by the index, and given back to the last."""
    kernel = load(max_flows=512, key_fields=ETHER)
    frames = [_with(frame, 8, bytes([number])) for number in range(250) for frame in (_TCP4, _TCP6)]
    for _ in range(2):
        found = counted(kernel, "tc_egress", *frames)
        assert (len(found), set(found["packet_delta_count"].tolist())) == (500, {2})
        assert len(np.unique(found["source_mac_address"], axis=0)) == 250
