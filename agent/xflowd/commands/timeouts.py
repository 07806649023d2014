"""`xflowd timeouts`: what ends flows, and when."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xflowd.commands.arguments import add_socket_option, new, socket_of
from xflowd.commands.watching import add_filter, filter_of

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd timeouts              those in force, and how many flows they end soon
  xflowd timeouts udp port 53 --json
"""


def add(commands: Commands) -> None:
    text = "show the timeouts in force of a running agent, and how many flows end when"
    parser = new(commands, "timeouts", text, _EXAMPLES)
    add_filter(parser)
    parser.add_argument("--json", action="store_true", help="print the document that the agent answers with")
    add_socket_option(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    from xflowd.watching import commanding  # noqa: PLC0415

    return commanding.timeouts(socket_of(options), filter_of(options), options.json)
