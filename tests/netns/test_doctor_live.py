"""Proves that `xflowd doctor` finds what is really amiss in a network, says how to mend it, and sees it mended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lab import traffic
from lab.agent import COMMAND, Agent, Collector, write_configuration
from lab.process import Process
from lab.topology import LINKS, Network

PORT = 2055
A, B, C = LINKS["a"], LINKS["b"], LINKS["collector"]
Row = dict[str, str]
#: /sys is of the network namespace that it was mounted in.
OWN_SYS = ("unshare", "--mount", "sh", "-ec", 'mount -t sysfs sysfs /sys; exec "$@"', "sh")
NOBODY = ("--reuid=65534", "--regid=65534", "--clear-groups")
BEFORE = 1 << 3  # BPF_F_BEFORE
STOP_AND_START = "systemctl stop xflowd && systemctl start xflowd"
#: Attaches watch_all to an interface's tcx ingress, as long as it runs.
ATTACH = """
import ctypes as c, sys, time
from xflowd.edge import libbpf
opened = libbpf.call("bpf_object__open_file", sys.argv[1].encode(), None)
libbpf.call("bpf_object__load", opened)
program = libbpf.call("bpf_program__fd", libbpf.call("bpf_object__find_program_by_name", opened, b"watch_all"))
options = libbpf.LinkCreateOptions(sz=c.sizeof(libbpf.LinkCreateOptions), flags=int(sys.argv[3]))
link = libbpf.call("bpf_link_create", program, int(sys.argv[2]), libbpf.BPF_TCX_INGRESS, c.byref(options))
print("attached", flush=True)
time.sleep(60)
"""
MANY_FLOWS = """
import socket, sys
for _ in range(500):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", (sys.argv[1], 9))
"""
#: A program of somebody else's: it drops everything.
DROP = """
__attribute__((section("xdp"), used)) int drop_all(void *context) { return 1; }
__attribute__((section("tc"), used)) int watch_all(void *context) { return -1; }
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
"""


def configuration(network: Network, *collectors: Collector, more: str = "", **meter: str | int) -> Path:
    chosen = collectors or [Collector("office", f"{C.host4}:{PORT}", "ipfix")]
    path = write_configuration(network.directory / "xflowd.conf", chosen, **meter)
    path.write_text(f"{path.read_text()}{more}\n")
    return path


def doctor(network: Network, path: Path, *before: str | Path) -> tuple[int, list[Row]]:
    """The exit code, and the findings."""
    command = network.router.argv(*before, *COMMAND, "doctor", "--json", "-c", path)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    assert not done.stderr, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    rows: list[Row] = document["findings"]
    assert document["summary"] == {
        grade: sum(row["grade"] == grade for row in rows) for grade in ("good", "warning", "bad")
    }
    assert done.returncode == (1 if document["summary"]["bad"] else 0)
    assert all(bool(row["mend"]) == (row["grade"] != "good") for row in rows), "what is not good has its mend"
    return done.returncode, rows


def graded(rows: Sequence[Row], text: str) -> list[str]:
    """The grades of the findings that say `text`, or whose mend does."""
    return [row["grade"] for row in rows if text in row["what"] or text in row["mend"]]


def bad(rows: Sequence[Row]) -> list[str]:
    return [f"{row['where']}: {row['what']}" for row in rows if row["grade"] == "bad"]


def listening(network: Network) -> Process:
    process = network.collector.start(*COMMAND, "collect", "--listen", f"{C.host4}:{PORT}")
    network.collector.wait_for_udp_port(PORT)
    return process


def restarted(network: Network, running: Agent, path: Path) -> Agent:
    """As `systemctl restart` does it: the next agent takes over what there is."""
    assert running.stop(signal.SIGQUIT) == 0
    after = Agent(network.router, "-c", path, metering=())
    after.wait_for_log("taken over: ")
    return after


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Somebody else's programs, compiled."""
    (tmp_path / "drop.c").write_text(DROP)
    command = ["clang", "-O2", "-target", "bpf", "-c", "drop.c", "-o", "drop.o"]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=60)
    return tmp_path / "drop.o"


