"""Proves what many packets make of a flow: sums, ranges, times, its way, and what makes two flows of one."""

from __future__ import annotations

import time

import pytest

from kernel.conftest import Load
from kernel.frames import DOT1AD, DOT1Q, IPV4, IPV6, TCP, UDP, dns, ethernet, ipv4, ipv6, numbered, tcp, udp
from kernel.namespace import devices
from kernel.running import Runner, SocketBuffer, live_flows, needs_other_interface, only, outcomes, run
from lab.namespaces import Namespace

V4, V6 = ethernet(IPV4), ethernet(IPV6)
SECOND = 10**9


def test_counters_add_up(load: Load) -> None:
    """Sums, ranges and flags are over all packets; class of service, label and start are the first one's."""
    kernel = load(replayed_clock=True)
    packets = [  # at, flags, payload, TTL, class, label
        (5 * SECOND, 0x02, 0, 64, 0x00, 0x11111),
        (6 * SECOND, 0x12, 100, 63, 0xB8, 0x22222),
        (6 * SECOND, 0x18, 1400, 64, 0x00, 0x11111),
        (9 * SECOND, 0x10, 20, 255, 0x00, 0x11111),
    ]
    for at, flags, payload, ttl, traffic_class, label in packets:
        kernel.set_replayed_clock(at)
        segment = tcp(50000, 443, flags, payload=bytes(payload))
        packet = ipv6(TCP, segment, traffic_class=traffic_class, label=label, hop_limit=ttl)
        run(kernel, "xdp_ingress", V6 + packet)
    flow = only(live_flows(kernel))
    assert (flow["packet_delta_count"], flow["octet_delta_count"]) == (4, 4 * 60 + 1520)
    assert (flow["minimum_ip_total_length"], flow["maximum_ip_total_length"]) == (60, 1460)
    assert (flow["minimum_ttl"], flow["maximum_ttl"]) == (63, 255)
    assert (flow["tcp_control_bits"], flow["ip_class_of_service"]) == (0x1A, 0)
    assert flow["flow_label_ipv6"] == 0x11111
    assert (flow["flow_start_ns"], flow["flow_end_ns"]) == (5 * SECOND, 9 * SECOND)


@pytest.mark.parametrize(("flags", "end"), [(0x18, 0), (0x11, 1), (0x04, 1), (0x14, 1), (0x02, 0)])
def test_end_of_a_connection_is_remembered(load: Load, flags: int, end: int) -> None:
    kernel = load()
    for one in (flags, 0x10):
        run(kernel, "xdp_ingress", V4 + ipv4(TCP, tcp(1, 2, one)))
    assert kernel.slots["end_seen"][0] == end


def test_more_than_32_bits_of_octets(load: Load) -> None:
    kernel = load()
    frame = V4 + ipv4(UDP, udp(1, 2), total_length=65535)
    Runner(kernel, "xdp_ingress").run(frame, repeat=70_000)
    flow = only(live_flows(kernel))
    assert (flow["packet_delta_count"], flow["octet_delta_count"]) == (70_000, 70_000 * 65535)


def test_times_are_of_the_monotonic_clock(load: Load) -> None:
    """Exact for the first packet and for a FIN; between them at most some ticks behind, and never ahead."""
    kernel, behind = load(), 3 * 10**7  # three ticks of the slowest clock there is
    data, fin = (V4 + ipv4(TCP, tcp(1, 2, flags)) for flags in (0x10, 0x11))
    runner = Runner(kernel, "tc_ingress")
    began = time.monotonic_ns()
    runner.run(data)
    opened = time.monotonic_ns()
    while time.monotonic_ns() < opened + 2 * behind:
        runner.run(data, repeat=1000)
    for frame, tolerance in ((data, behind), (fin, 0)):
        before = time.monotonic_ns()
        runner.run(frame)
        flow = only(live_flows(kernel))
        assert began <= flow["flow_start_ns"] <= opened
        assert before - tolerance <= flow["flow_end_ns"] <= time.monotonic_ns()


def test_frame_may_be_longer_than_the_one_before(load: Load) -> None:
    kernel = load()
    for length in (14, 64, 1500, 60, 2000):
        kernel.test_run(kernel.program("xdp_ingress"), bytes(length))
    assert outcomes(kernel) == {"PACKETS_SEEN": 5, "PACKETS_NOT_IP": 5}


def test_each_field_of_the_key_makes_a_flow(load: Load) -> None:
    """One packet, and others that differ from it in one field each; then all of them once more."""
    kernel = load()
    base4, base6 = ipv4(UDP, udp(1, 2)), ipv6(UDP, udp(1, 2))
    frames = [
        V4 + base4,
        V4 + ipv4(UDP, udp(3, 2)),
        V4 + ipv4(UDP, udp(1, 3)),
        V4 + ipv4(136, udp(1, 2)),
        V4 + base4.replace(b"\x08\x00\x00\x01", b"\x08\x00\x00\x02"),
        V4 + numbered(base4, 1),
        V6 + base6,
        V6 + base6[:23] + b"\xff" + base6[24:],  # the last octet of the source
        V6 + base6[:39] + b"\xff" + base6[40:],
        V6 + numbered(base6, 1),
    ]
    for frame in frames + frames:
        run(kernel, "tc_ingress", frame)
    assert live_flows(kernel)["packet_delta_count"].tolist() == [2] * len(frames)


