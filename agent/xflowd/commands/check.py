"""`xflowd check`: read a configuration, and say what is wrong with it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xflowd.commands.arguments import new
from xflowd.config import load

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands


def add(commands: Commands) -> None:
    parser = new(commands, "check", "read a configuration and say what is wrong with it, all at once")
    parser.add_argument(
        "-c", "--configuration", metavar="FILE", default="/etc/xflowd.conf", help="(default: %(default)s)"
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    config = load(options.configuration)
    from xflowd.config import doubtful, unmatched  # noqa: PLC0415
    from xflowd.edge.network import interfaces  # noqa: PLC0415

    for pattern in unmatched(config.meter.interfaces, [interface.name for interface in interfaces()]):
        print(f"xflowd: {options.configuration} [meter] interfaces: warning: nothing matches {pattern} now")
    for doubt in doubtful(config):
        print(f"xflowd: {options.configuration} warning: {doubt}")
    print(f"{options.configuration}: no faults found")
    return 0
