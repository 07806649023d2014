"""Proves that programs see every frame of an interface, are replaced without a gap, and leave nothing behind."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kernel.conftest import Load
from kernel.frames import DOT1AD, DOT1Q, IPV4, SOURCE_MAC, UDP, dns, ethernet, ipv4, udp
from kernel.namespace import devices
from kernel.running import live_flows, only, outcomes
from lab.namespaces import Namespace
from lab.process import wait_until
from xflowd import hooks
from xflowd.config import Direction, Hook, Meter
from xflowd.edge import attach, libbpf, network
from xflowd.edge.kernel import Kernel
from xflowd.metering.flow import EGRESS, INGRESS
from xflowd.observing import ObservationPoints

ONE, TWO = 1001, 70002
FRAME = dns(1)
TURNS, MOST_PACKETS = 6, 5_000_000


@dataclass(frozen=True)
class Way:
    """One way of attaching: the program, its direction, and how."""

    name: str
    program: str
    direction: int
    attach: Callable[[int], attach.Attachment]


WAYS = [
    Way("XDP", "xdp_ingress", INGRESS, lambda program: attach.attach_xdp(program, ONE)),
    Way("tcx ingress", "tc_ingress", INGRESS, lambda program: attach.attach_tc(program, ONE, INGRESS)),
    Way("tcx egress", "tc_egress", EGRESS, lambda program: attach.attach_tc(program, ONE, EGRESS)),
    Way("clsact ingress", "tc_ingress", INGRESS, lambda program: attach.attach_tc(program, ONE, INGRESS, True)),
    Way("clsact egress", "tc_egress", EGRESS, lambda program: attach.attach_tc(program, ONE, EGRESS, True)),
]
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)


class Wire:
    """Two devices that nobody else sends by; a frame given to an end of theirs comes in at the device itself."""

    def __init__(self, space: Namespace) -> None:
        self.space = space
        space.sysctl(ipv6__conf__all__disable_ipv6=1, ipv6__conf__default__disable_ipv6=1)
        devices(space, one=ONE, two=TWO)
        self._sockets: dict[str, socket.socket] = {}

    def send(self, frame: bytes, direction: int = INGRESS, device: str = "one", times: int = 1) -> None:
        """Frames into the device, or out of it."""
        name = f"{device}-end" if direction == INGRESS else device
        if name not in self._sockets:
            self._sockets[name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self._sockets[name].bind((name, 0))
        for _ in range(times):
            self._sockets[name].send(frame)

    def attached(self) -> str:
        """All that XDP and TC have in this namespace, as tools of others show it."""
        show = ["ip -details link show", "tc filter show dev one ingress", "tc filter show dev one egress"]
        shown = [self.space.run(*command.split()) for command in [*show, "tc qdisc show"]]
        return "\n".join(line for text in shown for line in text.splitlines() if "valid_lft" not in line)

    def wait_for(self, before: str) -> None:
        """Until it all is as before: links that programs come and go by settle a moment later."""
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self.attached() == before, "what was there before", 5)
        assert self.attached() == before

    def forget(self, device: str) -> None:
        """The device is another one now."""
        for name in {device, f"{device}-end"} & self._sockets.keys():
            self._sockets.pop(name).close()

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()


@pytest.fixture
def wire(namespace: Namespace) -> Iterator[Wire]:
    wire = Wire(namespace)
    yield wire
    wire.close()


def seen(kernel: Kernel) -> int:
    return outcomes(kernel).get("PACKETS_SEEN", 0)


def wait_for(kernel: Kernel, packets: int) -> None:
    wait_until(lambda: seen(kernel) >= packets, f"{packets} packets seen")


# One program on one interface


@each_way
def test_every_packet_is_seen_and_nothing_is_left(load: Load, wire: Wire, way: Way) -> None:
    before = wire.attached()
    kernel, other = load(), EGRESS if way.direction == INGRESS else INGRESS
    attachment = way.attach(kernel.program(way.program))
    for _ in range(300):
        wire.send(FRAME, way.direction)
        wire.send(FRAME, other)
    wait_for(kernel, 300)
    attachment.close()
    wire.send(FRAME, way.direction)
    flow = only(live_flows(kernel))
    assert (flow["packet_delta_count"], flow["octet_delta_count"]) == (300, 300 * 48)
    assert flow["egress_interface" if way.direction else "ingress_interface"] == ONE
    assert seen(kernel) == 300
    wire.wait_for(before)


@each_way
def test_replacing_misses_no_packet(load: Load, wire: Wire, way: Way) -> None:
    """Two loads of the programs take turns while packets come: each packet is seen by one of them."""
    kernels, enough, sent = (load(), load()), threading.Event(), [0]
    attachment = way.attach(kernels[0].program(way.program))

    def send() -> None:
        while not enough.is_set() and sent[0] < MOST_PACKETS:
            wire.send(FRAME, way.direction, times=100)
            sent[0] += 100

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for turn in range(TURNS):
            before, present = sum(map(seen, kernels)), kernels[turn % 2]
            wait_for(present, seen(present) + 1)
            attachment.replace(kernels[(turn + 1) % 2].program(way.program))
            assert sum(map(seen, kernels)) > before
    finally:
        enough.set()
        sender.join()
    assert sent[0] < MOST_PACKETS, "too few for so many turns"
    wait_until(lambda: sum(map(seen, kernels)) >= sent[0], "all packets seen")
    attachment.close()
    assert sum(map(seen, kernels)) == sent[0]


@each_way
def test_interface_goes_first(load: Load, wire: Wire, way: Way) -> None:
    attachment = way.attach(load().program(way.program))
    wire.space.ip("link delete one")
    attachment.close()


def test_xdp_takes_one_program(load: Load, wire: Wire) -> None:
    """Who comes second is told so, and who was first goes on."""
    first, second = load(), load()
    link = attach.attach_xdp(first.program("xdp_ingress"), ONE)
    with pytest.raises(attach.HookError, match="another XDP program is there"):
        attach.attach_xdp(second.program("xdp_ingress"), ONE)
    wire.send(FRAME)
    wait_for(first, 1)
    link.close()
    attach.attach_xdp(second.program("xdp_ingress"), ONE).close()


@pytest.mark.parametrize("legacy", [False, True])
def test_tc_takes_several_programs(load: Load, wire: Wire, legacy: bool) -> None:
    before, kernels = wire.attached(), (load(), load())
    both = [attach.attach_tc(kernel.program("tc_ingress"), ONE, INGRESS, legacy) for kernel in kernels]
    wire.send(FRAME)
    for kernel in kernels:
        wait_for(kernel, 1)
    for one in both:
        one.close()
    wire.wait_for(before)


ENDS_THE_CHAIN = """
#include <linux/bpf.h>
__attribute__((section("tc"), used)) int accept(struct __sk_buff *skb) { return 0; /* TCX_PASS */ }
"""


def test_program_that_ends_the_chain_hides_nothing(load: Load, wire: Wire, tmp_path: Path) -> None:
    """It was there first, and lets no tcx program behind it run: ours goes before it."""
    (tmp_path / "accept.c").write_text(ENDS_THE_CHAIN)
    include = f"-idirafter/usr/include/{platform.machine()}-linux-gnu"
    command = ["clang", "-O2", "-g", "-target", "bpf", include, "-c", "accept.c", "-o", "accept.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    theirs = libbpf.call("bpf_object__open_file", bytes(tmp_path / "accept.o"), None)
    libbpf.call("bpf_object__load", theirs)
    program = libbpf.call("bpf_program__fd", libbpf.call("bpf_object__find_program_by_name", theirs, b"accept"))
    link = libbpf.call("bpf_link_create", program, ONE, libbpf.BPF_TCX_INGRESS, None)
    kernel = load()
    ours = attach.attach_tc(kernel.program("tc_ingress"), ONE, INGRESS)
    wire.send(FRAME)
    wait_for(kernel, 1)
    ours.close()
    os.close(link)
    libbpf.close(theirs)


def test_driver_without_xdp_is_told(load: Load, wire: Wire) -> None:
    with pytest.raises(attach.HookError, match="does not run XDP"):
        attach.attach_xdp(load().program("xdp_ingress"), 1)  # the loopback


@each_way
def test_no_such_interface(load: Load, wire: Wire, way: Way) -> None:
    wire.space.ip("link delete one")
    with pytest.raises((libbpf.LibbpfError, attach.HookError)):
        way.attach(load().program(way.program))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_clsact_goes_with_its_last_program(load: Load, wire: Wire, order: tuple[int, int]) -> None:
    """Whichever direction was first: clsact serves both."""
    before, kernel = wire.attached(), load()
    attachments = [
        attach.attach_tc(kernel.program("tc_ingress"), ONE, INGRESS, legacy=True),
        attach.attach_tc(kernel.program("tc_egress"), ONE, EGRESS, legacy=True),
    ]
    attachments[order[0]].close()
    wire.send(FRAME, (INGRESS, EGRESS)[order[1]])
    wait_for(kernel, 1)
    attachments[order[1]].close()
    wire.wait_for(before)


@pytest.mark.parametrize("direction", [INGRESS, EGRESS])
def test_clsact_of_others_stays(load: Load, wire: Wire, direction: int) -> None:
    """So do their filters, and a clsact of theirs without any."""
    wire.space.run("tc", "qdisc", "add", "dev", "one", "clsact")
    ours, theirs = load(), load()
    before = wire.attached()
    attach.attach_tc(ours.program("tc_ingress"), ONE, direction, legacy=True).close()
    wire.wait_for(before)
    other = attach.attach_tc(theirs.program("tc_egress"), ONE, EGRESS, legacy=True)
    before = wire.attached()
    attach.attach_tc(ours.program("tc_ingress"), ONE, direction, legacy=True).close()
    wire.wait_for(before)
    other.close()
    assert "clsact" in wire.space.run("tc", "qdisc", "show")


def test_clsact_that_others_came_to_stays(load: Load, wire: Wire) -> None:
    """It was made here, but somebody else's filter is in it by now."""
    ours, theirs = load(), load()
    attachment = attach.attach_tc(ours.program("tc_ingress"), ONE, INGRESS, legacy=True)
    other = attach.attach_tc(theirs.program("tc_egress"), ONE, EGRESS, legacy=True)
    attachment.close()
    wire.send(FRAME, EGRESS)
    wait_for(theirs, 1)
    other.close()


