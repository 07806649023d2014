"""Proves that the status adds up, says so when it does not, and fits the terminal, whatever names things have."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lab.agent import xflowd
from xflowd import showing, status
from xflowd.doctor import examination
from xflowd.edge.asking import ControlError
from xflowd.edge.control import Server
from xflowd.edge.network import InterfaceCounters, counters
from xflowd.summary import agent_use

NAMES = {
    "seen": "PACKETS_SEEN",
    "sampled_out": "PACKETS_SAMPLED_OUT",
    "not_ip": "PACKETS_NOT_IP",
    "too_short": "PACKETS_TOO_SHORT",
    "malformed": "PACKETS_MALFORMED",
    "jumbogram": "PACKETS_JUMBOGRAM",
    "overflow": "PACKETS_OVERFLOW",
    "lost": "PACKETS_UNCOUNTED",
}


def packets(**counts: int) -> status.Packets:
    return status.packets(Counter({NAMES[name]: count for name, count in counts.items()}))


OFFICE: status.CollectorReport = {
    "name": "office",
    "address": "collector.example:4739",
    "resolved_address": "192.0.2.10",
    "protocol": "ipfix",
    "flows_exported": 1234,
    "datagrams_sent": 56,
    "octets_sent": 78_900,
    "waiting_datagrams": 3,
    "waiting_octets": 4_200,
    "flows_not_sent": {"queue full": 12},
    "datagrams_dropped": {"longer than the path takes: lower max_payload": 1},
    "errors": {"port unreachable": 3, "no route": 1},
    "last_error": {"text": "port unreachable", "seconds_ago": 64},
    "trouble": "no route",
    "templates_sent_seconds_ago": 3,
    "sequence": 1290,
    "source": None,
    "template_refresh": 60,
    "max_payload": 1400,
    "observation_domain": 17,
    "observation_domain_chosen": True,
    "elements": None,
}
SOUND: status.CollectorReport = {
    **OFFICE,
    "name": "sound",
    "address": "[2001:db8::10]:2055",
    "resolved_address": "2001:db8::10",
    "protocol": "netflow9",
    "flows_exported": 1,
    "datagrams_sent": 1,
    "waiting_datagrams": 0,
    "flows_not_sent": {},
    "datagrams_dropped": {},
    "errors": {},
    "last_error": None,
    "trouble": None,
}


def document() -> status.Status:
    lan, wan = packets(seen=12_345_678, not_ip=678), packets(seen=12_345, sampled_out=2_000, malformed=45)
    return {
        "version": "0.1.0",
        "pid": 4711,
        "since": "2026-11-21T09:30:00+00:00",
        "uptime_seconds": 7503.2,
        "interfaces": [
            status.point(
                ("lan", 1001),
                "ingress",
                "TC",
                lan,
                kernel={"packets": 12_345_700, "octets": 9_876_543_210},
                flows=(12_300_000, 44_900, 90),
            ),
            status.point(("wan", 1002), "egress", "XDP", wan, kernel={"packets": 0, "octets": 0}),
        ],
        "refused": [{"name": "ib0", "direction": "ingress", "reason": "its link layer is not Ethernet, or none"}],
        "totals": status.totals(
            packets(seen=12_358_023, sampled_out=2_000, not_ip=678, malformed=45), 12_310_000, 45_200, 90
        ),
        "flows": {
            "live": 1234,
            "free": 64_302,
            "slots": 65_536,
            "ended": {"idle_timeout": 1200, "active_timeout": 34, "end_of_flow": 0},
        },
        "timeouts": {"active": 60.0, "idle": 15.0, "idle_in_force": 2.5},
        "chosen": {
            "direction": "auto",
            "hook": "auto",
            "sampling_mode": "none",
            "sampling_rate": 1,
            "metrics_listen": "127.0.0.1:9995",
        },
        "collectors": [{**OFFICE}, {**SOUND}],
        "agent": {"cpu_seconds": 1.25, "cpu_percent": 0.02, "memory_octets": 66 << 20, "threads": 1},
    }


TEXT = """\
xflowd 0.1.0, process 4711, up 2 h 5 min, since 2026-11-21T09:30:00+00:00

lan ingress by TC, interface 1001
    the kernel's RX   12,345,700 packets, 9,876,543,210 octets
    seen              12,345,678 packets, 99.99 % of the kernel's
  = exported          12,300,000
  + in the table          44,900
  + overflow                  90
  + not IP                   678
  + on their way              10

wan egress by XDP, interface 1002
    the kernel's TX            0 packets, 0 octets
    seen                  12,345 packets
  = in flows              10,300
  + sampled out            2,000
  + malformed                 45

ib0 ingress: not metered: its link layer is not Ethernet, or none

all interfaces
    seen              12,358,023 packets
  = exported          12,310,000
  + in the table          45,200
  + overflow                  90
  + sampled out            2,000
  + not IP                   678
  + malformed                 45
  + on their way              10

flow table
    flows            1,234 live, 64,302 of 65,536 slots free
    ended by         1,200 idle timeout, 34 active timeout
    timeouts         active 60 s, idle 15 s, now 2.5 s

