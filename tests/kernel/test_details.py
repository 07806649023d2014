"""Proves what is kept of a flow beside its slot: by which packets, in which bits, and only what is chosen."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from kernel.conftest import Load
from kernel.frames import (
    DESTINATION_OPTIONS,
    DO_NOT_FRAGMENT,
    DOT1Q,
    ESP,
    GRE,
    HOP_BY_HOP,
    IPV4,
    IPV6,
    MORE_FRAGMENTS,
    MPLS,
    PPP_MPLS,
    PPPOE,
    ROUTING,
    TCP,
    UDP,
    authentication,
    ethernet,
    fragment,
    ipv4,
    ipv6,
    mpls,
    options_header,
    pppoe,
    tcp,
    udp,
)
from kernel.inner import keyed, outer4
from kernel.running import SocketBuffer, live_flows, numbers_of, only, run
from kernel.tunnels import TEB, jumbo
from xflowd.metering.flow import DETAIL_NAMES
from xflowd.metering.table import SlotState

V4, V6 = ethernet(IPV4), ethernet(IPV6)
ALL = (
    "DETAIL_MPLS", "DETAIL_FRAGMENTS", "DETAIL_OPTIONS", "DETAIL_TCP", "DETAIL_TCP_COUNTS", "DETAIL_TUNNEL",
)  # fmt: skip
NAMES = [name for name in DETAIL_NAMES if not name.startswith("outer_")]  # those: test_inner.py
_UDP = udp(40000, 53, bytes(20))


def first_octet(*numbers: int) -> int:
    """Bits of IANA's pictures: octet n on the wire has the numbers 8n to 8n + 7, the least in its lowest bit."""
    return int.from_bytes(sum(1 << number for number in numbers).to_bytes(8, "little"), "big")


def ipv4_bits(*numbers: int) -> int:
    return first_octet(*numbers) >> 32


def tcp_syn(options: bytes, window: int = 512) -> bytes:
    """A SYN with these options and window."""
    segment = tcp(1, 2, 0x02, options)
    return segment[:14] + struct.pack(">H", window) + segment[16:]