# What a test run cannot show


TAGS = [
    ((), (0, 0)),
    (((DOT1Q, 100),), (100, 0)),
    (((DOT1Q, 0xE065),), (101, 0)),
    (((DOT1AD, 200),), (200, 0)),
    (((DOT1AD, 200), (DOT1Q, 100)), (200, 100)),
    (((DOT1Q, 7), (DOT1Q, 8)), (7, 8)),
    (((DOT1AD, 3), (DOT1AD, 200), (DOT1Q, 100)), None),
]


@each_way
def test_tags_are_the_same_by_every_hook(load: Load, wire: Wire, way: Way) -> None:
    """The kernel takes the outermost tag off a frame before TC sees it at ingress. Three of them are no IP."""
    kernel = load()
    attachment = way.attach(kernel.program(way.program))
    for port, (tags, _) in enumerate(TAGS):
        wire.send(ethernet(IPV4, *tags) + ipv4(UDP, udp(port, 2, bytes(20))), way.direction)
    wait_for(kernel, len(TAGS))
    attachment.close()
    found = live_flows(kernel)
    columns = ("source_transport_port", "vlan_id", "dot1q_customer_vlan_id")
    tagged = {port: tags for port, *tags in zip(*(found[name].tolist() for name in columns), strict=True)}
    assert tagged == {port: list(tags) for port, (_, tags) in enumerate(TAGS) if tags}
    assert set(found["octet_delta_count"]) == {48}
    assert {mac.tobytes() for mac in found["source_mac_address"]} == {SOURCE_MAC}
    assert outcomes(kernel) == {"PACKETS_SEEN": len(TAGS), "PACKETS_NOT_IP": 1}


