"""The layout of ebpf/flow.h, read from the BTF of the object that will run: declared once, in C."""

from __future__ import annotations

import ctypes as c
import enum

import numpy as np

from xflowd.edge import libbpf

#: Kinds of <linux/btf.h>.
_INT, _ARRAY, _STRUCT, _UNION, _ENUM, _TYPEDEF, _VOLATILE, _CONST = 1, 3, 4, 5, 6, 8, 9, 10
_BIG_ENDIAN = {"__be16": ">u2", "__be32": ">u4", "__be64": ">u8"}


def types_of(handle: int) -> bytes:
    """The type information (BTF) of an open object."""
    size = c.c_uint32()
    address = libbpf.call("btf__raw_data", libbpf.call("bpf_object__btf", handle), c.byref(size))
    return c.string_at(address, size.value)


class Layout:
    """Structures as numpy record types, enums as IntEnum, by the names that flow.h gives them."""

    def __init__(self, btf: bytes) -> None:
        """`btf` is the object's type information as it lies in its file: see types_of()."""
        self._btf = libbpf.call("btf__new", btf, len(btf), what="types of the eBPF object")

    def structure(self, name: str) -> np.dtype[np.void]:
        """The record type of `struct name`. Members of anonymous unions overlap, as they do in C."""
        return self._dtype(self._find(name))

    def enumeration(self, name: str) -> type[enum.IntEnum]:
        """The enum, with its C names."""
        kind, members, address, _ = self._describe(self._find(name))
        assert kind == _ENUM, name
        rows = (c.c_uint32 * (2 * members)).from_address(address)
        values = {self._text(rows[2 * i]): rows[2 * i + 1] for i in range(members)}
        return enum.IntEnum(name, values)  # type: ignore[return-value]  # the functional API, known to mypy as a value

    def _find(self, name: str) -> int:
        return int(libbpf.call("btf__find_by_name", self._btf, name.encode(), what=f"type {name} in the eBPF object"))

    def _text(self, offset: int) -> str:
        return bytes(libbpf.call("btf__name_by_offset", self._btf, offset)).decode()

    def _describe(self, number: int) -> tuple[int, int, int, libbpf.BtfType]:
        """Kind, number of members, the address behind the head, and the head."""
        address = int(libbpf.call("btf__type_by_id", self._btf, number))
        head = libbpf.BtfType.from_address(address)
        return (head.info >> 24) & 0x1F, head.info & 0xFFFF, address + c.sizeof(head), head

    def _dtype(self, number: int) -> np.dtype[np.void]:
        kind, members, behind, head = self._describe(number)
        if kind == _TYPEDEF and self._text(head.name_off) in _BIG_ENDIAN:
            return np.dtype(_BIG_ENDIAN[self._text(head.name_off)])
        if kind in (_TYPEDEF, _VOLATILE, _CONST):
            return self._dtype(head.size)
        if kind in (_INT, _ENUM):
            return np.dtype(f"u{head.size}")
        if kind == _ARRAY:
            element, _, length = (c.c_uint32 * 3).from_address(behind)
            return np.dtype((self._dtype(element), (length,)))
        fields = self._members(members, behind, 0)
        return np.dtype(
            {
                "names": [name for name, _, _ in fields],
                "formats": [dtype for _, dtype, _ in fields],
                "offsets": [offset for _, _, offset in fields],
                "itemsize": head.size,
            }
        )

    def _members(self, members: int, behind: int, base: int) -> list[tuple[str, np.dtype[np.void], int]]:
        rows = (c.c_uint32 * (3 * members)).from_address(behind)
        fields: list[tuple[str, np.dtype[np.void], int]] = []
        for i in range(members):
            name, number, offset = self._text(rows[3 * i]), rows[3 * i + 1], base + rows[3 * i + 2] // 8
            kind, inner, address, _ = self._describe(number)
            if not name and kind in (_STRUCT, _UNION):
                fields += self._members(inner, address, offset)
            else:
                fields.append((name, self._dtype(number), offset))
        return fields
