"""Templates (RFC 7011 section 3.4, RFC 3954 section 5.2) and the numpy record type that each one is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from xflowd.wire.elements import BY_NAME, OUTER, VARIABLE_LENGTH, Element

_WHOLE_OCTETS = (1, 2, 4, 8)  # widths that numpy has numbers of
#: What a packet in a tunnel has twice, and collectors take one of for the flow's.
_ADDRESSES = frozenset(f"{end}IPv{version}Address" for end in ("source", "destination") for version in (4, 6))


@dataclass(frozen=True, slots=True)
class Field:
    """An element in a template. `octets` as on the wire: less than the type's for reduced-size encoding.

    `outer`: of the header around the flow's own. On the wire its place alone says so: a template may have an element
    more than once, and the first occurrence is the outer header's (RFC 7011 section 8).
    """

    element: Element
    octets: int
    outer: bool = False

    @property
    def name(self) -> str:
        """The element's, and whether it is of the header around."""
        return OUTER + self.element.name if self.outer else self.element.name


@dataclass(frozen=True)
class Template:
    """What a data record holds, in this order: the scope (of options), then the fields."""

    template_id: int
    fields: tuple[Field, ...]
    scope_fields: tuple[Field, ...] = ()
    is_options: bool = False

    @cached_property
    def all_fields(self) -> tuple[Field, ...]:
        """Scope and fields, in the order of the wire."""
        return self.scope_fields + self.fields

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for each of `all_fields`: the field's; the second of the same gets `_2`, and so on."""
        return tuple(_distinct(field.name for field in self.all_fields))

    @cached_property
    def is_variable(self) -> bool:
        """True if any field has its length in each record (RFC 7011 section 7)."""
        return any(field.octets == VARIABLE_LENGTH for field in self.all_fields)

    @cached_property
    def octets(self) -> int:
        """Octets of a record; with fields of variable length, of the shortest one possible."""
        return sum(1 if field.octets == VARIABLE_LENGTH else field.octets for field in self.all_fields)

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """The record: packed, big-endian, columns as `names`; those of variable length hold `bytes` objects.

        Numbers and IPv4 addresses are integers, strings are `S`, all else is an array of octets. Fields of no
        octets have no column.
        """
        pairs = zip(self.names, self.all_fields, strict=True)
        return np.dtype([(name, column_type(field)) for name, field in pairs if field.octets])


def column_type(field: Field) -> npt.DTypeLike:
    """The numpy type of one field."""
    octets, kind = field.octets, field.element.type
    if octets == VARIABLE_LENGTH:
        return np.dtype(object)
    if kind == "string":
        return np.dtype(("S", octets))
    if kind == "float64" and octets in (4, 8):  # reduced-size encoding makes a float32 of it
        return np.dtype(f">f{octets}")
    if kind == "signed32" and octets in _WHOLE_OCTETS:
        return np.dtype(f">i{octets}")
    if kind in ("octetArray", "macAddress", "ipv6Address") or octets not in _WHOLE_OCTETS:
        return np.dtype((np.uint8, (octets,)))
    return np.dtype(f">u{octets}")


def fields_of(text: str) -> tuple[Field, ...]:
    """Fields from names, with `/octets` where the width is not the type's: `"ipVersion tcpControlBits/1"`.

    A name may have OUTER before it.
    """
    return tuple(_field(word) for word in text.split())


def _field(word: str) -> Field:
    name, _, octets = word.partition("/")
    element = BY_NAME[name.removeprefix(OUTER)]
    return Field(element, int(octets) if octets else element.octets, name.startswith(OUTER))


def outer_marked(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """Fields that were read: of an address that is there twice the last is the flow's, as others have it too."""
    names = [field.element.name for field in fields]
    return tuple(
        replace(field, outer=True) if name in _ADDRESSES and name in names[place + 1 :] else field
        for place, (name, field) in enumerate(zip(names, fields, strict=True))
    )


def _distinct(names: Iterator[str]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}_{seen[name]}"
