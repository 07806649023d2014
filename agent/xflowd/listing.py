"""The command `xflowd elements`: every element that a template can have, as a table or as JSON."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from xflowd.edge.terminal.output import Output, require_written
from xflowd.exporting.catalogue import OFFERED, Offered, defaults
from xflowd.wire import netflow5

_LEAST_WIDTH = 80
_VERSIONS = {"netflow5": "5", "netflow9": "9", "ipfix": "10"}
_NETFLOW5 = {field.element.name for field in netflow5.RECORD.fields}
_HEAD = f"{'element':28} {'no.':>3} {'octets':>6} {'in':6} meaning"
_MEANING = _HEAD.index("meaning")
_NOTE = (
    "in: the default record of NetFlow v5, v9, IPFIX (10). An element of IPv4 or IPv6 flows alone stands for that of"
    " the other version in the other's records, where there is one. Groups that are looked at only where chosen cost"
    " time on each packet; who chooses none of them pays nothing."
)


def run(as_json: bool) -> int:
    """Print the list; the exit code."""
    out = Output(sys.stdout)  # what reads it may have seen enough: `head`
    if as_json:
        out.write(json.dumps([described(each) for each in OFFERED.values()], indent=2) + "\n")
    else:
        width = max(_LEAST_WIDTH, shutil.get_terminal_size((_LEAST_WIDTH, 0)).columns)
        out.write("\n".join(table(width)) + "\n")
    require_written()
    return 0


def described(offered: Offered) -> dict[str, Any]:
    """An element as JSON has it: `ip_versions` are those whose flows have it; `needs`: see group()."""
    element = offered.element
    return {
        "name": offered.name,
        "number": element.number,
        "type": element.type,
        "octets": offered.octets,
        "ip_versions": [offered.ip_version] if offered.ip_version and not offered.outer else [4, 6],
        "counterpart": offered.counterpart,
        "default_in": in_default(offered.name),
        "needs": group(offered) or None,
        "meaning": element.meaning,
    }


def table(width: int) -> Iterator[str]:
    """The lines for a terminal of so many columns, 80 or more: a part for each group."""
    shown = ""
    yield _HEAD
    for offered in OFFERED.values():
        if group(offered) != shown:
            shown = group(offered)
            yield from ("", f"{shown}, looked at only where chosen:")
        yield from textwrap.wrap(_row(offered), width, subsequent_indent=" " * _MEANING)
    yield ""
    yield from textwrap.wrap(_NOTE, width)


def group(offered: Offered) -> str:
    """What the programs must look at for an element, in words; nothing where it is known in any case."""
    return offered.detail.lower().replace("_", " ")


def in_default(name: str) -> list[str]:
    """The protocols whose own record tells it."""
    return [*(["netflow5"] if name in _NETFLOW5 else []), *defaults(name)]


def _row(offered: Offered) -> str:
    element = offered.element
    versions = " ".join(_VERSIONS[protocol] for protocol in in_default(offered.name))
    return f"{offered.name:28} {element.number:>3} {offered.octets:>6} {versions:6} {element.meaning}"
