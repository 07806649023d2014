"""The metering programs and their maps: loaded, mapped into this process, and handed over slot by slot."""

from __future__ import annotations

import ctypes as c
import errno
import mmap
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.edge import libbpf
from xflowd.edge.layout import Layout
from xflowd.metering.table import SlotState

OBJECT = Path(__file__).parent.parent / "meter.bpf.o"
PROGRAMS = (
    "read_clocks",
    "xdp_ingress",
    "tc_ingress",
    "tc_egress",
    "tc_ingress_network",
    "tc_egress_network",
)
_BATCH = 16384  # keys a system call

Slots = npt.NDArray[np.uint32]


class LoadError(Exception):
    """The kernel or libbpf refused the programs; the message says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What is fixed before the programs are loaded. `buckets` (a power of two) tells interfaces apart."""

    max_flows: int
    key_fields: tuple[str, ...] = ("KEY_VLAN",)
    sampling_rate: int = 1
    sampling_random: bool = False
    buckets: int = 64
    replayed_clock: bool = False
    programs: tuple[str, ...] = PROGRAMS


class Kernel:
    """The loaded object. `slots` and `points` are shared memory: what programs write appears in them.

    The flow table's hand-over is detach(), records(), release(), in this order; between detach() and release()
    the slots belong to the caller and nothing writes to them.
    """

    def __init__(self, options: LoadOptions) -> None:
        """Load the programs and map the tables. Raises LoadError."""
        self.options = options
        self._handle = _load(options)
        self.layout = Layout(libbpf.call("bpf_object__btf", self._handle))
        self.slots = self._mapped("slots", self.layout.structure("flow_slot"))
        # The same memory as items that numpy copies at one go, and as 64-bit words:
        self._octets = np.ndarray(self.slots.shape, f"V{self.slots.itemsize}", self.slots)
        self._words = self._octets.view(np.uint64).reshape(len(self.slots), -1)
        points = self._mapped("observation_points", self.layout.structure("observation_point"))
        #: [CPU, direction, interface bucket]
        self.points = points.reshape(-1, 2, options.buckets)
        self._ring = self._mapped("free_slots", np.dtype(np.uint32))
        self._control = self._mapped(".data.control", self.layout.structure("meter_control"))
        self._outcome = self.layout.enumeration("packet_outcome")
        self._grace_map, self._grace_inner = _grace_maps()
        self._publish(np.arange(len(self.slots), dtype=np.uint32))
        self._test_run = libbpf.TestRunOptions(sz=c.sizeof(libbpf.TestRunOptions))
        self._test_run_by = c.byref(self._test_run)
        self._free_head, self._wrapped = self._map_fd("free_head"), False
        self._tick_ns = _tick_ns()
        self._set_tick_base(self._sample_tick_base(2 * self._tick_ns))

    def close(self) -> None:
        """Drop programs and maps. Links that are still there keep the programs running."""
        os.close(self._grace_map)
        os.close(self._grace_inner)
        libbpf.close(self._handle)

    def program(self, name: str) -> int:
        """The file descriptor of a loaded program."""
        handle = libbpf.call("bpf_object__find_program_by_name", self._handle, name.encode(), what=name)
        return int(libbpf.call("bpf_program__fd", handle, what=name))

    def set_replayed_clock(self, nanoseconds: int) -> None:
        """The time of the packets to come, where the object was loaded with a replayed clock."""
        self._control["replayed_ns"][0] = nanoseconds

    def start_sampling_anywhere(self) -> None:
        """Begin every window of the sampler at a place of its own, or each CPU's first packet would be taken."""
        rate = self.options.sampling_rate
        for column in ("window_position", "window_choice") if self.options.sampling_random else ("window_position",):
            draws = np.frombuffer(os.urandom(8 * self.points.size), np.uint64) % np.uint64(rate)
            self.points[column] = draws.reshape(self.points.shape)

    def adjust_clock(self) -> None:
        """Keep the programs' coarse clock within a tick behind CLOCK_MONOTONIC. Call it about once a second."""
        measured = self._sample_tick_base(0)
        if not self._tick_base <= measured <= self._tick_base + 2 * self._tick_ns:
            self._set_tick_base(measured)

    def test_run(self, program: int, frame: bytes, repeat: int = 1) -> tuple[int, int]:
        """Run a program on a frame (BPF_PROG_TEST_RUN). Returns its verdict and the nanoseconds of one run."""
        run = self._test_run
        run.data_in, run.data_size_in, run.repeat = c.cast(c.c_char_p(frame), c.c_void_p), len(frame), repeat
        run.data_size_out = 0  # the last run has left the size of its frame here
        libbpf.call("bpf_prog_test_run_opts", program, self._test_run_by)
        return run.retval, run.duration

    def detach(self, numbers: Slots) -> None:
        """Make LIVE slots EXPIRING, and wait until no program can write to them.

        EXPIRING comes first, because a hint leads to a LIVE slot without the index.
        """
        self.slots["state"][numbers] = SlotState.EXPIRING
        versions = self.slots["key"]["ip_version"][numbers]
        for version in (4, 6):
            self._delete(f"index_ipv{version}", numbers[versions == version])
        self.wait_grace_period()

    def records(self, numbers: Slots) -> npt.NDArray[np.void]:
        """A copy of slots, as they are now."""
        copied: npt.NDArray[np.void] = self._octets[numbers].view(self.slots.dtype)
        return copied

    def release(self, numbers: Slots) -> None:
        """Give slots back that no program can write to. The grace period makes programs see zeroes before the number.

        A slot found DISCARDED is one of these once a grace period has passed since.
        """
        if len(numbers) == 0:
            return
        self._words[numbers] = 0
        self._publish(numbers)

    def wait_grace_period(self) -> None:
        """Return when every program that was running has ended, and all memory they wrote is seen here.

        The kernel promises this of an update of a map-in-map from user space (since 5.0), on every architecture.
        """
        inner = c.c_int(self._grace_inner)
        libbpf.call("bpf_map_update_elem", self._grace_map, c.byref(c.c_uint32(0)), c.byref(inner), 0)

    def slots_used(self) -> int:
        """So many slots, the first ones, have ever been taken: the ring gives them out in this order at first."""
        head = np.zeros(1, self.layout.structure("free_head"))
        libbpf.call("bpf_map_lookup_elem", self._free_head, c.byref(c.c_uint32(0)), head.ctypes.data)
        if self._wrapped or head["taken"][0] >= len(self.slots):
            self._wrapped = True
            return len(self.slots)
        return int(head["taken"][0])

    def outcomes(self) -> dict[str, npt.NDArray[np.uint64]]:
        """Packets by enum packet_outcome of flow.h, over all CPUs: [direction, interface bucket]."""
        totals = self.points["packets"].sum(axis=0)
        return {outcome.name: totals[:, :, outcome] for outcome in self._outcome if outcome < totals.shape[2]}

    def overflow_packets(self) -> int:
        """Packets counted in overflow records so far."""
        return int(self.points["packets"][..., self._outcome["PACKETS_OVERFLOW"]].sum())

    def overflow(self) -> npt.NDArray[np.void]:
        """The overflow records: fields of struct overflow_key and of struct overflow_record, side by side."""
        key_type, value_type = self.layout.structure("overflow_key"), self.layout.structure("overflow_record")
        rows = list(self._elements("overflow", key_type, value_type))
        records = np.zeros(len(rows), [("key", key_type), ("value", value_type)])
        for i, (key, value) in enumerate(rows):
            records["key"][i], records["value"][i] = key[0], value[0]
        return records

    def _elements(
        self, name: str, key_type: np.dtype[np.void], value_type: np.dtype[np.void]
    ) -> Iterator[tuple[npt.NDArray[np.void], npt.NDArray[np.void]]]:
        fd, previous = self._map_fd(name), None
        while True:
            key, value = np.zeros(1, key_type), np.zeros(1, value_type)
            try:
                libbpf.call("bpf_map_get_next_key", fd, previous, key.ctypes.data)
            except libbpf.LibbpfError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            libbpf.call("bpf_map_lookup_elem", fd, key.ctypes.data, value.ctypes.data)
            yield key, value
            held = key  # the next call reads the key from its memory
            previous = held.ctypes.data

    def _delete(self, index: str, numbers: Slots) -> None:
        """Delete slots' keys from an index, in batches."""
        fd, size = self._map_fd(index), self._key_size(index)
        begin = self.slots.dtype.fields["key"][1] // 8  # type: ignore[index]
        keys = self._words[:, begin : begin + size // 8][numbers]
        for at in range(0, len(keys), _BATCH):
            count = c.c_uint32(min(_BATCH, len(keys) - at))
            libbpf.call("bpf_map_delete_batch", fd, keys[at:].ctypes.data, c.byref(count), None)

    def _publish(self, numbers: Slots) -> None:
        tail = int(self._control["free_tail"][0])
        places = (tail + np.arange(len(numbers), dtype=np.uint32)) & np.uint32(len(self._ring) - 1)
        self._ring[places] = numbers
        self.wait_grace_period()
        self._control["free_tail"][0] = (tail + len(numbers)) & 0xFFFFFFFF

    def _sample_tick_base(self, for_ns: int) -> int:
        """CLOCK_MONOTONIC less the jiffies, least of many samples: the one taken just after a tick is the best."""
        program, base = self.program("read_clocks"), 2**64
        until = time.monotonic_ns() + for_ns
        while True:
            self.test_run(program, bytes(64))
            row = self._control[0]
            base = min(base, int(row["sampled_ns"]) - int(row["sampled_jiffies"]) * self._tick_ns)
            if time.monotonic_ns() >= until:
                return base

    def _set_tick_base(self, nanoseconds: int) -> None:
        """Jiffies do not begin at 0, so this may be negative: the programs add modulo 2^64."""
        self._tick_base = nanoseconds
        self._control["tick_base_ns"][0] = nanoseconds % 2**64

    def _map(self, name: str) -> int:
        return int(libbpf.call("bpf_object__find_map_by_name", self._handle, name.encode(), what=f"map {name}"))

    def _map_fd(self, name: str) -> int:
        return int(libbpf.call("bpf_map__fd", self._map(name)))

    def _key_size(self, name: str) -> int:
        return int(libbpf.call("bpf_map__key_size", self._map(name)))

    def _mapped(self, name: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """An array map as shared memory. The kernel rounds each element up to eight octets."""
        entries = int(libbpf.call("bpf_map__max_entries", self._map(name)))
        stride = (dtype.itemsize + 7) // 8 * 8
        length = (stride * entries + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
        memory = mmap.mmap(self._map_fd(name), length)
        mapped: npt.NDArray[Any] = np.ndarray((entries,), dtype, memory, strides=(stride,))
        return mapped


def _load(options: LoadOptions) -> int:
    """Load with XDP fragments, for jumbo frames; kernels before 5.18 do not know them: load without."""
    if not OBJECT.exists():
        raise LoadError(f"{OBJECT}: the eBPF object is not built: run scripts/setup, or make -C ebpf")
    for fragments in (True, False):
        libbpf.messages.clear()
        handle = libbpf.call("bpf_object__open_file", os.fsencode(OBJECT), None, what=str(OBJECT))
        _configure(handle, options)
        if not fragments:
            xdp = libbpf.call("bpf_object__find_program_by_name", handle, b"xdp_ingress")
            libbpf.call("bpf_program__set_flags", xdp, 0)
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


def _configure(handle: int, options: LoadOptions) -> None:
    ring = 1 << (options.max_flows - 1).bit_length()
    rows = 2 * options.buckets * possible_cpus()
    sizes = {
        "slots": options.max_flows,
        "index_ipv4": options.max_flows,
        "index_ipv6": options.max_flows,
        "free_slots": ring,
        "hints": 1 << _hint_bits(options),
        "observation_points": rows,
    }
    for name, entries in sizes.items():
        found = libbpf.call("bpf_object__find_map_by_name", handle, name.encode(), what=f"map {name}")
        libbpf.call("bpf_map__set_max_entries", found, entries, what=f"map {name}")
    for name in PROGRAMS:
        program = libbpf.call("bpf_object__find_program_by_name", handle, name.encode(), what=name)
        libbpf.call("bpf_program__set_autoload", program, name in options.programs)

    layout = Layout(libbpf.call("bpf_object__btf", handle))
    fields = layout.enumeration("key_field")
    rodata = libbpf.call("bpf_object__find_map_by_name", handle, b".rodata.config", what="map .rodata.config")
    size = c.c_size_t()
    address = libbpf.call("bpf_map__initial_value", rodata, c.byref(size))
    memory = memoryview((c.c_uint8 * size.value).from_address(address))
    config = np.ndarray((1,), layout.structure("meter_config"), memory)
    config["key_fields"] = sum(fields[name] for name in options.key_fields)
    config["sampling_rate"] = options.sampling_rate
    config["sampling_random"] = options.sampling_random
    config["slot_mask"] = ring - 1
    config["bucket_mask"] = options.buckets - 1
    config["atomic_counters"] = Path("/sys/kernel/realtime").exists()
    config["hint_shift"] = 64 - _hint_bits(options)
    config["tick_ns"] = _tick_ns()
    config["hash_multipliers"] = np.frombuffer(os.urandom(48), np.uint64) | np.uint64(1)
    config["replayed_clock"] = options.replayed_clock


def _tick_ns() -> int:
    """The length of a jiffy: what CLOCK_MONOTONIC_COARSE (clock 6 on Linux) moves by."""
    return round(time.clock_getres(6) * 10**9)


def possible_cpus() -> int:
    """How many CPUs this kernel may ever have: the highest number of /sys/devices/system/cpu/possible, and one."""
    text = Path("/sys/devices/system/cpu/possible").read_text()
    return int(text.strip().replace("-", ",").split(",")[-1]) + 1


def _grace_maps() -> tuple[int, int]:
    """An array of maps with one place, and the map to put there: see Kernel.wait_grace_period()."""
    inner = int(libbpf.call("bpf_map_create", libbpf.BPF_MAP_TYPE_ARRAY, b"xflowd_grace", 4, 4, 1, None))
    options = _MapCreateOptions(sz=c.sizeof(_MapCreateOptions), inner_map_fd=inner)
    kind = libbpf.BPF_MAP_TYPE_ARRAY_OF_MAPS
    return int(libbpf.call("bpf_map_create", kind, b"xflowd_grace", 4, 4, 1, c.byref(options))), inner


class _MapCreateOptions(c.Structure):
    """struct bpf_map_create_opts, up to inner_map_fd"""

    _fields_ = [
        ("sz", c.c_size_t),
        ("btf_fd", c.c_uint32),
        ("btf_key_type_id", c.c_uint32),
        ("btf_value_type_id", c.c_uint32),
        ("btf_vmlinux_value_type_id", c.c_uint32),
        ("inner_map_fd", c.c_uint32),
    ]


def _hint_bits(options: LoadOptions) -> int:
    """Two sets of two hints for each flow: few flows then share a set with two others."""
    return (options.max_flows - 1).bit_length() + 1
