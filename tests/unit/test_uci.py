"""Proves that UCI is read as libuci reads it, and gives the same configuration and the same faults as INI.

No libuci is at hand here: the tables are what its parser does (file.c, list.c and util.c of libuci), case by case.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from xflowd.config import Config, ConfigError, default_file, load
from xflowd.config.file import is_uci
from xflowd.config.schema import NAMED, SECTIONS, keys
from xflowd.config.uci import read_uci
from xflowd.config.writing import dump


def sections_of(text: str) -> list[tuple[str, str, dict[str, str]]]:
    """Type, name and options of each section of a text without faults."""
    sections, problems = read_uci(text, "F")
    assert problems == []
    return [(one.type, one.name, {entry.key: entry.value for entry in one.entries}) for one in sections]


def faults(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "xflowd"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    return str(caught.value).replace(str(file), "F").splitlines()


#: What stands behind `option x`, and its value; None: as if it were not there.
WORDS = {
    "bare": ("a", "a"),
    "single quotes": ("'a b'", "a b"),
    "double quotes": ('"a b"', "a b"),
    "nothing": ("", None),
    "empty": ("''", None),
    "empty in double quotes": ('""', None),
    "adjoining": ("'a'b\"c\"", "abc"),
    "a quote that goes on": ("a'b c'd", "ab cd"),
    "how uci writes a quote": (r"'it'\''s'", "it's"),
    "double in single": ("'a\"b'", 'a"b'),
    "single in double": ('"a\'b"', "a'b"),
    "escaped blank": (r"a\ b", "a b"),
    "escaped quote": (r"a\'b", "a'b"),
    "escaped letter": (r"a\nb", "anb"),
    "escaped backslash": (r"a\\b", r"a\b"),
    "escape in double quotes": (r'"a\"b\\c\nd"', 'a"b\\cnd'),
    "no escape in single quotes": (r"'a\b'", r"a\b"),
    "comment behind a blank": ("a # b", "a"),
    "comment in a word": ("a#b", "a"),
    "escaped sign of a comment": (r"a\#b", "a#b"),
    "quoted sign of a comment": ("'a#b'", "a#b"),
    "only a comment": ("# a", None),
    "end of command": ("a;", "a"),
    "end of command in quotes": ("'a;b'", "a;b"),
    "escaped end of command": (r"a\;b", "a;b"),
    "lines in single quotes": ("'a\nb'", "a\nb"),
    "lines in double quotes": ('"a\nb"', "a\nb"),
    "joined lines": ("a\\\nb", "ab"),
    "joined lines in double quotes": ('"a\\\nb"', "ab"),
    "joined lines of DOS": ("a\\\r\nb", "ab"),
    "lines of DOS": ("a\r", "a"),
    "blanks": ("  \t a \t ", "a"),
    "form feed": ("\fa\v", "a"),
    "no-break space": ("a\u00a0b", "a\u00a0b"),
    "brackets": ("[::1]:2055", "[::1]:2055"),
    "equals": ("a=b", "a=b"),
    "Unicode": ("'ä'", "ä"),
}


@pytest.mark.parametrize(("word", "value"), WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("end", ["\n", ""], ids=["line", "end"])
def test_words(word: str, value: str | None, end: str) -> None:
    options = {} if value is None else {"x": value}
    assert sections_of(f"config t 'n'\n\toption x {word}{end}") == [("t", "", options)]


TEXTS = {
    "nothing": ("", []),
    "comments": ("# a\n  # 'b\n\n", []),
    "package": ("package xflowd\nconfig t\n", [("t", "", {})]),
    "letters": ("p x\nc t\no a 1\nl b 2", [("t", "", {"a": "1", "b": "2"})]),
    "indented": ("  config\tt\n option\ta\t1", [("t", "", {"a": "1"})]),
    "the last one counts": ("config t\noption a 1\noption a 2", [("t", "", {"a": "2"})]),
    "an empty one changes nothing": ("config t\noption a 1\noption a ''", [("t", "", {"a": "1"})]),
    "a list": ("config t\nlist a 1\nlist a '2 3'", [("t", "", {"a": "1, 2 3"})]),
    "an option becomes a list": ("config t\noption a 1\nlist a 2", [("t", "", {"a": "1, 2"})]),
    "a list becomes an option": ("config t\nlist a 1\nlist a 2\noption a 3", [("t", "", {"a": "3"})]),
    "two without a name": (
        "config t\noption a 1\nconfig t\noption b 2",
        [("t", "", {"a": "1"}), ("t", "", {"b": "2"})],
    ),
    "a name goes on": (
        "config collector x\noption a 1\nconfig t\nconfig collector 'x'\noption a 2\noption b 3",
        [("collector", "x", {"a": "2", "b": "3"}), ("t", "", {})],
    ),
    "a name of which there is one": ("config meter 'wan'\noption a 1", [("meter", "", {"a": "1"})]),
    "collectors without names": (
        "config collector\nconfig collector 'collector2'\nconfig collector\nconfig template",
        [
            ("collector", "collector1", {}),
            ("collector", "collector2", {}),
            ("collector", "collector3", {}),
            ("template", "", {}),
        ],
    ),
    "singular and plural": (
        "config meter\nlist interface a\nlist interfaces b\nconfig template x\nlist element c\n"
        "config t\nlist interface d",
        [
            ("meter", "", {"interfaces": "a, b"}),
            ("template", "x", {"elements": "c"}),
            ("t", "", {"interface": "d"}),
        ],
    ),
    "two in a line": ("config t; option a 'b' ; option c \"d\"; # e", None),
    "two in a line, quoted": ("config t\noption a 'b'; option c d\n", [("t", "", {"a": "b", "c": "d"})]),
    "two in a line, parted": ("config t\noption a b ; option c d\n", [("t", "", {"a": "b", "c": "d"})]),
}


@pytest.mark.parametrize(("text", "sections"), TEXTS.values(), ids=TEXTS)
def test_texts(text: str, sections: list[tuple[str, str, dict[str, str]]] | None) -> None:
    if sections is None:  # libuci leaves out what is behind `t;`, without a word
        assert [problem.what for problem in read_uci(text, "F")[1]] == ["libuci does not read what is behind this ;"]
    else:
        assert sections_of(text) == sections


def test_what_uci_writes_is_read_as_it_was() -> None:
    """As `uci export` quotes, and as people do: five hundred texts of the signs that mean something."""
    dice = random.Random(1)
    for _ in range(500):
        values = {f"k{number}": "".join(dice.choices("ab'\"\\ #;\n\t=[]ä{}", k=8)) for number in range(4)}
        lines = []
        for key, value in values.items():
            single = "'" + value.replace("'", "'\\''") + "'"
            double = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
            lines.append(f"\toption {key} {dice.choice((single, double))}{dice.choice(('', ' # c', ' '))}\n")
        told = {key: value.strip() for key, value in values.items() if value.strip()}
        assert sections_of("config t 'n'\n" + "".join(lines) + "\nconfig u\n") == [("t", "", told), ("u", "", {})]


COLLECTOR = "config collector 'a'\n\toption address '192.0.2.1'\n"
FAULTS = [
    ("config meter\nconfig\n", "F:2: config says too little; write config TYPE 'NAME'"),
    ("config meter\noption\n", "F:2: option says too little; write option NAME 'VALUE'"),
    ("config meter\noption '' 1\n", "F:2: option says too little; write option NAME 'VALUE'"),
    ("config meter\noption interfaces a b\n", "F:2: option has more words than it can; write option NAME 'VALUE'"),
    ("config meter a b\n", "F:1: config has more words than it can; write config TYPE 'NAME'"),
    ("package\nconfig meter\n", "F:1: package says too little; write package NAME"),
    ("option hook tc\nconfig meter\n", "F:1: hook belongs to no section; put a line like config meter before it"),
    ("config meter\nlst interface a\n", "F:2: cannot read 'lst'; did you mean list?"),
    ("config meter\n[meter]\n", "F:2: cannot read '[meter]'; known are config, option, list, package"),
    ("config meter\n\noption hook 'tc\n\n", "F:3: ' begins a text that never ends; close it with another '"),
    ('config meter\noption hook tc"\n', 'F:2: " begins a text that never ends; close it with another "'),
    ("config collector 'a-b'\n", "F:1: 'a-b' cannot name a section; use letters, digits and _"),
    ("config meter\nconfig collector 'a-b'\noption address h\n", "F:2: 'a-b' cannot name a section; use letters, "),
    (
        f"{COLLECTOR}config template 'a'\n",
        "F:3: there is a collector called a already, in line 1; give one of the two another name",
    ),
    (
        "config meter\noption hook tc; option key ip\n",
        "F:2: libuci does not read what is behind this ;; put it in a line of its own",
    ),
    ("config metre\n", "F:1 [metre]: unknown section; did you mean meter?"),
    ("config meter\nconfig meter 'x'\n", "F:2 [meter]: is there twice, first in line 1; make one section of the two"),
    ("config template\n", "F:1 [template]: has no name; write config template 'NAME'"),
    ("config collector 'b'\n", "F:1 [collector b]: has no address; add option address 'HOST:PORT'"),
    (
        "config meter\n\toption active-timeout 5\n",
        "F:2 [meter] active-timeout: unknown key; did you mean active_timeout?",
    ),
    ("config meter\n\toption hook xpd\n", "F:2 [meter] hook: 'xpd' is not known; allowed are auto, xdp, tc"),
    (
        "config meter\n\tlist interface wan\n\tlist interface 'a/b'\n\tlist interface lan\n",
        "F:3 [meter] interfaces: 'a/b' cannot name an interface; write names or globs: wan, wg*",
    ),
    (
        "config template x\n\tlist element default\n\n\tlist element minimumTTl\n",
        "F:4 [template x] elements: 'minimumTTl' is no element; did you mean minimumTTL?",
    ),
    (
        "config meter\n\tlist max_flows 1\n\tlist max_flows 2\n",
        "F:2 [meter] max_flows: '1, 2' is not a whole number; allowed are 1 to 4194304",
    ),
    ("config meter\n\toption network 'w an/'\n", "F:2 [meter] network: 'an/' cannot name a network; "),
    (
        f"{COLLECTOR}\toption enabled maybe\n",
        "F:3 [collector a] enabled: 'maybe' is neither yes nor no; allowed are 1, ",
    ),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS)
def test_faults(tmp_path: Path, text: str, fault: str) -> None:
    (found,) = [line for line in faults(tmp_path, text) if "no elements" not in line]
    assert found.startswith(fault)


def test_every_fault_is_told_at_its_place(tmp_path: Path) -> None:
    text = "config meter\n\toption hok tc\n\twhat\n\toption key 1\nconfig collector a\n\toption protocol 6\n"
    assert [line.partition(": ")[0] for line in faults(tmp_path, text)] == [
        "F:3",
        "F:2 [meter] hok",
        "F:4 [meter] key",
        "F:6 [collector a] protocol",
        "F:5 [collector a]",
    ]


FORMS = {
    "": False,
    "# config meter\n": False,
    "[meter]\nconfig = 1\n": False,
    "\n# a\n\n  config meter\n": True,
    "\tpackage xflowd\n": True,
    "; config meter\n[meter]\n": False,
    "confg meter\n\toption hook tc\n": True,
    "list interface a\n[meter]": True,
    "config=1\n[meter]\n": False,
    "c meter\no hook tc\n": True,
    "# by letters\np xflowd\n": True,
    "\tl interface a\n": True,
    "c = 1\n[meter]\n": False,
    "o\t= 1\n[meter]\n": False,
    "x meter\n": False,
    "what\n": False,
    "config\n": False,
}


@pytest.mark.parametrize(("text", "uci"), FORMS.items())
def test_the_form_is_told_by_the_content(text: str, uci: bool) -> None:
    assert is_uci(text) is uci


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    ini = tmp_path / "ini"
    ini.write_text("""[meter]
