"""Memory that outlives the process that wrote it: array maps of the kernel, mapped into the agent."""

from __future__ import annotations

import ctypes as c
import mmap

from xflowd.edge import libbpf


def create(name: str, octets: int) -> int:
    """A new shared memory, all zero; its descriptor. Memory that no pin holds goes with the last descriptor."""
    options = libbpf.MapCreateOptions(sz=c.sizeof(libbpf.MapCreateOptions), map_flags=libbpf.BPF_F_MMAPABLE)
    kind, short = libbpf.BPF_MAP_TYPE_ARRAY, name.replace("-", "_").encode()[:15]  # the kernel takes no other signs
    what = f"{octets >> 10} KiB of shared memory for {name}"
    return int(libbpf.call("bpf_map_create", kind, short, 4, octets, 1, c.byref(options), what=what))


def mapped(descriptor: int) -> tuple[memoryview, int]:
    """The memory of an array map, which stays after the descriptor is closed, and its number of elements."""
    info = libbpf.information(libbpf.MapInfo, descriptor)
    octets = stride(info.value_size) * info.max_entries
    whole = (octets + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
    return memoryview(mmap.mmap(descriptor, whole))[:octets], info.max_entries


def stride(value_size: int) -> int:
    """The kernel rounds each element of an array up to eight octets."""
    return (value_size + 7) // 8 * 8
