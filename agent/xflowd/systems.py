"""The autonomous systems of flows' ends, from the file that [meter] as_table names."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from xflowd.edge import astable
from xflowd.metering.prefixes import AutonomousSystems
from xflowd.metering.table import Records
from xflowd.notices import counted

log = logging.getLogger(__name__)


class Systems:
    """The table as it was read last. A new one takes its place once it is read; until then flows have the old one."""

    def __init__(self) -> None:
        self._known, self.faulty = AutonomousSystems(), 0  # lines passed over
        self._reading = threading.Lock()
        self._wanted = 0  # counts what was asked for: of two that are read at the same time, the later one counts

    def load(self, path: str) -> None:
        """Read the file, if one is named, before going on. Raises OSError."""
        self._known, self.faulty = _read(path) if path else (AutonomousSystems(), 0)

    def reload(self, path: str) -> None:
        """Read the file while the agent is at work. One that cannot be read is told, and changes nothing."""
        self._wanted += 1
        if path:
            threading.Thread(target=self._take, args=(path, self._wanted), name="as_table", daemon=True).start()
        else:
            self._known, self.faulty = AutonomousSystems(), 0

    def fill(self, flows: Records) -> None:
        """Set bgpSourceAsNumber and bgpDestinationAsNumber of flows (of FLOW)."""
        self._known.fill(flows)

    def _take(self, path: str, number: int) -> None:
        with self._reading:
            try:
                known = _read(path) if number == self._wanted else None
            except OSError as error:
                log.error("as_table not read again, going on as before: %s", fault(error))
                return
            if known is not None and number == self._wanted:
                self._known, self.faulty = known


def fault(error: OSError) -> str:
    """What is wrong, and with which file."""
    return f"{error.filename}: {error.strerror}"


def _read(path: str) -> tuple[AutonomousSystems, int]:
    table = astable.load(Path(path))
    for one in table.faults:
        log.warning("%s:%d %s", path, one.line, one.what)
    if table.faulty:
        log.warning("%s: %s passed over", path, counted(table.faulty, "line"))
    log.info("%s: %s with an AS number", path, counted(table.prefixes, "line"))
    return table.systems, table.faulty