def test_a_sound_agent_has_nothing_bad_and_its_report_fits_a_terminal(network: Network) -> None:
    collect = listening(network)
    path = configuration(network, active_timeout=60, idle_timeout=60)
    running = Agent(network.router, "-c", path)
    traffic.ping(network.a, B.host4, 150)
    code, rows = doctor(network, path)
    assert (code, bad(rows)) == (0, [])
    assert graded(rows, "100 % of 150 packets of the interface were seen") == ["good", "good"]
    assert graded(rows, "the agent is user 0 with CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF and no others") == ["good"]
    assert graded(rows, "is metered by TC: a veth copies every packet for XDP") == ["good", "good"]
    assert graded(rows, "no other program is at its hooks") == ["good", "good"]
    assert graded(rows, f"sent from {C.router4}; 1400 octets and headers fit the path's MTU of 1500") == ["good"]
    assert graded(rows, "nothing came back") == ["good"]
    text = network.router.run(*COMMAND, "doctor", "-c", path)
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[-1].endswith(" 0 bad")
    assert "doctor" not in collect.log
    assert running.stop() == 0


def test_without_an_agent_it_says_what_one_would_do_and_leaves_nothing(network: Network) -> None:
    path = configuration(network, direction="both")
    before = network.router.run("find", "/sys/fs/bpf", "/run/xflowd")
    _, rows = doctor(network, path)
    assert graded(rows, "no agent answers") == ["warning"]
    assert graded(rows, "the kernel takes the programs as they are configured") == ["good"]
    assert graded(rows, "ingress would be metered by TC: a veth") == ["good", "good"]
    assert graded(rows, "egress would be metered by TC: XDP sees what comes in alone") == ["good", "good"]
    assert graded(rows, "forwarded packets are in two flows") == ["warning"]
    assert network.router.run("find", "/sys/fs/bpf", "/run/xflowd") == before
    assert "prog_id" not in network.router.run("ip", "-details", "link", "show", "lan")


def test_without_rights_it_says_so_and_goes_on(network: Network) -> None:
    path = configuration(network)
    network.directory.chmod(0o755)
    _, rows = doctor(network, path, "setpriv", "--bounding-set=-all", "--inh-caps=-all")
    assert graded(rows, "this process lacks CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF") == ["warning"]
    assert graded(rows, "who is at the TC hook is told to root alone") == ["warning"] * 4


def test_an_agent_that_may_not_be_asked_is_told_from_none(network: Network) -> None:
    path = configuration(network)
    running = Agent(network.router, "-c", path)
    network.directory.chmod(0o755)
    _, rows = doctor(network, path, "setpriv", *NOBODY, "--bounding-set=-all")
    assert graded(rows, "permission denied; what follows is what one would do") == ["warning"]
    assert graded(rows, "be root, or in the group that the socket belongs to") == ["warning"]
    assert running.stop() == 0


def test_somebody_elses_xdp_program_hides_packets_until_it_is_taken_off(network: Network, programs: Path) -> None:
    listening(network)
    path = configuration(network, active_timeout=60, idle_timeout=60)
    running = Agent(network.router, "-c", path)
    network.router.ip(f"link set dev lan xdpgeneric obj {programs} sec xdp")
    with pytest.raises(RuntimeError, match=r"100% packet loss|exited with 1"):
        network.a.run("ping", "-f", "-c", "200", "-W", "1", "-w", "3", B.host4)
    code, rows = doctor(network, path)
    assert code == 1
    assert graded(rows, "XDP program drop_all (number ") == ["warning"]
    assert graded(rows, "ip link set dev lan xdp off") == ["warning"]
    (coverage,) = [row for row in rows if "% of" in row["what"] and row["grade"] == "bad"]
    assert (coverage["where"], STOP_AND_START in coverage["mend"]) == ("lan", True)

    network.router.ip("link set dev lan xdpgeneric off")
    running = restarted(network, running, path)
    traffic.ping(network.a, B.host4, 150)
    assert [row["where"] for row in doctor(network, path)[1] if row["what"] == coverage["what"]] == []
    assert [row["where"] for row in doctor(network, path)[1] if "% of" in row["what"] and row["grade"] == "bad"] == [
        "lan"
    ]

    assert running.stop() == 0
    running = Agent(network.router, "-c", path)
    traffic.ping(network.a, B.host4, 150)
    code, rows = doctor(network, path)
    assert (code, bad(rows), graded(rows, "drop_all")) == (0, [], [])
    assert running.stop() == 0


