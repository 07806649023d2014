"""`xflowd top`: the largest flows, live."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xflowd.commands.arguments import add_socket_option, new, socket_of
from xflowd.commands.watching import add_filter, filter_of, number

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd top                                    by what passes now, each second
  xflowd top -d 5 interface wan and ip6

keys:
  r bits a second, k packets a second, o octets, p packets, a age, i idle
  < > the one before, the next
  v the other way round, space stops and goes on, q ends
"""
_ORDERS = ("rate", "packet-rate", "octets", "packets", "age", "idle")


def add(commands: Commands) -> None:
    parser = new(commands, "top", "watch the largest flows of a running agent, on the terminal", _EXAMPLES)
    add_filter(parser)
    parser.add_argument("--sort", choices=_ORDERS, default="rate", help="to begin with (default: %(default)s)")
    parser.add_argument(
        "-d", "--delay", type=number(0.1, 3600, float), default=1.0, metavar="SECONDS", help="(default: 1)"
    )
    add_socket_option(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    from xflowd.edge.screen import Screen  # noqa: PLC0415
    from xflowd.watching import top  # noqa: PLC0415

    shown, path = top.Top(filter_of(options), options.delay, options.sort), socket_of(options)
    screen = Screen()
    top.require_agent(path, shown)
    with screen:
        return top.run(path, shown, screen)
