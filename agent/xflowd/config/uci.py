"""UCI, OpenWrt's configuration files: sections and options, each with its line, as libuci reads them.

What libuci refuses is a fault here too, but for what does no harm. What it leaves out without a word is one as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from xflowd.config.check import MAXIMUM_PROBLEMS
from xflowd.config.entries import Entry, Section
from xflowd.config.problem import Problem, nearest, quoted, shown
from xflowd.config.schema import ITEMS, NAMED

_USAGE = {
    "config": "config TYPE 'NAME'",
    "option": "option NAME 'VALUE'",
    "list": "list NAME 'VALUE'",
    "package": "package NAME",
}
_LETTERS = {command[0]: command for command in _USAGE}  # libuci knows each by its first letter too
_MOST_WORDS = 2  # behind a command
_NAME = re.compile(r"[A-Za-z0-9_]+")
#: Blanks are those of isspace(3) in the C locale; between a command and what follows only two of them.
_BLANKS, _GAP = re.compile(r"[ \t\n\v\f\r]*"), re.compile(r"[ \t\v\f\r]*")
_COMMAND, _LINE = re.compile(r"[^ \t\r\n]*"), re.compile(r"[^\n]*")
_BARE = re.compile(r"(?:[^\s'\"\\#;]+|\\(?:\r?\n|.)?)+", re.ASCII)
_SINGLE, _DOUBLE = re.compile(r"'([^']*)'"), re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:\r?\n|(.))?")  # at the end of a line it joins the next one


class _UnreadableError(Exception):
    """Why a command cannot be read, and how to mend it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.what, self.mend = what, mend


@dataclass(slots=True)
class _Draft:
    """A section that may get more options: of each its values, and their lines."""

    type: str
    name: str
    line: int
    options: dict[str, list[tuple[str, int]]] = field(default_factory=dict)


def read_uci(text: str, file: str) -> tuple[list[Section], list[Problem]]:
    """The sections of `text`, in order, and a problem for each command that cannot be read.

    Options are as libuci leaves them: of two the last one, and an empty one is as if it were not there. A name that is
    there already goes on with its section. A section keeps its name where there can be many of its type; UCI names
    others too, so that `uci set` finds them. Collectors without a name are numbered.
    """
    package = _Package()
    problems: list[Problem] = []
    commands = _Commands(text)
    while len(problems) <= MAXIMUM_PROBLEMS and commands.begin():
        try:
            package.obey(commands.command(), commands.words(), commands.line)
        except _UnreadableError as error:
            problems.append(Problem(f"{file}:{commands.line}", error.what, error.mend))
            commands.pass_over()
    free = (name for number in range(1, len(package.drafts) * 2) if (name := f"collector{number}") not in package.named)
    return [_section(draft, file, free) for draft in package.drafts], problems


def _section(draft: _Draft, file: str, free: Iterator[str]) -> Section:
    name = draft.name if draft.type in NAMED else ""
    if draft.type == "collector" and not name:
        name = next(free)
    entries = tuple(_entry(key, values, file) for key, values in draft.options.items())
    return Section(draft.type, name, file, draft.line, entries, uci=True)


def _entry(key: str, values: list[tuple[str, int]], file: str) -> Entry:
    text = ", ".join(value.strip() for value, _ in values if value.strip())
    return Entry(key, text, file, values[0][1], tuple(values) if len(values) > 1 else ())


