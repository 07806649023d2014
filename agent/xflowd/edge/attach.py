"""Programs on interfaces: attached, replaced without a gap, and taken off again."""

from __future__ import annotations

import contextlib
import ctypes as c
import errno
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from xflowd.edge import libbpf
from xflowd.metering.flow import EGRESS, INGRESS

#: The kernel does not know this kind of link (tcx is of 6.6), or the driver does not run XDP.
_NOT_SUPPORTED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, 524)


XDP, TC, CLSACT = "XDP", "TC", "TC (clsact)"

#: Interfaces whose clsact is there because of us: it goes with the last filter, whoever's that is.
_our_qdiscs: set[int] = set()


class HookError(Exception):
    """An interface's hook refused the program; the message says why."""


class HookBusyError(HookError):
    """Another program is at the hook already, and it takes one only."""


@dataclass(slots=True)
class Link:
    """A program attached by a link of the kernel's: it goes when the link's descriptor is closed."""

    hook: str
    descriptor: int

    def replace(self, program: int) -> None:
        """Put another program in its place; no packet passes in between."""
        libbpf.call("bpf_link_update", self.descriptor, program, None, what=f"replacing a program at {self.hook}")

    def close(self) -> None:
        """Take the program off."""
        os.close(self.descriptor)


@dataclass(slots=True)
class Filter:
    """A program attached as a filter of the clsact queueing discipline, on kernels before 6.6."""

    hook: str
    interface: int
    direction: int
    options: libbpf.TcOptions = field(default_factory=libbpf.TcOptions)

    def replace(self, program: int) -> None:
        """Put another program in its place; no packet passes in between."""
        options = _tc_options(program, handle=self.options.handle, priority=self.options.priority)
        options.flags = libbpf.BPF_TC_F_REPLACE
        libbpf.call("bpf_tc_attach", c.byref(_tc_hook(self.interface, self.direction)), c.byref(options))

    def close(self) -> None:
        """Take the filter off, and the qdisc with the last one, where it is ours. The interface may be gone."""
        options = _tc_options(0, handle=self.options.handle, priority=self.options.priority)
        with contextlib.suppress(libbpf.LibbpfError):
            libbpf.call("bpf_tc_detach", c.byref(_tc_hook(self.interface, self.direction)), c.byref(options))
        if self.interface in _our_qdiscs and not any(_has_filters(self.interface, way) for way in (INGRESS, EGRESS)):
            _our_qdiscs.discard(self.interface)
            hook = _tc_hook(self.interface, self.direction)
            hook.attach_point = libbpf.BPF_TC_INGRESS | libbpf.BPF_TC_EGRESS
            with contextlib.suppress(libbpf.LibbpfError):
                libbpf.call("bpf_tc_hook_destroy", c.byref(hook))


Attachment = Link | Filter


def adopt_link(descriptor: int, hook: str) -> Link | None:
    """A link that an earlier agent has made; None, and closed, where its interface is gone."""
    try:
        gone = libbpf.information(libbpf.LinkInfo, descriptor).ifindex == 0
    except libbpf.LibbpfError:
        gone = True
    if gone:
        os.close(descriptor)
        return None
    return Link(hook, descriptor)


def has_tcx() -> bool:
    """Whether programs are attached to TC by links, which is so since Linux 6.6."""
    flags, count = c.c_uint32(), c.c_uint32()
    try:
        libbpf.call("bpf_prog_query", 1, libbpf.BPF_TCX_INGRESS, 0, c.byref(flags), None, c.byref(count))
    except libbpf.LibbpfError as error:
        return error.errno not in _NOT_SUPPORTED
    return True


def adopt_filters(interface: int, direction: int, programs: Collection[int]) -> list[tuple[int, Filter]]:
    """The filters of clsact that run one of `programs` (by the kernel's number): an earlier agent has left them."""
    found: list[tuple[int, Filter]] = []
    for handle, priority, program in filters(interface, direction):
        if program is not None and program in programs:
            found.append((program, Filter(CLSACT, interface, direction, _tc_options(0, handle, priority))))
            _our_qdiscs.add(interface)
    return found


