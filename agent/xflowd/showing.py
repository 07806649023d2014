"""The command `xflowd status`: a running agent's document, as text for 80 columns or as it is."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from xflowd.edge.asking import ControlError, ask
from xflowd.notices import counted
from xflowd.status import CollectorStatus, Placed, Point, Status, Totals

WIDTH = 80
_LABEL = 16  # characters of what a figure is
_ALWAYS = ("exported", "in_table", "in_flows")
_WORDS = {
    "difference": "on their way",
    "in_table": "in the table",
    "lost": "lost: table full",
    "not_ip": "not IP",
    "overflow_waiting": "overflow",
}


def run(path: Path, as_json: bool) -> int:
    """Ask the agent whose control socket is at `path`, and print. Raises ControlError."""
    document = ask(path, "status")
    if as_json:
        print(json.dumps(document, indent=2))
        return 0
    try:
        text = render(document)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ControlError(f"{path}: an agent of another version answers: restart it, or use --json") from None
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding))
    return 0


def render(status: Status, width: int = WIDTH) -> str:
    """The document in blocks: the agent, each interface, the equation of all packets, the table, each collector."""
    blocks = [_head(status)]
    digits = max(11, len(f"{_largest(status):,}"))
    blocks += [_point(point, digits) for point in status["interfaces"]]
    blocks += [[f"{one['name']} {one['direction']}: not metered: {one['reason']}" for one in status["refused"]]]
    blocks += [["all interfaces", *_equation(status["totals"]["seen"], _terms(status["totals"]), digits)]]
    blocks += [list(_table(status))]
    blocks += [list(_collector(collector)) for collector in status["collectors"]]
    blocks += [[_use(status)]]
    return "\n\n".join("\n".join(_fitted(block, width)) for block in blocks if block)


def duration(seconds: float) -> str:
    """The two largest units: `3 d 4 h`, `12 min 5 s`, `0 s`."""
    parts: list[str] = []
    rest = int(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _fitted(lines: Iterable[str], width: int) -> Iterator[str]:
    """Lines without what a terminal might take for a command, the long ones broken below their figures."""
    for line in lines:
        clean = "".join(character if character.isprintable() else "?" for character in line)
        indent = " " * (4 + _LABEL + 1 if clean.startswith(" ") else 4)
        yield from textwrap.wrap(
            clean, width, subsequent_indent=indent, drop_whitespace=True, break_on_hyphens=False
        ) or [""]


def _row(label: str, text: str, sign: str = " ") -> str:
    return f"  {sign} {label:<{_LABEL}} {text}"


def _head(status: Status) -> list[str]:
    return [
        f"xflowd {status['version']}, process {status['pid']}, "
        f"up {duration(status['uptime_seconds'])}, since {status['since']}"
    ]


def _largest(status: Status) -> int:
    """Of the figures that stand in the column."""
    seen = [point["packets"]["seen"] for point in status["interfaces"]]
    seen += [point["kernel"]["packets"] for point in status["interfaces"] if point["kernel"]]
    return max(status["totals"]["seen"], *seen, 0)


def _point(point: Point, digits: int) -> list[str]:
    kernel, coverage = point["kernel"], point["coverage_percent"]
    lines = [f"{point['name']} {point['direction']} by {point['hook']}, interface {point['index']}"]
    if kernel:
        way = "RX" if point["direction"] == "ingress" else "TX"
        lines += [_row(f"the kernel's {way}", f"{kernel['packets']:>{digits},} packets, {kernel['octets']:,} octets")]
    note = "" if coverage is None else f", {coverage:.2f} % of the kernel's"
    return lines + _equation(point["packets"]["seen"], _point_terms(point), digits, note)


def _point_terms(point: Point) -> dict[str, int]:
    packets, placed = point["packets"], point["placed"]
    ignored = {reason: packets[reason] for reason in ("not_ip", "too_short", "malformed", "jumbogram", "lost")}
    if placed:
        return {**_placed(placed), "sampled_out": packets["sampled_out"], **ignored, "difference": placed["difference"]}
    here = {"in_flows": point["in_flows"], "overflow": packets["overflow"], "sampled_out": packets["sampled_out"]}
    return {**here, **ignored}


def _terms(totals: Totals) -> dict[str, int]:
    return {
        **_placed(totals),
        "sampled_out": totals["sampled_out"],
        **totals["not_metered"],
        "difference": totals["difference"],
    }


def _placed(placed: Placed | Totals) -> dict[str, int]:
    return {key: placed[key] for key in ("exported", "in_table", "overflow_waiting")}


def _equation(seen: int, terms: Mapping[str, int], digits: int, note: str = "") -> list[str]:
    """Seen, and where these packets are: of the rest of the places, those where there are any."""
    lines = [_row("seen", f"{seen:>{digits},} packets{note}")]
    for key, count in terms.items():
        if count or key in _ALWAYS:
            lines.append(_row(_words(key), f"{count:>{digits},}", "=" if len(lines) == 1 else "+"))
    return lines


def _words(key: str) -> str:
    return _WORDS.get(key, key.replace("_", " "))


def _table(status: Status) -> Iterator[str]:
    flows, timeouts = status["flows"], status["timeouts"]
    yield "flow table"
    yield _row("flows", f"{flows['live']:,} live, {flows['free']:,} of {flows['slots']:,} slots free")
    ended = [f"{count:,} {_words(reason)}" for reason, count in flows["ended"].items() if count]
    yield _row("ended by", ", ".join(ended) or "none yet")
    lowered = timeouts["idle_in_force"] < timeouts["idle"]
    idle = f"idle {timeouts['idle']:g} s" + (f", now {timeouts['idle_in_force']:g} s" if lowered else "")
    yield _row("timeouts", f"active {timeouts['active']:g} s, {idle}")


def _collector(collector: CollectorStatus) -> Iterator[str]:
    yield f"collector {collector['name']}, {collector['protocol']} to {_destination(collector)}"
    flows, datagrams = counted(collector["flows_exported"], "flow"), counted(collector["datagrams_sent"], "datagram")
    yield _row("sent", f"{flows} in {datagrams}, {collector['octets_sent']:,} octets")
    waiting = counted(collector["waiting_datagrams"], "datagram")
    if collector["waiting_datagrams"]:
        yield _row("waiting", f"{waiting}, {collector['waiting_octets']:,} octets")
    for label, noun, reasons in (
        ("not sent", "flow", collector["flows_not_sent"]),
        ("dropped", "datagram", collector["datagrams_dropped"]),
        ("errors", "time", collector["errors"]),
    ):
        told = [f"{reason} ({counted(count, noun)})" for reason, count in reasons.items() if count]
        if told:
            yield _row(label, ", ".join(told))
    if last := collector["last_error"]:
        yield _row("last error", f"{last['text']}, {duration(last['seconds_ago'])} ago")
    if collector["trouble"]:
        yield _row("trouble now", collector["trouble"])


def _destination(collector: CollectorStatus) -> str:
    """As configured; and what a name stands for."""
    address, resolved = collector["address"], collector["resolved_address"]
    return f"{address} ({resolved})" if resolved and resolved not in address else address


def _use(status: Status) -> str:
    use = status["agent"]
    cpu = f"{use['cpu_seconds']:.2f} s of CPU ({use['cpu_percent']:.1f} %)"
    return f"agent: {cpu}, {use['memory_octets'] / 2**20:.0f} MB of memory, {counted(use['threads'], 'thread')}"