interfaces = wan, wg*
network = lan
key = full, ipClassOfService
active_timeout = 1m30s
[sampling]
mode = random
rate = 100
[template wide]
elements = default, minimumTTL
[collector main]
address = [2001:db8::1]:2055
protocol = 9
template = wide
[collector spare]
address = 192.0.2.1
enabled = no
""")
    uci = tmp_path / "uci"
    uci.write_text("""package xflowd

config meter
	list interface 'wan'
	list interface 'wg*'
	option network 'lan'
	option key 'full ipClassOfService'
	option active_timeout '1m30s'

config sampling 'sampling'
	option mode 'random'
	option rate '100'

config template 'wide'
	list element 'default'
	list element 'minimumTTL'

config collector 'main'
	option address '[2001:db8::1]:2055'
	option protocol 9
	option template "wide"

config collector 'spare'
	option address '192.0.2.1'
	option enabled '0'
""")
    config = load(uci)
    assert config == load(ini)
    assert [one.name for one in config.collectors] == ["main"]
    assert [one.name for one in config.disabled] == ["spare"]


@pytest.mark.parametrize("form", ["ini", "uci"])
def test_what_is_dumped_loads_again(tmp_path: Path, form: str) -> None:
    text = f"{COLLECTOR}\toption enabled off\nconfig meter\n\tlist network wan\n\tlist network wan6\n"
    (tmp_path / "first").write_text(f"{text}config collector 'b'\n\toption address h\n")
    config = load(tmp_path / "first")
    (tmp_path / "second").write_text(dump(config, form))
    assert load(tmp_path / "second") == config
    assert is_uci(dump(Config(), form)) is (form == "uci")


@pytest.mark.parametrize("word", ["1", "on", "true", "yes", "enabled", "0", "off", "false", "no", "disabled", "YES"])
def test_switches(tmp_path: Path, word: str) -> None:
    (tmp_path / "file").write_text(f"{COLLECTOR}\toption enabled {word}\n")
    config = load(tmp_path / "file")
    assert (len(config.collectors), len(config.disabled)) == (
        (1, 0) if word.lower() in "1 on true yes enabled" else (0, 1)
    )


def test_who_is_disabled_needs_no_address(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("config collector 'a'\n\toption enabled '0'\n")
    assert load(tmp_path / "file").collectors == ()


def test_every_key_can_be_an_option_of_uci() -> None:
    names = [*SECTIONS, *NAMED, *(key for section in SECTIONS for key in keys(section))]
    assert all(name.isascii() and name.replace("_", "").isalnum() for name in names)


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        ([], "/etc/xflowd.conf"),
        (["/etc/xflowd.conf"], "/etc/xflowd.conf"),
        (["/etc/config/xflowd"], "/etc/config/xflowd"),
        (["/etc/xflowd.conf", "/etc/config/xflowd"], "/etc/xflowd.conf"),
    ],
)
def test_the_default_file(tmp_path: Path, present: list[str], chosen: str) -> None:
    (tmp_path / "etc/config").mkdir(parents=True)
    for name in present:
        (tmp_path / name[1:]).touch()
    assert default_file(str(tmp_path)) == f"{tmp_path}{chosen}"