@each_way
def test_frames_of_every_length(load: Load, wire: Wire, way: Way) -> None:
    """Also those of a header and nothing more."""
    kernel, expected = load(), {}
    attachment = way.attach(kernel.program(way.program))
    for protocol, octets in ((200, 20), (201, 21), (202, 46), (203, 128), (204, 1500)):
        wire.send(ethernet(IPV4) + ipv4(protocol, bytes(octets - 20)), way.direction)
        expected[protocol] = octets
    wait_for(kernel, len(expected))
    attachment.close()
    found = live_flows(kernel)
    columns = (found["protocol_identifier"].tolist(), found["octet_delta_count"].tolist())
    assert dict(zip(*columns, strict=True)) == expected


# Interfaces that come and go


def metered(kernel: Kernel, wire: Wire) -> set[tuple[str, int]]:
    """The points at which one packet more than before is counted, of those that a packet was sent to."""
    found = set()
    for device, index in (("one", ONE), ("two", TWO)):
        if f" {device}@" not in wire.space.run("ip", "-oneline", "link"):
            continue
        for direction in (INGRESS, EGRESS):
            before = int(kernel.outcomes()["PACKETS_SEEN"][direction, index % kernel.options.buckets])
            wire.send(FRAME, direction, device)
            after = int(kernel.outcomes()["PACKETS_SEEN"][direction, index % kernel.options.buckets])
            found |= {(device, direction)} if after == before + 1 else set()
    return found


