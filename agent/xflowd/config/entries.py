"""A configuration before it is checked: sections, texts, and where each stands. All formats end up here."""

from __future__ import annotations

from dataclasses import dataclass

from xflowd.config.problem import shown


@dataclass(frozen=True, slots=True)
class Entry:
    """One key and its text, which is empty where none is given. `line` counts from 1."""

    key: str
    value: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Section:
    """One section as it stands in the file; `name` is empty where it has none."""

    type: str
    name: str
    file: str
    line: int
    entries: tuple[Entry, ...] = ()

    @property
    def title(self) -> str:
        return f"[{shown(self.type)} {shown(self.name)}]" if self.name else f"[{shown(self.type)}]"

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line} {self.title}"

    def where_is(self, entry: Entry) -> str:
        return f"{entry.file}:{entry.line} {self.title} {shown(entry.key)}"
