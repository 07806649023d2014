"""Proves that an agent goes on from what any other one has left: another version, one cut off in a reload, rubbish."""

from __future__ import annotations

import json
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import lab.agent
from lab import traffic
from lab.agent import COMMAND, Agent, Collector, write_configuration
from lab.lives import Received
from lab.namespaces import Namespace
from lab.process import wait_until
from lab.remains import held, remains, wait_until_clean
from lab.topology import LAN, LINKS, Network, router_network
from lab.wireshark import Capture

ROOT = Path(__file__).resolve().parents[2]
B, COLLECTOR = LINKS["b"], LINKS["collector"]
PORTS = {"netflow5": 2055, "netflow9": 9995, "ipfix": 4739}
PCAP_HEADER, PACKET_HEADER, BEFORE_PAYLOAD = 24, 16, 14 + 20 + 8

#: Open ports that nobody reads from: the capture does.
LISTEN = """
import signal, socket, sys
kept = []
for port in sys.argv[1:]:
    kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    kept[-1].bind(("", int(port)))
signal.pause()
"""
#: `home` is the directory of pins; memory(name) is what a pinned map holds.
INSIDE = """
import glob, json, os, shutil, sys
from xflowd.edge import instance, journal, libbpf, shared
home = "/sys/fs/bpf/xflowd/" + instance.name()
def get(name):
    return libbpf.call("bpf_obj_get", f"{home}/{name}".encode())
def memory(name):
    return shared.mapped(get(name))[0]
def pin(name, octets=8):
    libbpf.call("bpf_obj_pin", shared.create("stray", octets), f"{home}/{name}".encode())
def write_journal(state):
    text, kept = json.dumps(state).encode(), memory("journal")
    for at in (64, 64 + (journal.OCTETS - 64) // 2):
        kept[at:at + 4 + len(text)] = len(text).to_bytes(4, sys.byteorder) + text
def facts(description):
    return int.from_bytes(description[:4], "little")
def description():
    return memory(f"{newest}/description")
newest = max((name for name in os.listdir(home) if name.startswith("table-")), default="")
table = f"{home}/{newest}"
outboxes = sorted(name for name in os.listdir(home) if name.startswith("outbox-"))
"""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with router_network(tmp_path, ipv6=False) as built:
        yield built


class Stand:
    """A network under load, its collectors, and agents one after the other."""

    def __init__(self, network: Network, **told: Any) -> None:
        self.network, self.kills = network, 0
        self.before = remains(network.router)
        network.collector.start(sys.executable, "-c", LISTEN, *map(str, PORTS.values()))
        network.collector.wait_for_udp_port(PORTS["ipfix"])
        self.capture = Capture(network.collector, "eth0", "udp")
        self.agent = self.start(("lan",), **told)
        self.during = held(network.router)
        self.resume_load()

    def configure(self, elements: str = "", **told: Any) -> Path:
        """`elements`: what the records of v9 and IPFIX tell."""
        collectors = [
            Collector(
                name,
                f"{COLLECTOR.host4}:{port}",
                name,
                template_refresh=2,
                template="chosen" if elements and name != "netflow5" else None,
            )
            for name, port in PORTS.items()
        ]
        told = {"interfaces": "lan", "templates": {"chosen": elements} if elements else {}} | told
        return write_configuration(self.network.directory / "xflowd.conf", collectors, **told)

    def start(self, metering: Sequence[str] = (), **told: Any) -> Agent:
        return Agent(self.network.router, "-c", self.configure(**told), metering=metering)

    def kill(self) -> None:
        self.agent.crash()
        self.kills += 1

    def restart(self, **told: Any) -> None:
        self.agent = self.start(**told)
        wait_until(lambda: status(self.network.router) is not None or not self.agent.running, "an answer")
        assert self.agent.running, self.agent.log

    def pause_load(self) -> None:
        self._load.stop()

    def resume_load(self) -> None:
        self._load = self.network.a.start(sys.executable, "-c", traffic.SEND_STEADILY, B.host4, "40")

    def sent(self) -> int:
        """End the load. Packets that came to the meter."""
        self.pause_load()
        return self.network.settled()[LAN].packets

    def assert_exact(self) -> None:
        """End all. What was sent is what every collector got, and what the agents say."""
        sent, network = self.sent(), self.network
        wait_until(lambda: totals(network)["difference"] == 0, "figures that agree")
        assert totals(network)["seen"] == sent
        for name, got in self.end().items():
            assert got.packets.total() == sent, name

    def end(self) -> dict[str, Received]:
        """Stop the agent. What each collector got; nothing is left on the host."""
        assert self.agent.stop() == 0, self.agent.log
        assert "Traceback" not in self.agent.log
        got = self.received()
        wait_until_clean(self.network.router, self.before, self.during)
        return got

    def received(self, *, may_begin_anew: bool = False) -> dict[str, Received]:
        """What each collector got."""
        self.capture.stop()
        got = {name: Received(name, may_begin_anew) for name in PORTS}
        for name, port in PORTS.items():
            got[name].take([payload for to, payload in datagrams(self.capture.path) if to == port], self.kills)
        return got


