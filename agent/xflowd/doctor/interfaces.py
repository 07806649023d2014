"""Which interfaces are metered, by which hook, and why by that one."""

from __future__ import annotations

from collections.abc import Iterator

from xflowd import hooks
from xflowd.config import Direction, Hook, Meter, unmatched
from xflowd.doctor.finding import Finding, bad, good, warning
from xflowd.doctor.situation import Situation
from xflowd.edge.network import Interface, Link
from xflowd.hooks import DIRECTION_NAMES, AttachError
from xflowd.metering.flow import EGRESS, INGRESS
from xflowd.observing import directions


def check(situation: Situation) -> Iterator[Finding]:
    """What an agent does, or would do here. No packet on an interface that is down is no fault."""
    meter = situation.config.meter
    for pattern in unmatched(meter.interfaces, [one.name for one in situation.present]):
        yield warning(pattern, "no interface is called so now", "correct interfaces in [meter], or wait until it comes")
    if not situation.metered:
        yield bad("interfaces", "nothing is metered", "name interfaces in [meter] that are there: ip link")
    yield from _refused(situation)
    for interface in situation.metered:
        state = situation.of_interface(interface, "operstate")
        if state in ("down", "lowerlayerdown"):
            yield warning(interface.name, f"it is {state}", f"ip link set {interface.name} up, and see to its cable")
        yield from _running(situation, interface) if situation.status else _planned(meter, interface)
    yield from _twice(situation)


def _refused(situation: Situation) -> Iterator[Finding]:
    for one in situation.status["refused"] if situation.status else ():
        yield bad(one["name"], f"{one['direction']} is not metered: {one['reason']}", "see the agent's log")


def _running(situation: Situation, interface: Interface) -> Iterator[Finding]:
    assert situation.status is not None
    for point in situation.status["interfaces"]:
        if point["index"] == interface.index:
            why = "" if point["hook"] == "XDP" else _why(situation.config.meter, interface, point["direction"])
            yield good(interface.name, f"{point['direction']} is metered by {point['hook']}{why}")


def _planned(meter: Meter, interface: Interface) -> Iterator[Finding]:
    for direction in directions(meter.direction, meter.interfaces):
        name = DIRECTION_NAMES[direction]
        try:
            first = hooks.programs(meter, interface, direction)[0]
        except AttachError as error:
            yield bad(interface.name, f"{name} cannot be metered: {error}", "take it out of interfaces in [meter]")
            continue
        by = "XDP, or TC where its driver has no XDP" if first == "xdp_ingress" else "TC"
        why = "" if first == "xdp_ingress" else _why(meter, interface, name)
        yield good(interface.name, f"{name} would be metered by {by}{why}")


def _why(meter: Meter, interface: Interface, direction: str) -> str:
    """Why TC, as hooks.programs() decides."""
    reasons = (
        (direction == DIRECTION_NAMES[EGRESS], "XDP sees what comes in alone"),
        (meter.hook is Hook.TC, "hook = tc in [meter]"),
        (interface.link is not Link.ETHERNET, "it has no Ethernet frames"),
        (meter.hook is Hook.AUTO and interface.kind == "veth", "a veth copies every packet for XDP"),
    )
    for applies, reason in reasons:
        if applies:
            return f": {reason}"
    if hooks.programs(meter, interface, INGRESS)[0] != "xdp_ingress":
        return ": it takes VLAN tags off before XDP sees them"
    return ": XDP was refused, by its driver or another program there"


def _twice(situation: Situation) -> Iterator[Finding]:
    """Both ways of several interfaces: a packet that is forwarded from one to another is in two flows."""
    meter = situation.config.meter
    if meter.direction is Direction.BOTH and len(situation.metered) > 1:
        what = "direction = both on several interfaces: forwarded packets are in two flows"
        yield warning("interfaces", what, "direction = ingress, or let the collector select by flowDirection (61)")
