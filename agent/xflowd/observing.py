"""Observation Points (RFC 5470): which interfaces are metered, in which direction, at which hook."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from xflowd.config import Direction, FlowKey, Hook, Meter, matching
from xflowd.edge import attach
from xflowd.edge.kernel import Kernel
from xflowd.edge.libbpf import LibbpfError
from xflowd.edge.network import Interface, Link, strips_vlan_tags
from xflowd.metering.flow import EGRESS, INGRESS

log = logging.getLogger(__name__)

_FEWEST_BUCKETS, _MOST_BUCKETS = 64, 1024
_DIRECTION_NAMES = {INGRESS: "ingress", EGRESS: "egress"}


class AttachError(Exception):
    """An interface cannot be metered as it is configured; the message says how to mend it."""


def directions(wanted: Direction, interfaces: int) -> tuple[int, ...]:
    """One interface is metered both ways; of several, ingress alone counts a forwarded packet once."""
    if wanted is Direction.AUTO:
        wanted = Direction.BOTH if interfaces <= 1 else Direction.INGRESS
    return {Direction.INGRESS: (INGRESS,), Direction.EGRESS: (EGRESS,), Direction.BOTH: (INGRESS, EGRESS)}[wanted]


def buckets(indexes: Iterable[int]) -> int:
    """The least power of two that gives each interface counters of its own, within reason."""
    known = set(indexes)
    size = _FEWEST_BUCKETS
    while size < _MOST_BUCKETS and len({index % size for index in known}) < len(known):
        size *= 2
    return size


class ObservationPoints:
    """The programs attached now, and to which interface and direction."""

    def __init__(self) -> None:
        self._attached: dict[tuple[int, int], attach.Attachment] = {}
        self._programs: dict[tuple[int, int], str] = {}
        self.names: dict[int, str] = {}  # of the metered interfaces, by index
        self.refused: dict[tuple[str, int], str] = {}

    def follow(self, meter: Meter, kernel: Kernel, present: list[Interface]) -> None:
        """Attach to what matches and is not metered yet, let go of what is gone or matches no more.

        An interface that refuses is remembered in `refused`, by name and direction, with the reason.
        """
        names = set(matching(meter.interfaces, (interface.name for interface in present)))
        wanted = [interface for interface in present if interface.name in names]
        ways = directions(meter.direction, len(wanted))
        points = {(interface.index, way): interface for interface in wanted for way in ways}
        for point in self._attached.keys() - points.keys():
            self._detach(point)
        self.names = {interface.index: interface.name for interface in wanted}
        before, self.refused = self.refused, {}
        for point, interface in points.items():
            if point not in self._attached:
                self._try(meter, kernel, interface, point[1])
        for (name, direction), reason in self.refused.items():
            if before.get((name, direction)) != reason:
                log.warning("cannot meter %s %s: %s", name, _DIRECTION_NAMES[direction], reason)

    def replace(self, kernel: Kernel) -> None:
        """Run another load of the programs from here on; no packet is missed."""
        for point, attachment in list(self._attached.items()):
            try:
                attachment.replace(kernel.program(self._programs[point]))
            except LibbpfError as error:  # the interface has just gone, or changed: follow() sees to it
                log.warning("%s", error)
                self._detach(point)

    def close(self) -> None:
        """Take every program off."""
        for point in list(self._attached):
            self._detach(point)

    def __len__(self) -> int:
        return len(self._attached)

    def _detach(self, point: tuple[int, int]) -> None:
        self._attached.pop(point).close()
        del self._programs[point]
        name = self.names.get(point[0], f"interface {point[0]}")
        log.info("no longer metering %s %s", name, _DIRECTION_NAMES[point[1]])

    def _try(self, meter: Meter, kernel: Kernel, interface: Interface, direction: int) -> None:
        way = _DIRECTION_NAMES[direction]
        try:
            program, attachment = _attach(meter, kernel, interface, direction)
        except (OSError, AttachError) as error:
            reason = str(error)
            self.refused[interface.name, direction] = reason
            return
        self._attached[interface.index, direction] = attachment
        self._programs[interface.index, direction] = program
        log.info("metering %s %s by %s", interface.name, way, attachment.hook)


def _attach(meter: Meter, kernel: Kernel, interface: Interface, direction: int) -> tuple[str, attach.Attachment]:
    """XDP where it is possible, worth it and sees everything, TC elsewhere. The program's name, and where it is."""
    if interface.link is Link.UNKNOWN:
        raise AttachError("its link layer is not one of those that xflowd reads: Ethernet, or none")
    obstacle = _xdp_obstacle(meter, interface, direction)
    if obstacle is None:
        try:
            return "xdp_ingress", attach.attach_xdp(kernel.program("xdp_ingress"), interface.index)
        except attach.HookError as error:
            if meter.hook is Hook.XDP and not isinstance(error, attach.HookBusyError):
                raise AttachError(f"hook = xdp, but {error}: set hook = auto or tc in [meter]") from None
            level = logging.WARNING if isinstance(error, attach.HookBusyError) else logging.INFO
            log.log(level, "%s: no XDP, %s: metering it by TC", interface.name, error)
    elif obstacle:
        log.info("%s: no XDP, %s", interface.name, obstacle)
    program = f"tc_{_DIRECTION_NAMES[direction]}" + ("" if interface.link is Link.ETHERNET else "_network")
    return program, attach.attach_tc(kernel.program(program), interface.index, direction)


def _xdp_obstacle(meter: Meter, interface: Interface, direction: int) -> str | None:
    """Why XDP is not even tried, empty where there is nothing to say about it; None where it is."""
    if direction == EGRESS or meter.hook is Hook.TC or interface.link is not Link.ETHERNET:
        return ""
    if meter.hook is Hook.XDP:
        return None
    if interface.kind == "veth":
        return "a veth copies every packet for it"
    strips = meter.key is FlowKey.VLAN and interface.carries_vlans and strips_vlan_tags(interface.name)
    return "the device takes VLAN tags off before XDP sees them" if strips else None