def status(space: Namespace) -> str | None:
    try:
        return space.run(*COMMAND, "status", "--json", timeout=10)
    except RuntimeError:
        return None


def datagrams(path: Path) -> Iterator[tuple[int, bytes]]:
    """Port and payload of each UDP datagram in a capture of Ethernet and IPv4."""
    content, at = path.read_bytes(), PCAP_HEADER
    while at < len(content):
        length = struct.unpack_from("<I", content, at + 8)[0]
        frame = content[at + PACKET_HEADER : at + PACKET_HEADER + length]
        yield struct.unpack_from(">H", frame, BEFORE_PAYLOAD - 6)[0], frame[BEFORE_PAYLOAD:]
        at += PACKET_HEADER + length


def inside(space: Namespace, script: str) -> str:
    return space.run(sys.executable, "-c", INSIDE + script)


# What is left is not as it should be

#: What is done to it, and what the next agent says to that.
RUBBISH = {
    "journal": {
        "m = memory('journal'); m[64:] = os.urandom(len(m) - 64)": "journal",
        "write_journal({'meter': {'table': 1}})": "journal",
        "write_journal({'collectors': [], 'points': 1, 'clock': 'x'})": "journal",
        "write_journal([])": "journal",
        "os.unlink(f'{home}/journal'); pin('journal', 4096)": "journal",
        "os.unlink(f'{home}/journal')": "",
    },
    "description": {
        "os.unlink(f'{table}/description')": "flows are lost",
        "m = description(); m[:] = os.urandom(len(m))": "flows are lost",
        "m = description(); n = facts(m); m[8 + n + 24:] = os.urandom(len(m) - 32 - n)": "flows are lost",
        'm = description(); n = facts(m); m[8:8 + n] = b\'{"digest": 1, "options": [1]}\'.ljust(n)': "flows are lost",
    },
    "table": {
        "os.unlink(f'{table}/map_slots')": "flows are lost",
        "os.unlink(f'{table}/program_tc_ingress')": "flows are lost",
        "os.unlink(f'{table}/map_slots'); pin(f'{newest}/map_slots')": "flows are lost",
        "[os.unlink(path) for path in sorted(glob.glob(f'{table}/*'))[:6]]": "flows are lost",
        "[os.unlink(path) for path in glob.glob(f'{table}/*')]": "flows are lost",
        "os.mkdir(f'{home}/unfinished'); pin('unfinished/map_slots')": "taken over",
    },
    "others": {
        "[os.unlink(path) for path in glob.glob(f'{home}/outbox-*')]": "",
        "m = memory(outboxes[0]); m[:] = os.urandom(len(m))": "collector",
        "os.unlink(f'{home}/{outboxes[0]}'); pin(outboxes[0], 4096)": "",
        "pin('links/1001-0-tc_ingress_network')": "",
        "pin('links/rubbish')": "",
        "pin('stray'); os.mkdir(f'{home}/table-old')": "",
    },
}


