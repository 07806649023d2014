"""The metering programs and their maps: loaded, mapped into this process, and handed over slot by slot."""

from __future__ import annotations

import ctypes as c
import errno
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.edge import libbpf, shared
from xflowd.edge.layout import Layout
from xflowd.edge.loading import Loaded, LoadOptions, extended_mask, load, tick_ns
from xflowd.metering.flow import FlowEndReason
from xflowd.metering.table import SlotState

_BATCH = 16384  # keys a system call
_BUSY = (errno.EBUSY, errno.EDEADLK, errno.ETIMEDOUT)  # a bucket's lock was not to be had
_PATIENCE = 1000

Slots = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What an agent that was killed has left in a table: slots to send, slots that were sent, slots to give back."""

    pending: Slots
    sent: Slots
    empty: Slots


class Kernel:
    """A loaded table. `slots` and `points` are shared memory: what programs write appears in them.

    The flow table's hand-over is detach(), records(), release(), in this order; between detach() and release()
    the slots belong to the caller and nothing writes to them.
    """

    def __init__(self, loaded: Loaded | LoadOptions) -> None:
        """Map a table: a new one, loaded with these options, or one that was there already. Raises LoadError."""
        fresh = isinstance(loaded, LoadOptions)
        self.loaded = load(loaded) if isinstance(loaded, LoadOptions) else loaded
        self.options = self.loaded.options
        try:
            self._set_up(fresh)
        except BaseException:
            self.loaded.close()
            raise

    def _set_up(self, fresh: bool) -> None:
        self.layout = Layout(self.loaded.types)
        self.slots = self._mapped("slots", self.layout.structure("flow_slot"))
        # The same memory as items that numpy copies at one go, and as 64-bit words:
        self._octets = np.ndarray(self.slots.shape, f"V{self.slots.itemsize}", self.slots)
        self._words = self._octets.view(np.uint64).reshape(len(self.slots), -1)
        #: Entry n belongs to slot n; None where none are kept.
        self.details = self._mapped("details", self.layout.structure("flow_detail")) if self.options.details else None
        if self.details is not None:
            self._detail_octets = np.ndarray(self.details.shape, f"V{self.details.itemsize}", self.details)
        points = self._mapped("observation_points", self.layout.structure("observation_point"))
        #: [CPU, direction, interface bucket]
        self.points = points.reshape(-1, 2, self.options.buckets)
        self._ring = self._mapped("free_slots", np.dtype(np.uint32))
        self._control = self._mapped("control", self.layout.structure("meter_control"))
        self._extended_mask = extended_mask(self.layout, self.options.key_fields).view(np.uint64)
        self._outcome = self.layout.enumeration("packet_outcome")
        self._grace_map, self._grace_inner = _grace_maps()
        self._test_run = libbpf.TestRunOptions(sz=c.sizeof(libbpf.TestRunOptions))
        self._test_run_by = c.byref(self._test_run)
        self._tick_ns = tick_ns()
        if fresh:
            self._publish(np.arange(len(self.slots), dtype=np.uint32))
            self._set_tick_base(self._sample_tick_base(2 * self._tick_ns))
        else:
            self._tick_base = int(self._control["tick_base_ns"].view(np.int64)[0])
            self.adjust_clock()

    def close(self) -> None:
        """Drop programs and maps. Links and pins that are still there keep them running."""
        os.close(self._grace_map)
        os.close(self._grace_inner)
        self.loaded.close()

    def program(self, name: str) -> int:
        """The file descriptor of a loaded program."""
        return self.loaded.programs[name]

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
        """Keep the programs' coarse clock within a tick behind CLOCK_MONOTONIC. Call it about once a second.

        Later than it is only by the best of many samples: a flow would end in the future by what one is wrong.
        """
        measured = self._sample_tick_base(0)
        if measured < self._tick_base:
            self._set_tick_base(measured)
        elif measured > self._tick_base + 2 * self._tick_ns:
            self._set_tick_base(self._sample_tick_base(2 * self._tick_ns))

    def know_addresses(self, addresses: Mapping[int, bytes]) -> None:
        """The MAC addresses of metered interfaces, by index: what is not addressed to them is not routed here."""
        for index, address in addresses.items():
            key, value = c.c_uint32(index), c.create_string_buffer(address, 8)
            libbpf.call("bpf_map_update_elem", self._map("own_addresses"), c.byref(key), value, 0)

    def test_run(self, program: int, frame: bytes, repeat: int = 1) -> tuple[int, int]:
        """Run a program on a frame (BPF_PROG_TEST_RUN). Returns its verdict and the nanoseconds of one run."""
        run = self._test_run
        run.data_in, run.data_size_in, run.repeat = c.cast(c.c_char_p(frame), c.c_void_p), len(frame), repeat
        run.data_size_out = 0  # the last run has left the size of its frame here
        libbpf.call("bpf_prog_test_run_opts", program, self._test_run_by)
        return run.retval, run.duration

    def detach(self, numbers: Slots, reasons: npt.NDArray[np.uint8] | int = FlowEndReason.FORCED_END) -> None:
        """Make LIVE slots EXPIRING, each for a flowEndReason, and wait until no program can write to them.

        EXPIRING comes first, because a hint leads to a LIVE slot without the index.
        """
        self.slots["flow_end_reason"][numbers] = reasons
        self.slots["state"][numbers] = SlotState.EXPIRING
        versions = self.slots["key"]["ip_version"][numbers]
        for version in (4, 6):
            self._delete(f"index_ipv{version}", numbers[versions == version])
        self.wait_grace_period()

    def left_over(self, committed: int) -> LeftOver:
        """Look through a table that was taken over: `committed` is the last transaction in its agent's journal.

        The slots of no list are LIVE, free, or being taken by programs at this moment. A slot that was on its way
        into the ring of free slots is FREE, but not in it.
        """
        free = self._free()
        self.wait_grace_period()
        state = self.slots["state"]
        expiring = np.flatnonzero(state == SlotState.EXPIRING).astype(np.uint32)
        transactions = self.slots["transaction"][expiring]
        sent = (transactions != 0) & (transactions <= committed)
        self.slots["transaction"][expiring[~sent]] = 0
        lost = (state == SlotState.FREE) & ~free
        empty = np.flatnonzero(lost | (state == SlotState.DISCARDED)).astype(np.uint32)
        return LeftOver(expiring[~sent], expiring[sent], empty)

    def stamp(self, numbers: Slots, transaction: int) -> None:
        """Note the transaction of the journal with which the records of EXPIRING slots go out."""
        self.slots["transaction"][numbers] = transaction

    def records(self, numbers: Slots) -> npt.NDArray[np.void]:
        """A copy of slots, as they are now; with their details, where these are kept, as a field `detail`."""
        if self.details is None:
            copied: npt.NDArray[np.void] = self._octets[numbers].view(self.slots.dtype)
            return copied
        joined = np.empty(len(numbers), [("slot", self._octets.dtype), ("detail", self._detail_octets.dtype)])
        joined["slot"], joined["detail"] = self._octets[numbers], self._detail_octets[numbers]
        return joined.view(_side_by_side(self.slots.dtype, self.details.dtype))

    def release(self, numbers: Slots) -> None:
        """Give slots back that no program can write to. The grace period makes programs see zeroes before the number.

        A slot found DISCARDED is one of these once a grace period has passed since.
        """
        if len(numbers) == 0:
            return
        self.slots["state"][numbers] = SlotState.FREE  # first: a slot that is half zero is no flow for anybody
        self._words[numbers] = 0
        if self.details is not None:
            self._detail_octets.view(np.uint64).reshape(len(self.details), -1)[numbers] = 0
        self._publish(numbers)

    def wait_grace_period(self) -> None:
        """Return when every program that was running has ended, and all memory they wrote is seen here.

        The kernel promises this of an update of a map-in-map from user space (since 5.0), on every architecture.
        """
        inner = c.c_int(self._grace_inner)
        libbpf.call("bpf_map_update_elem", self._grace_map, c.byref(c.c_uint32(0)), c.byref(inner), 0)

    def slots_used(self) -> int:
        """So many slots, the first ones, have ever been taken: the ring gives them out in this order at first."""
        if not self._control["all_slots_used"][0]:
            taken = self._taken()
            if taken < len(self.slots):
                return taken
            self._control["all_slots_used"] = 1
        return len(self.slots)

    def outcomes(self) -> dict[str, npt.NDArray[np.uint64]]:
        """Packets by enum packet_outcome of flow.h, over all CPUs: [direction, interface bucket]."""
        totals = self.points["packets"].sum(axis=0)
        return {outcome.name: totals[:, :, outcome] for outcome in self._outcome if outcome < totals.shape[2]}

    def overflow_packets(self) -> int:
        """Packets counted in overflow records so far."""
        return int(self.points["packets"][..., self._outcome["PACKETS_OVERFLOW"]].sum())

    def unslotted_packets(self) -> int:
        """Packets so far for which no slot was free: in overflow records or not."""
        return self.overflow_packets() + int(self.points["packets"][..., self._outcome["PACKETS_UNCOUNTED"]].sum())

    def overflow(self) -> npt.NDArray[np.void]:
        """The overflow records: fields of struct overflow_key and of struct overflow_record, side by side."""
        key_type, value_type = self.layout.structure("overflow_key"), self.layout.structure("overflow_record")
        rows = list(self._elements("overflow", key_type, value_type))
        records = np.zeros(len(rows), [("key", key_type), ("value", value_type)])
        for i, (key, value) in enumerate(rows):
            records["key"][i], records["value"][i] = key[0], value[0]
        return records

    def _taken(self) -> int:
        """Slots that programs have ever taken out of the ring, modulo 2^32."""
        head = np.zeros(1, self.layout.structure("free_head"))
        libbpf.call("bpf_map_lookup_elem", self._map("free_head"), c.byref(c.c_uint32(0)), head.ctypes.data)
        return int(head["taken"][0])

    def _free(self) -> npt.NDArray[np.bool_]:
        """Which slots' numbers are in the ring."""
        taken, tail = self._taken(), int(self._control["free_tail"][0])
        places = (taken + np.arange((tail - taken) % 2**32)) % len(self._ring)
        free = np.zeros(len(self.slots), np.bool_)
        free[self._ring[places]] = True
        return free

    def _elements(
        self, name: str, key_type: np.dtype[np.void], value_type: np.dtype[np.void]
    ) -> Iterator[tuple[npt.NDArray[np.void], npt.NDArray[np.void]]]:
        fd, previous = self._map(name), None
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
        """Delete slots' keys from an index. The kernel stops a batch at a key that is not there: go on behind it."""
        fd, size = self._map(index), libbpf.information(libbpf.MapInfo, self._map(index)).key_size
        begin = self.slots.dtype.fields["key"][1] // 8  # type: ignore[index]
        keys = self._words[:, begin : begin + size // 8][numbers]
        if self._extended_mask.any():
            keys[:, -2:] &= self._extended_mask  # a slot has the first packet's there, the index what is in the key
        at, patience = 0, _PATIENCE
        while at < len(keys):
            count = c.c_uint32(min(_BATCH, len(keys) - at))
            try:
                libbpf.call("bpf_map_delete_batch", fd, keys[at:].ctypes.data, c.byref(count), None)
            except libbpf.LibbpfError as error:
                if error.errno == errno.ENOENT:
                    at += 1
                elif error.errno in _BUSY and patience:
                    patience -= 1
                else:
                    raise
            at += count.value

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
        return self.loaded.maps[name]

    def _mapped(self, name: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """An array map as shared memory."""
        memory, entries = shared.mapped(self._map(name))
        mapped: npt.NDArray[Any] = np.ndarray((entries,), dtype, memory, strides=(shared.stride(dtype.itemsize),))
        return mapped


def _side_by_side(slot: np.dtype[np.void], detail: np.dtype[np.void]) -> np.dtype[np.void]:
    """The record type of a slot with one more field, `detail`, behind it."""
    fields: Mapping[str, Any] = slot.fields or {}
    return np.dtype(
        {
            "names": [*fields, "detail"],
            "formats": [field[0] for field in fields.values()] + [detail],
            "offsets": [field[1] for field in fields.values()] + [slot.itemsize],
            "itemsize": slot.itemsize + detail.itemsize,
        }
    )


def _grace_maps() -> tuple[int, int]:
    """An array of maps with one place, and the map to put there: see Kernel.wait_grace_period()."""
    inner = int(libbpf.call("bpf_map_create", libbpf.BPF_MAP_TYPE_ARRAY, b"xflowd_grace", 4, 4, 1, None))
    options = libbpf.MapCreateOptions(sz=c.sizeof(libbpf.MapCreateOptions), inner_map_fd=inner)
    kind = libbpf.BPF_MAP_TYPE_ARRAY_OF_MAPS
    return int(libbpf.call("bpf_map_create", kind, b"xflowd_grace", 4, 4, 1, c.byref(options))), inner
