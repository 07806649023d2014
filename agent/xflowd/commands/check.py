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
  xflowd check -c /etc/xflowd.conf --to uci             the same as UCI
  xflowd check --from-softflowd /etc/config/softflowd --to uci \\
         > /etc/config/xflowd
  xflowd check --from-softflowd /etc/softflowd/default.conf --to ini \\
         > /etc/xflowd.conf

With --to the file goes to standard output, and all that there is to say to
standard error.
"""


_ACCOUNT = "xflowd"  # that OpenWrt's package makes


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
        "--from-softflowd",
        metavar="FILE",
        help="read softflowd's configuration: OpenWrt's /etc/config/softflowd, or Debian's /etc/softflowd/default.conf",
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
    if not is_softflowd:
        return *read(file), []
    from xflowd.config.softflowd import from_softflowd, read_softflowd  # noqa: PLC0415
    from xflowd.lacking import is_account  # noqa: PLC0415

    sections, problems = read_softflowd(file)
    if problems:
        raise ConfigError(problems)
    is_openwrt = any(section.uci for section in sections)  # elsewhere systemd's unit has the user
    user = _ACCOUNT if is_openwrt and is_account(_ACCOUNT) else ""
    carried, remarks = from_softflowd(sections, file, user)
    if is_openwrt and not user:
        remarks.append(f"{file}: there is no user {_ACCOUNT} here: set user in agent, or the agent stays root")
    return carried, [], remarks


def _warnings(config: Config) -> Iterator[str]:
    from xflowd.config import doubtful, unmatched  # noqa: PLC0415
    from xflowd.edge.network import interfaces  # noqa: PLC0415
    from xflowd.lacking import lacking  # noqa: PLC0415

    for pattern in unmatched(config.meter.interfaces, [interface.name for interface in interfaces()]):
        yield f"[meter] interfaces: warning: nothing matches {pattern} now"
    for doubt in _doubts_of_networks(config):
        yield f"[meter] network: warning: {doubt}"
    for lack in lacking(config):
        yield f"{lack.where}: warning: {lack.what}: the agent will not start here; {lack.mend}"
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
