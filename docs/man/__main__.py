"""Builds man pages and completions: what docs/ and the parsers say is written there, and nowhere else.

`python docs/man man DIRECTORY` or `python docs/man completions DIRECTORY`; `scripts/docs` does both.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

import from_markdown
import from_parsers
from roff import Page

from xflowd import __version__
from xflowd.cli import parser

HERE = Path(__file__).resolve().parent
CONFIGURATION = HERE.parent / "configuration.md"


def main(what: str, directory: Path) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    if what == "man":
        (directory / "xflowd.8").write_text(command_page())
        (directory / "xflowd.conf.5").write_text(configuration_page())
        return 0
    import completions  # noqa: PLC0415 (needs shtab, which man pages do not)

    completions.write(directory, parser())
    return 0


def command_page() -> str:
    """xflowd(8): what xflowd.8.md says, with the parsers at its marks."""
    commands = parser()
    marks = {
        "synopsis": lambda page: from_parsers.write_synopsis(page, commands),
        "commands": lambda page: from_parsers.write_commands(page, commands),
    }
    return _page("xflowd", 8, "System Manager's Manual", marks)


def configuration_page() -> str:
    """xflowd.conf(5): what xflowd.conf.5.md says, with docs/configuration.md as it is at its mark."""
    marks = {"configuration": lambda page: from_markdown.write(page, CONFIGURATION.read_text())}
    return _page("xflowd.conf", 5, "File Formats Manual", marks)


def _page(name: str, section: int, volume: str, marks: Mapping[str, Callable[[Page], None]]) -> str:
    """The page of this name: of docs/man/NAME.SECTION.md, in which `<!-- mark -->` stands for what is made."""
    page = Page()
    page.title(name, section, _date(), f"xflowd {__version__}", volume)
    for part in re.split(r"(?=^<!-- \w+ -->$)", (HERE / f"{name}.{section}.md").read_text(), flags=re.MULTILINE):
        mark = re.match(r"<!-- (\w+) -->\n", part)
        if mark:
            marks[mark[1]](page)
        from_markdown.write(page, part[mark.end() :] if mark else part)
    return page.text()


def _date() -> str:
    """Of the build, or the one that makes it reproducible (https://reproducible-builds.org/specs/source-date-epoch/)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)
    return moment.strftime("%Y-%m-%d")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
