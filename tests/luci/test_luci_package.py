"""Proves what can be read off the package: the pages offer what the agent takes, with the fewest rights."""

from __future__ import annotations

import enum
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from luci.router import ACL, APP, MENU
from luci.strings import CATALOGUE, RESOURCES, VIEWS, catalogue, of_view
from xflowd.config.schema import ITEMS, SECTIONS, keys
from xflowd.config.values import Choice, Duration, Number

CONFIG = (VIEWS / "config.js").read_text()
#: Keys that are not on the page, and why.
LEFT_TO_FILE = {("agent", "log"): "procd passes standard error on to the system log already"}
_SECTION = re.compile(r"m\.section\([\w.]+, '(\w+)'")
_OPTION = re.compile(r"o = s\.(?:tab)?option\((?:'\w+', )?[\w.]+, '(\w+)'")


def options() -> dict[tuple[str, str], str]:
    """(section type, option) → the source of the view that makes it, up to the next one."""
    found = {}
    for part in re.split(r"(?=m\.section\()", CONFIG)[1:]:
        section = _SECTION.match(part)
        assert section, part[:80]
        for piece in re.split(r"(?=\to = s\.)", part)[1:]:
            option = _OPTION.search(piece)
            assert option, piece[:80]
            name = ITEMS.get((section[1], option[1]), option[1])
            found[section[1], name] = piece.split("\n}\n")[0]
    return found


OPTIONS = options()
SCHEMA = {(section, key): kind for section in SECTIONS for key, kind in keys(section).items()}


def test_every_key_is_on_the_page_or_left_to_the_file() -> None:
    assert OPTIONS.keys() | LEFT_TO_FILE.keys() == SCHEMA.keys(), (
        "add it to config.js, or to LEFT_TO_FILE with a reason"
    )
    assert not OPTIONS.keys() & LEFT_TO_FILE.keys()


@pytest.mark.parametrize("place", OPTIONS, ids=" ".join)
def test_ranges_words_and_defaults_are_the_agents(place: tuple[str, str]) -> None:
    kind, source = SCHEMA[place], OPTIONS[place]
    default = getattr(SECTIONS[place[0]], place[1]).__get__(SECTIONS[place[0]](*_name(place[0])))
    shown = re.search(r"o\.placeholder = '(.*)'", source)
    match kind:
        case Number() | Duration():
            function = "number" if isinstance(kind, Number) else "duration"
            assert f"{function}({kind.low}, {kind.high})" in source
            if default is not None:
                assert shown
                assert shown[1] == kind.render(default)
        case Choice():
            words = re.findall(r"\[ '(\w+)', ", source)
            assert sorted(words) == sorted(member.name.lower() for member in kind.words)
            assert isinstance(default, enum.Enum)
            assert words[0] == kind.render(default)
            for spelling, word in kind.also:
                assert f"'{spelling}': '{word}'" in source
        case _ if shown:
            assert place in {("agent", "user")} or kind.parse(shown[1]) is not None


def _name(section: str) -> tuple[str, ...]:
    return ("any",) if section in {"collector", "template"} else ()


def test_a_package_that_the_page_names_is_one_that_is_built() -> None:
    named = re.findall(r"[Pp]ackage (python3-[\w-]+)", CONFIG)
    assert named == ["python3-prometheus-client"]
    for name in named:
        makefile = APP.parent / name.replace("python3-", "python-") / "Makefile"
        assert f"$(call BuildPackage,{name})" in makefile.read_text()


def test_menu_leads_to_views_and_needs_the_right() -> None:
    menu = json.loads(MENU.read_text())
    parent = menu["admin/services/xflowd"]
    assert parent["depends"] == {"acl": ["luci-app-xflowd"], "uci": {"xflowd": True}}
    views = [entry["action"]["path"] for entry in menu.values() if entry["action"]["type"] == "view"]
    assert sorted(views) == sorted(f"xflowd/{file.stem}" for file in VIEWS.glob("*.js"))


def commands() -> list[str]:
    """What the views execute: literal arguments, or those of a button."""
    status = (VIEWS / "status.js").read_text()
    text = re.sub(r"\bPROGRAM\b", "'/usr/bin/xflowd'", status + CONFIG).replace("FILE ]", "'/etc/config/xflowd' ]")
    found = [[program, *re.findall(r"'([^']+)'", rest)] for program, rest in
             re.findall(r"fs\.exec\('([^']+)', \[([^\]]*)\]\)", text)]  # fmt: skip
    found += [list(pair) for pair in re.findall(r"\n\t+'(/[^']+)', '(\w+)', _", text)]
    return [" ".join(words) for words in found]


def test_each_command_is_granted_and_no_other() -> None:
    own = json.loads(ACL.read_text())["luci-app-xflowd"]
    granted = {group: list(own[group]["file"]) for group in ("read", "write")}
    assert sorted(commands()) == sorted(granted["read"] + granted["write"])
    assert not any(any(sign in command for sign in "*?[") for group in granted.values() for command in group)
    assert not any(fnmatchcase(command, "* flush") or "/etc/init.d" in command for command in granted["read"])
    assert own["read"]["uci"] == own["write"]["uci"] == ["xflowd"]


def test_list_of_strings_is_whole() -> None:
    assert CATALOGUE.read_text() == catalogue(), "run python tests/luci/strings.py"


@pytest.mark.parametrize(("source", "texts"), [("_('a')", ["a"]), ('_("it\'s")', ["it's"]), (r"_('it\'s')", ["it's"])])
def test_strings_are_found(source: str, texts: list[str]) -> None:
    assert of_view(source) == texts


def test_a_text_that_is_put_together_is_refused() -> None:
    with pytest.raises(ValueError, match="one text"):
        of_view("_('a' + b)")


@pytest.mark.parametrize("view", sorted(RESOURCES.rglob("*.js")), ids=lambda path: path.stem)
def test_views_outlive_the_minifier(view: Path) -> None:
    """jsmin, which luci.mk runs, takes a regular expression after a word for a division, and knows no templates."""
    source = re.sub(r"/\*.*?\*/", "", view.read_text(), flags=re.DOTALL)
    assert "`" not in source
    assert not re.search(r"\b(?:return|typeof|case|in)\s+/[^/*]", source)


def test_makefile_is_that_of_a_luci_application() -> None:
    makefile = (APP / "Makefile").read_text()
    assert "include $(TOPDIR)/feeds/luci/luci.mk" in makefile
    assert "LUCI_DEPENDS:=+luci-base +xflowd" in makefile
    assert makefile.index("luci.mk") < makefile.index("# call BuildPackage")
    assert re.search(r"^PKG_MAINTAINER:=.", makefile, re.MULTILINE)
