"""Proves each check of `xflowd doctor` on hosts that are made of files and answers.

What is here cannot be made in a namespace: other kernels and sysctls, hardware and software flow offload, switches,
features of devices, OpenWrt's configuration, a clock that nobody keeps, drops before a hook. What can be made there is
in tests/netns/test_doctor_live.py.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from xflowd import status
from xflowd.config import (
    LEVELS,
    Collector,
    Config,
    Direction,
    Endpoint,
    ExportProtocol,
    Hook,
    Meter,
    Sampling,
    SamplingMode,
)
from xflowd.doctor import (
    accounts,
    clock,
    endpoint,
    examination,
    interfaces,
    kernel,
    offloads,
    programs,
    rights,
    sampling,
    ways,
)
from xflowd.doctor.examination import CHECKS
from xflowd.doctor.finding import Finding, Grade, bad, good, warning
from xflowd.doctor.situation import Situation
from xflowd.doctor.telling import as_json, render
from xflowd.edge.network import Interface, Link
from xflowd.edge.resolving import Address
from xflowd.status import Point, Status

WAN = Interface(7, "wan", Link.ETHERNET, "")
OFFICE = Collector("office", Endpoint("192.0.2.10", 2055))
SUMMER_2026 = 1_785_000_000
SOUND = {
    "proc/sys/kernel/osrelease": "6.6.30",
    "proc/sys/kernel/unprivileged_bpf_disabled": "2",
    "proc/sys/net/core/bpf_jit_enable": "1",
    "proc/mounts": "bpf /sys/fs/bpf bpf rw 0 0",
    "proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 524288 kB",
    "etc/machine-id": "0123456789abcdef0123456789abcdef",
    "proc/self/status": "CapEff: 000000c000001000",
    "sys/class/net/wan/ifindex": "7",
}
UNLIMITED = "Max locked memory unlimited unlimited bytes"
Check = Callable[[Situation], Iterator[Finding]]


def host(root: Path, files: Mapping[str, str], **more: object) -> Situation:
    """A host below `root` with these files over those of a sound one; "" takes a file away."""
    for name, text in {**SOUND, **files}.items():
        if text:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    config = Config(Meter(interfaces=("wan",)), collectors=(OFFICE,))
    made = Situation(config, [WAN], lambda _: {}, root=root, unix_seconds=SUMMER_2026, synchronised=lambda: True)
    return replace(made, **more)  # type: ignore[arg-type]


def found(check: Check, situation: Situation) -> list[tuple[Grade, str]]:
    return [(one.grade, f"{one.where}: {one.what}; {one.mend}") for one in check(situation)]


def worst(rows: list[tuple[Grade, str]]) -> list[tuple[str, str]]:
    return [(grade.value, text) for grade, text in rows if grade is not Grade.GOOD]


#: Check, the host's files, how bad the one thing is that is amiss, words of what is said.
FILES: list[tuple[Check, dict[str, str], str, str]] = [
    (
        kernel.check,
        {"proc/sys/kernel/osrelease": "5.4.0-1", "proc/self/limits": UNLIMITED},
        "bad",
        "Linux 5.4.0-1 is too old",
    ),
    (kernel.check, {"proc/sys/kernel/unprivileged_bpf_disabled": ""}, "bad", "CONFIG_BPF_SYSCALL=y"),
    (kernel.check, {"proc/sys/kernel/unprivileged_bpf_disabled": "0"}, "warning", "every account may call bpf()"),
    (kernel.check, {"proc/sys/net/core/bpf_jit_enable": "0"}, "warning", "sysctl net.core.bpf_jit_enable=1"),
    (
        kernel.check,
        {"proc/sys/net/core/bpf_jit_enable": "", "proc/sys/net/core/dev_weight": "64"},
        "warning",
        "CONFIG_BPF_JIT=y",
    ),
    (kernel.check, {"proc/sys/kernel/bpf_stats_enabled": "1"}, "warning", "kernel.bpf_stats_enabled=0"),
    (kernel.check, {"proc/mounts": "tmpfs /sys/fs/bpf tmpfs rw 0 0"}, "warning", "mount -t bpf bpf /sys/fs/bpf"),
    (kernel.check, {"proc/mounts": "", "proc/1/mounts": "bpf /sys/fs/bpf bpf rw 0 0"}, "warning", "nsenter --net="),
    (kernel.check, {"proc/meminfo": "MemAvailable: 16384 kB"}, "bad", "lower max_flows in [meter] to 19,065"),
    (kernel.check, {"proc/meminfo": "MemAvailable: 40960 kB"}, "warning", "lower max_flows in [meter]"),
    (kernel.check, {"proc/meminfo": ""}, "warning", "mount /proc"),
    (
        offloads.check,
        {"etc/config/firewall": "config defaults\n\toption flow_offloading '1'\n\toption flow_offloading_hw '1'\n"},
        "bad",
        "uci set firewall.@defaults[0].flow_offloading_hw=0",
    ),
    (
        offloads.check,
        {"proc/net/nf_conntrack": "ipv4 2 tcp 6 src=192.0.2.1 [HW_OFFLOAD] mark=0 use=3\n" * 3},
        "bad",
        "3 connections are forwarded by hardware, unseen",
    ),
    (
        offloads.check,
        {"sys/class/net/wan/phys_switch_id": "00000000", "sys/class/net/wan/brport/port_no": "0x1"},
        "warning",
        "what goes from port to port is not seen",
    ),
    (offloads.check, {"sys/class/net/wan/dsa/tagging": "mtk"}, "warning", "meter the switch's ports or the bridge"),
    (
        accounts._host,
        {"proc/net/softnet_stat": "0001 0000000a 0\n0002 00000001 0"},
        "warning",
        "11 packets were dropped",
    ),
    (
        accounts._host,
        {"sys/class/net/wan/statistics/rx_missed_errors": "12"},
        "warning",
        "ethtool -G wan rx 4096",
    ),
    (
        accounts._host,
        {"proc/net/netstat": "TcpExt: A IPReversePathFilter\nTcpExt: 1 5\nIpExt: B\nIpExt: 2"},
        "warning",
        "5 packets that came in were dropped by rp_filter",
    ),
    (interfaces.check, {"sys/class/net/wan/operstate": "down"}, "warning", "ip link set wan up"),
]


@pytest.mark.parametrize("check", [kernel.check, offloads.check, accounts._host, interfaces.check, clock.check])
def test_a_sound_host(check: Check, tmp_path: Path) -> None:
    assert worst(found(check, host(tmp_path, {}))) == []


@pytest.mark.parametrize(("check", "files", "grade", "words"), FILES, ids=[words for *_, words in FILES])
def test_each_thing_amiss_is_found_alone_and_mended(
    check: Check, files: dict[str, str], grade: str, words: str, tmp_path: Path
) -> None:
    ((seen, text),) = worst(found(check, host(tmp_path / "sick", files)))
    assert (seen, words in text) == (grade, True), text


def test_software_offload_is_no_fault_and_neither_is_one_that_is_off(tmp_path: Path) -> None:
    software = "config defaults\n\toption flow_offloading '1'\n\toption flow_offloading_hw '0'\n"
    other = "config zone\n\toption flow_offloading '1'\n\toption flow_offloading_hw '1'\n"
    rows = found(offloads.check, host(tmp_path / "a", {"etc/config/firewall": software}))
    assert worst(rows) == []
    assert any("packets are seen" in text for _, text in rows)
    assert worst(found(offloads.check, host(tmp_path / "b", {"etc/config/firewall": other}))) == []


def test_a_namespace_that_does_not_tell_of_the_compiler_is_no_fault(tmp_path: Path) -> None:
    assert worst(found(kernel.check, host(tmp_path, {"proc/sys/net/core/bpf_jit_enable": ""}))) == []


def test_the_hosts_file_system_that_is_hidden_and_reached_is_no_fault(tmp_path: Path) -> None:
    """As under `ip netns exec`, by root."""
    hidden = {"proc/mounts": "", "proc/1/mounts": "bpf /sys/fs/bpf bpf rw 0 0", "proc/1/root/sys/fs/bpf/progs": " "}
    assert worst(found(kernel.check, host(tmp_path, hidden))) == []


FAR, FAR6 = (socket.AF_INET, ("198.18.0.1", 2055)), (socket.AF_INET6, ("2001:db8::1", 2055, 0, 0))
NO_WAYS = [
    (errno.ENETUNREACH, FAR, "add a route: ip route add 198.18.0.1 via GATEWAY"),
    (errno.ENETUNREACH, FAR6, "add a route: ip -6 route add 2001:db8::1 via GATEWAY dev INTERFACE"),
    (errno.EHOSTUNREACH, FAR, "see ip rule, and ip route get 198.18.0.1; mend what it says"),
    (errno.EADDRNOTAVAIL, FAR6, "see ip rule, and ip route get 2001:db8::1; mend what it says"),
]


@pytest.mark.parametrize(("code", "tried", "mend"), NO_WAYS)
def test_no_way_to_a_collector_is_mended_by_a_route_where_there_is_none(code: int, tried: Address, mend: str) -> None:
    """A name has no route, its address has."""
    named = replace(OFFICE, address=Endpoint("collector.example", 2055))
    assert ways._no_way(named, OSError(code, os.strerror(code)), tried).mend == mend


def test_no_file_and_no_agent_is_told_as_that(tmp_path: Path) -> None:
    """One that is there and cannot be read has another mend."""
    ((where, none),) = (next(examination.examine(str(tmp_path / "none.conf"), tmp_path / "nowhere")),)
    assert where == "configuration"
    assert [(one.grade, one.what) for one in none] == [
        (Grade.BAD, f"there is no {tmp_path}/none.conf, and no agent answers")
    ]
    assert "name one with -c, or start an agent" in none[0].mend
    _, (unread,) = next(examination.examine(str(tmp_path), tmp_path / "nowhere"))
    assert unread.mend == "check the path and its permissions"


def test_locked_memory_counts_before_5_11(tmp_path: Path) -> None:
    old = {"proc/sys/kernel/osrelease": "5.10.200"}
    limits = "Limit Soft Hard Units\nMax locked memory {} {} bytes\n"
    for number, (limit, expected) in enumerate((("8388608", ["bad"]), ("unlimited", []), ("999999999", []))):
        files = {**old, "proc/self/limits": limits.format(limit, limit)}
        assert [grade for grade, _ in worst(found(kernel.check, host(tmp_path / str(number), files)))] == expected


FEATURES = [
    ({"hw-tc-offload": True}, "warning", "ethtool -K wan hw-tc-offload off"),
    ({"rx-lro": True}, "warning", "ethtool -K wan lro off"),
    ({"rx-gro-hw": True, "rx-lro": False}, "", ""),
]


@pytest.mark.parametrize(("features", "grade", "words"), FEATURES)
def test_features_of_devices(features: dict[str, bool], grade: str, words: str, tmp_path: Path) -> None:
    rows = worst(found(offloads.check, host(tmp_path, {}, features=lambda _: features)))
    assert [seen for seen, _ in rows] == ([grade] if grade else [])
    assert all(words in text for _, text in rows)


def test_features_that_cannot_be_asked_for(tmp_path: Path) -> None:
    def refuse(_: str) -> Mapping[str, bool]:
        raise OSError(1, "Operation not permitted")

    ((grade, text),) = worst(found(offloads.check, host(tmp_path, {}, features=refuse)))
    assert (grade, "Operation not permitted" in text) == ("warning", True)


FLOWTABLE = {"family": "inet", "name": "ft", "table": "fw4", "handle": 2, "hook": "ingress", "prio": 0, "dev": ["lan"]}


@pytest.mark.parametrize(
    ("flags", "grades"), [({}, []), ({"flags": "offload"}, ["bad"]), ({"flags": ["offload"]}, ["bad"])]
)
def test_flowtables_of_nftables(
    flags: dict[str, object], grades: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a program that answers as nft 1.0.6 does."""
    answer = json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, {"flowtable": {**FLOWTABLE, **flags}}]})
    nft = tmp_path / "bin" / "nft"
    nft.parent.mkdir()
    nft.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    nft.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{nft.parent}{os.pathsep}{os.environ['PATH']}")
    rows = found(offloads.check, host(tmp_path, {}))
    assert [grade for grade, _ in worst(rows)] == grades
    assert any("inet fw4 ft" in text for _, text in rows)


