"""A machine for eBPF programs of either byte order (RFC 9669): for the one that no kernel here loads.

Registers are 64 bits wide, memory is made of regions: the upper half of an address names one, the lower half
is the place in it. What the programs do with the kernel goes through `Machine.helpers`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

WORD, LONG = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_ATOMIC = 0xC0
_LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = 1, 2, 3, 4, 5, 6, 7
_LOAD_IMMEDIATE, _TO_LITTLE, _TO_BIG, _CALL, _EXIT = 0x18, 0xD4, 0xDC, 0x85, 0x95
_STACK_OCTETS = 512
_ORIGIN = 1 << 16  # where every region begins: a pointer may be compared with NULL by its lower half

_ARITHMETIC: dict[int, Callable[[int, int, int], int]] = {
    0x00: lambda a, b, bits: a + b,
    0x10: lambda a, b, bits: a - b,
    0x20: lambda a, b, bits: a * b,
    0x30: lambda a, b, bits: a // b if b else 0,
    0x40: lambda a, b, bits: a | b,
    0x50: lambda a, b, bits: a & b,
    0x60: lambda a, b, bits: a << b % bits,
    0x70: lambda a, b, bits: a >> b % bits,
    0x80: lambda a, b, bits: -a,
    0x90: lambda a, b, bits: a % b if b else a,
    0xA0: lambda a, b, bits: a ^ b,
    0xB0: lambda a, b, bits: b,
    0xC0: lambda a, b, bits: _signed(a, bits) >> b % bits,
}
_CONDITIONS: dict[int, Callable[[int, int, int], bool]] = {
    0x00: lambda a, b, bits: True,
    0x10: lambda a, b, bits: a == b,
    0x20: lambda a, b, bits: a > b,
    0x30: lambda a, b, bits: a >= b,
    0x40: lambda a, b, bits: bool(a & b),
    0x50: lambda a, b, bits: a != b,
    0x60: lambda a, b, bits: _signed(a, bits) > _signed(b, bits),
    0x70: lambda a, b, bits: _signed(a, bits) >= _signed(b, bits),
    0xA0: lambda a, b, bits: a < b,
    0xB0: lambda a, b, bits: a <= b,
    0xC0: lambda a, b, bits: _signed(a, bits) < _signed(b, bits),
    0xD0: lambda a, b, bits: _signed(a, bits) <= _signed(b, bits),
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; a 64-bit immediate value takes two, of which the second holds the upper half."""

    code: int
    destination: int
    source: int
    offset: int
    immediate: int


def decode(text: bytes, big_endian: bool) -> list[Instruction]:
    """Instructions of a section. The registers' half octets change places with the byte order."""
    found = []
    for code, registers, offset, immediate in struct.iter_unpack(">BBhi" if big_endian else "<BBhi", text):
        upper, lower = registers >> 4, registers & 15
        destination, source = (upper, lower) if big_endian else (lower, upper)
        found.append(Instruction(code, destination, source, offset, immediate))
    return found


Helper = Callable[..., int]


