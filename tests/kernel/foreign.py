"""The object of either byte order in the interpreter: what libbpf and the kernel do, as far as it needs."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kernel.interpreter import Instruction, Machine, decode
from kernel.objectfile import enumeration, structure
from xflowd.edge.loading import DEFAULT_KEY
from xflowd.metering.table import Records, SlotState, flows

FLOWS, BUCKETS, HINT_BITS = 1024, 64, 11
INTERFACE = 1
NOW_NS = 5 * 10**9
_SYMBOLS, _RELOCATIONS = 2, 9  # sh_type
_R_BPF_64_64, _LOAD_IMMEDIATE = 1, 0x18
_R_BPF_64_32, _CALL = 10, 0x85
_FUNCTIONS = 1000  # numbers from here on are functions of the object, below are the kernel's helpers
_ENTRIES = {
    "slots": FLOWS,
    "details": 1,
    "hints": 1 << HINT_BITS,
    "free_slots": FLOWS,
    "free_head": 1,
    "observation_points": 2 * BUCKETS,
}
_VALUES = {
    "slots": "flow_slot",
    "details": "flow_detail",
    "hints": "flow_hint",
    "free_head": "free_head",
    "observation_points": "observation_point",
}
_KEY_OCTETS = {"index_ipv4": 24, "index_ipv6": 48, "overflow": 8}


@dataclass(frozen=True)
class Section:
    """A section of a 64-bit ELF file."""

    name: str
    kind: int
    link: int
    info: int
    content: bytes


def sections(image: bytes, order: str) -> list[Section]:
    """All of a file's; `order` is `struct`'s sign."""
    (start,) = struct.unpack_from(f"{order}Q", image, 0x28)
    count, names = struct.unpack_from(f"{order}HH", image, 0x3C)
    rows = [struct.unpack_from(f"{order}IIQQQQII", image, start + 64 * i) for i in range(count)]
    text = image[rows[names][4] :]
    return [
        Section(_text(text, name), kind, link, info, image[offset : offset + size])
        for name, kind, _, _, offset, size, link, info in rows
    ]


def _text(names: bytes, at: int) -> str:
    return names[at : names.index(b"\0", at)].decode()


class ForeignObject:
    """The programs with their maps and variables, on a machine of the object's byte order with one CPU."""

    def __init__(self, path: Path, order: str) -> None:
        self._order, self._sections = order, sections(path.read_bytes(), order)
        self.machine = Machine(order == ">")
        self.machine.helpers = {
            1: self._look_up,
            2: self._update,
            8: lambda *_: 0,  # the CPU
            39: lambda *_: 0,  # the frame is all in one piece
            93: lambda *_: 0,  # nobody else wants the lock
            94: lambda *_: 0,
        }
        self._maps: dict[int, str] = {}
        self._functions: list[str] = []
        self._arrays = {name: bytearray(self._stride(name) * count) for name, count in _ENTRIES.items()}
        self._hashes: dict[str, dict[bytes, int]] = {name: {} for name in _KEY_OCTETS}
        self._bases = {name: self.machine.add(memory) for name, memory in self._arrays.items()}
        self._variables = {
            section.name: bytearray(section.content)
            for section in self._sections
            if section.name.startswith((".rodata", ".data"))
        }
        self._symbols = self._read_symbols()
        self._configure()

    def program(self, name: str) -> list[Instruction]:
        """A program by the name of its function, with the addresses of maps and variables in it."""
        number, begin, size = next((n, v, s) for label, n, v, s in self._symbols if label == name)
        code = bytearray(self._sections[number].content)
        for section in self._sections:
            if section.kind == _RELOCATIONS and section.info == number:
                self._relocate(code, section.content)
        return decode(bytes(code[begin : begin + size]), self.machine.big_endian)

    def run(self, program: list[Instruction], context: dict[int, int], frame: bytes, data: int) -> int:
        """Run a hook on a frame; `data` is where its context points to the frame, the end comes behind it."""
        packet = self.machine.add(bytearray(frame))
        fields = context | {data: packet, data + 4: packet + len(frame)}
        return self.machine.run(program, self.machine.add_context(fields))

    def flows(self) -> Records:
        """The flows in the table, in the byte order of this host."""
        slots = self._view("slots", "flow_slot").astype(structure("flow_slot"))
        live = slots[slots["state"] == SlotState.LIVE]
        return flows(live, np.zeros(len(live), np.uint8))

    def packets(self) -> list[int]:
        """Packets by enum packet_outcome, over all points."""
        points = self._view("observation_points", "observation_point")
        return [int(total) for total in points["packets"].sum(axis=0)]

    def _configure(self) -> None:
        """As edge.loading and edge.kernel do it: every slot is free, times are told."""
        config = self._variable(".rodata.config", "meter_config")
        config["key_fields"] = sum(enumeration("key_field")[name] for name in DEFAULT_KEY)
        config["sampling_rate"], config["replayed_clock"] = 1, 1
        config["slot_mask"], config["bucket_mask"] = FLOWS - 1, BUCKETS - 1
        config["hint_shift"], config["tick_ns"] = 64 - HINT_BITS, 4_000_000
        config["hash_multipliers"] = 0x9E3779B97F4A7C15 + 2 * np.arange(8, dtype=np.uint64)
        control = self._variable(".data.control", "meter_control")
        control["free_tail"], control["replayed_ns"] = FLOWS, NOW_NS
        np.frombuffer(self._arrays["free_slots"], f"{self._order}u4,u4")["f0"][:] = np.arange(FLOWS)

    def _read_symbols(self) -> list[tuple[str, int, int, int]]:
        """Name, number of the section, value and size of every symbol."""
        table = next(section for section in self._sections if section.kind == _SYMBOLS)
        names = self._sections[table.link].content
        rows = struct.iter_unpack(f"{self._order}IBBHQQ", table.content)
        return [(_text(names, name), number, value, size) for name, _, _, number, value, size in rows]

    def _relocate(self, code: bytearray, relocations: bytes) -> None:
        """Put addresses into 64-bit loads; in a section's own symbol's place the load has the offset."""
        for at, info in struct.iter_unpack(f"{self._order}QQ", relocations):
            if (info & 0xFFFFFFFF, code[at]) == (_R_BPF_64_32, _CALL):
                struct.pack_into(f"{self._order}i", code, at + 4, self._function(self._symbols[info >> 32][0]))
                continue
            assert (info & 0xFFFFFFFF, code[at]) == (_R_BPF_64_64, _LOAD_IMMEDIATE)
            label, number, value, _ = self._symbols[info >> 32]
            (addend,) = struct.unpack_from(f"{self._order}i", code, at + 4)
            address = self._address(self._sections[number].name, label) + value + addend
            struct.pack_into(f"{self._order}I", code, at + 4, address & 0xFFFFFFFF)
            struct.pack_into(f"{self._order}I", code, at + 12, address >> 32)

    def _function(self, name: str) -> int:
        """The number by which the machine calls a function of the object."""
        if name not in self._functions:
            self._functions.append(name)
            called = self.program(name)
            self.machine.helpers[_FUNCTIONS + self._functions.index(name)] = partial(self.machine.run, called)
        return _FUNCTIONS + self._functions.index(name)

    def _address(self, section: str, label: str) -> int:
        """Of a section of variables, or the number that stands for a map less its place in .maps."""
        if section == ".maps":
            number = next((n for n, name in self._maps.items() if name == label), len(self._maps) + 1)
            self._maps[number] = label
            return number - next(value for name, _, value, _ in self._symbols if name == label)
        if section not in self._bases:
            self._bases[section] = self.machine.add(self._variables[section])
        return self._bases[section]

    def _look_up(self, number: int, key: int, *_: int) -> int:
        name = self._maps[number]
        if name in self._hashes:
            return self._hashes[name].get(self.machine.octets(key, _KEY_OCTETS[name]), 0)
        index = self.machine.load(key, 4)
        return self._bases[name] + index * self._stride(name) if index < _ENTRIES[name] else 0

    def _update(self, number: int, key: int, value: int, flags: int, *_: int) -> int:
        name = self._maps[number]
        octets = self.machine.octets(key, _KEY_OCTETS[name])
        if octets in self._hashes[name]:
            return -17  # EEXIST: the programs always ask for BPF_NOEXIST
        size = structure("overflow_record").itemsize if name == "overflow" else 4
        self._hashes[name][octets] = self.machine.add(bytearray(self.machine.octets(value, size)))
        return 0

    def _stride(self, name: str) -> int:
        """Each element is rounded up to eight octets, as the kernel does it."""
        return structure(_VALUES[name]).itemsize if name in _VALUES else 8

    def _view(self, array: str, name: str) -> np.ndarray[Any, Any]:
        return np.frombuffer(self._arrays[array], self._type(name))

    def _variable(self, section: str, name: str) -> np.ndarray[Any, Any]:
        return np.frombuffer(self._variables[section], self._type(name), count=1)

    def _type(self, name: str) -> np.dtype[np.void]:
        """What is __be16 in the little-endian type stays so."""
        return structure(name).newbyteorder(">") if self.machine.big_endian else structure(name)
