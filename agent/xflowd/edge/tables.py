"""Loaded tables by their pins: each in a directory of its own, with what describes it."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import asdict, fields
from typing import Any

from xflowd.edge import shared
from xflowd.edge.loading import Loaded, LoadOptions
from xflowd.edge.pins import Pins

_PREFIX, _UNFINISHED = "table-", "unfinished"
_LENGTHS = struct.Struct("<II")
_MAP, _PROGRAM, _DESCRIPTION = "map_", "program_", "description"


def numbers(pins: Pins) -> list[int]:
    """The tables there are, oldest first. One that was not pinned to its end has never counted: it goes."""
    pins.remove_directory(_UNFINISHED)
    return sorted(int(name.removeprefix(_PREFIX)) for name in pins.names() if _is_number(name))


def pin(pins: Pins, loaded: Loaded, number: int) -> None:
    """Let a table live under its number: all of it, or nothing. Raises OSError."""
    pins.remove_directory(_UNFINISHED)
    pins.make(_UNFINISHED)
    for kind, descriptors in ((_MAP, loaded.maps), (_PROGRAM, loaded.programs)):
        for name, descriptor in descriptors.items():
            pins.pin(descriptor, f"{_UNFINISHED}/{kind}{name}")
    description = _described(loaded)
    try:
        pins.pin(description, f"{_UNFINISHED}/{_DESCRIPTION}")
    finally:
        os.close(description)
    pins.rename(_UNFINISHED, f"{_PREFIX}{number}")


def get(pins: Pins, number: int) -> Loaded:
    """A table as it was pinned, perhaps by another version. Raises OSError."""
    directory = f"{_PREFIX}{number}"
    options, digest, types = _read(pins, f"{directory}/{_DESCRIPTION}")
    opened: dict[str, int] = {}
    try:
        for name in pins.names(directory):
            opened[name] = pins.get(f"{directory}/{name}")
    except OSError:
        for descriptor in opened.values():
            os.close(descriptor)
        raise
    os.close(opened.pop(_DESCRIPTION))
    if missing := {f"{_PROGRAM}{name}" for name in options.programs} - opened.keys():
        for descriptor in opened.values():
            os.close(descriptor)
        raise LookupError(f"{', '.join(sorted(missing))} in {pins.path}/{directory}: not there")
    maps = {name.removeprefix(_MAP): descriptor for name, descriptor in opened.items() if name.startswith(_MAP)}
    programs = {name.removeprefix(_PROGRAM): one for name, one in opened.items() if name.startswith(_PROGRAM)}
    return Loaded(options, digest, types, maps, programs)


def remove(pins: Pins, number: int) -> None:
    """Take a table's names away; what is attached or open lives on."""
    pins.remove_directory(f"{_PREFIX}{number}")


def _is_number(name: str) -> bool:
    return name.startswith(_PREFIX) and name.removeprefix(_PREFIX).isdecimal()


def _described(loaded: Loaded) -> int:
    """A map that holds what get() has to know: two lengths, options and digest as JSON, the types."""
    facts = json.dumps({"digest": loaded.digest, "options": asdict(loaded.options)}).encode()
    content = _LENGTHS.pack(len(facts), len(loaded.types)) + facts + loaded.types
    descriptor = shared.create(_DESCRIPTION, len(content))
    memory, _ = shared.mapped(descriptor)
    memory[: len(content)] = content
    return descriptor


def _read(pins: Pins, name: str) -> tuple[LoadOptions, str, bytes]:
    descriptor = pins.get(name)
    try:
        memory, _ = shared.mapped(descriptor)
    finally:
        os.close(descriptor)
    begin = _LENGTHS.size
    facts_length, types_length = _LENGTHS.unpack(memory[:begin])
    facts = json.loads(bytes(memory[begin : begin + facts_length]))
    return _options(facts["options"]), facts["digest"], bytes(memory[begin + facts_length :][:types_length])


def _options(told: dict[str, Any]) -> LoadOptions:
    """As this version knows them: another one may have more, or fewer."""
    known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    return LoadOptions(**{field.name: known[field.name] for field in fields(LoadOptions) if field.name in known})
