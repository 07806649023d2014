"""The eBPF object: found, set up for this host and this configuration, and loaded."""

from __future__ import annotations

import ctypes as c
import errno
import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xflowd.edge import libbpf
from xflowd.edge.layout import Layout, types_of

OBJECT = Path(__file__).parent.parent / "meter.bpf.o"
#: Maps that the agent uses, by the names it uses: those of flow.h, but for sections, whose dots no pin can have.
_MAPS = {
    name: name
    for name in (
        "slots",
        "details",
        "index_ipv4",
        "index_ipv6",
        "free_slots",
        "free_head",
        "observation_points",
        "overflow",
        "own_addresses",
    )
} | {"control": ".data.control"}
PROGRAMS = ("read_clocks", "xdp_ingress", "tc_ingress", "tc_egress", "tc_ingress_network", "tc_egress_network")

#: The fields of a key that nobody has chosen: addresses, protocol, ports, VLANs.
DEFAULT_KEY = (
    "KEY_SOURCE_ADDRESS",
    "KEY_DESTINATION_ADDRESS",
    "KEY_SOURCE_PORT",
    "KEY_DESTINATION_PORT",
    "KEY_PROTOCOL",
    "KEY_VLAN",
    "KEY_CUSTOMER_VLAN",
)
#: Fields in the extended part of struct flow_key, and the columns that they are.
_EXTENDED = {
    "KEY_SOURCE_MAC": "source_mac_address",
    "KEY_DESTINATION_MAC": "destination_mac_address",
    "KEY_FLOW_LABEL": "flow_label_ipv6",
}


class LoadError(OSError):
    """The kernel or libbpf refused the programs; the message says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What is fixed before the programs are loaded. `buckets` (a power of two) tells interfaces apart.

    `key_fields` and `details` are names of enum key_field and enum detail; with `tunnels_inner` a packet in a tunnel
    belongs to the flow of its inner headers.
    """

    max_flows: int
    key_fields: tuple[str, ...] = DEFAULT_KEY
    details: tuple[str, ...] = ()
    tunnels_inner: bool = False
    sampling_rate: int = 1
    sampling_random: bool = False
    buckets: int = 64
    replayed_clock: bool = False
    programs: tuple[str, ...] = PROGRAMS


@dataclass(frozen=True, slots=True)
class Loaded:
    """Programs and maps that are in the kernel, as descriptors by name, and what they were made from.

    `types` is the object's BTF, by which its maps are read; `digest` tells the object from any other.
    """

    options: LoadOptions
    digest: str
    types: bytes
    maps: dict[str, int]
    programs: dict[str, int]

    def close(self) -> None:
        """Give the descriptors back. What is pinned or attached stays."""
        for descriptor in (*self.maps.values(), *self.programs.values()):
            os.close(descriptor)


def digest() -> str:
    """What tells this version's object from any other."""
    return sha256(OBJECT.read_bytes()).hexdigest()


def load(options: LoadOptions) -> Loaded:
    """Load the object with these options. Raises LoadError."""
    if not OBJECT.exists():
        raise LoadError(f"{OBJECT}: the eBPF object is not built: run scripts/setup, or make -C ebpf")
    handle = _load(options)
    try:
        programs = {name: os.dup(_program(handle, name)) for name in options.programs}
        maps = {name: os.dup(libbpf.call("bpf_map__fd", _map(handle, known))) for name, known in _MAPS.items()}
        return Loaded(options, digest(), types_of(handle), maps, programs)
    finally:
        libbpf.close(handle)


def _program(handle: int, name: str) -> int:
    found = libbpf.call("bpf_object__find_program_by_name", handle, name.encode(), what=name)
    return int(libbpf.call("bpf_program__fd", found, what=name))


def _map(handle: int, name: str) -> int:
    return int(libbpf.call("bpf_object__find_map_by_name", handle, name.encode(), what=f"map {name}"))


def _load(options: LoadOptions) -> int:
    """With XDP fragments, for jumbo frames; kernels before 5.18 do not know them: load without."""
    for fragments in (True, False):
        libbpf.messages.clear()
        handle = libbpf.call("bpf_object__open_file", os.fsencode(OBJECT), None, what=str(OBJECT))
        _configure(handle, options)
        _set_flags(handle, fragments)
        try:
            libbpf.call("bpf_object__load", handle, what="loading the eBPF programs")
            return int(handle)
        except libbpf.LibbpfError as error:
            libbpf.close(handle)
            failure = error
        if failure.errno in (errno.EPERM, errno.EACCES) and os.geteuid() != 0:
            raise LoadError("loading eBPF programs is not allowed: run as root, or with CAP_BPF and CAP_NET_ADMIN")
        if failure.errno == errno.ENOMEM:
            raise LoadError(f"no memory for {options.max_flows} flows: lower max_flows in [meter]")
    raise LoadError(
        f"{failure}: {libbpf.verifier_reason()}:"
        f" Linux 5.10 or later with CONFIG_BPF_SYSCALL is needed, this is {os.uname().release}"
    )


