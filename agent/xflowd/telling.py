"""What the log says of an agent that runs: each trouble when it changes, and at most once a minute."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from xflowd.metering.pressure import Pressure
from xflowd.notices import Notice, counted


class Telling:
    """A notice for each thing that may have to be told. Times are monotonic, in nanoseconds."""

    def __init__(self) -> None:
        self._troubles, self._control, self._exposition, self._supervisor = Notice(), Notice(), Notice(), Notice()
        self._pressed, self._relieved = Notice(), Notice(logging.INFO)
        self._unslotted, self._was_pressed = (0, 0), False

    def trouble(self, text: str, now_ns: int) -> None:
        """What could not be done now, and is tried again."""
        self._troubles.tell(text, now_ns)

    def clients(self, control: str, exposition: str, supervisor: str, now_ns: int) -> None:
        """What went wrong with those who ask; empty where nothing did."""
        self._control.tell(_of("control socket", control), now_ns)
        self._exposition.tell(exposition, now_ns)
        self._supervisor.tell(_of("service manager", supervisor), now_ns)

    def pressure(self, pressure: Pressure, outcomes: Mapping[str, int], now_ns: int) -> None:
        """A table that is full costs accuracy, not packets; both are worth a line, and so is its end."""
        overflow, lost = outcomes["PACKETS_OVERFLOW"], outcomes["PACKETS_UNCOUNTED"]
        text = ""
        if (overflow, lost) != self._unslotted:
            text = f"table full: {counted(overflow, 'packet')} without a flow of their own, {lost:,} lost"
        elif pressure.lowered:
            text = f"table nearly full: idle timeout {pressure.idle_ns / 10**9:.1f} s"
        if text:
            self._pressed.tell(f"{text}: raise max_flows in [meter]", now_ns)
        elif self._was_pressed:
            self._relieved.tell(f"the table has room again, {overflow:,} packets later", now_ns)
        self._unslotted, self._was_pressed = (overflow, lost), bool(text)


def _of(whom: str, text: str) -> str:
    return f"{whom}: {text}" if text else ""
