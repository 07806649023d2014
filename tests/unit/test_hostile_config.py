"""Proves that no configuration, however wrong, is met by anything but its faults: a line each, place and mend in it.

The keys are those of the schema: one that is added is tried with every wrong value without a change here.
"""

from __future__ import annotations

import os
import random
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.agent import Agent
from lab.namespaces import namespaces
from lab.process import wait_until
from xflowd.collect import _endpoint
from xflowd.config import Collector, Config, ConfigError, Endpoint, load, override
from xflowd.config.schema import NAMED, REQUIRED, SECTIONS, keys
from xflowd.config.values import Choice, Duration, Kind, Number, UnacceptableError
from xflowd.config.writing import dump

KEYS = [(section, key) for section in SECTIONS for key in keys(section)]
ADDRESS = "address = 192.0.2.10:2055\n"
MOST_OCTETS = 600  # of a message: a value of a megabyte is not in it as a whole
MOST_SECONDS = 2.0

#: Texts that few kinds of value take; none of them has a sign that begins a comment.
WRONG = {
    "empty": "",
    "word": "yellow",
    "negative": "-1",
    "plus": "+1",
    "zero": "0",
    "fraction": "1.5",
    "exponent": "1e3",
    "hexadecimal": "0x10",
    "underscore": "1_000",
    "huge": "9" * 5000,
    "very long": "a" * 100_000,
    "2^32": "4294967296",
    "2^64": "18446744073709551616",
    "unit": "10 parsecs",
    "list": "1, 2, 3",
    "blanks": "1 2",
    "quoted": '"1"',
    "equals": "= 1",
    "brackets": "[1]",
    "open bracket": "[",
    "colons": ":::",
    "percent": "%(x)s",
    "dollar": "${HOME}",
    "slashes": "../../etc/passwd",
    "glob that never ends": "*a" * 5000,
    "range backwards": "[z-a]" * 100,
    "names by the thousand": "a" + ",a".join(map(str, range(5000))),
    "digits of Arabic": "\u0661\u0662",
    "wide digits": "\uff11\uff12",
    "superscript": "\u00b2",
    "fraction sign": "\u00bd",
    "right to left": "\u202e12",
    "no width": "\u200b",
    "emoji": "\U0001f41d",
    "half a pair": "\ufffd",
    "port too high": "192.0.2.1:65536",
    "address of five": "192.0.2.1.5:1",
    "IPv6 without brackets": "2001:db8::1:2055",
    "zone that is none": "[fe80::1%a/b]:1",
    "zone too long": "[fe80::1%" + "a" * 16 + "]:1",
    "name too long": "a." * 200 + "example:1",
}


def file_with(section: str, key: str, value: str) -> tuple[str, int]:
    """A file that is good but for this key, and in which line the key stands."""
    title = f"[{section} one]" if section in NAMED else f"[{section}]"
    others = ADDRESS if section == "collector" and key != "address" else ""
    return f"{title}\n{others}{key} = {value}\n", 2 + bool(others)


def uci_with(section: str, key: str, value: str) -> tuple[str, int]:
    """The same as UCI."""
    others = "option address 192.0.2.10:2055\n" if section == "collector" and key != "address" else ""
    quoted = value.replace("'", "'\\''")
    return f"config {section} 'one'\n{others}option {key} '{quoted}'\n", 2 + bool(others)


FORMS = {"INI": file_with, "UCI": uci_with}