class _Package:
    """Sections as the commands of a file make them."""

    def __init__(self) -> None:
        self.drafts: list[_Draft] = []
        self.named: dict[str, _Draft] = {}
        self._open: _Draft | None = None

    def obey(self, command: str, words: list[str], line: int) -> None:
        """Do what a command says; raises _UnreadableError. What follows a config that cannot be read is nobody's."""
        if command == "config":
            self._open = _Draft("", "", line)
        most = 1 if command == "package" else _MOST_WORDS
        if not words or not words[0] or len(words) > most:
            what = "has more words than it can" if words and words[0] else "says too little"
            raise _UnreadableError(f"{command} {what}", f"write {_USAGE[command]}")
        name, value = words[0], words[1] if len(words) > 1 else ""
        if command == "config":
            self._begin(name, value, line)
        elif command != "package":  # which libuci passes over too
            self._set(command, name, value, line)

    def _begin(self, kind: str, name: str, line: int) -> None:
        if name and not _NAME.fullmatch(name):
            raise _UnreadableError(f"{quoted(name)} cannot name a section", "use letters, digits and _")
        known = self.named.get(name) if name else None
        if known and known.type != kind:
            what = f"there is a {shown(known.type)} called {shown(name)} already, in line {known.line}"
            raise _UnreadableError(what, "give one of the two another name")
        if known is None:
            known = _Draft(kind, name, line)
            self.drafts.append(known)
            if name:
                self.named[name] = known
        self._open = known

    def _set(self, command: str, name: str, value: str, line: int) -> None:
        if self._open is None:
            raise _UnreadableError(f"{shown(name)} belongs to no section", "put a line like config meter before it")
        options = self._open.options
        name = ITEMS.get((self._open.type, name), name)
        if command == "list":
            options.setdefault(name, []).append((value, line))
        elif value:
            options[name] = [(value, line)]


class _Commands:
    """A text taken apart, command by command; `line` is that of the command."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self.line, self._counted = 1, 0  # the line of the latter

    def begin(self) -> bool:
        """Go to the next command; False at the end of the text."""
        self._take(_BLANKS)
        while self._sign == "#":
            self._take(_LINE)
            self._take(_BLANKS)
        self.line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return bool(self._sign)

    def command(self) -> str:
        """The command's name, in full."""
        word = self._take(_COMMAND)
        command = _LETTERS.get(word, word)
        if command not in _USAGE:
            raise _UnreadableError(f"cannot read {quoted(word)}", nearest(word, _USAGE))
        return command

    def words(self) -> list[str]:
        """What follows it, up to the end of the line, a comment, or a `;` and another command."""
        words: list[str] = []
        is_bare = True
        while True:
            gap = self._take(_GAP)
            if self._sign in ("", "\n"):
                return words
            if self._sign == "#":
                self._take(_LINE)
                return words
            if self._sign == ";":
                self._at += 1
                self._require_line(is_bare and not gap)
                return words
            if len(words) > _MOST_WORDS:
                return words  # too many already: nobody asks for more
            word, is_bare = self._word()
            words.append(word)

    def pass_over(self) -> None:
        """Go to the end of the line."""
        self._take(_LINE)

    @property
    def _sign(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        assert found  # all these patterns take in nothing, too
        self._at = found.end()
        return found[0]

    def _word(self) -> tuple[str, bool]:
        """Parts that adjoin, quoted or not; whether there was neither quote nor escape."""
        parts, is_bare = [], True
        while True:
            sign = self._sign
            found = {"'": _SINGLE, '"': _DOUBLE}.get(sign, _BARE).match(self._text, self._at)
            if found:
                is_bare = is_bare and sign not in ("'", '"') and "\\" not in found[0]
                parts.append(_part(found[0], sign))
                self._at = found.end()
            elif sign in ("'", '"'):
                self._at = len(self._text)
                raise _UnreadableError(f"{sign} begins a text that never ends", f"close it with another {sign}")
            else:
                return "".join(parts), is_bare

    def _require_line(self, is_lost: bool) -> None:
        """libuci leaves out what stands behind a `;` that follows a word without quotes, and says nothing."""
        rest = _LINE.match(self._text, self._at)
        if is_lost and rest and rest[0].strip() and not rest[0].strip().startswith("#"):
            raise _UnreadableError("libuci does not read what is behind this ;", "put it in a line of its own")


def _part(text: str, sign: str) -> str:
    if sign == "'":
        return text[1:-1]
    return _ESCAPE.sub(r"\1", text[1:-1] if sign == '"' else text)
