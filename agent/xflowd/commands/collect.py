"""`xflowd collect`: receive flows from any exporter, and print them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xflowd.commands.arguments import add_format_option, new

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd collect                              listen on [::]:2055, IPv4 and IPv6
  xflowd collect --listen 192.0.2.10:4739 --format json
"""


def add(commands: Commands) -> None:
    text = "receive NetFlow v5, v9 and IPFIX from any exporter, and print the flows"
    parser = new(commands, "collect", text, _EXAMPLES)
    parser.add_argument("--listen", metavar="ADDRESS:PORT", default="[::]:2055", help="where (default: %(default)s)")
    add_format_option(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    from xflowd import collect  # noqa: PLC0415

    return collect.run(options.listen, options.format)
