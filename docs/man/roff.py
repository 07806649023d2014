"""Writing man pages: man(7) of texts that are given as pieces."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_WIDTH = 78
#: What a formatter would take for markup, or for a typographic sign that nobody can paste into a shell.
_LITERAL = str.maketrans({"\\": r"\(rs", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"})
_PROSE = str.maketrans({"\\": r"\(rs", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"})
#: Signs that terminals without UTF-8 lack, and that formatters know a substitute for.
_SIGNS = str.maketrans({"→": r"\(->", "\u00d7": r"\(mu", "≤": r"\(<=", "≥": r"\(>=", "\u2013": r"\(en", "…": "..."})


def prose(text: str) -> str:
    return text.translate(_PROSE).translate(_SIGNS)


def literal(text: str) -> str:
    """Text that is typed as it stands: commands, options, values."""
    return text.translate(_LITERAL).translate(_SIGNS)


def bold(text: str) -> str:
    """In bold type, as what is typed is; no word of it is hyphenated."""
    words = " ".join(rf"\%{word}" for word in literal(text).split())
    return rf"\fB{words}\fR" if text else ""


def italic(text: str) -> str:
    return rf"\fI{prose(text)}\fR" if text else ""


@dataclass
class Page:
    """A man page while it is written. Texts have been through `prose`, `literal`, `bold` or `italic`."""

    lines: list[str] = field(default_factory=list)
    _after_heading: bool = False

    def title(self, name: str, section: int, date: str, source: str, volume: str) -> None:
        """The first line, and: no lines stretched to the margin, which would part what is to be typed."""
        self.lines += [f'.TH {name.upper()} {section} "{date}" "{source}" "{volume}"', ".ad l"]

    def heading(self, text: str, *, level: int = 1) -> None:
        self.lines += [".SH" if level == 1 else ".SS", *_filled(text)]
        self._after_heading = True

    def paragraph(self, text: str) -> None:
        self._part()
        self.lines += _filled(text)

    def term(self, term: str, texts: Sequence[str]) -> None:
        """A term, and beneath it what is to be said of it, a paragraph each."""
        self.lines += [".TP", *_filled(term, width=10_000)]
        self._after_heading = False
        for place, text in enumerate(texts):
            self.lines += [*([".IP"] if place else []), *_filled(text)]

    def item(self, mark: str, text: str) -> None:
        self.lines += [f".IP {mark} 3", *_filled(text)]
        self._after_heading = False

    def example(self, lines: Iterable[str]) -> None:
        self._part()
        self.lines += [".RS 4", ".EX", *(_guarded(literal(line.expandtabs(4))) for line in lines), ".EE", ".RE"]

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def _part(self) -> None:
        """A paragraph of its own, but not right beneath a heading, where it would be one too many."""
        if not self._after_heading:
            self.lines.append(".PP")
        self._after_heading = False


def _filled(text: str, width: int = _WIDTH) -> list[str]:
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return [_guarded(line) for line in lines]


def _guarded(line: str) -> str:
    """A full stop or an apostrophe at the start of a line would be a request."""
    return rf"\&{line}" if line[:1] in (".", "'") else line
