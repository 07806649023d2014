"""Proves that docs/configuration.md says of every key what the schema says, and that its examples work."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from xflowd.config import ConfigError, load
from xflowd.config.file import is_uci
from xflowd.config.schema import SECTIONS, keys
from xflowd.config.softflowd import _KNOWN
from xflowd.config.values import Choice, Duration, Number

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text()
SECTION = re.compile(r"^## \[(\w+)(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
KEYS = [(section, key) for section in SECTIONS for key in keys(section)]


def table() -> dict[tuple[str, str], list[str]]:
    """(section, key) → default, values, unit and meaning, in the order of the page."""
    lines = ((part[1], line) for part in SECTION.finditer(PAGE) for line in part[2].splitlines())
    rows = ((section, [cell.strip() for cell in line.split("|")[1:-1]]) for section, line in lines if line[:3] == "| `")
    return {(section, cells[0].strip("`")): cells[1:] for section, cells in rows}


ROWS = table()


def test_the_page_has_the_keys_of_the_schema_in_its_order() -> None:
    assert list(ROWS) == KEYS


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_defaults(section: str, key: str) -> None:
    (field,) = (field for field in fields(SECTIONS[section]) if field.name == key)
    default = keys(section)[key].render(field.default)
    assert ROWS[section, key][0] == (f"`{default}`" if default else "")


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_values(section: str, key: str) -> None:
    kind, values = keys(section)[key], ROWS[section, key][1]
    if isinstance(kind, (Number, Duration)):
        assert values == f"{kind.low} to {kind.high}"
    if isinstance(kind, Choice):
        words = re.findall(r"`(\w+)`", values)
        known = {member.name.lower() for member in kind.words}
        assert set(words) - {word for word, _ in kind.also} == known
        assert {word for word, _ in kind.also} <= set(words)


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_examples_of_keys(section: str, key: str) -> None:
    example = re.search(r"Example: `([^`]+)`", ROWS[section, key][3])
    assert example
    keys(section)[key].parse(example[1])


def test_times_have_the_unit_of_the_schema() -> None:
    for section, key in KEYS:
        assert (ROWS[section, key][2] == "seconds") == isinstance(keys(section)[key], Duration)


@pytest.mark.parametrize(("form", "example"), re.findall(r"```(ini|uci)\n(.*?)```", PAGE, re.S))
def test_examples_of_files(tmp_path: Path, form: str, example: str) -> None:
    (tmp_path / "xflowd.conf").write_text(example)
    assert load(tmp_path / "xflowd.conf").collectors
    assert is_uci(example) is (form == "uci")


def test_the_first_example_is_the_same_in_both_forms(tmp_path: Path) -> None:
    ini, uci = re.findall(r"```(?:ini|uci)\n(.*?)```", PAGE, re.S)[:2]
    (tmp_path / "ini").write_text(ini)
    (tmp_path / "uci").write_text(uci)
    assert load(tmp_path / "ini") == load(tmp_path / "uci")


def test_every_option_of_softflowd_is_on_the_page() -> None:
    told = PAGE[PAGE.index("## From softflowd") : PAGE.index("## On the command line")]
    assert [name for name in _KNOWN if f"`{name}`" not in told] == []


def test_the_example_of_faults(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```\n(/etc/.*?)```", PAGE, re.S)
    (tmp_path / "xflowd.conf").write_text("[meter]\ninterface = wan\nidle_timeout = 15x\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "xflowd.conf")
    assert str(caught.value).replace(str(tmp_path), "/etc").splitlines() == shown.splitlines()
