"""`xflowd collect`: receive flows from any exporter, and print them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xflowd.commands.arguments import add_format_option, new

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd collect                      on 2055 and 4739, by IPv4 and IPv6
  xflowd collect --listen 192.0.2.10:4739 --format json
"""


def add(commands: Commands) -> None:
    text = "receive NetFlow v5, v9 and IPFIX from any exporter, and print the flows"
    parser = new(commands, "collect", text, _EXAMPLES)
    parser.add_argument(
        "--listen",
        metavar="ADDRESS:PORT",
        default="[::]",
        help="where (default: %(default)s; without a port 2055, which NetFlow is sent to, and 4739, which IPFIX is)",
    )
    add_format_option(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    from xflowd import collect  # noqa: PLC0415

    return collect.run(options.listen, options.format)
