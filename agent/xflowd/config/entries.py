"""A configuration before it is checked: sections, texts, and where each stands. All formats end up here."""

from __future__ import annotations

from dataclasses import dataclass

from xflowd.config.problem import quoted, shown


@dataclass(frozen=True, slots=True)
class Entry:
    """One key and its text, which is empty where none is given. `line` counts from 1.

    `items` are the texts and lines of a list that stands in more than one line.
    """

    key: str
    value: str
    file: str
    line: int
    items: tuple[tuple[str, int], ...] = ()

    def line_of(self, what: str) -> int:
        """The line of what is wrong: of a list that of the last item that the message quotes."""
        lines = [line for text, line in self.items if text and quoted(text) in what]
        return lines[-1] if lines else self.line


@dataclass(frozen=True, slots=True)
class Section:
    """One section as it stands in the file; `name` is empty where it has none. `uci`: what is to be written is UCI."""

    type: str
    name: str
    file: str
    line: int
    entries: tuple[Entry, ...] = ()
    uci: bool = False

    @property
    def title(self) -> str:
        return f"[{shown(self.type)} {shown(self.name)}]" if self.name else f"[{shown(self.type)}]"

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line} {self.title}"

    def where_is(self, entry: Entry, line: int | None = None) -> str:
        return f"{entry.file}:{line or entry.line} {self.title} {shown(entry.key)}"

    def head(self, name: str = "") -> str:
        """How a section of this type begins."""
        if self.uci:
            return f"config {self.type} '{name}'" if name else f"config {self.type}"
        return f"[{self.type} {name}]" if name else f"[{self.type}]"

    def assignment(self, key: str, value: str) -> str:
        """How a key is given a value."""
        return f"option {key} '{value}'" if self.uci else f"{key} = {value}"