@pytest.mark.parametrize("what", RUBBISH)
def test_rubbish_is_told_and_taken_away(network: Network, what: str) -> None:
    """Each time it starts again and meters; at the end nothing is left."""
    stand, faults = Stand(network), list[str]()
    for script, told in RUBBISH[what].items():
        time.sleep(0.3)
        stand.kill()
        inside(network.router, script)
        stand.agent = stand.start()
        wait_until(lambda: status(network.router) is not None or not stand.agent.running, "an answer")
        if not stand.agent.running:
            faults.append(f"{script}: {stand.agent.log.splitlines()[-1]}")
            inside(network.router, "shutil.rmtree(home)")
            stand.restart()
            continue
        if told not in stand.agent.log:
            faults.append(f"{script}: not a word of it: {stand.agent.log}")
        before = totals(network)["seen"]
        wait_until(lambda now=before: totals(network)["seen"] > now, "packets that are metered")  # type: ignore[misc]
    assert not faults, "\n".join(faults)
    stand.sent()
    assert stand.agent.stop() == 0
    wait_until_clean(network.router, stand.before, stand.during)


def test_an_interface_that_went_while_nobody_looked(network: Network) -> None:
    """Its flows are sent all the same, and its link's pin goes."""
    stand = Stand(network, interfaces="lan, wan")
    time.sleep(1)
    stand.kill()
    sent = stand.sent()
    network.router.ip("link delete lan")
    stand.restart(interfaces="wan, lan*")
    assert stand.agent.stop() == 0
    assert remains(network.router).pinned == stand.before.pinned
    for name, got in stand.received().items():
        assert sum(got.packets[port] for port in traffic.STEADY_PORTS) == sent, name


def test_killed_while_it_stops(network: Network) -> None:
    """Between SIGTERM and its end: what it has not sent any more the next one sends."""
    stand = Stand(network)
    for delay in (0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15):
        stand.pause_load()
        stand.agent._process.send(signal.SIGTERM)
        time.sleep(delay)
        stand.kill()
        stand.restart()
        stand.resume_load()
        time.sleep(0.3)
    sent = stand.sent()
    assert stand.agent.stop() == 0
    for name, got in stand.received(may_begin_anew=True).items():
        assert got.packets.total() == sent, name
    wait_until_clean(network.router, stand.before, stand.during)


# Another version