@pytest.mark.parametrize("hook", [Hook.AUTO, Hook.TC, Hook.XDP])
def test_interfaces_come_and_go(load: Load, wire: Wire, hook: Hook) -> None:
    """Two interfaces are metered at ingress; what is gone is let go of, and comes back."""
    kernel, points = load(), ObservationPoints()
    meter = Meter(interfaces=("one", "two"), hook=hook)
    both = {("one", INGRESS), ("two", INGRESS)}
    points.follow(meter, kernel, network.interfaces())
    assert metered(kernel, wire) == both
    points.follow(meter, kernel, network.interfaces())
    assert (metered(kernel, wire), len(points)) == (both, 2)

    wire.space.ip("link delete two")
    points.follow(meter, kernel, network.interfaces())
    assert (metered(kernel, wire), len(points)) == ({("one", INGRESS)}, 1)
    assert points.names == {ONE: "one"}

    wire.forget("two")
    devices(wire.space, two=TWO)
    points.follow(meter, kernel, network.interfaces())
    assert (metered(kernel, wire), len(points)) == (both, 2)
    assert points.refused == {}

    points.close()
    assert (metered(kernel, wire), len(points)) == (set(), 0)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        (Direction.INGRESS, {("one", INGRESS)}),
        (Direction.EGRESS, {("one", EGRESS)}),
        (Direction.BOTH, {("one", INGRESS), ("one", EGRESS)}),
        (Direction.AUTO, {("one", INGRESS), ("one", EGRESS)}),
    ],
)
def test_directions_are_the_configured_ones(
    load: Load, wire: Wire, direction: Direction, expected: set[tuple[str, int]]
) -> None:
    kernel, points = load(), ObservationPoints()
    points.follow(Meter(interfaces=("one",), direction=direction), kernel, network.interfaces())
    assert metered(kernel, wire) == expected
    points.close()


@pytest.mark.parametrize("hook", [Hook.TC, Hook.XDP])
def test_all_points_are_replaced(load: Load, wire: Wire, hook: Hook) -> None:
    kernels, points = (load(), load()), ObservationPoints()
    meter = Meter(interfaces=("one", "two"), hook=hook, direction=Direction.BOTH)
    points.follow(meter, kernels[0], network.interfaces())
    every = {(name, direction) for name in ("one", "two") for direction in (INGRESS, EGRESS)}
    assert metered(kernels[0], wire) == every
    points.replace(kernels[1])
    assert metered(kernels[0], wire) == set()
    assert metered(kernels[1], wire) == every
    points.close()


def test_interface_that_refuses_is_remembered(load: Load, wire: Wire) -> None:
    """The loopback has no XDP: that is told, and the others are metered."""
    kernel, points = load(), ObservationPoints()
    meter = Meter(interfaces=("lo", "one"), hook=Hook.XDP, direction=Direction.INGRESS)
    points.follow(meter, kernel, network.interfaces())
    assert list(points.refused) == [("lo", INGRESS)]
    assert "hook = xdp" in points.refused["lo", INGRESS]
    assert metered(kernel, wire) == {("one", INGRESS)}
    points.close()


