"""The command `xflowd top`: the largest flows, again and again, until somebody has seen enough."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from xflowd.edge.asking import PATIENCE_SECONDS, ControlError, ask
from xflowd.notices import counted
from xflowd.watching.answers import understood
from xflowd.watching.document import MOST_FLOWS, Flows
from xflowd.watching.figures import printable, short
from xflowd.watching.lines import Row, Table
from xflowd.watching.rates import Sample, rates, sample

#: Key → what is sorted by it. Small letters are what comes first to mind.
ORDERS = {"r": "rate", "k": "packet-rate", "o": "octets", "p": "packets", "a": "age", "i": "idle"}
#: Of 80 columns at most, and first what a newcomer needs.
HELP = "q quit  r bit/s  k pkt/s  o octets  p packets  a age  i idle  v turn  space stop"
_CANDIDATES = 500  # flows among which those with the highest rate now are looked for
_PATIENCE_SECONDS = 1.0  # for an answer: keys wait as long
_STEPS = {"<": -1, ">": 1, "left": -1, "right": 1}


class Screen(Protocol):
    """Where it is drawn: lines and columns, and keys."""

    arrow: str

    def size(self) -> tuple[int, int]:
        """Lines and columns, as they are now."""

    def draw(self, lines: list[tuple[str, str]]) -> None:
        """Lines, each with a style: plain, bold, reverse, dim."""

    def key(self, seconds: float) -> str | None:
        """A key that is pressed within so many seconds, by its character or name."""


@dataclass(slots=True)
class Top:
    """What is shown, and by which order. Time is an argument."""

    filter: str = ""
    delay: float = 1.0
    order: str = "rate"
    smallest: bool = False
    paused: bool = False
    trouble: str = ""
    rows: list[Row] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # interfaces' by index
    _flows: Flows | None = None
    _before: Sample | None = None
    _packets_a_second: float = 0.0

    def request(self, lines: int) -> dict[str, object]:
        """What to ask for. For the highest rates of now, among flows that had packets of late."""
        wanted: dict[str, object] = {
            "filter": self.filter,
            "sort": self.order,
            "smallest": self.smallest,
            "limit": max(1, min(lines, MOST_FLOWS)),
        }
        if self.order in ("rate", "packet-rate") and not self.smallest:
            wanted |= {"idle_below_seconds": max(2.0, 2 * self.delay), "limit": _CANDIDATES}
        return wanted

    def take(self, flows: Flows) -> None:
        """What the agent has answered."""
        found = flows["flows"]
        measured = rates(self._before, flows["monotonic_ns"], found)
        self.rows = [Row(flow, rate) for flow, rate in zip(found, measured, strict=True)]
        if self.order in ("rate", "packet-rate"):
            bits = self.order == "rate"
            self.rows.sort(key=lambda row: row.rate.bits if bits else row.rate.packets, reverse=not self.smallest)
        self.names = flows["interfaces"]
        if self._flows and flows["monotonic_ns"] > self._flows["monotonic_ns"]:
            passed = max(0, flows["packets_seen"] - self._flows["packets_seen"])
            self._packets_a_second = passed * 10**9 / (flows["monotonic_ns"] - self._flows["monotonic_ns"])
        self._flows, self._before, self.trouble = flows, sample(flows["monotonic_ns"], found), ""

    def miss(self, why: str) -> None:
        """The agent has not answered. What is shown is what was."""
        self.trouble, self._before, self._flows = why, None, None

    def press(self, key: str) -> bool:
        """What a key does; False: nothing more."""
        names = list(ORDERS.values())
        if key in ("q", "Q", "\x03"):
            return False
        if key in ORDERS:
            self.order = ORDERS[key]
        elif key in _STEPS:
            self.order = names[(names.index(self.order) + _STEPS[key]) % len(names)]
        elif key == "v":
            self.smallest = not self.smallest
        elif key == " ":
            self.paused = not self.paused
        return True

    def lines(self, height: int, width: int, arrow: str, clock: str) -> list[tuple[str, str]]:
        """The whole screen: a line of what this is, the heading, flows, and below them the keys, if there is room."""
        table = Table(width, self.names, arrow=arrow, order=self.order)
        top = [(self._told(width, clock), "reverse" if self.trouble else "plain"), (table.heading(), "bold")]
        foot = [(HELP[:width], "dim")] if height >= 12 else []
        style = "dim" if self.trouble else "plain"
        rows = [(table.row(row), style) for row in self.rows[: max(0, height - len(top) - len(foot))]]
        blank = [("", "plain")] * max(0, height - len(top) - len(foot) - len(rows))
        return [*top, *rows, *blank, *foot][:height]

    def _told(self, width: int, clock: str) -> str:
        if self.trouble:
            return printable(self.trouble)[:width]
        flows = self._flows
        parts = [f"by {self.order}{' reversed' if self.smallest else ''}{', paused' if self.paused else ''}"]
        if flows and flows["live"] is not None:
            parts += [counted(flows["live"], "flow"), f"{short(self._packets_a_second)} pkt/s"]
            parts += [f"1 of {flows['sampling_interval']:,} counted"] if flows["sampling_interval"] > 1 else []
        parts += [clock, *([printable(self.filter)] if self.filter else [])]
        return "  ".join(["xflowd top", *parts])[:width]


def require_agent(path: Path, top: Top) -> None:
    """Ask once before there is a screen. Raises ControlError where nobody answers: one that is there may go later."""
    with understood(path):
        ask(path, "flows", {**top.request(1), "limit": 1}, PATIENCE_SECONDS)


def run(path: Path, top: Top, screen: Screen) -> int:
    """Until q. An agent that goes away is waited for."""
    due = 0.0
    while True:
        height, width = screen.size()
        if time.monotonic() >= due and not top.paused:
            _ask(path, top, height)
            due = time.monotonic() + top.delay
        screen.draw(top.lines(height, width, screen.arrow, time.strftime("%H:%M:%S")))
        key = screen.key(max(0.0, due - time.monotonic()) if not top.paused else 1.0)
        if key is None:
            continue
        if not top.press(key):
            return 0
        if key != "resize" and not top.paused:
            due = 0.0  # another order is another question


def _ask(path: Path, top: Top, height: int) -> None:
    try:
        with understood(path):
            top.take(ask(path, "flows", top.request(height), _PATIENCE_SECONDS))
    except ControlError as error:
        top.miss(f"{error}; asking again")
