"""The command `xflowd flows`: what is in the table of a running agent, as a table or as JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xflowd.edge.asking import ask
from xflowd.edge.terminal.output import wished_columns
from xflowd.notices import counted
from xflowd.watching.answers import understood
from xflowd.watching.document import MOST_FLOWS, Flows
from xflowd.watching.lines import Row, Table
from xflowd.watching.rates import rates

_NOT_A_TERMINAL = 200  # columns


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: `sort` is empty for all flows, in the order of the table."""

    filter: str
    sort: str
    smallest: bool
    limit: int


def run(path: Path, wanted: Wanted, as_json: bool) -> int:
    """Ask the agent whose control socket is at `path`, and print. Raises ControlError."""
    with understood(path):
        for text in _json(path, wanted) if as_json else _text(path, wanted):
            if not _written(text):
                break  # nobody reads any more
    return 0


def answers(path: Path, wanted: Wanted) -> Iterator[Flows]:
    """One, or page by page: memory is that of a page, here and in the agent."""
    if wanted.sort:
        request = {"sort": wanted.sort, "smallest": wanted.smallest, "limit": wanted.limit}
        yield ask(path, "flows", {"filter": wanted.filter, **request})
        return
    after: int | None = -1
    while after is not None:
        page: Flows = ask(path, "flows", {"filter": wanted.filter, "after": after, "limit": MOST_FLOWS})
        yield page
        after = page["next"]


def _json(path: Path, wanted: Wanted) -> Iterator[str]:
    for answer in answers(path, wanted):
        yield "".join(json.dumps(flow) + "\n" for flow in answer["flows"])


def _text(path: Path, wanted: Wanted) -> Iterator[str]:
    width, arrow = _width(), "→" if _can_show("→") else ">"
    shown = rate = 0
    table, matching, live = None, None, None
    for answer in answers(path, wanted):
        order = wanted.sort or "octets"
        if table is None:
            table = Table(width, answer["interfaces"], arrow=arrow, order=order)
            yield _encodable(table.heading()) + "\n"
        now = rates(None, answer["monotonic_ns"], answer["flows"])
        for flow, each in zip(answer["flows"], now, strict=True):
            yield "".join(f"{_encodable(line)}\n" for line in table.rows(Row(flow, each)))
        shown, rate = shown + len(answer["flows"]), answer["sampling_interval"]
        matching, live = answer["matching"], answer["live"]
    yield _summary(shown, matching, live, rate)


def _summary(shown: int, matching: int | None, live: int | None, sampling_interval: int) -> str:
    parts = [counted(shown, "flow")]
    if matching is not None and live is not None:
        parts = [f"{shown:,} of {counted(matching, 'flow')}" if shown < matching else parts[0]]
        parts += [f"{live:,} in the table"] if matching < live else []
    if sampling_interval > 1:
        parts += [f"one packet of {sampling_interval:,} is counted"]
    return ", ".join(parts) + "\n"


def _width() -> int:
    if not sys.stdout.isatty():
        return wished_columns(_NOT_A_TERMINAL)
    return shutil.get_terminal_size((80, 24)).columns


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _encodable(text: str) -> str:
    encoding: Any = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "replace").decode(encoding)


def _written(text: str) -> bool:
    """False once nobody reads any more; what is buffered goes nowhere then, or Python complains at the exit."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return False
    return True