def test_a_version_with_another_table_drains_the_old_one(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the older version goes on from the newer one's, in the same way: with a shorter key, and other details."""
    told = {"elements": DETAILED}
    stand, old = Stand(network, **told), lab.agent.COMMAND
    size, details = octets(network, 1, "slots"), octets(network, 1, "details")
    time.sleep(2.5)
    for number, command in ((2, another_version(tmp_path)), (3, old)):
        exported = totals(network)["exported"]
        stand.kill()
        time.sleep(0.5)
        monkeypatch.setattr(lab.agent, "COMMAND", command)
        stand.restart(**told)
        grown = [octets(network, number, name) - known for name, known in (("slots", size), ("details", details))]
        assert all(more >= NEW_MEMBER for more in grown) if number == 2 else grown == [0, 0]
        assert totals(network)["exported"] >= exported
        time.sleep(2)
    stand.assert_exact()


NEW_MEMBER, NEW_KEY_MEMBER = 64, 8  # octets


def another_version(directory: Path) -> tuple[str, ...]:
    """A copy of the package whose object has other structures: members in the opposite order, and more of them."""
    shutil.copytree(ROOT / "ebpf", directory / "ebpf")
    shutil.copytree(ROOT / "agent" / "xflowd", directory / "new" / "xflowd")
    header = directory / "ebpf" / "flow.h"
    text = header.read_text()
    for name in ("flow_slot", "flow_detail", "meter_control", "overflow_record"):
        text = turned_round(text, name)
    header.write_text(longer_key(text))
    target = f"OBJECT={directory}/new/xflowd/meter.bpf.o"
    make = ["make", "-C", str(directory / "ebpf"), f"BUILD={directory}/build", target, "-B"]
    subprocess.run(make, check=True, capture_output=True, timeout=120)
    main = "import sys; from xflowd.cli import main; sys.exit(main())"
    return ("env", f"PYTHONPATH={directory}/new", sys.executable, "-c", main)


def turned_round(text: str, name: str) -> str:
    begin = text.index(f"struct {name} {{") + len(f"struct {name} {{")
    end = text.index("\n}", begin)
    members = re.sub(r"/\*.*?\*/", "", text[begin:end], flags=re.DOTALL).split(";")
    members = [member.strip() for member in members if member.strip()]
    members.insert(len(members) // 2, f"__u8 new_member[{NEW_MEMBER}]")
    members = [re.sub(r"^struct flow_key key$", "struct flow_key key __attribute__((aligned(8)))", m) for m in members]
    return text[:begin] + "\n\t" + ";\n\t".join(reversed(members)) + ";" + text[end:]


def longer_key(text: str) -> str:
    """The parts of the key have to stay where they are: one more comes behind them, as MAC addresses once did."""
    last, size = "__u32 flow_label_ipv6;\n};", "#define FLOW_KEY_EXTENDED_SIZE 64"
    assert (text.count(last), text.count(size)) == (1, 1)
    member = f"__u32 flow_label_ipv6;\n\t__u8 new_key_member[{NEW_KEY_MEMBER}];\n}};"
    return text.replace(last, member).replace(size, f"#define FLOW_KEY_EXTENDED_SIZE {64 + NEW_KEY_MEMBER}")


def octets(network: Network, table: int, name: str) -> int:
    """Of one element of a table's map."""
    script = f"print(libbpf.information(libbpf.MapInfo, get('table-{table}/map_{name}')).value_size)"
    return int(inside(network.router, script))


def totals(network: Network) -> dict[str, int]:
    told = status(network.router)
    assert told is not None
    found: dict[str, int] = json.loads(told)["totals"]
    return found


# Another configuration

DETAILED = "default, tcpOptions, tcpSynTotalCount, fragmentFlags, mplsTopLabelStackSection"


def test_key_details_and_tunnels_change_at_sighup_without_a_lost_packet(network: Network) -> None:
    """Each change exchanges programs and table under traffic; a key without ports counts packets all the same."""
    stand = Stand(network)
    for told in (
        {"key": "proto"},
        {"key": "ether"},
        {"key": "ether", "elements": DETAILED},
        {"key": "vlan", "elements": DETAILED, "tunnels": "inner"},
        {"key": "sourceTransportPort, protocolIdentifier", "tunnels": "inner"},
        {"tunnels": "outer"},
    ):
        time.sleep(0.7)
        before = tables(network)
        stand.configure(**told)
        stand.agent.hang_up()
        wait_until(lambda before=before: tables(network) not in (before, []), "another table")  # type: ignore[misc]
        wait_until(lambda: len(tables(network)) == 1, "the end of the older one")
    time.sleep(0.7)
    stand.assert_exact()


def test_flows_that_were_not_sampled_are_told_as_such(network: Network) -> None:
    """They were counted before the restart that begins to sample."""
    stand = Stand(network)
    time.sleep(0.5)
    sent = stand.sent()
    stand.kill()
    stand.restart(sampling=("systematic", 10))
    assert stand.agent.stop() == 0
    stand.received()
    told = [payload for port, payload in datagrams(stand.capture.path) if port == PORTS["netflow5"]]
    assert sum(packets_meant(payload) for payload in dict.fromkeys(told)) == sent


def packets_meant(message: bytes) -> int:
    """What a collector makes of a v5 message: packets, each for as many as the header's 14 bits say (0: for itself)."""
    interval = struct.unpack_from(">H", message, 22)[0] & 0x3FFF
    return max(1, interval) * sum(struct.unpack_from(">I", message, at + 16)[0] for at in range(24, len(message), 48))


# Cut off in a reload


def test_killed_in_a_reload(network: Network) -> None:
    """Another size of the table at SIGHUP: both tables may be there."""
    stand = Stand(network)
    for flows, delay in enumerate((0, 0.02, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5), 2000):
        time.sleep(0.5)
        stand.configure(max_flows=flows)
        stand.agent.hang_up()
        time.sleep(delay)
        stand.kill()
        stand.restart(max_flows=flows)
        assert len(tables(network)) == 1, "the old one is gone"
    stand.assert_exact()


def tables(network: Network) -> list[str]:
    return inside(network.router, "print(*(name for name in os.listdir(home) if name.startswith('table')))").split()