#: Frames of one flow, and the columns that they make: all others are 0.
CASES: list[tuple[str, list[bytes], dict[str, int]]] = [
    ("nothing to tell", [V6 + ipv6(UDP, _UDP)], {}),
    (
        "one label",
        [ethernet(MPLS) + mpls(16) + ipv4(UDP, _UDP, fragment=0)],
        {"mpls_top_label_stack_section": 16 << 4 | 5 << 1 | 1, "mpls_label_stack_depth": 1},
    ),
    (
        "four labels behind a tag, and PPPoE",
        [ethernet(PPPOE, (DOT1Q, 7)) + pppoe(PPP_MPLS, mpls(1, 2, 3, 4) + ipv6(UDP, _UDP))],
        {
            "mpls_top_label_stack_section": 1 << 4 | 10,
            "mpls_label_stack_section2": 2 << 4 | 10,
            "mpls_label_stack_section3": 3 << 4 | 10,
            "mpls_label_stack_depth": 4,
        },
    ),
    (
        "labels of the first packet",
        [ethernet(MPLS) + mpls(16) + ipv6(UDP, _UDP), ethernet(MPLS) + mpls(17, 18) + ipv6(UDP, _UDP)],
        {"mpls_top_label_stack_section": 16 << 4 | 5 << 1 | 1, "mpls_label_stack_depth": 1},
    ),
    ("do not fragment", [V4 + ipv4(UDP, _UDP, fragment=DO_NOT_FRAGMENT)], {"fragment_flags": 0x40}),
    (
        "later fragment",
        [V4 + ipv4(UDP, _UDP, fragment=MORE_FRAGMENTS | 185)],
        {"fragment_flags": 0x20, "fragment_offset": 185},
    ),
    ("last fragment", [V4 + ipv4(UDP, _UDP, fragment=0x1FFF)], {"fragment_offset": 0x1FFF}),
    (
        "IPv6 fragment",
        [V6 + ipv6(UDP, _UDP, options_header(HOP_BY_HOP), fragment(181, True))],
        {
            "fragment_identification": 77,
            "fragment_flags": 0x20,
            "fragment_offset": 181,
            "ipv6_extension_headers": 1 << 30 | 1 << 25,
        },
    ),
    (
        "first IPv6 fragment",
        [V6 + ipv6(UDP, _UDP, fragment(0, True))],
        {"fragment_identification": 77, "fragment_flags": 0x20, "ipv6_extension_headers": 1 << 27},
    ),
    (
        "extension headers",
        [V6 + ipv6(UDP, _UDP, options_header(ROUTING), authentication(), options_header(DESTINATION_OPTIONS))],
        {"ipv6_extension_headers": 1 << 31 | 1 << 26 | 1 << 17},
    ),
    (
        "extension headers of two packets",
        [V6 + ipv6(UDP, _UDP), V6 + ipv6(UDP, _UDP, options_header(HOP_BY_HOP, 3))],
        {"ipv6_extension_headers": 1 << 30},
    ),
    ("ESP", [V6 + ipv6(ESP, bytes(30))], {"ipv6_extension_headers": 1 << 18}),
    (
        "router alert and padding",
        [V4 + ipv4(UDP, _UDP, options=b"\x94\4\0\0\1\1\1\0")],
        {"ipv4_options": ipv4_bits(20, 1, 0)},
    ),
    (
        "record route, timestamp, loose source route",
        [V4 + ipv4(UDP, _UDP, options=b"\7\3\4\1\x44\4\5\0\x83\3\4\0")],
        {"ipv4_options": ipv4_bits(7, 1, 4, 3, 0)},
    ),
    ("an option of another class is not it", [V4 + ipv4(UDP, _UDP, options=b"\x87\4\0\0")], {}),
    (
        "an experiment is one in each class",
        [V4 + ipv4(UDP, _UDP, options=b"\xde\4\0\0")],
        {"ipv4_options": ipv4_bits(30)},
    ),
    (
        "an experiment of a reserved class is none",
        [V4 + ipv4(UDP, _UDP, options=bytes([kind, 4, 0, 0])) for kind in (0x3E, 0x7E, 0xBE, 0xFE)],
        {},
    ),
    ("nothing behind the end", [V4 + ipv4(UDP, _UDP, options=b"\0\7\3\4")], {"ipv4_options": ipv4_bits(0)}),
    ("an option of no length", [V4 + ipv4(UDP, _UDP, options=b"\x94\0\7\3")], {"ipv4_options": ipv4_bits(20)}),
    ("forty octets of padding", [V4 + ipv4(UDP, _UDP, options=b"\1" * 40)], {"ipv4_options": ipv4_bits(1)}),
    (
        "an experiment behind 39 octets",
        [V4 + ipv4(UDP, _UDP, options=b"\1" * 39 + b"\0")],
        {"ipv4_options": ipv4_bits(1, 0)},
    ),
    (
        "SYN with its usual options",
        [V4 + ipv4(TCP, tcp_syn(b"\2\4\5\xb4\1\3\3\7\4\2\x08\x0a" + bytes(8), 64240))],
        {
            "tcp_options": first_octet(2, 1, 3, 4, 8),
            "tcp_window_size": 64240,
            "tcp_window_scale": 7,
            "tcp_syn_total_count": 1,
        },
    ),
    (
        "SYN over IPv6 behind options",
        [V6 + ipv6(TCP, tcp_syn(b"\3\3\x0e\0"), options_header(HOP_BY_HOP))],
        {
            "tcp_options": first_octet(3, 0),
            "tcp_window_size": 512,
            "tcp_window_scale": 14,
            "tcp_syn_total_count": 1,
            "ipv6_extension_headers": 1 << 30,
        },
    ),
    (
        "window of the first SYN alone",
        [
            V4 + ipv4(TCP, tcp(1, 2, 0x10)),
            V4 + ipv4(TCP, tcp_syn(b"\3\3\5\0", 100)),
            V4 + ipv4(TCP, tcp_syn(b"\3\3\6\0", 200)),
        ],
        {
            "tcp_options": first_octet(3, 0),
            "tcp_window_size": 100,
            "tcp_window_scale": 5,
            "tcp_syn_total_count": 2,
            "tcp_ack_total_count": 1,
        },
    ),
    (
        "a first SYN of window and scale 0",
        [V4 + ipv4(TCP, tcp_syn(b"", 0)), V4 + ipv4(TCP, tcp_syn(b"\3\3\6\0", 200))],
        {"tcp_options": first_octet(3, 0), "tcp_syn_total_count": 2},
    ),
    (
        "a scale cut off by its header",
        [V4 + ipv4(TCP, tcp_syn(b"\1\1\3\3") + b"\7")],
        {"tcp_options": first_octet(1, 3), "tcp_window_size": 512, "tcp_syn_total_count": 1},
    ),
    ("TCP options without a number here", [V4 + ipv4(TCP, tcp(1, 2, 0, b"\x40\4\0\0\xfe\4\0\0"))], {}),
    ("option 63", [V4 + ipv4(TCP, tcp(1, 2, 0, b"\x3f\4\0\0"))], {"tcp_options": first_octet(63)}),
    (
        "every flag",
        [V4 + ipv4(TCP, tcp(1, 2, 0xFF))] * 3 + [V4 + ipv4(TCP, tcp(1, 2, 0x18))] * 2,
        dict.fromkeys(("tcp_syn_total_count", "tcp_fin_total_count", "tcp_rst_total_count", "tcp_urg_total_count"), 3)
        | {"tcp_psh_total_count": 5, "tcp_ack_total_count": 5, "tcp_window_size": 512},
    ),
]


