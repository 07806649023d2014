"""`xflowd flows`: what is in the table of a running agent."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from xflowd.commands.arguments import add_socket_option, new, socket_of
from xflowd.commands.watching import add_filter, filter_of, number

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd flows                                the 20 flows of most octets
  xflowd flows 'tcp dst port 443 and octets > 1M' --sort rate
  xflowd flows interface wan and not net 192.0.2.0/24 --limit 100
  xflowd flows --all --json                   the whole table, an object a line
"""
ORDERS = ("octets", "packets", "rate", "packet-rate", "age", "idle")
_MOST, _USUAL = 1000, 20


def add(commands: Commands) -> None:
    parser = new(commands, "flows", "show flows that are in the table of a running agent", _EXAMPLES)
    add_filter(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sort", choices=ORDERS, default="octets", help="the largest first (default: %(default)s)")
    which.add_argument("--all", action="store_true", help="every flow, in the order of the table")
    parser.add_argument("--reverse", action="store_true", help="the smallest first")
    parser.add_argument(
        "--limit", type=number(1, _MOST), metavar="N", help=f"so many, {_MOST} at most (default: {_USUAL})"
    )
    parser.add_argument("--json", action="store_true", help="print an object a line, by IANA's names")
    add_socket_option(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    from xflowd.watching import flows  # noqa: PLC0415

    without_effect = "--limit" if options.limit is not None else "--reverse" if options.reverse else ""
    if options.all and without_effect:
        print(f"xflowd: {without_effect} does nothing beside --all: leave out one of the two", file=sys.stderr)
        return 2
    limit = _USUAL if options.limit is None else options.limit
    wanted = flows.Wanted(filter_of(options), "" if options.all else options.sort, options.reverse, limit)
    return flows.run(socket_of(options), wanted, options.json)
