"""Programs that somebody else has at the hooks, and who that is."""

from __future__ import annotations

import ctypes as c
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xflowd.doctor.finding import ANEW, Finding, good, warning
from xflowd.doctor.situation import Situation
from xflowd.edge import attach, libbpf
from xflowd.edge.loading import PROGRAMS
from xflowd.edge.network import Interface
from xflowd.hooks import DIRECTION_NAMES

_MOST_PROGRAMS = 64  # at one tcx hook: BPF_MPROG_MAX of the kernel
_NAME_OCTETS = 15  # BPF_OBJ_NAME_LEN, less the closing NUL
_OURS = {name[:_NAME_OCTETS] for name in PROGRAMS}
_HOLDERS_SECONDS = 2.0  # for looking through the descriptors of all processes
_WAYS = {name: way for way, name in DIRECTION_NAMES.items()}
_HOOKS = {"ingress": libbpf.BPF_TCX_INGRESS, "egress": libbpf.BPF_TCX_EGRESS}


class _XdpQuery(c.Structure):
    """struct bpf_xdp_query_opts of libbpf"""

    _fields_ = [
        ("sz", c.c_size_t),
        ("prog_id", c.c_uint32),
        ("drv", c.c_uint32),
        ("hw", c.c_uint32),
        ("skb", c.c_uint32),
    ]
    _fields_ += [("attach_mode", c.c_uint8)]


class _ProgramInfo(c.Structure):
    """struct bpf_prog_info of <linux/bpf.h>, up to its name"""

    _fields_ = [("type", c.c_uint32), ("id", c.c_uint32), ("tag", c.c_uint8 * 8), ("lengths", c.c_uint32 * 2)]
    _fields_ += [("instructions", c.c_uint64 * 2), ("load_time", c.c_uint64), ("uid", c.c_uint32), ("maps", c.c_uint32)]
    _fields_ += [("map_ids", c.c_uint64), ("name", c.c_char * 16)]


@dataclass(frozen=True, slots=True)
class Program:
    """A program at a hook: the kernel's number, and its name where that may be read."""

    number: int
    name: str

    @property
    def ours(self) -> bool:
        return self.name in _OURS

    def __str__(self) -> str:
        return f"{self.name or 'a program'} (number {self.number})"


def check(situation: Situation) -> Iterator[Finding]:
    """Of each interface that is metered: XDP, then TC both ways."""
    for interface in situation.metered:
        findings = [*_xdp(situation, interface), *_tc(interface)]
        yield from findings or [good(interface.name, "no other program is at its hooks")]


def _xdp(situation: Situation, interface: Interface) -> Iterator[Finding]:
    number = xdp_at(interface.index)
    if not number or _is_ours(situation, interface, number):
        return
    what = f"XDP program {named(number)} is there{_by(number)}: what it drops or redirects is not seen"
    mend = f"ip link set dev {interface.name} xdp off, unless it lets all packets pass; then {ANEW}"
    yield warning(interface.name, what, mend)


def _is_ours(situation: Situation, interface: Interface, number: int) -> bool:
    """By its name, where an agent runs, or has left it; by what the agent says where names cannot be read."""
    program = named(number)
    if program.name or situation.status is None:
        return program.ours
    return any(one["index"] == interface.index and one["hook"] == "XDP" for one in situation.status["interfaces"])


def _tc(interface: Interface) -> Iterator[Finding]:
    for direction, hook in _HOOKS.items():
        try:
            found = [named(number) for number in tcx_at(interface.index, hook)]
        except PermissionError:
            yield warning(interface.name, f"{direction}: who is at the TC hook is told to root alone", "ask as root")
            continue
        yield from _tcx(interface.name, direction, found)
        yield from _clsact(interface, direction)


def _tcx(where: str, direction: str, found: list[Program]) -> Iterator[Finding]:
    """tcx runs in order: ours is first, and whoever attaches before it later can end the chain."""
    ours = next((place for place, one in enumerate(found) if one.ours), len(found))
    for place, one in enumerate(found):
        if not one.name:
            yield warning(where, f"{direction}: {one} is at the TC hook; its name is told to root alone", "ask as root")
        elif place < ours < len(found):
            what = f"{direction}: TC program {one}{_by(one.number)} runs before xflowd's and may hide packets"
            yield warning(where, what, f"it attaches before all others when it begins: {ANEW}")
        elif not one.ours:
            yield good(where, f"{direction}: TC program {one}{_by(one.number)} runs after xflowd's")


