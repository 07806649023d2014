"""Proves that what the documents show to be pasted is accepted, that links lead somewhere, and that no page is lost."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from xflowd.cli import parser
from xflowd.config import load

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(DOCS / "decisions").glob("*.md")])
BLOCKS = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITH_SETTINGS = [DOCS / "collectors.md", DOCS / "coming-from.md", ROOT / "README.md"]


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in BLOCKS.findall(page.read_text()) if language in languages]


def sections(page: Path) -> dict[str, str]:
    return dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL))


SETTINGS = [(page, text) for page in WITH_SETTINGS for text in blocks(page, "ini", "uci")]
BOTH = {name: text for name, text in sections(DOCS / "collectors.md").items() if "```uci" in text}


@pytest.mark.parametrize(("page", "text"), SETTINGS, ids=lambda each: each.name if isinstance(each, Path) else "")
def test_settings_to_paste_are_accepted(page: Path, text: str, tmp_path: Path) -> None:
    (tmp_path / "xflowd").write_text(text)
    assert load(tmp_path / "xflowd").collectors, f"of {page.name}"


def test_each_collector_has_both_forms() -> None:
    known = {"nfdump", "pmacct", "goflow2", "Akvorado", "OpenNMS", "Logstash", "Elastic", "ntopng", "Wireshark"}
    assert set(BOTH) == known


@pytest.mark.parametrize("name", BOTH)
def test_both_forms_say_the_same(name: str, tmp_path: Path) -> None:
    """But that one names devices, and the other OpenWrt's networks."""
    files = dict(BLOCKS.findall(BOTH[name]))
    for form in ("ini", "uci"):
        (tmp_path / form).write_text(files[form])
    ini, uci = load(tmp_path / "ini"), load(tmp_path / "uci")
    assert replace(ini.meter, interfaces=(), network=ini.meter.interfaces) == uci.meter
    assert replace(ini, meter=uci.meter) == uci


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def anchors(page: Path) -> set[str]:
    """As forges make them of headings: lower case, blanks become hyphens, punctuation goes; equal ones are numbered."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    found = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return {
        name if not found[:place].count(name) else f"{name}-{found[:place].count(name)}"
        for place, name in enumerate(found)
    }


def test_the_index_has_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    linked = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", index)}
    assert {page for page in PAGES if page.name != "README.md" and page.parent.name != "decisions"} <= linked
    assert DOCS / "decisions" in linked


def commands(page: Path) -> list[str]:
    """The lines of a page's shell examples that run xflowd."""
    lines = [line.removeprefix("sudo ") for text in blocks(page, "sh") for line in text.splitlines()]
    return [line for line in lines if line.startswith("xflowd ")]


def words(line: str) -> list[str]:
    """The arguments, up to what a shell would do with the output, and without a comment."""
    split = shlex.shlex(line, posix=True, punctuation_chars="|>;&")
    split.whitespace_split = True
    return list(itertools.takewhile(lambda word: not set(word) & set("|>;&") or " " in word, split))[1:]


COMMANDS = [(page, line) for page in PAGES for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda each: each if isinstance(each, str) else each.name)
def test_commands_to_paste_are_those_that_there_are(page: Path, line: str) -> None:
    try:
        parser().parse_args(words(line))
    except SystemExit:
        pytest.fail(f"{page.name}: {line}")
