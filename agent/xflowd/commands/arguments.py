"""What the commands have in common: their options, and what they make of them."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from xflowd.commands.strange import require_names
from xflowd.config import Config, load, override

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def new(commands: Commands, name: str, text: str, examples: str = "") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=textwrap.fill(text[0].upper() + text[1:] + ".", 80),
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(parser=parser)  # who says what is wrong with the command's arguments
    return parser


def configured(options: argparse.Namespace) -> Config:
    """The file, where there is one, with the options over it."""
    require_names(getattr(options, "interface", None) or ())
    config = override(
        load(options.configuration) if options.configuration else Config(),
        interfaces=getattr(options, "interface", None) or (),
        collectors=options.collector or (),
        protocol=options.protocol,
        sampling=options.sampling,
        timeouts=options.timeout or (),
        key=options.key,
        elements=options.elements,
    )
    if options.protocol and not config.collectors:
        print("xflowd: -v does nothing without a collector: name one with -n", file=sys.stderr)
    return config


def socket_of(options: argparse.Namespace) -> Path:
    """Where to ask: the socket that is named, or that of the agent of this network namespace."""
    from xflowd.edge.instance import control_socket  # noqa: PLC0415

    return options.socket or control_socket()


def add_socket_option(parser: argparse.ArgumentParser) -> None:
    """Of each command that asks an agent."""
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", help="ask there (default: the agent of this network namespace)"
    )


def add_file_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--configuration", metavar="FILE", help="read this file; options given beside it win")


def add_export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n",
        "--collector",
        action="append",
        metavar="HOST:PORT",
        help="export to this collector; again and again (default: print the flows)",
    )
    parser.add_argument("-v", "--protocol", metavar="PROTOCOL", help="ipfix, netflow9 or netflow5; or 10, 9, 5")
    parser.add_argument("-s", "--sampling", metavar="N", help="meter one packet in N (systematic)")
    parser.add_argument(
        "-t",
        "--timeout",
        action="append",
        metavar="active=TIME|idle=TIME",
        help="end a flow that is this old, or idle for so long: 90, 90s, 1m30s",
    )
    parser.add_argument("-k", "--key", metavar="KEY", help="tell flows apart by ip, proto, full, vlan, ether, or names")
    parser.add_argument(
        "-e",
        "--elements",
        metavar="NAMES",
        help="what a record tells, say default,minimumTTL; see xflowd elements",
    )
    add_format_option(parser)


def add_format_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="how to print (default: %(default)s)"
    )