#: The same, where what is told lies in the padding of a frame, or in a header that is on no wire.
UNTOLD: list[tuple[str, bytes, SocketBuffer | None, dict[str, int]]] = [
    (
        "TCP header in the padding",
        V4 + ipv4(TCP, tcp_syn(b"\3\3\7\0"), total_length=39),
        None,
        {"tcp_syn_total_count": 1},
    ),
    (
        "TCP options in the padding",
        V6 + ipv6(TCP, tcp_syn(b"\1\3\3\7"), payload_length=21),
        None,
        {"tcp_options": first_octet(1), "tcp_window_size": 512, "tcp_syn_total_count": 1},
    ),
    (
        "half a Fragment header in the padding",
        V6 + ipv6(UDP, _UDP, fragment(181, True), payload_length=4),
        None,
        {"ipv6_extension_headers": 1 << 25},
    ),
    (
        "BIG TCP's jumbo payload option",
        V6 + ipv6(TCP, tcp(1, 2, payload=bytes(1000)), jumbo(1020), payload_length=0),
        SocketBuffer(gso_segs=2, gso_size=500),
        {"tcp_ack_total_count": 2},
    ),
]


def columns(flow: Any) -> dict[str, int]:
    return {name: int(flow[name]) for name in NAMES if flow[name]}


def _identified(frames: list[bytes], told: dict[str, int]) -> dict[str, int]:
    """The tests' IPv4 packets have the identification 1, wherever nothing else is told."""
    is_ipv4 = frames[0][12:14] == b"\x08\0" or b"\x45\0\0" in frames[0][14:22]
    return {"fragment_identification": 1} | told if is_ipv4 else told


@pytest.mark.parametrize("program", ["xdp_ingress", "tc_ingress"])
def test_details(load: Load, program: str) -> None:
    """And once given back, a slot's details are zero: the next flow in it begins anew."""
    kernel = load(details=ALL, max_flows=1)
    for name, frames, told in CASES:
        for frame in frames:
            run(kernel, program, frame)
        assert (name, columns(only(live_flows(kernel)))) == (name, _identified(frames, told))
        live = numbers_of(kernel, SlotState.LIVE)
        kernel.detach(live)
        kernel.release(live)
        assert kernel.details is not None
        assert not kernel.details.view("u1").any()


