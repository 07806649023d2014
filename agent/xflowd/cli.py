"""The command `xflowd`: reads its arguments and hands over to what does the work."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from xflowd import __version__
from xflowd.config import Config, ConfigError, load, override

_DESCRIPTION = """\
Counts every packet into flows in the kernel (XDP and TC) and exports the flows as NetFlow v5, v9 or IPFIX.
"""

_RUN_EXAMPLES = """\
examples:
  xflowd run                                    flows of the default route's interface, on the terminal
  xflowd run -i wan -i 'wg*' -n 192.0.2.10:2055 -v 9     export them as NetFlow v9
  xflowd run -c /etc/xflowd.conf                as the file says; options given beside it win

signals:
  SIGHUP            read the file again; a file with faults changes nothing
  SIGTERM, SIGINT   send the flows that are in the table, and leave the host as it was
"""

_REPLAY_EXAMPLES = """\
examples:
  xflowd replay trace.pcap                      its flows, on the terminal
  xflowd replay trace.pcapng --format json      the same, an object a line
  zcat trace.pcap.gz | xflowd replay - -n 192.0.2.10:2055 -v ipfix
  xflowd replay trace.pcap -k proto -e default,minimumTTL,maximumTTL --format json
"""

_COLLECT_EXAMPLES = """\
examples:
  xflowd collect                                listen on [::]:2055, IPv4 and IPv6
  xflowd collect --listen 192.0.2.10:4739 --format json
"""

_STATUS_EXAMPLES = """\
examples:
  xflowd status                                 where each packet went, by interface; the table; each collector
  xflowd status --json | jq .totals             the same as one object, for programs
"""


_ELEMENTS_EXAMPLES = """\
examples:
  xflowd elements | grep -i vlan
  xflowd elements --json | jq -r '.[] | select(.needs == null) | .name'

in the configuration:
  [template wide]
  elements = default, minimumTTL, maximumTTL
  [collector NAME]
  template = wide
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 1 failed while running, 2 wrong use or configuration."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    try:
        return int(options.command(options))
    except ConfigError as error:
        for problem in error.problems:
            print(f"xflowd: {problem}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"xflowd: {_told(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _told(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.strerror and error.filename else str(error)


def _configured(options: argparse.Namespace) -> Config:
    """The file, where there is one, with the options over it."""
    return override(
        load(options.configuration) if options.configuration else Config(),
        interfaces=getattr(options, "interface", None) or (),
        collectors=options.collector or (),
        protocol=options.protocol,
        sampling=options.sampling,
        timeouts=options.timeout or (),
        key=options.key,
        elements=options.elements,
    )


def _run(options: argparse.Namespace) -> int:
    config = _configured(options)
    # numpy's algebra has threads of its own, which nobody needs here and which would keep the rights that are given up.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What only one command needs is imported by that command: start-up time and memory count on a router.
    from xflowd import daemon  # noqa: PLC0415

    return daemon.run(config, lambda: _configured(options), options.format)


def _replay(options: argparse.Namespace) -> int:
    config = _configured(options)
    from xflowd import replay  # noqa: PLC0415

    return replay.run(options.file, config, options.format)


def _collect(options: argparse.Namespace) -> int:
    from xflowd import collect  # noqa: PLC0415

    return collect.run(options.listen, options.format)


def _status(options: argparse.Namespace) -> int:
    from xflowd import showing  # noqa: PLC0415
    from xflowd.edge.instance import control_socket  # noqa: PLC0415

    return showing.run(options.socket or control_socket(), options.json)


def _check(options: argparse.Namespace) -> int:
    config = load(options.configuration)
    from xflowd.config import doubtful, unmatched  # noqa: PLC0415
    from xflowd.edge.network import interfaces  # noqa: PLC0415

    for pattern in unmatched(config.meter.interfaces, [interface.name for interface in interfaces()]):
        print(f"xflowd: {options.configuration} [meter] interfaces: warning: nothing matches {pattern} now")
    for doubt in doubtful(config):
        print(f"xflowd: {options.configuration} warning: {doubt}")
    print(f"{options.configuration}: no faults found")
    return 0


def _elements(options: argparse.Namespace) -> int:
    from xflowd import listing  # noqa: PLC0415

    return listing.run(options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("xflowd", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"xflowd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_status(commands)
    _add_replay(commands)
    _add_collect(commands)
    _add_check(commands)
    _add_elements(commands)
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, examples: str = ""
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "run", "meter interfaces and export their flows, in the foreground", _RUN_EXAMPLES)
    _add_file_option(parser)
    parser.add_argument(
        "-i",
        "--interface",
        action="append",
        metavar="NAME",
        help="meter this interface, or those that match a glob; again and again (default: the default route's)",
    )
    _add_export_options(parser)
    parser.set_defaults(command=_run)


def _add_status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "ask the agent that runs in this network namespace what it has counted, and what became of it"
    parser = _add(commands, "status", text, _STATUS_EXAMPLES)
    parser.add_argument("--json", action="store_true", help="print the document that the agent answers with")
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", help="ask there (default: the agent of this network namespace)"
    )
    parser.set_defaults(command=_status)


def _add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "replay", "meter a capture file, on the clock of its packets", _REPLAY_EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="pcap or pcapng; - is standard input")
    _add_file_option(parser)
    _add_export_options(parser)
    parser.set_defaults(command=_replay)


def _add_collect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "receive NetFlow v5, v9 and IPFIX from any exporter, and print the flows"
    parser = _add(commands, "collect", text, _COLLECT_EXAMPLES)
    parser.add_argument("--listen", metavar="ADDRESS:PORT", default="[::]:2055", help="where (default: %(default)s)")
    _add_format_option(parser)
    parser.set_defaults(command=_collect)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "check", "read a configuration and say what is wrong with it, all at once")
    parser.add_argument(
        "-c", "--configuration", metavar="FILE", default="/etc/xflowd.conf", help="(default: %(default)s)"
    )
    parser.set_defaults(command=_check)


def _add_elements(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "elements", "list what a record can tell of a flow, by IANA's names", _ELEMENTS_EXAMPLES)
    parser.add_argument("--json", action="store_true", help="print it as one list of objects")
    parser.set_defaults(command=_elements)


def _add_file_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--configuration", metavar="FILE", help="read this file; options given beside it win")


def _add_export_options(parser: argparse.ArgumentParser) -> None:
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
        help="what a record tells, say default,minimumTTL; see xflowd elements (printed with --format json)",
    )
    _add_format_option(parser)


def _add_format_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="how to print (default: %(default)s)"
    )


if __name__ == "__main__":
    sys.exit(main())
