"""The command `xflowd`: reads its arguments and hands over to what does the work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from xflowd import __version__, logs
from xflowd.commands import COMMANDS
from xflowd.config import ConfigError

_DESCRIPTION = """\
Counts every packet into flows in the kernel (XDP and TC) and exports the flows as NetFlow v5, v9 or IPFIX.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 1 failed while running, 2 wrong use or configuration."""
    options = parser().parse_args(arguments)
    logs.begin()
    try:
        return int(options.command(options))
    except ConfigError as error:
        for problem in error.problems:
            logs.fail(problem)
        return 2
    except OSError as error:
        logs.fail(_told(error))
        return 1
    except KeyboardInterrupt:
        return 0


def _told(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.strerror and error.filename else str(error)


def parser() -> argparse.ArgumentParser:
    """Every command there is, with its options."""
    made = argparse.ArgumentParser("xflowd", description=_DESCRIPTION)
    made.add_argument("--version", action="version", version=f"xflowd {__version__}")
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return made


if __name__ == "__main__":
    sys.exit(main())