collector office, ipfix to collector.example:4739 (192.0.2.10)
    sent             1,234 flows in 56 datagrams, 78,900 octets
    waiting          3 datagrams, 4,200 octets
    not sent         queue full (12 flows)
    dropped          longer than the path takes: lower max_payload (1 datagram)
    errors           port unreachable (3 times), no route (1 time)
    last error       port unreachable, 1 min 4 s ago
    trouble now      no route

collector sound, netflow9 to [2001:db8::10]:2055
    sent             1 flow in 1 datagram, 78,900 octets

agent: 1.25 s of CPU (0.0 %), 66 MB of memory, 1 thread"""


def test_the_text_of_a_document() -> None:
    assert showing.render(document()) == TEXT


def test_what_a_program_reads_is_what_the_text_is_made_of() -> None:
    sent = json.loads(json.dumps(document()))
    assert sent == document()
    assert showing.render(sent) == TEXT


@pytest.mark.parametrize(
    ("counted", "placed", "difference"),
    [
        (packets(), (0, 0, 0), 0),
        (packets(seen=10), (10, 0, 0), 0),
        (packets(seen=10), (4, 6, 0), 0),
        (packets(seen=10, overflow=7), (5, 3, 2), 0),  # five of the seven are exported, and count as such
        (packets(seen=105, sampled_out=90, not_ip=1, too_short=2, malformed=3, jumbogram=5, lost=4), (0, 0, 0), 0),
        (packets(seen=100, sampled_out=90, not_ip=1, too_short=2, malformed=3, lost=4), (1, 2, 3), -6),
        (packets(seen=10), (4, 5, 0), 1),
        (packets(seen=10), (4, 7, 0), -1),
        (packets(seen=2**64 - 1, lost=2**63), (2**63 - 1, 0, 0), 0),
    ],
)
def test_every_packet_has_its_place(counted: status.Packets, placed: tuple[int, int, int], difference: int) -> None:
    totals = status.totals(counted, *placed)
    assert totals["difference"] == difference
    assert totals["seen"] == difference + sum(placed) + totals["sampled_out"] + sum(totals["not_metered"].values())
    there = status.point(("lan", 1), "ingress", "TC", counted, flows=placed)["placed"]
    assert there is not None
    assert there["difference"] == difference
    shown = [line for line in _rendered(interfaces=[], totals=totals).splitlines() if "on their way" in line]
    assert [int(line.split()[-1].replace(",", "")) for line in shown] == [difference] * bool(difference)


def test_what_is_in_flows_where_nobody_counts_them_by_interface() -> None:
    counted = packets(seen=1000, sampled_out=500, not_ip=1, too_short=2, malformed=3, lost=4, overflow=90)
    assert status.point(("lan", 1), "ingress", "TC", counted)["in_flows"] == 400


@pytest.mark.parametrize(
    ("seen", "kernel", "expected"),
    [
        (0, None, None),
        (7, None, None),
        (0, 0, None),
        (0, 10, 0.0),
        (10, 10, 100.0),
        (99_999_999, 100_000_000, 99.99),  # 100 is for all of them only
        (1, 3, 33.33),
        (44, 1, 4400.0),  # segments of one large packet
        (2**64 - 1, 2**64 - 1, 100.0),
    ],
)
def test_coverage(seen: int, kernel: int | None, expected: float | None) -> None:
    counted: status.KernelCounters | None = None if kernel is None else {"packets": kernel, "octets": 0}
    point = status.point(("lan", 1), "ingress", "TC", packets(seen=seen), kernel=counted)
    assert point["coverage_percent"] == expected


@pytest.mark.parametrize(
    ("direction", "then", "expected"),
    [
        ("ingress", (0, 0, 0, 0), {"packets": 10, "octets": 1000}),
        ("egress", (0, 0, 0, 0), {"packets": 20, "octets": 3000}),
        ("ingress", (4, 100, 20, 3000), {"packets": 6, "octets": 900}),
        ("egress", (4, 100, 20, 3000), {"packets": 0, "octets": 0}),
        ("ingress", (500, 50_000, 0, 0), {"packets": 10, "octets": 1000}),  # its driver has begun again
    ],
)
def test_the_kernels_counters_since_metering_began(
    direction: str, then: tuple[int, int, int, int], expected: dict[str, int]
) -> None:
    now = InterfaceCounters(rx_packets=10, rx_octets=1000, tx_packets=20, tx_octets=3000)
    assert status.kernel_counters(direction, now, InterfaceCounters(*then)) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.99, "0 s"),
        (59, "59 s"),
        (60, "1 min 0 s"),
        (3_599, "59 min 59 s"),
        (3_600, "1 h 0 min"),
        (90_061, "1 d 1 h"),
        (86_400 * 400, "400 d 0 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert showing.duration(seconds) == text


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("figure", [0, 7, 10**12, 2**64 - 1])
def test_lines_fit(width: int, figure: int) -> None:
    """Names as long as they get, many reasons; no figure is cut in two."""
    reasons = {f"reason {number} of an error that takes some words to say": figure or 1 for number in range(9)}
    large = document()
    large["interfaces"] = [status.point(("x" * 15, 2**31), "ingress", "TC (clsact)", packets(seen=figure))]
    large["flows"]["ended"] = {"lack_of_resources": figure, "idle_timeout": figure, "end_of_flow": figure}
    large["collectors"][0] = {**OFFICE, "errors": reasons, "flows_exported": figure}
    text = showing.render(large, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert f"{figure:,}" in text
    assert all(line.strip() or not line for line in lines)


@pytest.mark.parametrize("name", ["\x1b[31mlan", "lan\x9b1m", "la\nn", "la\u202en", "la\u2028n", "la\x00n"])
def test_a_name_is_no_command_to_the_terminal(name: str) -> None:
    hostile = document()
    hostile["interfaces"][0]["name"] = hostile["refused"][0]["name"] = hostile["collectors"][0]["name"] = name
    hostile["collectors"][0]["last_error"] = {"text": name, "seconds_ago": 1}
    text = showing.render(hostile)
    assert all(character.isprintable() for line in text.split("\n") for character in line)
    assert len(text.split("\n")) == len(TEXT.split("\n"))


def test_nothing_to_show_yet() -> None:
    text = _rendered(
        interfaces=[],
        refused=[],
        collectors=[],
        totals=status.totals(packets(), 0, 0, 0),
        flows={"live": 0, "free": 1, "slots": 1, "ended": {}},
    )
    assert "ended by         none yet" in text
    assert "seen                       0 packets" in text


def _rendered(**changed: Any) -> str:
    return showing.render({**document(), **changed})  # type: ignore[typeddict-item]


def test_what_the_agent_uses_of_the_host() -> None:
    use = agent_use(uptime_seconds=100.0)
    assert use["cpu_seconds"] > 0
    assert use["cpu_percent"] == pytest.approx(use["cpu_seconds"], abs=0.02)
    assert 10 << 20 < use["memory_octets"] < 1 << 30
    assert use["threads"] >= 1
    assert agent_use(uptime_seconds=0.0)["cpu_percent"] == 0.0


def test_the_kernels_counters_are_those_of_proc() -> None:
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    before = {line.split(":")[0].strip(): [int(word) for word in line.split(":")[1].split()] for line in lines}
    indexes = {name: int(Path(f"/sys/class/net/{name}/ifindex").read_text()) for name in before}
    now, chosen = counters(), counters([indexes["lo"], 2**30])
    assert now.keys() == set(indexes.values())
    assert chosen.keys() == {indexes["lo"]}
    for name, index in indexes.items():
        for place, counted in ((0, now[index].rx_octets), (1, now[index].rx_packets), (8, now[index].tx_octets)):
            assert counted >= before[name][place]
            assert counted - before[name][place] < 1 << 30


class Answering:
    """A server at work, as long as the block lasts."""

    def __init__(self, path: Path, answer: object) -> None:
        self._server, self._stop = Server(path, {"status": lambda _: answer}), threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        now_ns = 0
        while not self._stop.wait(0.01):
            now_ns += 10_000_000
            self._server.serve(now_ns)


@pytest.mark.parametrize("missing", ["chosen", "interfaces", "timeouts"])
def test_the_doctor_takes_nothing_from_an_agent_of_another_version(tmp_path: Path, missing: str) -> None:
    path, older = tmp_path / "control.sock", {**document()}
    with Answering(path, older):
        assert examination._asked(path) == (document(), "")
    del older[missing]  # type: ignore[misc]
    with Answering(path, older):
        assert examination._asked(path) == (None, f"{path}: an agent of another version answers: restart it")


def test_the_command_prints_the_text(tmp_path: Path) -> None:
    with Answering(tmp_path / "control.sock", document()):
        done = xflowd("status", "--socket", tmp_path / "control.sock")
    assert (done.returncode, done.stdout, done.stderr) == (0, TEXT + "\n", "")


def test_a_name_that_the_terminal_cannot_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    odd = document()
    odd["interfaces"][0]["name"] = "l\u00e4n"
    with Answering(tmp_path / "control.sock", odd):
        done = xflowd("status", "--socket", tmp_path / "control.sock")
    assert (done.returncode, done.stderr) == (0, "")
    assert "l?n ingress by TC" in done.stdout


def test_the_command_prints_the_document(tmp_path: Path) -> None:
    with Answering(tmp_path / "control.sock", document()):
        done = xflowd("status", "--json", "--socket", tmp_path / "control.sock")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == document()
    assert done.stdout.startswith('{\n  "version": "0.1.0",\n')


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_agent_is_one_and_a_line(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = xflowd("status", *options, "--socket", tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("xflowd: no agent answers at ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("answer", [None, [], {}, {"version": "9"}, {**document(), "interfaces": 7}])
def test_an_agent_of_another_version_is_no_traceback(tmp_path: Path, answer: object) -> None:
    with (
        Answering(tmp_path / "control.sock", answer),
        pytest.raises(ControlError, match="another version answers: restart it, or use --json"),
    ):
        showing.run(tmp_path / "control.sock", as_json=False)
