"""Proves that Debian's configuration of softflowd is carried over as its shell and systemd read it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from xflowd import cli
from xflowd.config import ConfigError, check, load
from xflowd.config.softflowd import from_softflowd, read_softflowd
from xflowd.config.softflowdoptions import ELSEWHERE, read_assignments

GOOD = "interface='eth0'\noptions='-n h:1 -t general=15,tcp=15 -t udp=15,icmp=15,maxlife=60 {}'\n"
PLAIN = {"interfaces": "eth0", "key": "full", "active_timeout": "60", "idle_timeout": "15", "enabled": "1"}
PLAIN |= {"address": "h:1", "protocol": "netflow5"}
TOLD = "the collector is told that it is one packet in 7, and multiplies: do not multiply there yourself"


def carried(text: str) -> tuple[dict[str, str], list[str]]:
    """The keys of all sections, and what is said; the former are good."""
    sections, problems = read_assignments(text, "F")
    assert problems == []
    made, remarks = from_softflowd(sections, "F")
    check(made)
    return {entry.key: entry.value for one in made for entry in one.entries}, remarks


#: Options beside GOOD → the keys that are other, what is said.
OPTIONS = {
    "nothing": ("", {}, []),
    "v9": ("-v 9", {"protocol": "netflow9"}, []),
    "v10, together": ("-v10", {"protocol": "ipfix"}, []),
    "the last counts": ("-n i:2", {"address": "i:2"}, []),
    "IPv6": ("-n [2001:db8::1]:2055", {"address": "[2001:db8::1]:2055"}, []),
    "its own interface": ("-i wan", {"interfaces": "wan"}, []),
    "index": ("-i 7:wan", {"interfaces": "wan"}, ["F:2 interface: left out the index: xflowd tells the kernel's own"]),
    "level": ("-T ether", {"key": "ether"}, []),
    "flows": ("-m 1000", {"max_flows": "1000"}, []),
    "sampling": ("-s 7", {"mode": "systematic", "rate": "7"}, [f"F:2 -s: {TOLD}"]),
    "timeouts add up": ("-t maxlife=1m", {}, []),
    "what goes without saying": ("-d -D -N -a -B 1000 -C 96 -P udp -A milli", {}, []),
    "in one word": (
        "-dN6",
        {},
        ["F:2 -6: left out: xflowd always counts IPv6; netflow5 cannot tell it, the others do"],
    ),
    "both ways": ("-b", {}, ["F:2 -b: left out: each way is a flow of its own"]),
    "TCP": ("-P tcp", {}, ["F:2 -P: left out: datagrams go by UDP"]),
    "balance": ("-l", {}, ["F:2 -l: left out: each collector gets all flows"]),
    "socket": ("-c /run/x", {}, ["F:2 -c: left out: `xflowd status` finds the agent by itself"]),
    "filter": (
        "ip and not port 2055",
        {},
        ["F:2 filter: left out: xflowd counts every packet: filter at the collector"],
    ),
}


@pytest.mark.parametrize(("options", "other", "said"), OPTIONS.values(), ids=OPTIONS)
def test_options(options: str, other: dict[str, str], said: list[str]) -> None:
    made, remarks = carried(GOOD.format(options))
    assert (made, remarks) == ({**PLAIN, **other}, said)


SAME = "-n h:1 -t tcp=15,udp=15,icmp=15,general=15,maxlife=60"
#: Ways to write the same.
WRITTEN = {
    "single quotes": f"interface='eth0'\noptions='{SAME}'\n",
    "double quotes": f'interface="eth0"\noptions="{SAME}"',
    "before Debian 8": f'INTERFACE="eth0"\nOPTIONS="{SAME}"\n',
    "comments": f"# isn't read: options='-n i:2'\n\ninterface=eth0 # it's the WAN\n  options='{SAME}'\r\n",
    "unquoted, for systemd": f"interface=eth0\noptions={SAME}\n",
    "one line": f"interface=eth0 options='{SAME}'\n",
    "exported": f"export interface=eth0\nexport options='{SAME}'\n",
    "two lines": f"interface=eth0\noptions='{SAME.replace(' -t', chr(10) + ' -t')}'\n",
    "joined lines": f'interface=eth0\noptions="{SAME.replace(" -t", " " + chr(92) + chr(10) + "-t")}"\n',
    "the last counts": f"interface=lan\ninterface=eth0\noptions='{SAME}'\n",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_ways_to_write_it(text: str) -> None:
    assert carried(text) == (PLAIN, [])


@pytest.mark.parametrize("way", sorted(set(WRITTEN) - {"unquoted, for systemd"}))
def test_a_shell_reads_the_same(way: str, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text(WRITTEN[way].replace("\r", ""))
    script = '. "$1"; set -f; set -- ${interface:-$INTERFACE} ${options:-$OPTIONS}; echo "$@"'
    told = subprocess.run(["sh", "-c", script, "sh", tmp_path / "conf"], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["eth0", *SAME.split()]


FAULTS = {
    "an option that is none": ("options='-z'", "F:1: options: option -z not recognized; see softflowd(8)"),
    "no argument": ("options='-n'", "F:1: options: option -n requires argument; see softflowd(8)"),
    "a variable": ('options="-n $HOST:1"', "F:1: options = '-n $HOST:1' needs a shell; write what it stands for"),
    "a command": ("interface=`cat x`", "F:1: interface = '`cat x`' needs a shell; write what it stands for"),
    "two commands": ("interface=eth0; true", "F:1: interface = 'eth0; true' needs a shell; write what it stands for"),
    "an open quote": ("interface='eth0\n", 'F:1: "interface=\'eth0": a quote is never closed; close it'),
    "something else": (
        "interface=eth0\nif true",
        "F:2: cannot read 'if true'; write interface='eth0' or options='-n HOST:PORT'",
    ),
}


@pytest.mark.parametrize(("text", "told"), FAULTS.values(), ids=FAULTS)
def test_faults(text: str, told: str) -> None:
    assert [str(problem) for problem in read_assignments(text, "F")[1]] == [told]


def test_another_variable_is_said() -> None:
    made, remarks = carried(GOOD.format("") + "timeout=5\nOPTION='-v 9'\n")
    assert made == PLAIN
    assert remarks == [
        "F:3 $timeout: left out: no option of softflowd's; known are interface, options",
        "F:4 $OPTION: left out: no option of softflowd's; did you mean options?",
    ]


def test_what_the_package_installs() -> None:
    """Without an interface it starts nothing, and neither does the agent."""
    sections, problems = read_softflowd("/etc/softflowd/default.conf")
    made, remarks = from_softflowd(sections, "F")
    assert problems == []
    assert check(made).agent.enabled is False
    assert remarks[0].startswith("/etc/softflowd/default.conf:10: not enabled")


def test_each_option_is_known() -> None:
    told = subprocess.run(["softflowd", "-h"], capture_output=True, text=True, check=False, timeout=10)
    letters = re.findall(r"^  (-\w)( ?[\[\w|:\]]*)", told.stdout + told.stderr, re.MULTILINE)
    assert len(letters) > 20
    for letter, argument in letters:
        number = "1" if argument.strip() or letter == "-x" else ""  # of which the usage does not say that it has one
        _, problems = read_assignments(f"options='{letter} {number}'", "F")
        assert problems == []
    assert set(ELSEWHERE) <= {letter for letter, _ in letters}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "default.conf"
    file.write_text(GOOD.format("-v 9 -L 5").replace("eth0", "lo"))
    assert cli.main(["check", "--from-softflowd", str(file), "--to", "ini"]) == 0
    told = capsys.readouterr()
    assert (
        told.err == f"xflowd: {file}:2 -L: left out: datagrams leave with the system's own: net.ipv4.ip_default_ttl\n"
    )
    (tmp_path / "xflowd.conf").write_text(told.out)
    assert load(tmp_path / "xflowd.conf").collectors[0].protocol.name == "NETFLOW9"


@pytest.mark.parametrize("text", ["[meter]\ninterfaces = lan\n", "", "something\n"])
def test_another_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(ConfigError, match="has no section of softflowd; name its file"):
        from_softflowd(read_softflowd(f"{tmp_path}/file")[0], "F")


@pytest.mark.parametrize("is_there", [True, False])
def test_an_openwrt_agent_is_no_longer_root(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package's own file has this user, and its account; Debian's agent gets one from its service."""
    monkeypatch.setattr("xflowd.lacking.is_account", lambda _: is_there)
    (tmp_path / "openwrt").write_text("config softflowd\n\toption interface lo\n\toption enabled 1\n")
    (tmp_path / "debian").write_text(GOOD.format(""))
    assert cli.main(["check", "--from-softflowd", f"{tmp_path}/openwrt", "--to", "uci"]) == 0
    told = capsys.readouterr()
    assert ("\toption user 'xflowd'\n" in told.out) is is_there
    assert ("there is no user xflowd here: set user in agent, or the agent stays root" in told.err) is not is_there
    assert cli.main(["check", "--from-softflowd", f"{tmp_path}/debian", "--to", "ini"]) == 0
    told = capsys.readouterr()
    assert "user" not in told.out + told.err
