"""`xflowd flush`: end flows now."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xflowd.commands.arguments import add_socket_option, new, socket_of
from xflowd.commands.watching import add_filter, filter_of

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd flush                                  all flows that there are now
  xflowd flush host 192.0.2.7                   those of one host

Flows end with flowEndReason 4 (forced end) and are exported at once. Packets
that come later make new ones.
For root and the agent's user.
"""


def add(commands: Commands) -> None:
    parser = new(commands, "flush", "end the flows of a running agent now, all or what a filter means", _EXAMPLES)
    add_filter(parser)
    add_socket_option(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    from xflowd.watching import commanding  # noqa: PLC0415

    return commanding.flush(socket_of(options), filter_of(options))