def problems_of(path: Path, content: bytes | str) -> list[str]:
    """The faults of a file with this content, each looked at; none if it is good."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.process_time()
    try:
        load(path)
    except ConfigError as error:
        for problem in error.problems:
            told = str(problem).replace(str(path), "F")
            assert told.isprintable(), ascii(told[:MOST_OCTETS])
            assert len(told) < MOST_OCTETS, told[:MOST_OCTETS]
            assert problem.what
            assert problem.mend
        return [str(problem).replace(str(path), "F") for problem in error.problems]
    finally:
        assert time.process_time() - began < MOST_SECONDS
    return []


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize(("section", "key"), KEYS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_wrong_value_is_one_fault_at_its_place(
    tmp_path: Path, form: Callable[..., tuple[str, int]], section: str, key: str, value: str
) -> None:
    kind = keys(section)[key]
    text, line = form(section, key, value)
    found = problems_of(tmp_path / "xflowd.conf", text)
    if form is uci_with and not value:  # is not given
        assert len(found) == (key == REQUIRED.get(section, ("",))[0])
    elif acceptable(kind, value.strip()):
        # It may still be at odds with other keys: a rate without a mode.
        assert all(f"[{section}" in problem for problem in found)
    else:
        (problem,) = found
        title = f"[{section} one]" if section in NAMED else f"[{section}]"
        assert problem.startswith(f"F:{line} {title} {key}: ")


def acceptable(kind: Kind, text: str) -> bool:
    """True if the kind takes the text; then it writes what it reads again as the same."""
    try:
        value = kind.parse(text)
    except UnacceptableError:
        return False
    assert kind.parse(kind.render(value)) == value
    return True


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_key_refuses_what_it_must(section: str, key: str) -> None:
    kind = keys(section)[key]
    refused = {name for name, text in WRONG.items() if not acceptable(kind, text)}
    assert refused
    if isinstance(kind, (Number, Duration, Choice)):
        must = set(WRONG) - {"empty", "zero"}
        if isinstance(kind, (Number, Duration)) and kind.high >= 2**32:
            must -= {"2^32", "2^64"}
        assert must <= refused, must - refused
    if isinstance(kind, (Number, Duration)):
        for number in (kind.low - 1, kind.high + 1):
            assert not acceptable(kind, str(number))
        for number in (kind.low, kind.high):
            assert acceptable(kind, str(number))
            assert kind.parse(str(number)) == number


@pytest.mark.parametrize(("section", "key"), KEYS)
@pytest.mark.parametrize("control", ["\0", "\x01", "\x08", "\x1b[2J", "\x7f", "\x9b2J"], ids=ascii)
def test_a_control_character_anywhere_is_a_fault(tmp_path: Path, section: str, key: str, control: str) -> None:
    text, line = uci_with(section, key, f"a{control}b")
    (problem,) = problems_of(tmp_path / "xflowd", text)
    assert problem.startswith(f"F:{line}: has a control char")
    text, line = file_with(section, key, f"a{control}b")
    for content in (text, text.replace(key, f"{key}{control}"), text.replace("]", f"{control}]")):
        (problem,) = problems_of(tmp_path / "xflowd.conf", content)
        assert problem.startswith(f"F:{line if content != text.replace(']', f'{control}]') else 1}: has a control char")


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_a_key_given_twice_or_elsewhere(tmp_path: Path, section: str, key: str) -> None:
    path = tmp_path / "xflowd.conf"
    text, line = file_with(section, key, "")
    twice = problems_of(path, f"{text}{key} =\n")
    assert f"F:{line + 1} [{section}{' one' * (section in NAMED)}] {key}: is given twice" in twice[-1]
    assert "belongs to no section" in problems_of(path, f"{key} = 1\n")[0]
    (capital,) = problems_of(path, file_with(section, key.upper(), "1")[0])[:1]
    assert f"{key.upper()}: unknown key; did you mean {key}?" in capital


GOOD = "[meter]\nhook = tc\n"
FILES = {
    "no section": (b"hook = tc\n", "F:1 hook: belongs to no section; put a line like [meter] before it"),
    "NUL": (b"[meter]\nhook = t\0c\n", "F:2: has a control character, '\\x00'; save the file as UTF-8 text"),
    "only NULs": (bytes(5000), "F:1: has a control character, '\\x00'; save the file as UTF-8 text"),
    "invalid UTF-8": (b"[meter]\n\xff = 1\n", "F:2: octet 0xff is not UTF-8; save the file as UTF-8 text"),
    "UTF-8 cut off": (b"[meter]\n# \xe2\x82", "F:2: octet 0xe2 is not UTF-8; save the file as UTF-8 text"),
    "overlong UTF-8": (b"[meter]\nhook = \xc0\xaf\n", "F:2: octet 0xc0 is not UTF-8; save the file as UTF-8 text"),
    "a surrogate": (b"[meter]\nhook = \xed\xa0\x80\n", "F:2: octet 0xed is not UTF-8; save the file as UTF-8 text"),
    "UTF-16": (GOOD.encode("utf-16"), "F:1: octet 0xff is not UTF-8; save the file as UTF-8 text"),
    "UTF-16 without mark": (GOOD.encode("utf-16-le"), "F:1: has a control character, '\\x00'; save the file as UTF-8"),
    "a mark too many": (b"\xef\xbb\xbf" * 2 + GOOD.encode(), "F:1: cannot read '\\ufeff[meter]'; write [section], "),
    "gzip": (b"\x1f\x8b\x08\0\0\0\0\0", "F:1: octet 0x8b is not UTF-8; save the file as UTF-8 text"),
    "ELF": (b"\x7fELF\x02\x01\x01", "F:1: has a control character, '\\x7f'; save the file as UTF-8 text"),
    "10 MB in a line": (b"a" * 10_000_000, "F: is longer than 1 MiB; name a configuration file"),
    "1 MB in a line": (b"a" * 1_000_000, "F:1: cannot read 'aaa"),
    "1 MB of key": (b"[meter]\n" + b"a" * 1_000_000 + b" = 1", "F:2 [meter] aaa"),
    "1 MB of title": (b"[" + b"a" * 1_000_000 + b"]", "F:1 [aaa"),
    "1 MB of name": (b"[collector " + b"a" * 1_000_000 + b"]\n" + ADDRESS.encode(), "F:1 [collector aaa"),
    "1 MB of blanks in a title": (b"[" + b" " * 1_000_000 + b"x", "F:1: cannot read '[   "),
    "1 MB of blanks and words": (b"[" + b"a " * 500_000 + b"x", "F:1: cannot read '[a a "),
    "1 MB of [": (b"[" * 1_000_000, "F:1: cannot read '[[["),
    "1 MB of ;": (b"[meter]\nhook =" + b";" * 1_000_000, "F:2 [meter] hook: '"),
    "1 MB of collectors": (b"[collector]\n" * 80_000, "F:1 [collector]: has no name; write [collector NAME]"),
    "colons": (b"[meter]\nhook: tc\n", "F:2: cannot read 'hook: tc'; write [section], key = value or # comment"),
    "JSON": (b'{"meter": {"hook": "tc"}}', 'F:1: cannot read \'{"meter": {"hook": "tc"}}\'; write [section], '),
    "sections twice": (f"{GOOD}[sampling]\n{GOOD}".encode(), "F:4 [meter]: is there twice, first in line 1; make "),
    "a section in Unicode": ("[m\u0435ter]\n".encode(), "F:1 [m\u0435ter]: unknown section; did you mean meter?"),
    "a section backwards": ("[\u202emeter]\n".encode(), "F:1 [\\u202emeter]: unknown section; did you mean meter?"),
    "UCI: 1 MB of option": (b"config meter\noption " + b"a" * 1_000_000 + b" 1", "F:2 [meter] aaa"),
    "UCI: 1 MB of value": (b"config meter\noption hook " + b"a" * 1_000_000, "F:2 [meter] hook: 'aaa"),
    "UCI: 1 MB of type": (b"config " + b"a" * 1_000_000, "F:1 [aaa"),
    "UCI: 1 MB of name": (b"config collector " + b"a" * 1_000_000, "F:1 [collector aaa"),
    "UCI: 1 MB of command": (b"config meter\n" + b"a" * 1_000_000, "F:2: cannot read 'aaa"),
    "UCI: 1 MB of words": (b"config meter\noption " + b"a " * 500_000, "F:2: option has more words than it can; "),
    "UCI: 1 MB of quotes": (b"config meter\noption hook x" + b"'" * 1_000_000, "F:2 [meter] hook: 'x' is not known"),
    "UCI: 1 MB of quoted letters": (b"config meter\noption hook " + b"'a'" * 300_000, "F:2 [meter] hook: 'aaa"),
    "UCI: 1 MB of escapes": (b"config meter\noption hook " + b"\\a" * 500_000, "F:2 [meter] hook: 'aaa"),
    "UCI: 1 MB of quoted escapes": (b'config meter\noption hook "' + b"\\a" * 500_000, 'F:2: " begins a text that '),
    "UCI: 1 MB of joined lines": (b"config meter\noption hook a" + b"\\\n" * 500_000 + b"b", "F:2 [meter] hook: 'ab'"),
    "UCI: 1 MB of blanks": (b"config meter\noption hook" + b" " * 1_000_000 + b"a", "F:2 [meter] hook: 'a'"),
    "UCI: 1 MB of ends of commands": (b"config meter\n" + b";" * 1_000_000, "F:2: cannot read ';;;"),
    "UCI: 1 MB of sections": (
        b"config collector\n" * 60_000,
        "F:1 [collector collector1]: has no address; add option ",
    ),
    "UCI: 1 MB of names": (b"".join(b"config meter a%d\n" % one for one in range(50_000)), "F:2 [meter]: is there twi"),
    "UCI: 1 MB of lists": (
        b"config meter\n" + b"list interface a/b\n" * 50_000,
        "F:50001 [meter] interfaces: 'a/b' can",
    ),
    "UCI: a quote that never ends": (
        b"config meter\noption hook 'tc\n",
        "F:2: ' begins a text that never ends; close ",
    ),
    "UCI: an escape at the end": (b"config meter\noption hook xx\\", "F:2 [meter] hook: 'xx' is not known; "),
    "UCI: a control character": (
        b"config meter\noption hook 't\x1bc'\n",
        "F:2: has a control character, '\\x1b'; save ",
    ),
    "UCI: INI below": (b"config meter\n[sampling]\nrate = 1\n", "F:2: cannot read '[sampling]'; known are config, "),
    "UCI below INI": (b"[meter]\nconfig sampling\n", "F:2: cannot read 'config sampling'; write [section], "),
    "carriage returns alone": (b"[meter]\rhook = tc\r", "F:1"),
}


@pytest.mark.parametrize(("content", "fault"), FILES.values(), ids=FILES)
def test_a_broken_file(tmp_path: Path, content: bytes, fault: str) -> None:
    found = problems_of(tmp_path / "xflowd.conf", content)
    assert found
    assert found[0].startswith(fault)


def test_no_more_than_a_hundred_faults_are_told(tmp_path: Path) -> None:
    """A file of another kind has a fault in each of its lines; nobody reads a quarter of a million."""
    path = tmp_path / "xflowd.conf"
    for content in ("[meter]\n" + "a=1\n" * 200_000, "what\n" * 200_000, "[x]\n" * 200_000):
        found = problems_of(path, content)
        assert len(found) == 101
        assert found[-1].endswith(": is the next of more than 100 faults; is this a configuration of xflowd?")
    assert len(problems_of(path, "[meter]\n" + "a=1\n" * 100)) == 100
    same = "".join(f"[collector c{number}]\naddress = h\n" for number in range(200))
    assert len(problems_of(path, same)) == 101


def test_collectors_have_a_limit(tmp_path: Path) -> None:
    sections = [f"[collector c{number}]\naddress = 192.0.2.{number}\n" for number in range(66)]
    assert problems_of(tmp_path / "xflowd.conf", "".join(sections[:64])) == []
    (problem,) = problems_of(tmp_path / "xflowd.conf", "".join(sections))
    assert problem == "F:130 [collector c64] address: is one of 66 collectors; keep 64 at most"


def fault_of_path(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    return str(problem).replace(str(path), "F")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """Opening a FIFO waits for a writer: at a SIGHUP that would be the end of the agent."""
    fifo, name = tmp_path / "fifo", tmp_path / "socket"
    os.mkfifo(fifo)
    assert fault_of_path(fifo) == "F: is not a regular file; name a configuration file"
    assert fault_of_path(Path("/dev/zero")) == "F: is not a regular file; name a configuration file"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(name))
        assert fault_of_path(name).startswith("F: cannot be read (")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "Is a directory"),
        ("none", "No such file or directory"),
        ("loop", "Too many levels of symbolic links"),
        ("dangling", "No such file or directory"),
        ("file/below", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("none")
    (tmp_path / "file").write_text(GOOD)
    assert fault_of_path(tmp_path / name) == f"F: cannot be read ({reason}); check the path and its permissions"


@pytest.mark.skipif(not os.access("/proc/self/mem", os.R_OK), reason="no file that fails while it is read")
def test_what_fails_while_it_is_read() -> None:
    assert fault_of_path(Path("/proc/self/mem")).startswith("F: cannot be read (Input/output error)")


def test_what_nobody_may_read(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(GOOD)
    path.chmod(stat.S_IWUSR)
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(65_534)  # root may read everything
        assert fault_of_path(path) == "F: cannot be read (Permission denied); check the path and its permissions"
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("form", ["ini", "uci"])
def test_a_good_file_spoilt_in_any_way(tmp_path: Path, form: str) -> None:
    """Two thousand files: each is read, or refused by its faults, and nothing else comes of it."""
    collector = Collector("nas", Endpoint("192.0.2.10", 2055), source=Endpoint("192.0.2.1", 1))
    good = f"# \u00e4\n{dump(Config(collectors=(collector,)), form)}".encode()
    dice, refused = random.Random(1), 0
    signs = [b"\0", b"\n", b"[", b"]", b"=", b"#", b" ", b"%", b":", b"9" * 30, b"\xff", b"\xc3\xa4", b"\x1b"]
    signs += [b"'", b'"', b"\\", b";"]
    for _ in range(2000):
        spoilt = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            start = dice.randrange(len(spoilt) + 1)
            spoilt[start : start + dice.choice((0, 1, 1, 9))] = dice.choice(signs)
        refused += bool(problems_of(tmp_path / "xflowd.conf", bytes(spoilt)))
    assert 500 < refused < 2000


OPTIONS = {
    "interfaces": lambda text: {"interfaces": [text]},
    "collectors": lambda text: {"collectors": [text]},
    "protocol": lambda text: {"protocol": text},
    "sampling": lambda text: {"sampling": text},
    "timeouts": lambda text: {"timeouts": [f"idle={text}", text]},
    "key": lambda text: {"key": text},
    "elements": lambda text: {"elements": text},
}


@pytest.mark.parametrize(
    "text", [*WRONG.values(), "\x1b[2J", "a\nb", "\udcff"], ids=[*WRONG, "escape", "lines", "octet"]
)
@pytest.mark.parametrize("option", [*OPTIONS, "listen"])
def test_wrong_options(option: str, text: str) -> None:
    try:
        if option == "listen":
            _endpoint(text)
        else:
            override(Config(), **OPTIONS[option](text))
    except ConfigError as error:
        for problem in error.problems:
            assert str(problem).isprintable()
            assert len(str(problem)) < MOST_OCTETS
    else:
        assert text not in ("\x1b[2J", "a\nb", "\udcff") or option == "interfaces"


NO_FILES = {
    "nothing": lambda path: None,
    "directory": lambda path: path.mkdir(),
    "FIFO": os.mkfifo,
    "loop": lambda path: path.symlink_to(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and eBPF need root")
def test_no_broken_file_at_a_hangup_changes_the_agent(tmp_path: Path) -> None:
    """One agent, told to read one broken file after the other: it stays as it was, and reads the next good one."""
    path, good = tmp_path / "xflowd.conf", "[meter]\ninterfaces = lo\n[collector one]\naddress = 127.0.0.1:9\n"
    path.write_text(good)
    with namespaces(tmp_path, "hangup") as (space,):
        agent = Agent(space, "-c", path, metering=["lo"])
        for name, make in NO_FILES.items():
            if os.path.lexists(path):
                path.rename(tmp_path / f"before {name}")
            make(path)
            hang_up(agent, "going on as before", name)
        metering = agent.log.count("metering lo")
        path.unlink()
        for name, (content, _) in FILES.items():
            path.write_bytes(content)
            hang_up(agent, "going on as before", name)
        assert "Traceback" not in agent.log
        assert "configuration read again" not in agent.log
        assert agent.log.count("metering lo") == metering
        path.write_text(good.replace(":9", ":10"))
        hang_up(agent, "configuration read again", "a good file")
        assert agent.stop() == 0


def hang_up(agent: Agent, answer: str, name: str) -> None:
    before = agent.log.count(answer)
    agent.hang_up()
    wait_until(lambda: agent.log.count(answer) > before or not agent.running, f"an answer to {name}")
    assert agent.running, name
