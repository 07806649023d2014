"""The command `xflowd`: reads its arguments and hands over to what does the work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from xflowd import __version__, logs
from xflowd.commands import COMMANDS
from xflowd.commands.strange import unknown
from xflowd.config import ConfigError
from xflowd.config.problem import nearest, quoted

_DESCRIPTION = """\
Counts every packet into flows in the kernel (XDP and TC) and exports the flows as NetFlow v5, v9 or IPFIX.
"""
_NAMES = [command.__name__.rpartition(".")[2] for command in COMMANDS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 1 failed while running, 2 wrong use or configuration.

    Whoever reads what is printed may have seen enough (`| head`): that ends the command, and is no fault.
    """
    code = 0
    logs.begin()
    try:
        code = _obey(arguments)
        _flush()
    except ConfigError as error:
        for problem in error.problems:
            logs.fail(problem)
        return 2
    except OSError as error:
        if not (isinstance(error, BrokenPipeError) and _is_unread()):
            code = getattr(error, "exit_code", 1)
            logs.fail(_told(error))
        _let_go()
    except KeyboardInterrupt:
        return 0
    return code


def _obey(arguments: Sequence[str] | None) -> int:
    try:
        made, words = parser(), list(sys.argv[1:] if arguments is None else arguments)
        if words and not words[0].startswith("-") and words[0] not in _NAMES:
            made.error(f"there is no command {quoted(words[0])}; {nearest(words[0], [*_NAMES, '--help'])}")
        options, strange = made.parse_known_args(words)
        if strange:
            options.parser.error(unknown(strange, options))
    except SystemExit:
        _flush()  # help is read by somebody too
        raise
    return int(options.command(options))


def _flush() -> None:
    """While what goes wrong can still be told: at its exit Python could only complain."""
    if sys.stdout:  # none where it was closed before the start
        sys.stdout.flush()


def _is_unread() -> bool:
    """Whether nobody reads standard output any more."""
    from xflowd.edge.terminal.output import has_reader  # noqa: PLC0415

    return bool(sys.stdout) and not has_reader(sys.stdout)


def _let_go() -> None:
    """What standard output did not take goes nowhere, and is not tried again at the exit."""
    from xflowd.edge.terminal.output import discard  # noqa: PLC0415

    try:
        _flush()
    except OSError:
        discard(sys.stdout)


def _told(error: OSError) -> str:
    if type(error) is OSError and not error.filename:
        from xflowd.edge.terminal.output import is_of_a_full_disk, told  # noqa: PLC0415

        error = told(error) if is_of_a_full_disk(error) else error
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
