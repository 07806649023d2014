"""Proves that the man pages tell every command, option and key that there is, in a form that formatters take."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xflowd.cli import parser
from xflowd.config.schema import SECTIONS, keys

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("xflowd.8", "xflowd.conf.5")
DAY = 86_400
COMMANDS = next(each.choices for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
OPTIONS = [
    (name, option)
    for name, parser in COMMANDS.items()
    for action in parser._actions
    for option in action.option_strings
    if option not in ("-h", "--help")
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "agent"), "SOURCE_DATE_EPOCH": str(DAY)}
    command = [sys.executable, "-B", ROOT / "docs" / "man", "man", directory]
    subprocess.run(command, env=environment, check=True, timeout=30)
    return directory


def shown(page: Path, width: int = 78) -> str:
    """As a reader sees it, without what a terminal would make bold."""
    command = ["mandoc", "-T", "ascii", "-O", f"width={width}", page]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    return re.sub(r".\x08", "", text)


def section(text: str, heading: str) -> str:
    """What stands under a heading, with one blank between words."""
    return " ".join(re.split(rf"^\s*{re.escape(heading)}$", text, flags=re.MULTILINE)[1].split())


@pytest.mark.parametrize("page", PAGES)
def test_mandoc_finds_no_fault(built: Path, page: str) -> None:
    """Nor anything to say of the style: long lines, macros of no effect."""
    command = ["mandoc", "-T", "lint", built / page]
    lint = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("charset", ["ascii", "utf8"])
def test_man_gives_no_warning(built: Path, page: str, charset: str) -> None:
    command = ["man", "--warnings", "-E", charset, "-l", built / page]
    told = subprocess.run(command, check=False, capture_output=True, timeout=30)
    assert (told.returncode, told.stderr) == (0, b"")
    assert b"NAME" in told.stdout


@pytest.mark.parametrize("page", PAGES)
def test_whatis_can_read_its_name(built: Path, page: str) -> None:
    told = subprocess.run(["lexgrog", built / page], check=True, capture_output=True, text=True, timeout=30).stdout
    name = page.rpartition(".")[0]
    assert f'"{name} - ' in told


def test_every_command_is_in_the_synopsis_and_has_a_part_of_its_own(built: Path) -> None:
    text = shown(built / "xflowd.8")
    synopsis = text.partition("DESCRIPTION")[0]
    for name in COMMANDS:
        assert f"xflowd {name} [options]" in synopsis
        assert f"\n   xflowd {name}\n" in text


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_is_told_with_its_command(built: Path, command: str, option: str) -> None:
    text = shown(built / "xflowd.8")
    part = re.search(rf"^   xflowd {command}\n(.*?)(?=^   xflowd |^\S)", text, re.MULTILINE | re.DOTALL)
    assert part
    assert re.search(rf"^ {{7}}(\S+, )*{re.escape(option)}(,? |$)", part[1], re.MULTILINE)


def test_examples_keep_their_layout_and_text_its_words(built: Path) -> None:
    wide = shown(built / "xflowd.8", width=160)
    for command in COMMANDS.values():
        for line in (command.epilog or "").splitlines():
            if line.startswith("  "):
                assert f"\n{' ' * 11}{line[2:].rstrip()}\n" in wide
            assert " ".join(line.split())[1:] in " ".join(wide.split())


def test_every_key_is_told_in_its_section(built: Path) -> None:
    text = shown(built / "xflowd.conf.5")
    parts = dict(re.findall(r"^\[(\w+)[^\n]*\n(.*?)(?=^\S)", text, re.MULTILINE | re.DOTALL))
    for name in SECTIONS:
        told = re.findall(r"^ {7}([a-z_0-9]+)\b", parts[name], re.MULTILINE)
        assert set(keys(name)) <= set(told)


def test_the_page_says_all_that_the_document_says(built: Path) -> None:
    """Every word but those that only tell a table or a link: nothing is lost on the way."""
    document = (ROOT / "docs" / "configuration.md").read_text()
    document = re.sub(r"^# .*$|^\|.*\|\n(?=\|---)|^\|[-|]*\|$|^```.*$|\]\([^)]*\)", "", document, flags=re.MULTILINE)
    text = bare("".join(shown(built / "xflowd.conf.5", width=500).split()))
    assert [word for word in document.split() if bare(word) not in text] == []


def bare(text: str) -> str:
    return re.sub(r"[*`#|\[\]\\]", "", text)


def test_the_date_is_that_of_the_sources(built: Path) -> None:
    for page in PAGES:
        assert '"1970-01-02"' in (built / page).read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("markdown", "fault"),
    [
        ("![picture](x.png)\n", "image"),
        ("- a\n  - b\n", "bullet_list_open in a list"),
        ("<b>bold</b>\n", "html_inline"),
    ],
)
def test_what_no_man_page_can_show_is_refused(markdown: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "man"))
    import from_markdown  # noqa: PLC0415
    import roff  # noqa: PLC0415

    with pytest.raises(from_markdown.UnwritableError, match=fault):
        from_markdown.write(roff.Page(), markdown)


@pytest.mark.parametrize(
    ("markdown", "lines"),
    [
        ("`a-b` 'c'\n", [".PP", r"\fB\%a\-b\fR 'c'"]),
        ("`a b`\n", [".PP", r"\fB\%a \%b\fR"]),
        (".x and \\\\y\n", [".PP", r"\&.x and \(rsy"]),
        ("'x\n", [".PP", r"\&'x"]),
        ("```\n.x 'y' \\z\n```\n", [".PP", ".RS 4", ".EX", r"\&.x \(aqy\(aq \(rsz", ".EE", ".RE"]),
        ("## One\n\ntext [b](c.md)\n", [".SH", "One", "text b"]),
        (
            "| key | unit | meaning |\n|---|---|---|\n| `a` | s | that |\n",
            [".TP", r"\fB\%a\fR", "Unit: s.", ".IP", "that"],
        ),
        ("2 → 3 \u00d7 4\n", [".PP", r"2 \(-> 3 \(mu 4"]),
    ],
)
def test_markup(markdown: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "man"))
    import from_markdown  # noqa: PLC0415
    import roff  # noqa: PLC0415

    page = roff.Page()
    from_markdown.write(page, markdown)
    assert page.lines == lines
