"""`xflowd run`: meter interfaces and export their flows."""

from __future__ import annotations

import argparse
import os
import signal
from typing import TYPE_CHECKING

from xflowd.commands.arguments import add_export_options, add_file_option, configured, new

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands

_EXAMPLES = """\
examples:
  xflowd run                      print the default route's flows
  xflowd run -c /etc/xflowd.conf  as the file says; options given beside it win
  xflowd run -i wan -i 'wg*' -n 192.0.2.10:2055 -v 9    export as NetFlow v9

signals:
  SIGHUP            read the file again; a file with faults changes nothing
  SIGTERM, SIGINT   send the flows of the table, and leave the host as it was
  SIGQUIT           end at once: the kernel goes on counting, and the next agent
                    goes on with the table
"""


def add(commands: Commands) -> None:
    parser = new(commands, "run", "meter interfaces and export their flows, in the foreground", _EXAMPLES)
    add_file_option(parser)
    parser.add_argument(
        "-i",
        "--interface",
        action="append",
        metavar="NAME",
        help="meter this interface, or those that match a glob; again and again (default: the default route's)",
    )
    add_export_options(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    # Those that come before the agent minds them wait until then: it may have to clean up after one before it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT})
    config = configured(options)
    # Never a greater claim to the CPU than whoever started it has given.
    os.setpriority(os.PRIO_PROCESS, 0, max(config.agent.nice, os.getpriority(os.PRIO_PROCESS, 0)))
    # numpy's algebra has threads of its own, which nobody needs here and which would keep the rights that are given up.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What only one command needs is imported by that command: start-up time and memory count on a router.
    from xflowd import service  # noqa: PLC0415

    return service.run(config, lambda: configured(options), options.format)
