"""Debian's /etc/softflowd/NAME.conf, and the older /etc/default/softflowd: an interface and options of softflowd(8).

A shell reads these files, or systemd as an EnvironmentFile. They become the section that OpenWrt's file would have.
"""

from __future__ import annotations

import getopt
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from xflowd.config.entries import Entry, Section
from xflowd.config.problem import Problem, quoted

#: Options → what OpenWrt's file calls them.
_KEYS = {
    "-i": "interface",
    "-r": "pcap_file",
    "-t": "timeout",
    "-m": "max_flows",
    "-n": "host_port",
    "-p": "pid_file",
    "-c": "control_socket",
    "-v": "export_version",
    "-L": "hoplimit",
    "-T": "tracking_level",
    "-6": "track_ipv6",
    "-s": "sampling_rate",
    "-b": "bidirectional",
    "-S": "send_interface",
}
_LETTERS = {key: letter for letter, key in _KEYS.items()}
#: Those that OpenWrt's file has not, and why they are left out; without a reason there is nothing to say.
ELSEWHERE = {
    "-P": "datagrams go by UDP",
    "-A": "times are in milliseconds: other elements can be chosen, see xflowd elements",
    "-x": "labels are told by elements: choose mplsTopLabelStackSection and following in a [template NAME]",
    "-l": "each collector gets all flows",
    "-R": "PSAMP is not received: `xflowd collect` receives NetFlow and IPFIX",
    "-d": "", "-D": "", "-N": "", "-a": "", "-h": "", "-B": "", "-C": "",
}  # fmt: skip
_AS_HERE = {("-P", "udp"), ("-A", "milli")}
_GETOPT = "i:r:t:m:n:p:c:v:L:T:6dDP:A:s:B:baC:lR:NS:x:h"
VARIABLES = ("interface", "options")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_OURS = re.compile(r"^[ \t]*(?:export[ \t]+)?(?:interface|options)=", re.MULTILINE | re.IGNORECASE)
_LONGEST = 100  # lines of one value: a quote that is never closed ends there


def is_assignments(text: str) -> bool:
    """Whether a file of softflowd's is one of variables."""
    return _OURS.search(text) is not None


@dataclass(frozen=True, slots=True)
class Variables(Section):
    """A section whose entries stand in variables: told by those, and by their letters."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def where_is(self, entry: Entry, line: int | None = None) -> str:
        letter = _LETTERS.get(entry.key, entry.key)
        return f"{entry.file}:{line or entry.line} {'interface' if letter == '-i' else letter}"


def read_assignments(text: str, file: str) -> tuple[list[Section], list[Problem]]:
    """One section of softflowd, enabled where it has an interface; and a problem for each line that cannot be read."""
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for line, content in _commands(text):
        try:
            for entry in _entries(content, file, line):
                _add(entries, entry)
        except _UnreadableError as error:
            problems.append(error.problem(file, line))
    first = min((entry.line for entry in entries.values()), default=1)
    is_enabled = "interface" in entries and bool(entries["interface"].value)
    enabled = Entry("enabled", "1" if is_enabled else "0", file, first)
    return [Variables("softflowd", "", file, first, (enabled, *entries.values()))], problems


class _UnreadableError(Exception):
    """What is wrong, and how to mend it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self._what, self._mend = what, mend

    def problem(self, file: str, line: int) -> Problem:
        return Problem(f"{file}:{line}", self._what, self._mend)


def _commands(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that say something; a value goes on in the next line while its quote is open."""
    held, first = "", 1
    for line, content in enumerate(text.split("\n"), start=1):
        first = first if held else line
        held += content
        if line - first < _LONGEST and _goes_on(held):
            held = held[:-1] if held.endswith("\\") else f"{held} "
            continue
        if held.strip() and not held.lstrip().startswith("#"):
            yield first, held.strip()
        held = ""
    if held.strip():
        yield first, held.strip()


def _goes_on(text: str) -> bool:
    if text.lstrip().startswith("#"):
        return False
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return True
    return False


def _entries(content: str, file: str, line: int) -> Iterator[Entry]:
    """What a line assigns: the interface, or what each option says."""
    for name, value in _assigned(content):
        variable = name.lower()
        if variable in VARIABLES and re.search(r"[$`;]", value):
            raise _UnreadableError(f"{name} = {quoted(value)} needs a shell", "write what it stands for")
        if variable == "options":
            yield from (Entry(key, text, file, line) for key, text in _options(value))
        else:
            yield Entry("interface" if variable == "interface" else f"${name}", value, file, line)


def _assigned(content: str) -> Iterator[tuple[str, str]]:
    """Names and values; words that stand unquoted behind one are the value's too, as systemd reads it."""
    try:
        words = shlex.split(content, comments=True)
    except ValueError:
        raise _UnreadableError(f"{quoted(content)}: a quote is never closed", "close it") from None
    name, held = "", [""]
    for word in words[1:] if words[:1] == ["export"] else words:
        found = _ASSIGNMENT.fullmatch(word)
        if found and (not name or found[1].lower() in VARIABLES):
            if name:
                yield name, " ".join(held)
            name, held = found[1], [found[2]]
        elif name:
            held.append(word)
        else:
            raise _UnreadableError(f"cannot read {quoted(content)}", "write interface='eth0' or options='-n HOST:PORT'")
    yield name, " ".join(held)


def _options(text: str) -> Iterator[tuple[str, str]]:
    """As softflowd takes them: options in any order, and what is left is a filter."""
    try:
        options, rest = getopt.gnu_getopt(text.split(), _GETOPT)
    except getopt.GetoptError as error:
        raise _UnreadableError(f"options: {error.msg}", "see softflowd(8)") from None
    for letter, value in options:
        if letter in _KEYS:
            yield _KEYS[letter], value or "1"
        elif ELSEWHERE[letter] and (letter, value) not in _AS_HERE:
            yield letter, value
    if rest:
        yield "filter", " ".join(rest)


def _add(entries: dict[str, Entry], entry: Entry) -> None:
    """Timeouts add up, as with softflowd; of anything else the last one counts."""
    before = entries.get(entry.key)
    if entry.key == "timeout" and before:
        entry = Entry("timeout", f"{before.value},{entry.value}", entry.file, entry.line)
    entries[entry.key] = entry
