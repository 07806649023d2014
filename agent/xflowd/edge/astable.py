"""The file that says which autonomous system announces which prefix, read in pieces."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xflowd.edge import regular
from xflowd.metering.prefixes import AutonomousSystems, Prefixes
from xflowd.metering.prefixlines import Fault, read

_BLOCK = 1 << 18
_MOST = 4_194_304  # prefixes: four times those of the whole Internet
_FAULTS_TOLD = 5


@dataclass(slots=True)
class AsTable:
    """What was read of a file: the table, how many prefixes, how many lines were faulty, and the first of those."""

    systems: AutonomousSystems
    prefixes: int = 0
    faulty: int = 0
    faults: list[Fault] = field(default_factory=list)


def load(path: Path) -> AsTable:
    """Read the file; a faulty line is passed over, and counted. Raises OSError with the file's name."""
    table = AsTable(AutonomousSystems())
    table.systems = AutonomousSystems(_portions(path, table))
    _give_back()
    return table


def _portions(path: Path, table: AsTable) -> Iterator[Prefixes]:
    lines = 0
    for block in _blocks(path):
        prefixes, faults = read(block)
        table.prefixes += len(prefixes.values)
        table.faulty += len(faults)
        room = _FAULTS_TOLD - len(table.faults)
        table.faults += [Fault(lines + fault.line, fault.what) for fault in faults[:room]]
        lines += block.count(b"\n")
        if table.prefixes > _MOST:
            raise OSError(None, f"has more than {_MOST:,} prefixes", str(path))
        yield prefixes


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, some of them at a time; the last may lack its end."""
    with regular.opened(path) as file:
        rest = b""
        while block := file.read(_BLOCK):
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if len(rest) > _BLOCK:
                raise OSError(None, "is no text: a line has no end", str(path))
            yield whole + newline
        yield rest


def _give_back() -> None:
    """What reading took beyond the table itself goes back to the system; glibc would keep it, three times as much."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none, and keeps nothing
    if trim:
        trim(0)
