"""The loaded programs on spoilt packets, a batch at a time: the flow table must be what the reference makes of them."""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fuzz.expected import KEY, REST, SPOILT, Packets, Rows, flows_of, keys
from fuzz.seeds import Seed
from kernel.running import DIRECTIONS, TC_ACT_UNSPEC, XDP_PASS, live_flows, numbers_of, on_cpu, outcomes
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import LoadOptions
from xflowd.metering.table import Records, SlotState

BATCH = 4096
DETAIL_GROUPS = (
    "DETAIL_MPLS", "DETAIL_FRAGMENTS", "DETAIL_OPTIONS", "DETAIL_TCP", "DETAIL_TCP_COUNTS", "DETAIL_TUNNEL",
)  # fmt: skip
#: Program; whether inner headers count, and whether details are kept.
RUNS = [(program, *options) for program in DIRECTIONS for options in ((False, False), (False, True), (True, True))]
_ROW = 2048  # octets, as in loaded.c
_RESULTS = {-1: "another verdict than that of every packet", -2: "the frame was changed"}


@dataclass(frozen=True, slots=True)
class Bank:
    """What packets are made of: rows of octets, and how many of them are the packet's."""

    rows: Rows
    lengths: npt.NDArray[np.uint32]


def bank_of(packets: Sequence[bytes]) -> Bank:
    """The packets that fit into a row."""
    fitting = [packet for packet in packets if 0 < len(packet) <= _ROW]
    rows = np.zeros((len(fitting), _ROW), np.uint8)
    for row, packet in zip(rows, fitting, strict=True):
        row[: len(packet)] = np.frombuffer(packet, np.uint8)
    return Bank(rows, np.array([len(packet) for packet in fitting], np.uint32))


def banks(seeds: Sequence[Seed]) -> dict[bool, Bank]:
    """Packets with their Ethernet header (False), and without link layer (True)."""
    return {bare: bank_of([seed.packet for seed in seeds if bool(seed.ether_type) == bare]) for bare in (False, True)}


class Loaded:
    """One hook's program with a table of its own, emptied after each batch. `bare`: its packets have no link layer."""

    def __init__(self, library: Path, program: str, *, inside: bool = False, details: bool = True) -> None:
        """`library` is building.library(); `inside`: by inner headers; `details`: all are kept. Raises LoadError."""
        self.program = program
        groups, programs = DETAIL_GROUPS if details else (), ("read_clocks", program)
        self.kernel = Kernel(LoadOptions(2 * BATCH, tunnels_inner=inside, details=groups, programs=programs))
        self._library = c.CDLL(os.fspath(library))
        self._inside, self._details = inside, details
        self.bare = program.endswith("_network")
        self._is_xdp = program == "xdp_ingress"
        self._outcome_names = {one.value: one.name for one in self.kernel.layout.enumeration("packet_outcome")}

    def close(self) -> None:
        """Drop the program and its maps."""
        self.kernel.close()

    def spoil(self, bank: Bank, seed: int, count: int = BATCH) -> tuple[Rows, Packets]:
        """`count` packets that this hook can be shown, with what the reference says of each."""
        rows, packets = np.zeros((count, _ROW), np.uint8), np.zeros(count, SPOILT)
        c.c_int.in_dll(self._library, "inside").value = self._inside
        self._library.spoil(
            _at(bank.rows), _at(bank.lengths), c.c_uint32(len(bank.rows)), c.c_uint64(seed),
            c.c_int(self._is_xdp), c.c_int(self.bare), _at(rows), _at(packets), c.c_uint32(count),
        )  # fmt: skip
        return rows, packets

    def difference(self, rows: Rows, packets: Packets) -> str:
        """Empty where the table is as it should be; else what differs, from the fewest packets that show it."""
        found = self._run(rows, packets)
        if not found or len(packets) == 1:
            return found
        middle = len(packets) // 2
        halves = ((rows[:middle], packets[:middle]), (rows[middle:], packets[middle:]))
        return next(filter(None, (self.difference(*half) for half in halves)), found)

    def _run(self, rows: Rows, packets: Packets) -> str:
        before = outcomes(self.kernel)
        program, verdict = self.kernel.program(self.program), XDP_PASS if self._is_xdp else TC_ACT_UNSPEC
        with on_cpu(min(os.sched_getaffinity(0))):
            self._library.run_batch(program, _at(rows), _at(packets), c.c_uint32(len(packets)), c.c_uint32(verdict))
        flows = live_flows(self.kernel)
        counted = {name: total - before.get(name, 0) for name, total in outcomes(self.kernel).items()}
        self._empty()
        wanted = flows_of(rows, packets, macs=not self.bare, details=self._details)
        faults = [*_broken(packets), *self._miscounted(packets, counted), *_misplaced(flows, wanted)]
        return "\n  ".join([f"difference: {self.program}", *faults[:5], _described(rows, packets)]) if faults else ""

    def _empty(self) -> None:
        live = numbers_of(self.kernel, SlotState.LIVE)
        self.kernel.detach(live)
        self.kernel.release(live)

    def _miscounted(self, packets: Packets, counted: dict[str, int]) -> Iterator[str]:
        outcome, standing_for = packets["meaning"]["outcome"], np.maximum(packets["segments"], 1)
        wanted = {"PACKETS_SEEN": int(standing_for.sum())}
        for value in np.unique(outcome[outcome != 0]):
            wanted[self._outcome_names[int(value)]] = int(standing_for[outcome == value].sum())
        found = {name: total for name, total in counted.items() if total}
        if found != wanted:
            yield f"counted {found}, the reference {wanted}"


def _broken(packets: Packets) -> Iterator[str]:
    for result in np.unique(packets["result"][packets["result"] != 0]):
        yield _RESULTS.get(int(result)) or f"the test run is refused: {os.strerror(int(result))}"


def _misplaced(found: Records, wanted: Records) -> Iterator[str]:
    """`wanted` is in the order of its keys."""
    found = found[np.argsort(keys(found))]
    if not np.array_equal(keys(found), keys(wanted)):
        for side, other, whose in ((found, wanted, "the table"), (wanted, found, "the reference")):
            for flow in side[~np.isin(keys(side), keys(other))]:
                yield f"only {whose} has {', '.join(f'{name} {_plain(flow[name])}' for name in (*KEY, *REST))}"
        return
    for name in REST if len(found) else ():
        differ = (found[name] != wanted[name]).reshape(len(found), -1).any(axis=1)
        for here, there in zip(found[name][differ], wanted[name][differ], strict=True):
            yield f"{name}: the table {_plain(here)}, the reference {_plain(there)}"


def _plain(value: np.generic) -> str:
    return value.tobytes().hex() if value.shape else str(value)


def _described(rows: Rows, packets: Packets) -> str:
    if len(packets) > 1:
        return f"by {len(packets)} packets together"
    packet = packets[0]
    told = "" if packet["told"] else ", not told"
    gso = f" ({packet['segments']} segments of {packet['segment_size']}{told})" if packet["segments"] else ""
    return f"packet {rows[0, : packet['length']].tobytes().hex()}{gso}"


def _at(array: npt.NDArray[np.generic]) -> c.c_void_p:
    return c.c_void_p(array.ctypes.data)
