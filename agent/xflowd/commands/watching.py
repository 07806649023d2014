"""What the commands that watch and steer an agent have in common: a filter, read before anybody is asked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable


def add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "filter", nargs="*", metavar="FILTER", help="such as tcp and dst net 192.0.2.0/24; see docs/commands.md"
    )


def filter_of(options: argparse.Namespace) -> str:
    """The words of the filter as one text. Says what is wrong with it, and ends."""
    from xflowd.metering.filtering import parse  # noqa: PLC0415
    from xflowd.metering.filtertree import FilterError  # noqa: PLC0415

    text = " ".join(options.filter)
    try:
        parse(text)
    except FilterError as error:
        print(f"xflowd: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    return text


def number(least: float, most: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """For argparse: a number from `least` to `most`."""

    def checked(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: use {least:g} to {most:g}")
        return value

    return checked