@pytest.mark.parametrize(("flags", "grade", "words"), [(0, "good", "runs after"), (BEFORE, "warning", "runs before")])
def test_a_tc_program_before_ours_is_told_from_one_behind(
    network: Network, programs: Path, flags: int, grade: str, words: str
) -> None:
    listening(network)
    path = configuration(network)
    running = Agent(network.router, "-c", path)
    other = network.router.start(sys.executable, "-c", ATTACH, programs, str(LINKS["a"].index), str(flags))
    other.wait_for_log("attached")
    (row,) = [row for row in doctor(network, path)[1] if "watch_all" in row["what"]]
    assert (row["where"], row["grade"], words in row["what"]) == ("lan", grade, True)
    assert f"(process {other.pid})" in row["what"]
    assert (STOP_AND_START in row["mend"]) == (grade == "warning")
    running = restarted(network, running, path)
    assert graded(doctor(network, path)[1], "TC program watch_all") == [grade], "its programs stay where they are"
    assert running.stop() == 0
    running = Agent(network.router, "-c", path)  # the mend: it attaches before all others
    assert graded(doctor(network, path)[1], "TC program watch_all") == ["good"]
    other.kill()
    assert graded(doctor(network, path)[1], "watch_all") == []
    assert running.stop() == 0


def test_a_filter_of_clsact_runs_behind_ours(network: Network, programs: Path) -> None:
    """Since Linux 6.6; before, priorities count, and tests/unit/test_doctor_checks.py has those."""
    path = configuration(network)
    network.router.run("tc", "qdisc", "add", "dev", "lan", "clsact")
    network.router.run(*f"tc filter add dev lan ingress pref 7 bpf da obj {programs} sec tc".split())
    assert graded(doctor(network, path)[1], "ingress: a tc filter of priority 7 runs after xflowd's") == ["good"]
    network.router.run("tc", "qdisc", "del", "dev", "lan", "clsact")
    assert graded(doctor(network, path)[1], "a tc filter") == []


def test_a_path_too_narrow_for_max_payload(network: Network) -> None:
    listening(network)
    path = configuration(network)
    network.router.ip("link set dev exp mtu 1280")
    code, rows = doctor(network, path)
    assert code == 1
    assert graded(rows, "max_payload 1400 and 28 octets of headers exceed the path's MTU of 1280") == ["bad"]
    assert graded(rows, "max_payload = 1252 in [collector office]") == ["bad"]
    path.write_text(path.read_text().replace("[collector office]", "[collector office]\nmax_payload = 1252"))
    assert bad(doctor(network, path)[1]) == []


def test_no_route_until_there_is_one(network: Network) -> None:
    path = configuration(network, Collector("far", f"198.18.0.1:{PORT}", "netflow9"))
    rows = doctor(network, path)[1]
    assert bad(rows) == [f"far: no way to 198.18.0.1:{PORT}: Network is unreachable"]
    assert graded(rows, "ip route add 198.18.0.1 via GATEWAY") == ["bad"]
    network.router.ip(f"route add 198.18.0.0/15 via {C.host4}")
    network.collector.ip("address add 198.18.0.1/32 dev lo")
    network.collector.start(*COMMAND, "collect", "--listen", f"198.18.0.1:{PORT}")
    network.collector.wait_for_udp_port(PORT)
    assert bad(doctor(network, path)[1]) == []


def test_a_source_that_is_not_here(network: Network) -> None:
    listening(network)
    path = configuration(network, Collector("office", f"{C.host4}:{PORT}", "ipfix", source="192.0.2.77:0"))
    assert bad(doctor(network, path)[1]) == ["office: source 192.0.2.77 is no address of this host"]
    path = configuration(network, Collector("office", f"{C.host4}:{PORT}", "ipfix", source=f"{C.router4}:0"))
    assert bad(doctor(network, path)[1]) == []