def _set_flags(handle: int, fragments: bool) -> None:
    """Packets lie as the network stack aligns them. Where the CPU needs that (MIPS), the verifier cannot know it:
    it takes every packet for an Ethernet frame, and the lengths of extension headers for any number."""
    for name in PROGRAMS:
        flags = libbpf.BPF_F_ANY_ALIGNMENT
        if fragments and name == "xdp_ingress":
            flags |= libbpf.BPF_F_XDP_HAS_FRAGS
        program = libbpf.call("bpf_object__find_program_by_name", handle, name.encode(), what=name)
        libbpf.call("bpf_program__set_flags", program, flags)


def _configure(handle: int, options: LoadOptions) -> None:
    ring = 1 << (options.max_flows - 1).bit_length()
    rows = 2 * options.buckets * possible_cpus()
    sizes = {
        "slots": options.max_flows,
        "details": options.max_flows if options.details else 1,
        "index_ipv4": options.max_flows,
        "index_ipv6": options.max_flows,
        "free_slots": ring,
        "hints": 1 << _hint_bits(options),
        "observation_points": rows,
    }
    for name, entries in sizes.items():
        libbpf.call("bpf_map__set_max_entries", _map(handle, name), entries, what=f"map {name}")
    for name in PROGRAMS:
        program = libbpf.call("bpf_object__find_program_by_name", handle, name.encode(), what=name)
        libbpf.call("bpf_program__set_autoload", program, name in options.programs)

    layout = Layout(types_of(handle))
    mask = extended_mask(layout, options.key_fields)
    if mask.any():
        octets = layout.structure("flow_key").itemsize
        for name in ("index_ipv4", "index_ipv6"):
            libbpf.call("bpf_map__set_key_size", _map(handle, name), octets, what=f"map {name}")
    fields = layout.enumeration("key_field")
    size = c.c_size_t()
    address = libbpf.call("bpf_map__initial_value", _map(handle, ".rodata.config"), c.byref(size))
    memory = memoryview((c.c_uint8 * size.value).from_address(address))
    config = np.ndarray((1,), layout.structure("meter_config"), memory)
    config["key_fields"] = sum(fields[name] for name in options.key_fields)
    groups = layout.enumeration("detail")
    config["details"] = sum(groups[name] for name in options.details)
    config["tunnels"] = options.tunnels_inner
    config["sampling_rate"] = options.sampling_rate
    config["sampling_random"] = options.sampling_random
    config["slot_mask"] = ring - 1
    config["bucket_mask"] = options.buckets - 1
    config["atomic_counters"] = "PREEMPT_RT" in os.uname().version or Path("/sys/kernel/realtime").exists()
    config["hint_shift"] = 64 - _hint_bits(options)
    config["tick_ns"] = tick_ns()
    config["extended_mask"] = mask.view(np.uint64)
    multipliers = config["hash_multipliers"]
    multipliers[:] = np.frombuffer(os.urandom(multipliers.nbytes), np.uint64) | np.uint64(1)
    config["replayed_clock"] = options.replayed_clock


def extended_mask(layout: Layout, key_fields: Collection[str]) -> npt.NDArray[np.uint8]:
    """Which octets of the extended part of struct flow_key belong to the key: 255 each; the last sixteen octets."""
    key = np.zeros(1, layout.structure("flow_key"))
    for name, column in _EXTENDED.items():
        if name in key_fields:
            key[column] = np.iinfo(key[column].dtype).max
    return key.view(np.uint8)[-16:]


def tick_ns() -> int:
    """The length of a jiffy: what CLOCK_MONOTONIC_COARSE (clock 6 on Linux) moves by."""
    return round(time.clock_getres(6) * 10**9)


def possible_cpus() -> int:
    """How many CPUs this kernel may ever have: the highest number of /sys/devices/system/cpu/possible, and one."""
    text = Path("/sys/devices/system/cpu/possible").read_text()
    return int(text.strip().replace("-", ",").split(",")[-1]) + 1


def _hint_bits(options: LoadOptions) -> int:
    """Two sets of two hints for each flow: few flows then share a set with two others."""
    return (options.max_flows - 1).bit_length() + 1