@pytest.mark.parametrize(
    ("seconds", "synchronised", "grade"),
    [
        (SUMMER_2026, True, []),
        (SUMMER_2026, False, ["warning"]),
        (SUMMER_2026, None, ["warning"]),
        (0, True, ["bad"]),
        (1_500_000_000, True, ["bad"]),
        (5_000_000_000, True, ["bad"]),
    ],
)
def test_the_clock(seconds: float, synchronised: bool | None, grade: list[str], tmp_path: Path) -> None:
    situation = host(tmp_path, {}, unix_seconds=seconds, synchronised=lambda: synchronised)
    assert [seen for seen, _ in worst(found(clock.check, situation))] == grade


def test_the_clock_of_this_host() -> None:
    """adjtimex(2) says it in its result too: TIME_ERROR, 5, of a clock that nobody keeps."""
    assert clock.synchronised() == (ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) != 5)


SAMPLED = Sampling(SamplingMode.RANDOM, 100)
NETFLOW5 = replace(OFFICE, protocol=ExportProtocol.NETFLOW5)
SAMPLING = [
    (Sampling(), OFFICE, "", "every packet is counted"),
    (SAMPLED, OFFICE, "", "one packet in 100 is counted: a sampler record before the first flow"),
    (SAMPLED, NETFLOW5, "", "the 14 bits of each v5 header"),
    (SAMPLED, replace(OFFICE, elements=("packetDeltaCount",), template="few"), "warning", "to [template few]"),
    (SAMPLED, replace(OFFICE, elements=("default", "minimumTTL"), template="more"), "", "and each record"),
    (Sampling(), replace(OFFICE, template_refresh=600), "warning", "shows nothing for 600 s"),
    (Sampling(), NETFLOW5, "", "it has no IPv6"),
]