@pytest.mark.parametrize("address", [C.host4, C.host6])
def test_a_port_that_nobody_listens_at(network: Network, address: str) -> None:
    place = f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"
    path = configuration(network, Collector("office", place, "ipfix"))
    code, rows = doctor(network, path)
    assert (code, bad(rows)) == (1, [f"office: port unreachable: nobody listens at {place}"])
    network.collector.start(*COMMAND, "collect", "--listen", place)
    network.collector.wait_for_udp_port(PORT)
    assert bad(doctor(network, path)[1]) == []


def test_a_name_that_does_not_resolve_until_it_does(network: Network) -> None:
    listening(network)
    hosts, servers = network.directory / "hosts", network.directory / "resolv.conf"
    servers.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    hosts.write_text("127.0.0.1 localhost\n")
    for file in (hosts, servers):
        network.router.run("mount", "--bind", file, f"/etc/{file.name}")
    path = configuration(network, Collector("office", f"flows.example:{PORT}", "ipfix"))
    (found,) = bad(doctor(network, path)[1])
    assert found.startswith("office: flows.example does not resolve: ")
    hosts.write_text(f"127.0.0.1 localhost\n{C.host4} flows.example\n")
    rows = doctor(network, path)[1]
    assert (bad(rows), graded(rows, f"flows.example is {C.host4}")) == ([], ["good"])


def test_no_bpf_file_system_until_it_is_mounted(network: Network) -> None:
    listening(network)
    path = configuration(network)
    mounts = network.router.run("grep", "-c", " bpf ", "/proc/mounts")
    for _ in range(int(mounts)):
        network.router.run("umount", "/sys/fs/bpf")
    rows, hosts = doctor(network, path)[1], "/proc/1/root/sys/fs/bpf"
    if " /sys/fs/bpf bpf " not in Path("/proc/1/mounts").read_text():
        assert graded(rows, "no BPF file system") == ["warning"]
    elif os.path.exists(hosts):  # which the agent then goes to
        assert graded(rows, f"{hosts}: table and programs outlive") == ["good"]
    else:  # in a container
        assert graded(rows, "nsenter --net=") == ["warning"]
    network.router.run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    assert graded(doctor(network, path)[1], "no BPF file system") == []


def test_interfaces_that_are_not_there_or_down(network: Network) -> None:
    listening(network)
    path = configuration(network, interfaces="lan, nowhere")
    rows = doctor(network, path)[1]
    assert graded(rows, "no interface is called so now") == ["warning"]
    assert graded(doctor(network, path, *OWN_SYS)[1], "ip link set lan up") == []
    network.router.ip("link set lan down")
    assert graded(doctor(network, path, *OWN_SYS)[1], "ip link set lan up") == ["warning"]
    assert graded(doctor(network, path)[1], "ip link set lan up") == [], "that /sys is another namespace's"
    path = configuration(network, interfaces="nowhere")
    assert bad(doctor(network, path)[1]) == ["interfaces: nothing is metered"]


def test_a_full_table_and_a_collector_in_trouble(network: Network) -> None:
    path = configuration(network, max_flows=4, active_timeout=60, idle_timeout=60)
    running = Agent(network.router, "-c", path)
    network.a.run(sys.executable, "-c", MANY_FLOWS, B.host4)
    rows = doctor(network, path)[1]
    assert {"warning", "bad"} & set(graded(rows, "raise max_flows in [meter]"))
    assert [row["where"] for row in rows if "sending does not work now: port unreachable" in row["what"]] == ["office"]
    assert "bad" in graded(rows, "sending does not work now")
    assert running.stop() == 0


def test_faults_of_the_configuration_are_findings(network: Network) -> None:
    path = configuration(network, more="[meters]\n")
    code, rows = doctor(network, path)
    assert code == 1
    assert [row["check"] for row in rows if "unknown section" in row["what"]] == ["configuration"]
    _, rows = doctor(network, network.directory / "none.conf")
    assert graded(rows, "there is no ") == ["bad"]


def test_a_running_agent_is_examined_without_its_file(network: Network) -> None:
    listening(network)
    running = Agent(network.router, "-i", "lan", "-i", "wan", "-n", f"{C.host4}:{PORT}")
    code, rows = doctor(network, network.directory / "none.conf")
    assert (code, bad(rows)) == (0, [])
    assert graded(rows, "this is what the agent says it does") == ["good"]
    other = configuration(network, Collector("other", f"{C.host4}:{PORT}", "netflow9"))
    assert graded(doctor(network, other)[1], "the agent's collectors are not those of") == ["warning"]
    assert running.stop() == 0