def _clsact(interface: Interface, direction: str) -> Iterator[Finding]:
    """Filters of clsact run behind all of tcx; before Linux 6.6 ours is one of them, by its priority."""
    found = [
        (priority, named(number) if number else None) for priority, number in filters_at(interface.index, direction)
    ]
    ours = next((priority for priority, one in found if one and one.ours), None)
    for priority, one in found:
        if one and one.ours:
            continue
        told = f"{direction}: a tc filter of priority {priority}" + (f", {one}," if one else "")
        if ours is not None and priority < ours:
            mend = f"tc filter show dev {interface.name} {direction}: give it a priority above {ours}"
            yield warning(interface.name, f"{told} runs before xflowd's and may hide packets", mend)
        else:
            yield good(interface.name, f"{told} runs after xflowd's")


def filters_at(index: int, direction: str) -> list[tuple[int, int | None]]:
    """Priority and program's number, where it has one, of clsact's filters; none where they cannot be asked for."""
    try:
        found = attach.filters(index, _WAYS[direction])
        return [(priority, number) for handle, priority, number in found if handle]  # 0: the priority itself
    except (ImportError, OSError):
        return []


def xdp_at(index: int) -> int:
    """The number of the XDP program at an interface, 0 without one."""
    query = _XdpQuery(sz=c.sizeof(_XdpQuery))
    if _library().bpf_xdp_query(index, 0, c.byref(query)) < 0:
        return 0
    return int(query.prog_id or query.drv or query.skb or query.hw)


def tcx_at(index: int, hook: int) -> list[int]:
    """The numbers of the programs at an interface's tcx hook, in order; none before Linux 6.6.

    Raises PermissionError without CAP_NET_ADMIN.
    """
    numbers, count, flags = (c.c_uint32 * _MOST_PROGRAMS)(), c.c_uint32(_MOST_PROGRAMS), c.c_uint32()
    try:
        libbpf.call("bpf_prog_query", index, hook, 0, c.byref(flags), numbers, c.byref(count))
    except libbpf.LibbpfError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise PermissionError(error.errno, error.strerror) from None
        return []
    return list(numbers[: count.value])


def named(number: int) -> Program:
    """A program by its number; its name takes CAP_SYS_ADMIN to read."""
    descriptor = _library().bpf_prog_get_fd_by_id(number)
    if descriptor < 0:
        return Program(number, "")
    info, size = _ProgramInfo(), c.c_uint32(c.sizeof(_ProgramInfo))
    try:
        libbpf.call("bpf_obj_get_info_by_fd", descriptor, c.byref(info), c.byref(size))
        return Program(number, info.name.decode(errors="replace"))
    except libbpf.LibbpfError:
        return Program(number, "")
    finally:
        os.close(descriptor)


def _library() -> c.CDLL:
    return c.CDLL(libbpf.LIBRARY, use_errno=True)


def _by(number: int) -> str:
    """Which process holds a program, or its link; nobody does where it was attached by netlink and left."""
    holder = holder_of(number)
    return f", held by {holder}" if holder else ""


def holder_of(number: int) -> str:
    """The first process with a descriptor of a program or of its link; "" if none is found in time."""
    until, line = time.monotonic() + _HOLDERS_SECONDS, f"prog_id:\t{number}"
    for directory in Path("/proc").glob("[0-9]*/fdinfo"):
        if time.monotonic() > until:
            break
        if directory.parent.name == str(os.getpid()):
            continue
        if _has(directory, line):
            name = _text(directory.parent / "comm")
            return f"{name} (process {directory.parent.name})"
    return ""


def _has(directory: Path, line: str) -> bool:
    try:
        files = list(directory.iterdir())
    except OSError:
        return False
    return any(line in _text(file).splitlines() for file in files)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
