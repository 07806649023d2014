"""`xflowd check`: read a configuration, and say what is wrong with it; or write it in another form."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from xflowd.commands.arguments import new
from xflowd.config import Config, ConfigError, check, default_file, read

if TYPE_CHECKING:
    from xflowd.commands.arguments import Commands
    from xflowd.config.entries import Section
    from xflowd.config.problem import Problem

_EXAMPLES = """\
examples:
  xflowd check                                          is the file good?
  xflowd check -c /etc/xflowd.conf --to uci             the same as UCI, on standard output
  xflowd check --from-softflowd /etc/config/softflowd --to uci > /etc/config/xflowd

With --to the file goes to standard output, and all that there is to say to standard error.
"""


def add(commands: Commands) -> None:
    parser = new(commands, "check", "read a configuration and say what is wrong with it, all at once", _EXAMPLES)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "-c",
        "--configuration",
        metavar="FILE",
        help="INI or UCI (default: /etc/xflowd.conf; /etc/config/xflowd where only that is there)",
    )
    source.add_argument(
        "--from-softflowd", metavar="FILE", help="read OpenWrt's configuration of softflowd, say /etc/config/softflowd"
    )
    parser.add_argument("--to", choices=("ini", "uci"), help="write it in this form, without comments")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    file = options.from_softflowd or options.configuration or default_file()
    sections, problems, remarks = _sections(file, is_softflowd=bool(options.from_softflowd))
    config = check(sections, problems)
    out = sys.stderr if options.to else sys.stdout
    for remark in remarks:
        print(f"xflowd: {remark}", file=out)
    for warning in _warnings(config):
        print(f"xflowd: {file} {warning}", file=out)
    if options.to:
        _write(sections, options.to)
    else:
        print(f"{file}: no faults found")
    return 0


def _sections(file: str, *, is_softflowd: bool) -> tuple[list[Section], list[Problem], list[str]]:
    """What a file says, what cannot be read, and what could not be carried over."""
    sections, problems = read(file)
    if not is_softflowd:
        return sections, problems, []
    if problems:
        raise ConfigError(problems)
    from xflowd.config.softflowd import from_softflowd  # noqa: PLC0415

    carried, remarks = from_softflowd(sections, file)
    return carried, [], remarks


def _warnings(config: Config) -> Iterator[str]:
    from xflowd.config import doubtful, unmatched  # noqa: PLC0415
    from xflowd.edge.network import interfaces  # noqa: PLC0415

    for pattern in unmatched(config.meter.interfaces, [interface.name for interface in interfaces()]):
        yield f"[meter] interfaces: warning: nothing matches {pattern} now"
    for doubt in _doubts_of_networks(config):
        yield f"[meter] network: warning: {doubt}"
    for doubt in doubtful(config):
        yield f"warning: {doubt}"


def _doubts_of_networks(config: Config) -> Iterator[str]:
    if not config.meter.network:
        return
    from xflowd.networks import Networks  # noqa: PLC0415

    networks = Networks()
    try:
        networks.ask(config.meter)
    except OSError as error:
        yield f"{error}"
    else:
        yield from networks.doubts(config.meter.network)


def _write(sections: list[Section], form: str) -> None:
    from xflowd.config.writing import renamed, write  # noqa: PLC0415

    text = write(sections, form)
    for line in renamed(sections) if form == "uci" else ():
        print(f"xflowd: {line}", file=sys.stderr)
    print(text, end="")