def test_xdp_that_is_taken_gives_way_to_tc(load: Load, wire: Wire) -> None:
    kernel, points, others = load(), ObservationPoints(), load()
    link = attach.attach_xdp(others.program("xdp_ingress"), ONE)
    meter = Meter(interfaces=("one",), hook=Hook.XDP, direction=Direction.INGRESS)
    points.follow(meter, kernel, network.interfaces())
    assert metered(kernel, wire) == {("one", INGRESS)}
    assert seen(others) > 0
    points.close()
    link.close()


@pytest.mark.parametrize("hook", [Hook.TC, Hook.XDP])
def test_interface_that_goes_before_it_is_metered_is_no_fault(
    load: Load, wire: Wire, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    """It was listed, and is not there any more."""
    kernel, points = load(), ObservationPoints()
    present = network.interfaces()
    wire.space.ip("link delete two")
    assert points.follow(Meter(interfaces=("one", "two"), hook=hook), kernel, present) == {(ONE, INGRESS)}
    assert points.refused == {}
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert metered(kernel, wire) == {("one", INGRESS)}
    points.close()


@pytest.mark.parametrize("hook", [Hook.TC, Hook.XDP])
def test_interface_made_anew_under_its_index_is_another_one(load: Load, wire: Wire, hook: Hook) -> None:
    """What the one before has left is asked for before anything can count for the other, again where that failed."""
    kernel, points, meter = load(), ObservationPoints(), Meter(interfaces=("one", "two"), hook=hook)
    forgotten: list[tuple[set[tuple[int, int]], bool]] = []

    def forget(places: set[tuple[int, int]]) -> None:
        forgotten.append((places, bool(points.places() & places)))
        if len(forgotten) == 1:
            raise OSError("not now")

    points.follow(meter, kernel, network.interfaces(), forget)
    wire.send(FRAME, device="two", times=3)
    wire.space.ip("link delete two")
    wire.forget("two")
    devices(wire.space, two=TWO)
    with pytest.raises(OSError, match="not now"):
        points.follow(meter, kernel, network.interfaces(), forget)
    assert points.places() == {(ONE, INGRESS)}
    assert points.follow(meter, kernel, network.interfaces(), forget) == {(TWO, INGRESS)}
    assert forgotten == [({(TWO, INGRESS)}, False)] * 2
    wire.send(FRAME, device="two")
    assert points.outcomes(kernel)[TWO, INGRESS]["PACKETS_SEEN"] == 1
    assert points.follow(meter, kernel, network.interfaces(), forget) == set()
    points.close()


def test_places_of_a_predecessor_that_are_gone_are_forgotten(load: Load, wire: Wire) -> None:
    kernel, points = load(), ObservationPoints()
    points.restore([[TWO, EGRESS, {}]])
    forgotten: list[set[tuple[int, int]]] = []
    points.follow(Meter(interfaces=("one",)), kernel, network.interfaces(), forgotten.append)
    assert forgotten == [{(TWO, EGRESS)}]
    points.close()


@pytest.mark.parametrize(("state", "choice"), [("on", ("tc_ingress",)), ("off", ("xdp_ingress", "tc_ingress"))])
def test_a_device_that_takes_tags_off_is_metered_by_tc(wire: Wire, state: str, choice: tuple[str, ...]) -> None:
    """Whether VLAN devices stand on it or not: a mirror port has none, and XDP would see no VLAN there."""
    wire.space.run("ethtool", "-K", "one", "rxvlan", state)
    (one,) = (interface for interface in network.interfaces() if interface.name == "one")
    device = replace(one, kind="")  # a veth is metered by TC in any case
    assert network.strips_vlan_tags("one") == (state == "on")
    assert hooks.programs(Meter(), device, INGRESS) == choice
    assert hooks.programs(Meter(key=()), device, INGRESS) == ("xdp_ingress", "tc_ingress")
