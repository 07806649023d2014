"""`xflowd elements`: what a record can tell of a flow."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xflowd.commands.arguments import new

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd elements | grep -i vlan
  xflowd elements --json | jq -r '.[] | select(.needs == null) | .name'

in the configuration:
  [template wide]
  elements = default, minimumTTL, maximumTTL
  [collector NAME]
  template = wide
"""


def add(commands: Commands) -> None:
    parser = new(commands, "elements", "list what a record can tell of a flow, by IANA's names", _EXAMPLES)
    parser.add_argument("--json", action="store_true", help="print it as one list of objects")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    from xflowd import listing  # noqa: PLC0415

    return listing.run(options.json)
