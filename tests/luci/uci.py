"""What rpcd does to a UCI file: read, change, write again. Only what a file of well-formed commands needs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Value = str | list[str]


@dataclass
class Section:
    """One section; `anonymous` ones have a name that libuci gives them."""

    type: str
    name: str
    anonymous: bool
    options: dict[str, Value] = field(default_factory=dict)

    def document(self, index: int) -> dict[str, Any]:
        """As `uci get` answers with."""
        head = {".anonymous": self.anonymous, ".type": self.type, ".name": self.name, ".index": index}
        return {**head, **self.options}

    def text(self) -> str:
        lines = [f"config {self.type}" if self.anonymous else f"config {self.type} '{self.name}'"]
        for name, value in self.options.items():
            items = [("list", one) for one in value] if isinstance(value, list) else [("option", value)]
            lines += [f"\t{command} {name} {_quoted(one)}" for command, one in items]
        return "\n".join(lines) + "\n"


class Package:
    """One file of /etc/config."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sections: list[Section] = []
        for line in path.read_text().splitlines():
            words = shlex.split(line, comments=True)
            if words:
                self._take(*words)

    def _take(self, command: str, first: str, second: str = "") -> None:
        if command == "config":
            self.add(first, second or None, {})
        elif command == "list":
            self.sections[-1].options.setdefault(first, []).append(second)  # type: ignore[union-attr]
        else:
            self.sections[-1].options[first] = second

    def write(self) -> None:
        self.path.write_text("\n".join(section.text() for section in self.sections))

    def find(self, name: str) -> Section | None:
        return next((one for one in self.sections if one.name == name), None)

    def add(self, type_: str, name: str | None, values: dict[str, Value]) -> str:
        given = name or f"cfg{len(self.sections) + 1:02x}{hash(type_) & 0xFFFF:04x}"
        self.sections.append(Section(type_, given, name is None, dict(values)))
        return given

    def documents(self) -> dict[str, Any]:
        return {one.name: one.document(place) for place, one in enumerate(self.sections)}


def _quoted(value: str) -> str:
    """In single quotes, as libuci writes every value; one in it ends them, escaped, and they begin again."""
    return "'" + value.replace("'", "'\\''") + "'"
