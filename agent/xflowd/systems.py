"""The autonomous systems of flows' ends, from the file that [meter] as_table names."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from xflowd.edge import astable
from xflowd.metering.prefixes import AutonomousSystems
from xflowd.metering.table import Records
from xflowd.notices import counted

#: Path, device, inode, size, time of the last change (ns).
_Mark = tuple[str, int, int, int, int]

log = logging.getLogger(__name__)


class Systems:
    """The table as it was read last. A new one takes its place once it is read; until then flows have the old one."""

    def __init__(self) -> None:
        self._known, self.faulty = AutonomousSystems(), 0  # lines passed over
        self._reading = threading.Lock()
        self._mark: _Mark | None = None  # of the file that is known
        self._wanted = 0  # counts what was asked for: of two that are read at the same time, the later one counts

    def load(self, path: str) -> None:
        """Read the file, if one is named, before going on. Raises OSError."""
        mark = _mark(path) if path else None
        self._known, self.faulty = _read(path) if path else (AutonomousSystems(), 0)
        self._mark = mark

    def reload(self, path: str) -> None:
        """Read the file while the agent is at work, if it is another one than was read last.

        One that cannot be read is told, and changes nothing.
        """
        self._wanted += 1
        if path and self._mark is not None and _mark(path) == self._mark:
            return  # a whole table takes a router's CPU a while, and each event of an interface may ask for it
        if path:
            threading.Thread(target=self._take, args=(path, self._wanted), name="as_table", daemon=True).start()
        else:
            self._known, self.faulty, self._mark = AutonomousSystems(), 0, None

    def fill(self, flows: Records) -> None:
        """Set bgpSourceAsNumber and bgpDestinationAsNumber of flows (of FLOW)."""
        self._known.fill(flows)

    def _take(self, path: str, number: int) -> None:
        with self._reading:
            mark = _mark(path)  # before it is read: what is written meanwhile makes it another
            try:
                known = _read(path) if number == self._wanted else None
            except OSError as error:
                log.error("as_table not read again, going on as before: %s", fault(error))
                return
            if known is not None and number == self._wanted:
                (self._known, self.faulty), self._mark = known, mark


def fault(error: OSError) -> str:
    """What is wrong, and with which file."""
    return f"{error.filename}: {error.strerror}"


def _mark(path: str) -> _Mark | None:
    """What tells this file, as it is, from another; None where it cannot be looked at."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: str) -> tuple[AutonomousSystems, int]:
    table = astable.load(Path(path))
    for one in table.faults:
        log.warning("%s:%d %s", path, one.line, one.what)
    if table.faulty:
        log.warning("%s: %s passed over", path, counted(table.faulty, "line"))
    log.info("%s: %s with an AS number", path, counted(table.prefixes, "line"))
    return table.systems, table.faulty
