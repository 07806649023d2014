"""The commands that steer an agent, `xflowd flush` and `xflowd templates`, and `xflowd timeouts`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from xflowd.edge.asking import ask
from xflowd.notices import counted
from xflowd.watching.answers import understood
from xflowd.watching.document import Announced, Flushed, TimeoutsInForce
from xflowd.watching.figures import printable

_PATIENCE_SECONDS = 5.0  # while collectors take nothing
_PAUSE_SECONDS = 0.05


def flush(path: Path, filter_text: str) -> int:
    """End the flows that the filter means and that have begun by now. Raises ControlError."""
    request: dict[str, object] = {"filter": filter_text}
    ended, until = 0, time.monotonic() + _PATIENCE_SECONDS
    while True:
        answer: Flushed = ask(path, "flush", request)
        with understood(path):
            ended, request["begun_by_ns"] = ended + answer["ended"], answer["begun_by_ns"]
        if not answer["left"]:
            print(f"{counted(ended, 'flow')} ended")
            return 0
        if answer["ended"]:
            until = time.monotonic() + _PATIENCE_SECONDS
        elif time.monotonic() >= until:
            break
        time.sleep(_PAUSE_SECONDS)
    left = f"{answer['left']:,} stay in the table: a queue is full: see xflowd status"
    print(f"xflowd: {counted(ended, 'flow')} ended, {left}", file=sys.stderr)
    return 1


def templates(path: Path, name: str | None) -> int:
    """Have templates sent to one collector, or to all. Raises ControlError."""
    answer: list[Announced] = ask(path, "templates", {"name": name} if name is not None else {})
    with understood(path):
        for one in answer:
            told = "templates sent" if one["sent"] else f"no templates sent: {one['reason']}"
            print(printable(f"collector {one['name']}, {one['protocol']}: {told}"))
    return 0 if all(one["sent"] or one["protocol"] == "netflow5" for one in answer) else 1


def timeouts(path: Path, filter_text: str, as_json: bool) -> int:
    """Show what ends flows, and when. Raises ControlError."""
    answer: TimeoutsInForce = ask(path, "timeouts", {"filter": filter_text})
    with understood(path):
        print(json.dumps(answer, indent=2) if as_json else "\n".join(map(printable, _timeouts(answer))))
    return 0


def _timeouts(answer: TimeoutsInForce) -> Iterator[str]:
    lowered = answer["idle_in_force"] < answer["idle"]
    yield f"active timeout   {answer['active']:>6g} s"
    yield f"idle timeout     {answer['idle']:>6g} s" + (
        f", now {answer['idle_in_force']:g} s: the table is nearly full" if lowered else ""
    )
    yield f"after FIN, RST   {answer['quiet_after_end']:>6g} s without a packet"
    for one in answer["collectors"]:
        if one["template_refresh"] is None:
            yield f"templates             none to {one['name']}, by netflow5"
            continue
        ago = one["templates_sent_seconds_ago"]
        sent = "not sent yet" if ago is None else f"sent {ago:g} s ago"
        yield f"templates        {one['template_refresh']:>6g} s to {one['name']}, {sent}"
    yield f"{counted(answer['flows'], 'flow')}, of which end if no packet comes any more"
    for ending in answer["ending"]:
        yield f"  within         {ending['seconds']:>6g} s {ending['flows']:>11,}"
