"""What the parsers of the command line say of themselves, as parts of a man page."""

from __future__ import annotations

import argparse
import itertools
import re
import textwrap

from roff import Page, bold, italic, prose

Parser = argparse.ArgumentParser


def subparsers(parser: Parser) -> dict[str, Parser]:
    """The commands by name, in their order."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def write_synopsis(page: Page, parser: Parser) -> None:
    """A line a command; options in full are told with the command."""
    for name, command in subparsers(parser).items():
        operands = [_operand(action) for action in _shown(command) if not action.option_strings]
        page.paragraph(" ".join([bold(parser.prog), bold(name), rf"[{italic('options')}]", *operands]))
    own = [f"{bold(parser.prog)} {bold(action.option_strings[-1])}" for action in _shown(parser) if action.nargs == 0]
    page.paragraph(" | ".join(own))


def write_commands(page: Page, parser: Parser) -> None:
    for name, command in subparsers(parser).items():
        page.heading(bold(f"{parser.prog} {name}"), level=2)
        page.paragraph(prose(command.description or ""))
        for action in _shown(command):
            page.term(_term(action), [prose(_help(command, action))])
        _write_epilog(page, command.epilog or "")


def _shown(parser: Parser) -> list[argparse.Action]:
    """What a reader has to be told of; `--help` is in each command, and said once."""
    hidden = (argparse._SubParsersAction, argparse._HelpAction)
    return [each for each in parser._actions if each.help != argparse.SUPPRESS and not isinstance(each, hidden)]


def _term(action: argparse.Action) -> str:
    if not action.option_strings:
        return _operand(action)
    options = ", ".join(map(bold, action.option_strings))
    return f"{options} {_operand(action)}" if action.nargs != 0 else options


def _operand(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return "|".join(bold(str(choice)) for choice in action.choices)
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest
    shown = italic(metavar)
    return {"?": f"[{shown}]", "*": f"[{shown} ...]", "+": f"{shown} ..."}.get(str(action.nargs), shown)


def _help(parser: Parser, action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": parser.prog}


def _write_epilog(page: Page, epilog: str) -> None:
    """Lines that are set in are shown as they are laid out, those before and after them are text."""
    for part in re.split(r"\n{2,}", epilog.strip("\n")):
        for is_set_in, lines in itertools.groupby(part.splitlines(), lambda line: line.startswith(" ")):
            if is_set_in:
                page.example(textwrap.dedent("\n".join(lines)).splitlines())
            else:
                text = " ".join(lines)
                page.paragraph(prose(text[:1].upper() + text[1:]))