@pytest.mark.parametrize(("mode", "collector", "grade", "words"), SAMPLING)
def test_sampling_as_the_collector_understands_it(
    mode: Sampling, collector: Collector, grade: str, words: str, tmp_path: Path
) -> None:
    config = Config(Meter(interfaces=("wan",)), mode, (collector,))
    rows = found(sampling.check, host(tmp_path, {}, config=config))
    assert [seen for seen, _ in worst(rows)] == ([grade] if grade else [])
    assert any(words in text for _, text in rows), rows


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    made.listen()
    return made


def test_two_agents_of_one_host_need_a_domain_each(tmp_path: Path) -> None:
    """An agent that was killed has left its socket, and is none."""
    situation = host(tmp_path, {}, socket=tmp_path / "net-1.sock")
    with listening(tmp_path / "net-1.sock"):
        listening(tmp_path / "net-2.sock").close()
        assert worst(found(sampling.check, situation)) == []
        with listening(tmp_path / "net-3.sock"):
            ((grade, text),) = worst(found(sampling.check, situation))
            assert (grade, text.startswith("office: 2 agents on this host")) == ("warning", True)
            assert "give observation_domain in [collector office]" in text
            named = replace(situation.config, collectors=(replace(OFFICE, observation_domain=7),))
            assert worst(found(sampling.check, replace(situation, config=named))) == []