@pytest.mark.parametrize(("name", "frame", "context", "told"), UNTOLD, ids=[name for name, *_ in UNTOLD])
def test_what_the_packet_does_not_have_is_not_told(
    load: Load, name: str, frame: bytes, context: SocketBuffer | None, told: dict[str, int]
) -> None:
    kernel = load(details=ALL, max_flows=1)
    run(kernel, "tc_ingress", frame, context)
    assert columns(only(live_flows(kernel))) == _identified([frame], told)


def test_key_of_gre_is_no_network_beside_checksum_or_sequence(load: Load) -> None:
    """RFC 7637 3.2: NVGRE has neither."""
    kernel = load(details=("DETAIL_TUNNEL",), tunnels_inner=True)
    for number, (flags, segment) in enumerate([(0x2000, 2 << 56 | 0x010203), (0xA000, 0), (0x3000, 0)]):
        inner = ipv4(UDP, udp(number, 53, bytes(20)))
        run(kernel, "tc_ingress", outer4(GRE, keyed(flags, TEB, V4 + inner)))
        found = live_flows(kernel)
        flow = only(found[found["source_transport_port"] == number])
        assert columns(flow) == {"gre_key": 0x01020304} | ({"layer2_segment_id": segment} if segment else {})


GROUPS = {
    "DETAIL_MPLS": {"mpls_top_label_stack_section", "mpls_label_stack_depth"},
    "DETAIL_FRAGMENTS": {"fragment_identification", "fragment_flags"},
    "DETAIL_OPTIONS": {"ipv4_options", "tcp_options"},
    "DETAIL_TCP": {"tcp_window_size", "tcp_window_scale"},
    "DETAIL_TCP_COUNTS": {"tcp_syn_total_count"},
}


@pytest.mark.parametrize("program", ["xdp_ingress", "tc_ingress"])
@pytest.mark.parametrize("group", [*GROUPS, None])
def test_group_is_kept_by_itself(load: Load, program: str, group: str | None) -> None:
    packet = ipv4(TCP, tcp_syn(b"\3\3\5\0"), options=b"\x94\4\0\0", fragment=DO_NOT_FRAGMENT)
    kernel = load(details=(group,) if group else ())
    run(kernel, program, ethernet(MPLS) + mpls(16) + packet)
    assert set(columns(only(live_flows(kernel)))) == (GROUPS[group] if group else set())


@pytest.mark.parametrize("program", ["xdp_ingress", "tc_ingress"])
def test_headers_cut_off_at_every_octet(load: Load, program: str) -> None:
    """What is not there is not told, and what is there is."""
    packet = ipv4(TCP, tcp_syn(b"\2\4\5\xb4\1\3\3\7\4\2\0\0"), options=b"\x94\4\0\0\7\3\4\1")
    whole = V4 + packet
    kernel = load(details=ALL, max_flows=128)
    for length in range(42, len(whole) + 1):
        run(kernel, program, whole[:length])
    found = live_flows(kernel)
    assert found["tcp_options"].max() == first_octet(2, 1, 3, 4, 0)
    assert found["ipv4_options"].tolist() == [ipv4_bits(20, 7, 1)] * len(found)


def test_segments_have_the_flags_of_their_packet(load: Load) -> None:
    """FIN and PSH are the last segment's; the others each has."""
    kernel = load(details=("DETAIL_TCP_COUNTS",))
    run(
        kernel,
        "tc_ingress",
        V4 + ipv4(TCP, tcp(1, 2, 0x19, payload=bytes(1000))),
        SocketBuffer(gso_segs=2, gso_size=500),
    )
    assert columns(only(live_flows(kernel))) == {
        "tcp_fin_total_count": 1, "tcp_psh_total_count": 1, "tcp_ack_total_count": 2,
    }  # fmt: skip
