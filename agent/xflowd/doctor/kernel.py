"""What the kernel has to have: its version, bpf(), the JIT, the BPF file system, locked memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from xflowd.doctor.finding import Finding, bad, good, warning
from xflowd.doctor.situation import Situation

_WHERE = "kernel"
_OLDEST, _TCX, _ACCOUNTED = (5, 10), (6, 6), (5, 11)
_FILE_SYSTEM = "/sys/fs/bpf"
_OF_THE_FIRST_NAMESPACE = "/proc/sys/net/core/dev_weight"  # which others do not have, as bpf_jit_enable
_OCTETS_A_FLOW, _OCTETS_OF_DETAILS, _OCTETS_OF_KEY = 440, 128, 56  # README, "What it costs"


def check(situation: Situation) -> Iterator[Finding]:
    """Version and features; none of it needs rights."""
    release = situation.read("/proc/sys/kernel/osrelease") or os.uname().release
    version = _version(release)
    if version < _OLDEST:
        yield bad(_WHERE, f"Linux {release} is too old", "Linux 5.10 or later is needed: upgrade the kernel")
    else:
        tcx = "tcx (programs stand beside others, in order)" if version >= _TCX else "clsact (Linux 6.6 has tcx)"
        yield good(_WHERE, f"Linux {release}; programs of TC are attached by {tcx}")
    yield from _calls(situation)
    yield _compiler(situation)
    yield _file_system(situation)
    if version < _ACCOUNTED:
        yield _locked_memory(situation)
    yield _memory(situation)
    if situation.read("/proc/sys/kernel/bpf_stats_enabled") == "1":
        what = "bpf_stats_enabled is on: every packet pays for two clocks"
        yield warning(_WHERE, what, "sysctl kernel.bpf_stats_enabled=0, when you have measured")


def _version(release: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _calls(situation: Situation) -> Iterator[Finding]:
    """CONFIG_BPF_SYSCALL brings this file."""
    text = situation.read("/proc/sys/kernel/unprivileged_bpf_disabled")
    if text is None:
        yield bad(_WHERE, "there is no bpf()", "build the kernel with CONFIG_BPF_SYSCALL=y and CONFIG_NET_CLS_BPF=y")
    elif text == "0":
        what = "every account may call bpf()"
        yield warning(_WHERE, what, "sysctl kernel.unprivileged_bpf_disabled=1: xflowd does not need it")
    else:
        yield good(_WHERE, "bpf() is there, for those with rights to it; BTF of the kernel is not needed")


def _compiler(situation: Situation) -> Finding:
    text = situation.read("/proc/sys/net/core/bpf_jit_enable")
    if text == "0":
        return warning(_WHERE, "programs are interpreted: many times slower", "sysctl net.core.bpf_jit_enable=1")
    if text is None and not situation.exists(_OF_THE_FIRST_NAMESPACE):
        return good(_WHERE, "whether programs are compiled is told in the host's own network namespace alone")
    if text is None:
        mend = "build the kernel with CONFIG_BPF_JIT=y, where the processor has one"
        return warning(_WHERE, "there is no JIT: programs are interpreted", mend)
    return good(_WHERE, "programs are compiled (bpf_jit_enable)")


def _file_system(situation: Situation) -> Finding:
    """A unit may have put its directory over it: what is mounted below will do."""
    if _is_mounted(situation, "/proc/mounts"):
        return good(_WHERE, f"{_FILE_SYSTEM}: table and programs outlive the agent")
    if _is_mounted(situation, "/proc/1/mounts"):
        return _hidden(situation)
    what = f"no BPF file system at {_FILE_SYSTEM}: a kill of the agent loses the table"
    return warning(_WHERE, what, f"mount -t bpf bpf {_FILE_SYSTEM}, and restart the agent")


def _is_mounted(situation: Situation, mounts: str) -> bool:
    return any(line[1].startswith(_FILE_SYSTEM) for line in situation.lines(mounts) if line[2:3] == ["bpf"])


def _hidden(situation: Situation) -> Finding:
    """The host has it, and this process has mounts of its own: the agent tries the first process's."""
    way = f"/proc/1/root{_FILE_SYSTEM}"
    if situation.exists(way):
        return good(_WHERE, f"{way}: table and programs outlive the agent")
    from xflowd.lasting import ENTER  # noqa: PLC0415 - brings the loader with it

    return warning(_WHERE, f"the host's {_FILE_SYSTEM} is hidden here: a kill of the agent loses the table", ENTER)


def octets(situation: Situation) -> int:
    """What the table takes of the kernel's memory."""
    from xflowd.settings import load_options  # noqa: PLC0415 - brings the loader with it

    options = load_options(situation.config, [])
    each = _OCTETS_A_FLOW + (_OCTETS_OF_DETAILS if options.details else 0)
    each += (
        _OCTETS_OF_KEY if {"KEY_SOURCE_MAC", "KEY_DESTINATION_MAC", "KEY_FLOW_LABEL"} & set(options.key_fields) else 0
    )
    return each * options.max_flows


def _memory(situation: Situation) -> Finding:
    """Free memory beside the table, or for it where no agent has taken it yet."""
    needed, flows = octets(situation), situation.config.meter.max_flows
    free = next(
        (int(line[1]) << 10 for line in situation.lines("/proc/meminfo") if line[:1] == ["MemAvailable:"]), None
    )
    what = f"{flows:,} flows take {_mega(needed)} of the kernel's memory"
    if free is None:
        return warning(_WHERE, f"{what}; /proc/meminfo does not say how much is free", "mount /proc")
    what = f"{what}, {_mega(free)} are free"
    if situation.status is None and needed > free:
        return bad(_WHERE, what, f"lower max_flows in [meter] to {free // 2 * flows // needed:,} or so")
    if situation.status is None and needed > free // 2:
        return warning(_WHERE, what, "lower max_flows in [meter], or leave less to others")
    return good(_WHERE, what)


def _locked_memory(situation: Situation) -> Finding:
    """Before Linux 5.11 maps count as locked memory."""
    process = situation.status["pid"] if situation.status else "self"
    limit = next(
        (line[3] for line in situation.lines(f"/proc/{process}/limits") if line[:3] == ["Max", "locked", "memory"]), ""
    )
    if limit == "unlimited" or (limit.isdigit() and int(limit) >= octets(situation)):
        return good(_WHERE, "the table fits the limit of locked memory")
    what = f"the limit of locked memory is {limit or 'not known'}, the table takes {octets(situation):,}"
    return bad(_WHERE, what, "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit")


def _mega(count: int) -> str:
    return f"{count / 2**20:,.0f} MB"