@dataclass
class Machine:
    """Memory, and what programs can call: helpers by number, with the five argument registers."""

    big_endian: bool
    helpers: dict[int, Helper] = field(default_factory=dict)
    _regions: dict[int, bytearray] = field(default_factory=dict)
    _contexts: dict[int, dict[int, int]] = field(default_factory=dict)

    @property
    def _order(self) -> Literal["big", "little"]:
        return "big" if self.big_endian else "little"

    def add(self, memory: bytearray) -> int:
        """The address of memory that programs may use from now on, which is not copied."""
        number = len(self._regions) + len(self._contexts) + 1
        self._regions[number] = memory
        return number << 32 | _ORIGIN

    def add_context(self, fields: dict[int, int]) -> int:
        """The address of a context: words by their offset, those that point to the packet as addresses."""
        number = len(self._regions) + len(self._contexts) + 1
        self._contexts[number] = fields
        return number << 32 | _ORIGIN

    def load(self, address: int, size: int) -> int:
        """An unsigned number. Raises KeyError or IndexError where there is no memory."""
        order, region, at = self._order, address >> 32, (address & WORD) - _ORIGIN
        if region not in self._contexts:
            return int.from_bytes(self.octets(address, size), order)
        value = self._contexts[region][at & ~3]
        if size == 4:
            return value
        return int.from_bytes(value.to_bytes(4, order)[at & 3 :][:size], order)

    def store(self, address: int, size: int, value: int) -> None:
        self.octets(address, size)
        at, value = (address & WORD) - _ORIGIN, value & (1 << 8 * size) - 1
        self._regions[address >> 32][at : at + size] = value.to_bytes(size, self._order)

    def octets(self, address: int, size: int) -> bytes:
        """A copy of memory. Raises IndexError where not all of it is there."""
        region, at = self._regions[address >> 32], (address & WORD) - _ORIGIN
        if at < 0 or at + size > len(region):
            raise IndexError(f"{size} octets at {address:#x}")
        return bytes(region[at : at + size])

    def run(self, program: list[Instruction], *arguments: int) -> int:
        """Run to the end. Returns register 0, as the unsigned word that hooks give back."""
        registers = [0, *arguments, *[0] * (10 - len(arguments))]
        registers[10] = self.add(bytearray(_STACK_OCTETS)) + _STACK_OCTETS
        at = 0
        while program[at].code != _EXIT:
            at = self._step(program, at, registers)
        return registers[0] & WORD

    def _step(self, program: list[Instruction], at: int, registers: list[int]) -> int:
        """Do one instruction. Returns the place of the next."""
        one = program[at]
        kind = one.code & 7
        if one.code == _LOAD_IMMEDIATE:
            registers[one.destination] = (program[at + 1].immediate & WORD) << 32 | one.immediate & WORD
            return at + 2
        if one.code == _CALL:
            registers[0] = self.helpers[one.immediate](*registers[1:6]) & LONG
        elif kind in (_JMP, _JMP32):
            return at + 1 + (one.offset if _holds(one, registers) else 0)
        elif kind in (_ALU, _ALU64):
            registers[one.destination] = self._compute(one, registers)
        else:
            self._move(one, registers)
        return at + 1

    def _compute(self, one: Instruction, registers: list[int]) -> int:
        bits = 64 if one.code & 7 == _ALU64 else 32
        mask = (1 << bits) - 1
        a = registers[one.destination] & mask
        if one.code in (_TO_LITTLE, _TO_BIG):
            return self._ordered(registers[one.destination], one)
        b = (registers[one.source] if one.code & 8 else one.immediate) & mask
        return _ARITHMETIC[one.code & 0xF0](a, b, bits) & mask

    def _ordered(self, value: int, one: Instruction) -> int:
        size = one.immediate // 8
        octets = (value & (1 << one.immediate) - 1).to_bytes(size, self._order)
        return int.from_bytes(octets, "big" if one.code == _TO_BIG else "little")

    def _move(self, one: Instruction, registers: list[int]) -> None:
        size, kind, mode = _SIZES[one.code & 0x18], one.code & 7, one.code & 0xE0
        if kind == _LDX:
            registers[one.destination] = self.load((registers[one.source] + one.offset) & LONG, size)
            return
        address = (registers[one.destination] + one.offset) & LONG
        value = one.immediate if kind == _ST else registers[one.source]
        if mode == _ATOMIC:  # clang makes additions of it, and no others are in use here
            assert one.immediate & ~1 == 0, one
            before = self.load(address, size)
            if one.immediate & 1:
                registers[one.source] = before
            value = before + value
        self.store(address, size, value)


def _holds(one: Instruction, registers: list[int]) -> bool:
    bits = 64 if one.code & 7 == _JMP else 32
    mask = (1 << bits) - 1
    a, b = registers[one.destination], registers[one.source] if one.code & 8 else one.immediate
    return _CONDITIONS[one.code & 0xF0](a & mask, b & mask, bits)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value