def test_gateway_of_the_other_version_is_no_next_hop(load: Load, namespace: Namespace) -> None:
    """RFC 5549: an IPv6 address has no place in the record of an IPv4 flow."""
    namespace.sysctl(ipv4__ip_forward=1)
    devices(namespace, one=1001, two=1002)
    namespace.ip(
        "address add 2001:db8:2::1/64 dev two nodad",
        "address add 192.0.2.1/32 dev one",
        "route add 8.0.0.0/8 dev one",
        "route add 198.0.0.0/8 via inet6 2001:db8:2::2 dev two",
    )
    kernel = load()
    run(kernel, "tc_ingress", numbered(dns(1), 1), SocketBuffer(ifindex=1001))
    flow = only(live_flows(kernel))
    assert (flow["ingress_interface"], flow["egress_interface"]) == (1001, 1002)
    assert not flow["ip_next_hop_address"].any()


def varied(word: str, number: int) -> bytes:
    """A frame that differs from number 0 in one word of the key only, of the eight octets that are compared at once."""
    octets = number.to_bytes(4, "big")
    four, six = bytearray(ipv4(UDP, udp(1, 2))), bytearray(ipv6(UDP, udp(1, 2)))
    if word == "VLANs":
        return ethernet(IPV4, (DOT1AD, number % 4096), (DOT1Q, number // 4096)) + four
    at4, at6 = {"ports": 20, "IPv4 addresses": 12}, {"source, begin": 8, "source": 16, "destination, begin": 24}
    if word in at4:
        four[at4[word] : at4[word] + 4] = octets
        return V4 + four
    at = at6.get(word, 32)
    six[at : at + 4] = octets
    return V6 + six


@pytest.mark.parametrize(
    "word",
    ["VLANs", "ports", "IPv4 addresses", "source, begin", "source", "destination, begin", "destination"],
)
def test_flows_that_hash_alike_are_told_apart(load: Load, word: str) -> None:
    """A table for one flow has two sets of hints, so that one in 2,048 of other flows has the hint of this one."""
    kernel = load(max_flows=1)
    runner = Runner(kernel, "xdp_ingress")
    for number in range(16_000):
        runner.run(varied(word, number))
    assert only(live_flows(kernel))["packet_delta_count"] == 1
    assert outcomes(kernel) == {"PACKETS_SEEN": 16_000, "PACKETS_OVERFLOW": 15_999}


def test_fields_outside_the_key_make_no_flow(load: Load) -> None:
    kernel = load()
    for options in (b"", b"\x01" * 4):
        for tos in (0, 0xFF):
            for ttl in (1, 64):
                run(kernel, "tc_ingress", V4 + ipv4(TCP, tcp(1, 2, ttl), options=options, tos=tos, ttl=ttl))
    assert only(live_flows(kernel))["packet_delta_count"] == 8


def test_interface_and_direction_are_always_in_the_key(load: Load, namespace: Namespace) -> None:
    kernel = load(key_fields=())
    devices(namespace, one=1001, two=70002)
    for interface in (1001, 70002):
        for program, times in (("tc_ingress", 1), ("tc_egress", 2)):
            for _ in range(times):
                run(kernel, program, dns(1), SocketBuffer(ifindex=interface))
    found = live_flows(kernel)
    columns = ("ingress_interface", "egress_interface", "flow_direction", "packet_delta_count")
    assert sorted(zip(*(found[name].tolist() for name in columns), strict=True)) == [
        (0, 1001, 1, 2),
        (0, 70002, 1, 2),
        (1001, 0, 0, 1),
        (70002, 0, 0, 1),
    ]


@needs_other_interface
def test_the_way_is_looked_up_once_a_flow(load: Load, namespace: Namespace) -> None:
    """Where a packet goes and by which next hop, the routing table says; at egress, where it came in."""
    namespace.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    devices(namespace, one=1001, two=1002)
    for name, net in (("one", 1), ("two", 2)):
        namespace.ip(
            f"address add 192.0.2.{net}/32 dev {name}",
            f"address add 2001:db8:{net}::1/64 dev {name} nodad",
        )
    namespace.ip(
        "route add 203.0.113.1/32 dev two",
        "route add 198.0.0.0/16 via 203.0.113.1 dev two onlink",
        "route add 2001:db8:ffff::/48 via 2001:db8:2::2 dev two",
        "route add 8.0.0.0/8 dev one",
        "route add 2001:db8:86dd::/48 dev one",
    )
    kernel = load()
    for packet in (V4 + numbered(ipv4(UDP, udp(1, 2, bytes(20))), 1), V6 + numbered(ipv6(UDP, udp(1, 2)), 1)):
        run(kernel, "tc_ingress", packet, SocketBuffer(ifindex=1001))
        run(kernel, "tc_egress", packet, SocketBuffer(ifindex=1002, ingress_ifindex=1001))
    found = live_flows(kernel)
    assert found["ingress_interface"].tolist() == [1001] * 4
    assert found["egress_interface"].tolist() == [1002] * 4
    hops = {4: bytes([203, 0, 113, 1]) + bytes(12), 6: bytes.fromhex("20010db80002") + bytes(9) + b"\x02"}
    expected = [hops[version] for version in found["ip_version"].tolist()]
    assert [hop.tobytes() for hop in found["ip_next_hop_address"]] == expected