def test_what_an_agent_does_is_told_as_it_does_it(network: Network) -> None:
    """Without the file, and where an option of the command line is over it."""
    listening(network)
    more = "max_payload = 1232\nobservation_domain = 17\n[metrics]\nlisten = 127.0.0.1:9995\n"
    office = Collector("office", f"{C.host4}:{PORT}", "netflow9", template_refresh=600)
    path = configuration(network, office, more=more)
    running = Agent(network.router, "-c", path, "-s", "100")
    code, rows = doctor(network, network.directory / "none.conf")
    assert (code, bad(rows)) == (0, [])
    for words, grade in {
        "one packet in 100 is counted": "good",
        "1232 octets and headers fit the path's MTU": "good",
        "shows nothing for 600 s (template_refresh)": "warning",
        "answered at port 9995 of 127.0.0.1": "good",
        "in the agent, and": None,
    }.items():
        assert graded(rows, words) == ([grade] if grade else []), words
    rows = doctor(network, path)[1]
    assert graded(rows, "one packet in 100 is counted") == ["good"]
    assert graded(rows, f"sampling rate is 100 in the agent, and 1 by {path}") == ["warning"]
    assert graded(rows, "in the agent, and") == ["warning", "warning"], "the rate, and its mode"
    chosen = json.loads(network.router.run(*COMMAND, "status", "--json"))["collectors"][0]
    assert (chosen["observation_domain"], chosen["observation_domain_chosen"]) == (17, True)
    path.write_text(path.read_text().replace("max_payload = 1232", "max_payload = 1300"))
    assert graded(doctor(network, path)[1], "max_payload is 1232 in the agent, and 1300 by") == ["warning"]
    assert running.stop() == 0


def test_datagrams_leave_by_the_route_whoever_owns_their_source(network: Network) -> None:
    listening(network)
    office = Collector("office", f"{C.host4}:{PORT}", "ipfix", source=f"{A.router4}:0")
    words = "its datagrams leave by"
    path = configuration(network, office, interfaces="lan, exp", direction="both")
    assert graded(doctor(network, path)[1], f"{words} exp, which is metered") == ["good"]
    network.router.ip("rule add from all ipproto udp dport 2055 lookup 7", f"route add {C.host4} dev lan table 7")
    assert graded(doctor(network, path)[1], f"{words} lan, which is metered") == ["good"], "as rules have it"
    network.router.ip("rule del from all ipproto udp dport 2055 lookup 7")
    path = configuration(network, office, interfaces="lan, exp", direction="ingress")
    assert graded(doctor(network, path)[1], words) == [], "what leaves is not counted"


def test_an_interface_whose_name_is_no_text(network: Network) -> None:
    listening(network)
    made = "ip link add name $name type veth peer name odd; ip address add 192.0.2.99/32 dev $name"
    network.router.run("sh", "-ec", f"name=$(printf 'x\\377'); {made}")
    code, rows = doctor(network, configuration(network, interfaces="*", direction="both"))
    assert (code, bad(rows)) == (0, [])
    assert graded(rows, "its datagrams leave by exp, which is metered") == ["good"]
    assert {row["where"] for row in rows} >= {"x\ufffd"}


def test_metrics_that_nobody_answers(network: Network) -> None:
    listening(network)
    path = configuration(network, more="[metrics]\nlisten = 127.0.0.1:9995\n")
    running = Agent(network.router, "-c", configuration(network))
    path = configuration(network, more="[metrics]\nlisten = 127.0.0.1:9995\n")
    assert bad(doctor(network, path)[1]) == ["metrics: nobody answers at port 9995 of 127.0.0.1: Connection refused"]
    running.hang_up()
    running.wait_for_log("configuration read again")
    assert bad(doctor(network, path)[1]) == []
    path.write_text(path.read_text().replace("127.0.0.1:9995", "0.0.0.0:9995"))
    assert graded(doctor(network, path)[1], "there is no password") == ["warning"]
    assert running.stop() == 0
