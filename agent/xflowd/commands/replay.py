"""`xflowd replay`: meter a capture file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xflowd.commands.arguments import add_export_options, add_file_option, configured, new

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd replay trace.pcap                      its flows, on the terminal
  xflowd replay trace.pcapng --format json      the same, an object a line
  zcat trace.pcap.gz | xflowd replay - -n 192.0.2.10:2055 -v ipfix
  xflowd replay trace.pcap -k proto -e default,minimumTTL --format json

Exit codes: 0, 1 if the capture could not be read to its end or a collector
refused what was sent, 2 for wrong use.
"""


def add(commands: Commands) -> None:
    parser = new(commands, "replay", "meter a capture file, on the clock of its packets", _EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="pcap or pcapng; - is standard input")
    add_file_option(parser)
    add_export_options(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    config = configured(options)
    from xflowd import replay  # noqa: PLC0415

    return replay.run(options.file, config, options.format)