@pytest.mark.parametrize(("node", "grades"), [(0x02_11_22_33_44_55, []), (0x03_11_22_33_44_55, ["warning"])])
def test_a_domain_that_changes(node: int, grades: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenWrt has no machine ID and a MAC address; a host with neither is given one at random, that of a group."""
    monkeypatch.setattr("uuid.getnode", lambda: node)
    rows = worst(found(sampling.check, host(tmp_path, {"etc/machine-id": ""})))
    assert [grade for grade, _ in rows] == grades
    assert worst(found(sampling.check, host(tmp_path / "named", {}))) == []


def point(seen: int, counted: int, hook: str = "TC") -> Point:
    packets = status.Packets(
        seen=seen, sampled_out=0, not_ip=0, too_short=0, malformed=0, jumbogram=0, overflow=0, lost=0
    )
    return status.point(("wan", 7), "ingress", hook, packets, kernel=status.KernelCounters(packets=counted, octets=1))


def running(one: Point, **more: object) -> Status:
    collector = status.CollectorReport(
        name="office",
        address="192.0.2.10:2055",
        resolved_address="192.0.2.10",
        protocol="ipfix",
        flows_exported=3,
        datagrams_sent=2,
        octets_sent=900,
        waiting_datagrams=0,
        waiting_octets=0,
        flows_not_sent={},
        datagrams_dropped={},
        errors={},
        last_error=None,
        trouble=None,
        templates_sent_seconds_ago=3,
        sequence=5,
        source=None,
        template_refresh=60,
        max_payload=1400,
        observation_domain=7,
        observation_domain_chosen=False,
        elements=None,
    )
    chosen = status.Chosen(
        direction="auto", hook="auto", sampling_mode="none", sampling_rate=1, metrics_listen=None
    ) | {key: more[key] for key in more.keys() & status.Chosen.__annotations__.keys()}
    made = status.Status(
        version="1",
        pid=os.getpid(),
        since="2026-11-21T09:30:00+00:00",
        uptime_seconds=5.0,
        interfaces=[one],
        refused=[],
        totals=status.totals(one["packets"], 0, 0, 0),
        flows=status.Flows(live=9, free=65_527, slots=65_536, ended={}),
        timeouts=status.Timeouts(active=60, idle=15, idle_in_force=15),
        chosen=chosen,  # type: ignore[typeddict-item]
        collectors=[collector | {key: more[key] for key in more.keys() & collector.keys()}],  # type: ignore[list-item]
        agent=status.AgentUse(cpu_seconds=1, cpu_percent=3, memory_octets=66 << 20, threads=1),
    )
    return made | {key: more[key] for key in more.keys() & made.keys()}  # type: ignore[return-value]


ACCOUNTS = [
    (running(point(1000, 1000)), [], "100 % of 1,000"),
    (running(point(989, 1000)), ["bad"], "98.9 % of 1,000"),
    (running(point(990, 1000)), [], "99 % of 1,000"),
    (running(point(0, 50)), [], "too few packets"),
    (running(point(1000, 1000), trouble="No route to host"), ["bad"], "sending does not work now: No route to host"),
    (running(point(1000, 1000), flows_not_sent={"queue full": 12}), ["bad"], "raise queue in [collector office]"),
    (running(point(1000, 1000), datagrams_dropped={"queue full": 2}), ["bad"], "raise queue in [collector office]"),
    (running(point(1000, 1000), flows_not_sent={"ipv6": 12}), ["warning"], "12 flows of IPv6 were not sent"),
    (
        running(point(1000, 1000), datagrams_dropped={"longer than the path allows": 2}),
        ["bad"],
        "lower max_payload in [collector office]",
    ),
    (running(point(1000, 1000), templates_sent_seconds_ago=121), ["warning"], "templates were sent 121 s ago"),
    (running(point(1000, 1000), protocol="netflow9"), ["warning"], "are not those of /etc/xflowd.conf"),
    (
        running(point(1000, 1000), flows=status.Flows(live=65_532, free=4, slots=65_536, ended={})),
        ["warning"],
        "room for 4 of 65,536",
    ),
    (
        running(point(1000, 1000), timeouts=status.Timeouts(active=60, idle=15, idle_in_force=2.5)),
        ["warning"],
        "flows end after 2.5 s of silence",
    ),
]


@pytest.mark.parametrize(("document", "grades", "words"), ACCOUNTS, ids=[words for *_, words in ACCOUNTS])
def test_figures_of_a_running_agent(document: Status, grades: list[str], words: str, tmp_path: Path) -> None:
    rows = found(accounts.check, host(tmp_path, {}, status=document))
    assert [grade for grade, _ in worst(rows)] == grades, rows
    assert any(words in text for _, text in rows), rows


DIFFERING = [
    ({"address": "192.0.2.10:4739"}, "the agent's collectors are not those of /etc/xflowd.conf"),
    ({"sampling_mode": "random"}, "sampling mode is random in the agent, and none by /etc/xflowd.conf"),
    ({"sampling_rate": 100}, "sampling rate is 100 in the agent, and 1 by"),
    ({"metrics_listen": "127.0.0.1:9995"}, "where metrics are answered is 127.0.0.1:9995 in the agent, and nowhere by"),
    ({"timeouts": status.Timeouts(active=30, idle=15, idle_in_force=15)}, "active_timeout is 30 in the agent"),
    ({"flows": status.Flows(live=9, free=55, slots=64, ended={})}, "max_flows is 64 in the agent, and 65536 by"),
    ({"source": "192.0.2.1:40000"}, "source is 192.0.2.1:40000 in the agent, and any by"),
    ({"max_payload": 512}, "max_payload is 512 in the agent, and 1400 by"),
    ({"template_refresh": 600}, "template_refresh is 600 in the agent, and 60 by"),
    ({"observation_domain_chosen": True}, "observation_domain is 7 in the agent, and the host's by"),
]


@pytest.mark.parametrize(("other", "words"), DIFFERING, ids=[words for _, words in DIFFERING])
def test_what_the_agent_does_otherwise_than_its_file(other: dict[str, object], words: str, tmp_path: Path) -> None:
    """By an option of the command line, or since the file has changed. Without the file there is nothing to differ."""
    document = running(point(1000, 1000), **other)
    ((grade, text),) = worst(found(accounts.check, host(tmp_path, {}, status=document)))
    assert (grade, words in text) == ("warning", True), text
    by_itself = host(tmp_path, {}, status=document, config=examination._running(document))
    assert worst(found(accounts.check, by_itself)) == []


def test_a_running_agent_tells_what_is_examined_without_its_file(tmp_path: Path) -> None:
    told = {"sampling_mode": "random", "sampling_rate": 100, "metrics_listen": "[::1]:9995", "hook": "tc"}
    told |= {"direction": "both", "max_payload": 1232, "template_refresh": 600, "source": "[2001:db8::1]"}  # type: ignore[dict-item]
    told |= {"observation_domain_chosen": True, "elements": ["packetDeltaCount"]}  # type: ignore[dict-item]
    document = running(point(1000, 1000), address="[2001:db8::10]:2055", **told)
    config = examination._running(document)
    collector = replace(
        OFFICE, address=Endpoint("2001:db8::10", 2055), source=Endpoint("2001:db8::1"), max_payload=1232,
        template_refresh=600, observation_domain=7, elements=("packetDeltaCount",),
    )  # fmt: skip
    assert (config.sampling, config.collectors) == (SAMPLED, (collector,))
    assert (config.meter.hook, config.meter.direction) == (Hook.TC, Direction.BOTH)
    assert config.metrics.listen == Endpoint("::1", 9995)
    rows = worst(found(sampling.check, host(tmp_path, {}, config=config, status=document)))
    assert [grade for grade, _ in rows] == ["warning", "warning"]
    assert "add samplingInterval to its elements" in rows[0][1]
    assert "shows nothing for 600 s" in rows[1][1]


def test_the_rate_is_that_of_the_agent_and_not_of_its_file(tmp_path: Path) -> None:
    document = running(point(1, 1), sampling_mode="random", sampling_rate=100)
    rows = found(sampling.check, host(tmp_path, {}, status=document))
    assert any("one packet in 100 is counted" in text for _, text in rows), rows


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(1, "Operation not permitted"), "Operation not permitted; ask as root"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "UnicodeDecodeError: 'utf-8' codec can't decode"),
        (KeyError("wan"), "KeyError: 'wan'; a fault of xflowd doctor"),
    ],
)
def test_a_check_that_fails_is_a_finding(error: Exception, words: str, tmp_path: Path) -> None:
    def check(_: Situation) -> Iterator[Finding]:
        yield good("wan", "as far as it went")
        raise error

    rows = found(lambda situation: examination._checked(check, situation, "clock"), host(tmp_path, {}))
    assert [grade for grade, _ in rows] == [Grade.GOOD, Grade.BAD]
    assert rows[1][1].startswith("clock: cannot be examined: ")
    assert words in rows[1][1]


def test_packets_lost_and_without_a_flow(tmp_path: Path) -> None:
    one = point(1000, 1000)
    one["packets"].update(overflow=5, lost=2)
    rows = worst(found(accounts.check, host(tmp_path, {}, status=running(one))))
    assert [grade for grade, _ in rows] == ["bad", "warning"]
    assert "2 packets were lost" in rows[0][1]
    assert "5 packets had no flow of their own" in rows[1][1]


STATUS = "Name: xflowd\nUid: 998 998 998 998\nCapEff: {}\n"
RIGHTS = [
    ("000000c000001000", "good", "user 998 with CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF and no others"),
    ("000001ffffffffff", "warning", "38 capabilities more than it needs"),
    ("0000008000001000", "bad", "the agent lacks CAP_PERFMON"),
    ("0000000000000000", "bad", "the agent lacks CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF"),
]


@pytest.mark.parametrize(("held", "grade", "words"), RIGHTS)
def test_the_agents_rights(held: str, grade: str, words: str, tmp_path: Path) -> None:
    document = running(point(1, 1))
    files = {f"proc/{document['pid']}/status": STATUS.format(held)}
    (_, (seen, text)) = found(rights.check, host(tmp_path, files, status=document))
    assert (seen.value, words in text) == (grade, True), text


@pytest.mark.parametrize(("mode", "grade"), [(0o660, "good"), (0o666, "warning")])
def test_the_control_socket_is_not_everybodys(mode: int, grade: str, tmp_path: Path) -> None:
    path = tmp_path / "net-1.sock"
    path.touch()
    path.chmod(mode)
    rows = [
        (one.value, text)
        for one, text in found(rights.check, host(tmp_path, {}, status=running(point(1, 1)), socket=path))
    ]
    assert [seen for seen, text in rows if str(path) in text] == [grade]


def test_why_tc(tmp_path: Path) -> None:
    wireguard, veth = (
        Interface(8, "wg0", Link.NONE, "wireguard"),
        Interface(9, "v0", Link.ETHERNET, "veth"),
    )
    odd = Interface(10, "ib0", Link.UNKNOWN, "")
    meter = Meter(interfaces=("wan", "wg0", "v0", "ib0"), key=LEVELS["full"])  # without VLANs: no device is asked
    config = Config(meter, collectors=(OFFICE,))
    rows = found(interfaces.check, host(tmp_path, {}, config=config, present=[WAN, wireguard, veth, odd]))
    told = {text.partition(":")[0]: text for _, text in rows}
    assert "would be metered by XDP" in told["wan"]
    assert "it has no Ethernet frames" in told["wg0"]
    assert "a veth copies every packet" in told["v0"]
    assert "ib0" in told
    assert [text.partition(":")[0] for grade, text in rows if grade is Grade.BAD] == ["ib0"]
    by_hand = replace(config, meter=replace(config.meter, hook=Hook.TC))
    rows = found(interfaces.check, host(tmp_path, {}, config=by_hand, present=[WAN]))
    assert any("hook = tc in [meter]" in text for _, text in rows)


FILTERS = [
    ([(10, None), (49152, 1)], [("warning", "a tc filter of priority 10 runs before xflowd's")]),
    ([(49151, 1), (49152, 2)], [("good", "a tc filter of priority 49152, theirs (number 2), runs after xflowd's")]),
    ([(49152, 1)], []),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERS)
def test_filters_before_linux_6_6(
    filters: list[tuple[int, int | None]], expected: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours is program 1, number 2 is somebody else's: what netlink says where there is no tcx."""
    names = {1: "tc_ingress", 2: "theirs"}
    monkeypatch.setattr(programs, "filters_at", lambda *_: filters)
    monkeypatch.setattr(programs, "named", lambda number: programs.Program(number, names[number]))
    rows = [(one.grade.value, one.what) for one in programs._clsact(WAN, "ingress")]
    assert [grade for grade, _ in rows] == [grade for grade, _ in expected]
    assert all(words in what for (_, what), (_, words) in zip(rows, expected, strict=True))


def test_an_endpoint_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    config = Config(metrics=replace(Config().metrics, listen=Endpoint("127.0.0.1")))
    ((grade, text),) = worst(found(endpoint.check, host(tmp_path, {}, config=config)))
    assert (grade, f"{sys.executable} -m pip install prometheus_client" in text) == ("bad", True)


def test_the_page_names_each_check_in_its_order() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "doctor.md").read_text()
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    assert rows == ["check", "configuration", *CHECKS]


LONG = "word " * 40
GROUPS = [("kernel", [good("kernel", LONG), warning("wan", "a\x1b[2Jb", LONG)]), ("clock", [bad("clock", "c", "d")])]


def test_the_report_has_a_mark_a_mend_and_a_summary_within_80_columns() -> None:
    lines = render(GROUPS).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("  ok   word")
    assert "  warn wan: a?[2Jb" in lines
    assert lines[-1] == "1 good, 1 warning, 1 bad"
    mends = [line for line in lines if "mend:" in line]
    assert [line[:13] for line in mends] == ["       mend: "] * 2


def test_the_report_for_programs() -> None:
    document = json.loads(as_json(GROUPS))
    assert document["summary"] == {"good": 1, "warning": 1, "bad": 1}
    assert document["findings"][2] == {"grade": "bad", "check": "clock", "where": "clock", "what": "c", "mend": "d"}
