"""`xflowd doctor`: proves the way of a packet before anybody wonders."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xflowd.commands.arguments import add_socket_option, new, socket_of
from xflowd.config import default_file

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd doctor         what is amiss here, of an agent or of one to be?
  xflowd doctor --json | jq '.findings[] | select(.grade == "bad")'

Exit codes: 0, 1 if any finding is bad, 2 for wrong use.
"""


def add(commands: Commands) -> None:
    text = "examine kernel, rights, interfaces, offloads, ways to collectors, clock, and figures; say how to mend them"
    parser = new(commands, "doctor", text, _EXAMPLES)
    parser.add_argument(
        "-c",
        "--configuration",
        metavar="FILE",
        help="INI or UCI (default: /etc/xflowd.conf; /etc/config/xflowd where only that is there)",
    )
    parser.add_argument("--json", action="store_true", help="print an object: findings, and how many of each grade")
    add_socket_option(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    from xflowd.doctor.examination import run as examine  # noqa: PLC0415

    return examine(options.configuration or default_file(), socket_of(options), options.json)
