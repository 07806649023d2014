"""`xflowd status`: what a running agent has counted."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xflowd.commands.arguments import add_socket_option, new, socket_of

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd status                      where packets went; the table; collectors
  xflowd status --json | jq .totals   the same as one object, for programs
"""


def add(commands: Commands) -> None:
    text = "ask the agent that runs in this network namespace what it has counted, and what became of it"
    parser = new(commands, "status", text, _EXAMPLES)
    parser.add_argument("--json", action="store_true", help="print the document that the agent answers with")
    add_socket_option(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    from xflowd import showing  # noqa: PLC0415

    return showing.run(socket_of(options), options.json)
