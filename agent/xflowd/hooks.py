"""The choice of a hook: which program meters an interface, where it is attached, and whether it is there still."""

from __future__ import annotations

import ctypes as c
import errno
import logging

from xflowd.config import Hook, KeyField, Meter
from xflowd.config.problem import shown
from xflowd.edge import attach, libbpf, network
from xflowd.edge.kernel import Kernel
from xflowd.edge.network import Interface, Link, strips_vlan_tags
from xflowd.metering.flow import EGRESS, INGRESS

log = logging.getLogger(__name__)

DIRECTION_NAMES = {INGRESS: "ingress", EGRESS: "egress"}
_TCX = {INGRESS: libbpf.BPF_TCX_INGRESS, EGRESS: libbpf.BPF_TCX_EGRESS}
_VLANS = {KeyField.VLAN, KeyField.CUSTOMER_VLAN}
_MOST_PROGRAMS = 64  # at one tcx hook: BPF_MPROG_MAX of the kernel


class AttachError(Exception):
    """An interface cannot be metered as it is configured; the message says how to mend it."""


class GoneError(Exception):
    """The interface is not there any more: that is no fault of anybody's."""


def programs(meter: Meter, interface: Interface, direction: int) -> tuple[str, ...]:
    """What may run there, best first: XDP where it is possible, worth it and sees everything, TC everywhere."""
    if interface.link is Link.TUNNEL:
        mend = "meter the interface that its packets leave by, with tunnels = inner"
        raise AttachError(f"a tunnel without one far end has its outer header in each packet: {mend}")
    if interface.link is Link.UNKNOWN:
        raise AttachError("its link layer is not one of those that xflowd reads: Ethernet, or none")
    tc = f"tc_{DIRECTION_NAMES[direction]}" + ("" if interface.link is Link.ETHERNET else "_network")
    obstacle = _xdp_obstacle(meter, interface, direction)
    return ("xdp_ingress", tc) if obstacle is None else (tc,)


def attached(
    meter: Meter, kernel: Kernel, interface: Interface, direction: int, allowed: tuple[str, ...]
) -> tuple[str, attach.Attachment]:
    """Attach one of `allowed`, as programs() has them: its name, and where it is.

    Raises GoneError where there is no such interface now, AttachError and OSError where it refuses.
    """
    try:
        return _attached(meter, kernel, interface, direction, allowed)
    except (AttachError, OSError):
        if not network.counters({interface.index}):
            raise GoneError(f"{shown(interface.name)} went away before it was metered") from None
        raise


def is_there(attachment: attach.Attachment, index: int, direction: int) -> bool:
    """Whether a program is still at the interface that has this index now.

    It is not where the interface was made anew under the same index, or has gone to another network namespace, with
    which its links go: they know an index, and not the namespace that it is of. So TC is asked for what runs here.
    """
    if isinstance(attachment, attach.Filter):
        return True  # it cannot be told cheaply
    try:
        link = libbpf.information(libbpf.LinkInfo, attachment.descriptor)
        if link.ifindex != index:
            return False
        return attachment.hook != attach.TC or link.prog_id in _running(index, direction)
    except libbpf.LibbpfError as error:
        return error.errno != errno.ENODEV


def _running(index: int, direction: int) -> list[int]:
    """The kernel's numbers of the programs at an interface's tcx hook."""
    numbers, count, flags = (c.c_uint32 * _MOST_PROGRAMS)(), c.c_uint32(_MOST_PROGRAMS), c.c_uint32()
    libbpf.call("bpf_prog_query", index, _TCX[direction], 0, c.byref(flags), numbers, c.byref(count))
    return list(numbers[: count.value])


def _attached(
    meter: Meter, kernel: Kernel, interface: Interface, direction: int, allowed: tuple[str, ...]
) -> tuple[str, attach.Attachment]:
    if allowed[0] == "xdp_ingress":
        try:
            return "xdp_ingress", attach.attach_xdp(kernel.program("xdp_ingress"), interface.index)
        except attach.HookError as error:
            if meter.hook is Hook.XDP and not isinstance(error, attach.HookBusyError):
                raise AttachError(f"hook = xdp, but {error}: set hook = auto or tc in [meter]") from None
            refused = error
        tc = attach.attach_tc(kernel.program(allowed[-1]), interface.index, direction)
        level = logging.WARNING if isinstance(refused, attach.HookBusyError) else logging.INFO
        log.log(level, "%s: no XDP, %s: metering it by TC", shown(interface.name), refused)
        return allowed[-1], tc
    tc = attach.attach_tc(kernel.program(allowed[-1]), interface.index, direction)
    if obstacle := _xdp_obstacle(meter, interface, direction):
        log.info("%s: no XDP, %s: metering it by TC", shown(interface.name), obstacle)
    return allowed[-1], tc


def _xdp_obstacle(meter: Meter, interface: Interface, direction: int) -> str | None:
    """Why XDP is not even tried, empty where there is nothing to say about it; None where it is."""
    if direction == EGRESS or meter.hook is Hook.TC or interface.link is not Link.ETHERNET:
        return ""
    if meter.hook is Hook.XDP:
        return None
    if interface.kind == "veth":
        return "for which a veth copies every packet"
    if not _VLANS.intersection(meter.key):
        return None
    try:
        strips = strips_vlan_tags(interface.name)
    except OSError as error:
        return f"the device does not say whether it takes VLAN tags off before XDP sees them ({error.strerror})"
    return "the device takes VLAN tags off before XDP sees them" if strips else None
