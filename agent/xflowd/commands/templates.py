"""`xflowd templates`: send templates now."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xflowd.commands.arguments import add_socket_option, new, socket_of

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd templates                    to all collectors
  xflowd templates office             to that of the section [collector office]

For root and the agent's user.
"""


def add(commands: Commands) -> None:
    parser = new(
        commands, "templates", "have a running agent send templates and options to its collectors now", _EXAMPLES
    )
    parser.add_argument("collector", nargs="?", metavar="COLLECTOR", help="by its name (default: all)")
    add_socket_option(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    from xflowd.watching import commanding  # noqa: PLC0415

    return commanding.templates(socket_of(options), options.collector)