def attach_xdp(program: int, interface: int) -> Link:
    """Attach in the driver. Raises HookError where another program is there or the driver has no XDP."""
    options = libbpf.LinkCreateOptions(sz=c.sizeof(libbpf.LinkCreateOptions), flags=libbpf.XDP_FLAGS_DRV_MODE)
    try:
        return Link(XDP, _create_link(program, interface, libbpf.BPF_XDP, options))
    except libbpf.LibbpfError as error:
        if error.errno in (errno.EBUSY, errno.EEXIST):
            raise HookBusyError("another XDP program is there") from None
        if error.errno == errno.ENODEV:
            raise
        raise HookError(f"its driver does not run XDP as it is set up ({error.strerror})") from None


def attach_tc(program: int, interface: int, direction: int, legacy: bool = False) -> Attachment:
    """Attach beside whatever else is at the TC hook: by tcx, or by clsact where there is no tcx (or `legacy`)."""
    kind = libbpf.BPF_TCX_INGRESS if direction == INGRESS else libbpf.BPF_TCX_EGRESS
    if not legacy:
        try:
            # First of all: a program before ours that ends the chain would hide its packets.
            first = libbpf.LinkCreateOptions(sz=c.sizeof(libbpf.LinkCreateOptions), flags=libbpf.BPF_F_BEFORE)
            return Link(TC, _create_link(program, interface, kind, first))
        except libbpf.LibbpfError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
    return _attach_filter(program, interface, direction)


def _create_link(program: int, interface: int, kind: int, options: libbpf.LinkCreateOptions | None) -> int:
    by = c.byref(options) if options else None
    return int(libbpf.call("bpf_link_create", program, interface, kind, by, what="attaching a program"))


def _attach_filter(program: int, interface: int, direction: int) -> Filter:
    hook = _tc_hook(interface, direction)
    try:
        libbpf.call("bpf_tc_hook_create", c.byref(hook), what="adding clsact")
    except libbpf.LibbpfError as error:
        if error.errno != errno.EEXIST:
            raise
    else:
        _our_qdiscs.add(interface)
    options = _tc_options(program)
    libbpf.call("bpf_tc_attach", c.byref(hook), c.byref(options), what="adding a filter to clsact")
    return Filter(CLSACT, interface, direction, options)


def _has_filters(interface: int, direction: int) -> bool:
    """Whether anything is attached there."""
    try:
        return bool(list(filters(interface, direction)))
    except OSError:
        return True  # who knows: a qdisc too many is better than somebody's filter gone


def filters(interface: int, direction: int) -> Iterator[tuple[int, int, int | None]]:
    """Handle, priority and program of all filters. bpf_tc_query() of handle and priority 0 is refused: ask netlink."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - only kernels before 6.6 need this
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    parent = 0xFFFFFFF2 if direction == INGRESS else 0xFFFFFFF3  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_IN/EGRESS)
    try:
        with IPRoute() as netlink:
            for one in netlink.get_filters(index=interface, parent=parent):
                options = one.get_attr("TCA_OPTIONS")
                name = options.get_attr("TCA_BPF_NAME") if one.get_attr("TCA_KIND") == "bpf" and options else None
                number = re.search(r":\[(\d+)\]$", name or "")  # as libbpf names a filter: program:[number]
                yield one["handle"], one["info"] >> 16, int(number[1]) if number else None
    except NetlinkError as error:
        raise OSError(error.code, f"netlink: {error}") from None


def _tc_hook(interface: int, direction: int) -> libbpf.TcHook:
    point = libbpf.BPF_TC_INGRESS if direction == INGRESS else libbpf.BPF_TC_EGRESS
    return libbpf.TcHook(sz=c.sizeof(libbpf.TcHook), ifindex=interface, attach_point=point)


def _tc_options(program: int, handle: int = 0, priority: int = 0) -> libbpf.TcOptions:
    return libbpf.TcOptions(sz=c.sizeof(libbpf.TcOptions), prog_fd=program, handle=handle, priority=priority)
