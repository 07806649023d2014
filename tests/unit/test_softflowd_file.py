"""Proves that OpenWrt's configuration of softflowd is carried over, and that each thing that cannot be is said."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from xflowd import cli
from xflowd.config import ConfigError, check, load
from xflowd.config.softflowd import from_softflowd
from xflowd.config.uci import read_uci
from xflowd.config.writing import write

#: As the package installs it.
PACKAGED = """config softflowd
	option enabled        '0'
	option interface      'br-lan'
	option pcap_file      ''
	option timeout        ''
	option max_flows      '8192'
	option host_port      ''
	option pid_file       '/var/run/softflowd.pid'
	option control_socket '/var/run/softflowd.ctl'
	option export_version '5'
	option hoplimit       ''
	option tracking_level 'full'
	option track_ipv6     '0'
	option sampling_rate  '100'
"""
TOLD = "the collector is told that it is one packet in {}, and multiplies: do not multiply there yourself"
LIFE = "F:1 [softflowd]: maxlife is not given, which is a week: flows that go on are told every 60 s, as by default"
IDLE = "F:1 [softflowd]: idle flows have no timeout here, which is 5 minutes to an hour: 15 s, as by default"
NOBODY = "F:1 [softflowd]: no collector is named: flows are printed until there is one"
NOWHERE = "F:1 [softflowd]: there is no interface: that of the default route is metered"
#: What is said of every section that says no more than this: nothing.
GOOD = "option enabled 1\noption interface wan\noption host_port h:1\noption timeout "
GOOD += "tcp=15,udp=15,icmp=15,general=15,maxlife=60\n"
INGRESS = (
    "packets are counted where they come in: one that is forwarded once, one that this host sends not at all; "
    "set direction to both in [meter] to count what goes out too"
)
APART = (
    "F:1 [softflowd]: sections have collectors of their own: here each collector gets the flows of all interfaces: "
    "let it tell them apart, by ingressInterface and egressInterface"
)
ONE = "there is one idle timeout for all, the shortest,"


def carried(text: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    """What of a file becomes sections, by title, and what is said; the former are good."""
    sections, problems = read_uci(text, "F")
    assert problems == []
    made, remarks = from_softflowd(sections, "F")
    check(made)
    return {one.title: {entry.key: entry.value for entry in one.entries} for one in made}, remarks


def test_what_the_package_installs() -> None:
    made, remarks = carried(PACKAGED)
    assert made == {
        "[meter]": {"interfaces": "br-lan", "key": "full", "max_flows": "8192"},
        "[sampling]": {"mode": "systematic", "rate": "100"},
        "[agent]": {"enabled": "0"},
    }
    assert remarks == [
        "F:1 [softflowd]: not enabled, and so the agent is not either: see enabled in [agent]",
        LIFE,
        IDLE,
        NOBODY,
        "F:8 [softflowd] pid_file: left out: xflowd stays in the foreground: procd or systemd knows its process",
        "F:9 [softflowd] control_socket: left out: `xflowd status` finds the agent by itself",
        "F:13 [softflowd] track_ipv6: left out: xflowd always counts IPv6; netflow5 cannot tell it, the others do",
        f"F:14 [softflowd] sampling_rate: {TOLD.format(100)}",
    ]


#: Options beside GOOD, of which the first stands in line 6 → the section and keys that are other, what is said.
OPTIONS = {
    "nothing": ("", {}, []),
    "NetFlow v9": ("option export_version 9", {"protocol": "netflow9"}, []),
    "IPFIX": ("option export_version 10", {"protocol": "ipfix"}, []),
    "v1": (
        "option export_version 1",
        {},
        ["F:6 [softflowd] export_version: '1' is not spoken by xflowd: netflow5 is taken"],
    ),
    "PSAMP": (
        "option export_version psamp",
        {"protocol": "ipfix"},
        ["F:6 [softflowd] export_version: 'psamp' is not spoken by xflowd: ipfix is taken"],
    ),
    "IPv6": ("option host_port [2001:db8::1]:2055", {"address": "[2001:db8::1]:2055"}, []),
    "a service": (
        "option host_port h:netflow",
        {"[collector collector1]": None},
        [
            NOBODY,
            "F:6 [softflowd] host_port: left out: port 'netflow' is not a whole number; allowed are 1 to 65535",
        ],
    ),
    "index": (
        "option interface 7:eth0",
        {"interfaces": "eth0"},
        ["F:6 [softflowd] interface: left out the index: xflowd tells the kernel's own"],
    ),
    "any": ("option interface any", {"interfaces": "*"}, [f"F:1 [softflowd]: every interface: {INGRESS}"]),
    "level": ("option tracking_level ether", {"key": "ether"}, []),
    "port": ("option tracking_level port", {}, []),
    "no level": (
        "option tracking_level vlanId",
        {},
        ["F:6 [softflowd] tracking_level: 'vlanId' is no level: full is taken"],
    ),
    "all packets": ("option sampling_rate 1", {}, []),
    "no sampling": ("option sampling_rate 0", {}, []),
    "sampling": (
        "option sampling_rate 7",
        {"mode": "systematic", "rate": "7"},
        [f"F:6 [softflowd] sampling_rate: {TOLD.format(7)}"],
    ),
    "more than v5 can tell": (
        "option sampling_rate 20000",
        {"mode": "systematic", "rate": "16383"},
        [
            "F:6 [softflowd] sampling_rate: netflow5 can tell 16383 at most, which is taken",
            f"F:6 [softflowd] sampling_rate: {TOLD.format(16383)}",
        ],
    ),
    "half a packet": (
        "option sampling_rate 0.5",
        {},
        ["F:6 [softflowd] sampling_rate: left out: '0.5' is not a whole number; allowed are 0 to 1000000"],
    ),
    "flows": ("option max_flows 100000", {"max_flows": "100000"}, []),
    "flows without end": (
        "option max_flows 99999999999999",
        {"max_flows": "4194304"},
        ["F:6 [softflowd] max_flows: 999999999999 is out of range: 4194304 is taken, of 1 to 4194304"],
    ),
    "many flows": (
        "option max_flows many",
        {},
        ["F:6 [softflowd] max_flows: left out: 'many' is not a whole number"],
    ),
    "timeouts": (
        "option timeout tcp=1m30s,UDP=90,icmp=90,general=1m30,maxlife=1h",
        {"idle_timeout": "90", "active_timeout": "3600"},
        [],
    ),
    "timeouts that differ": (
        "option timeout tcp=3600,icmp=20",
        {"idle_timeout": "20", "active_timeout": None},
        [
            LIFE,
            f"F:6 [softflowd] timeout: tcp=3600, icmp=20, and by default udp=300, general=3600: {ONE} 20",
        ],
    ),
    "a timeout longer than those by default": (
        "option timeout maxlife=60,tcp=1h",
        {"idle_timeout": "300"},
        [f"F:6 [softflowd] timeout: tcp=3600, and by default udp=300, icmp=300, general=3600: {ONE} 300"],
    ),
    "a timeout shorter than those by default": (
        "option timeout maxlife=5m,udp=10",
        {"idle_timeout": "10", "active_timeout": "300"},
        [f"F:6 [softflowd] timeout: udp=10, and by default tcp=3600, icmp=300, general=3600: {ONE} 10"],
    ),
    "all timeouts, that differ": (
        "option timeout maxlife=60,tcp=1h,udp=10m,icmp=10m,general=1h",
        {"idle_timeout": "600"},
        [f"F:6 [softflowd] timeout: tcp=3600, udp=600, icmp=600, general=3600: {ONE} 600"],
    ),
    "no longest life": (
        "option timeout maxlife=0",
        {"idle_timeout": None, "active_timeout": "86400"},
        [IDLE, "F:6 [softflowd] timeout: 604800 is out of range: 86400 is taken, of 1 to 86400"],
    ),
    "timeouts of its own": (
        "option timeout tcp.fin=5,expint=0,tcp=5,udp=5,icmp=5,general=5,maxlife=60",
        {"idle_timeout": "5"},
        [
            "F:6 [softflowd] timeout: tcp.fin=5 left out: xflowd ends a flow by itself, soon after its FIN or RST",
            "F:6 [softflowd] timeout: expint=0 left out: xflowd looks for ended flows every second",
        ],
    ),
    "no timeouts": (
        "option timeout tpc=5,general,tcp=5,udp=5,icmp=5,general=5,maxlife=60",
        {"idle_timeout": "5"},
        [
            "F:6 [softflowd] timeout: 'tpc=5' left out: it is none of softflowd's timeouts with its time",
            "F:6 [softflowd] timeout: 'general' left out: it is none of softflowd's timeouts with its time",
        ],
    ),
    "capture": (
        "option pcap_file /tmp/x",
        {},
        ["F:6 [softflowd] pcap_file: left out: captures are for `xflowd replay FILE`"],
    ),
    "hop limit": (
        "option hoplimit 5",
        {},
        ["F:6 [softflowd] hoplimit: left out: datagrams leave with the system's own: net.ipv4.ip_default_ttl"],
    ),
    "filter": (
        "option filter 'port 80'",
        {},
        ["F:6 [softflowd] filter: left out: xflowd counts every packet: filter at the collector"],
    ),
    "both ways": (
        "option bidirectional 1",
        {},
        ["F:6 [softflowd] bidirectional: left out: each way is a flow of its own"],
    ),
    "no option": (
        "option sampling 5",
        {},
        ["F:6 [softflowd] sampling: left out: no option of softflowd's; did you mean sampling_rate?"],
    ),
}
PLAIN = {"interfaces": "wan", "key": "full", "active_timeout": "60", "idle_timeout": "15"}
PLAIN |= {"address": "h:1", "protocol": "netflow5", "enabled": "1"}


@pytest.mark.parametrize(("options", "other", "said"), OPTIONS.values(), ids=OPTIONS)
def test_options(options: str, other: dict[str, str | None], said: list[str]) -> None:
    made, remarks = carried(f"config softflowd\n{GOOD}{options}\n")
    collector = "[collector collector1]" not in other
    assert ("[collector collector1]" in made) is collector
    keys = {key: value for section in made.values() for key, value in section.items()}
    plain = PLAIN if collector else {key: PLAIN[key] for key in PLAIN if key not in ("address", "protocol")}
    wanted = {**plain, **{key: value for key, value in other.items() if key[0] != "["}}
    assert keys == {key: value for key, value in wanted.items() if value is not None}
    assert remarks == said


def test_several_processes_become_one_meter() -> None:
    second = GOOD.replace("interface wan", "interface lan").replace("=15", "=20")
    third = "option enabled 0\noption interface guest\n"
    text = f"config softflowd\n{GOOD}option max_flows 1000\nconfig softflowd two\n{second}option host_port h:1,i:2\n"
    made, remarks = carried(f"{text}config softflowd\n{third}config other\n")
    assert made == {
        "[meter]": {**{key: PLAIN[key] for key in list(PLAIN)[:4]}, "interfaces": "wan, lan", "max_flows": "9192"},
        "[collector collector1]": {"address": "h:1", "protocol": "netflow5"},
        "[collector collector2]": {"address": "i:2", "protocol": "netflow5"},
        "[agent]": {"enabled": "1"},
    }
    assert remarks == [
        f"F:1 [softflowd]: several interfaces: {INGRESS}",
        APART,
        "F:6 [softflowd] max_flows: there is one table for all interfaces: 9192 flows, the sum of them",
        "F:11 [softflowd] timeout: 20 is not 15, as in line 5: there is one idle_timeout for all, and it is 15",
        "F:13 [softflowd]: left out: it is not enabled",
        "F:16 [other]: left out: it is not softflowd's",
    ]


#: host_port of two sections that are enabled → whether it is said that each gets all flows.
SENT_TO = [
    ("option host_port a:1", "option host_port b:1", True),
    ("option host_port a:1", "", True),
    ("option host_port a:1", "option host_port a:1,b:1", True),
    ("option host_port a:1,b:1", "option host_port 'b:1 a:1'", False),
    ("", "", False),
]


@pytest.mark.parametrize(("wan", "guest", "is_said"), SENT_TO)
def test_sections_with_collectors_of_their_own(wan: str, guest: str, is_said: bool) -> None:
    plain = GOOD.replace("option host_port h:1\n", "")
    guests = plain.replace("interface wan", "interface guest")
    _, remarks = carried(f"config softflowd\n{plain}{wan}\nconfig softflowd\n{guests}{guest}\n")
    assert (APART in remarks) is is_said
    disabled = guests.replace("enabled 1", "enabled 0")
    assert APART not in carried(f"config softflowd\n{plain}{wan}\nconfig softflowd\n{disabled}{guest}\n")[1]


def test_a_wrong_name_is_a_fault_at_its_place() -> None:
    sections, _ = read_uci(f"config softflowd\n{GOOD}option interface a/b\n", "F")
    with pytest.raises(ConfigError) as caught:
        check(from_softflowd(sections, "F")[0])
    assert str(caught.value).startswith("F:6 [meter] interfaces: 'a/b' cannot name an interface")


@pytest.mark.parametrize("text", ["", "config xflowd\n", "[meter]\n"])
def test_another_file(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_softflowd(read_uci(text, "F")[0], "F")
    mend = "name its file, say /etc/config/softflowd or /etc/softflowd/default.conf"
    assert str(caught.value) == f"F: has no section of softflowd; {mend}"


@pytest.mark.parametrize("form", ["ini", "uci"])
@pytest.mark.parametrize("options", [one for one, _, _ in OPTIONS.values()], ids=OPTIONS)
def test_what_is_written_is_accepted(tmp_path: Path, options: str, form: str) -> None:
    made, _ = from_softflowd(read_uci(f"config softflowd\n{GOOD}{options}\n", "F")[0], "F")
    (tmp_path / "xflowd").write_text(write(made, form))
    assert load(tmp_path / "xflowd") == check(made)


def test_a_file_spoilt_in_any_way() -> None:
    """A thousand files: each is carried over, or refused by its faults, and nothing else comes of it."""
    good = f"{PACKAGED}config softflowd\n{GOOD}option timeout tcp=1h30m,udp.x=5\noption host_port a:1,b:2\n"
    dice, refused, signs = (
        random.Random(1),
        0,
        ["'", '"', "\n", " ", ",", "=", ":", "9" * 30, "\t", "ä", "#", "a" * 300],
    )
    for _ in range(1000):
        spoilt = good.replace("enabled        '0'", f"enabled '{dice.randrange(2)}'")
        for _ in range(dice.randint(1, 4)):
            start = dice.randrange(len(spoilt) + 1)
            spoilt = spoilt[:start] + dice.choice(signs) + spoilt[start + dice.choice((0, 1, 1, 9)) :]
        sections, problems = read_uci(spoilt, "F")
        try:
            made, remarks = from_softflowd(sections, "F")
            check(made, problems)
        except ConfigError as error:
            refused += 1
            remarks = [str(problem) for problem in error.problems]
        assert all(one.isprintable() and len(one) < 1000 for one in remarks), remarks
    assert 50 < refused < 950


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "softflowd").write_text("config softflowd 'a-b'\n")
    assert cli.main(["check", "--from-softflowd", f"{tmp_path}/softflowd"]) == 2
    assert "softflowd:1: 'a-b' cannot name a section; use letters, digits and _" in capsys.readouterr().err


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "softflowd").write_text(f"config softflowd\n{GOOD.replace('wan', 'lo')}option hoplimit 5\n")
    assert cli.main(["check", "--from-softflowd", f"{tmp_path}/softflowd", "--to", "uci"]) == 0
    told = capsys.readouterr()
    assert f"{tmp_path}/softflowd:6 [softflowd] hoplimit: left out" in told.err
    (tmp_path / "xflowd").write_text(told.out)
    assert cli.main(["check", "-c", f"{tmp_path}/xflowd"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/xflowd: no faults found\n"
    assert cli.main(["check", "--from-softflowd", f"{tmp_path}/softflowd"]) == 0
    assert "hoplimit: left out" in capsys.readouterr().out
