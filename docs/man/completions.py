"""What a shell can complete, of the same parsers, by shtab."""

from __future__ import annotations

import argparse
from pathlib import Path

import shtab
from from_parsers import subparsers

from xflowd.config.flowkey import LEVELS
from xflowd.config.schema import ExportProtocol

#: A file for each shell, by the name under which it looks for one.
FILES = {"bash": "xflowd.bash", "zsh": "_xflowd", "fish": "xflowd.fish"}
_INTERFACES = shtab.cmd("command ls /sys/class/net")
_WORDS = {"--protocol": [protocol.name.lower() for protocol in ExportProtocol], "--key": list(LEVELS)}


def write(directory: Path, parser: argparse.ArgumentParser) -> None:
    for command in subparsers(parser).values():
        for action in command._actions:
            _annotate(action)
    for shell, name in FILES.items():
        (directory / name).write_text(shtab.complete(parser, shell))


def _annotate(action: argparse.Action) -> None:
    """Say what an argument is: the command itself does not know shtab."""
    if action.metavar in ("FILE", "PATH"):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif "--interface" in action.option_strings:
        action.complete = _INTERFACES  # type: ignore[attr-defined]
    for option in action.option_strings:
        action.choices = action.choices or _WORDS.get(option)
