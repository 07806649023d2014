"""Proves that every command of docs/commands.md and of the help is one, and that the page names all there is to say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from xflowd.answering import answers
from xflowd.cli import parser
from xflowd.commands import flows, flush, templates, timeouts, top
from xflowd.metering import filtering, filterterms
from xflowd.metering.selecting import ORDERS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text()
OURS = (flows, flush, templates, timeouts, top)
EXAMPLES = "\n".join(one._EXAMPLES for one in OURS)
LINES = sorted(
    set(re.findall(r"^(?:\$ |  )?(xflowd (?:flows|flush|templates|timeouts|top)\b.*)$", PAGE + EXAMPLES, re.M))
)


@pytest.mark.parametrize("line", LINES)
def test_every_example_is_a_command(line: str) -> None:
    words = shlex.split(re.split(r"  +|\|", line)[0], comments=True)
    options = parser().parse_args(words[1:])
    text = " ".join(getattr(options, "filter", []))
    if "htps" in text:
        with pytest.raises(filtering.FilterError, match=re.escape(PAGE.partition("xflowd: ")[2].partition("\n")[0])):
            filtering.parse(text)
        return
    filtering.parse(text)


def test_there_are_examples_of_all() -> None:
    assert {line.split()[1] for line in LINES} == {"flows", "flush", "templates", "timeouts", "top"}
    assert len(LINES) > 12


def test_the_page_names_every_term_order_and_request() -> None:
    text = re.sub(r"^```.*?^```", "", PAGE, flags=re.M | re.S)
    named = set(re.findall(r"[a-z0-9-]+", " ".join(re.findall(r"`([^`]+)`", text))))
    aliases = {"ip4", "ipv4", "ipv6", "iface", "protocol"}  # known, and not recommended
    assert {*filterterms._TERMS, *filterterms._OF_END} - aliases <= named
    assert set(ORDERS) <= named
    assert {*answers(cast(Any, SimpleNamespace()))} <= named
