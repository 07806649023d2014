"""Proves that the Debian package installs on a fresh system, runs, reloads, upgrades without losing a packet, goes.

The fresh system is one of debootstrap's, booted by systemd in a container. Its network is that of the router in
`lab.topology`, and reaches nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import traffic
from lab.machine import Machine, machine
from lab.nfdump import Nfcapd
from lab.process import wait_until
from lab.remains import held, remains, wait_until_clean
from lab.topology import LAN, LINKS, Network, router_network

ROOT = Path(__file__).resolve().parents[2]
FRESH = ROOT / "build" / "fresh-root"
PORT = 9995
PORTS = range(2000, 2050)
UNIT = "xflowd.service"
NEEDED = ("debootstrap", "systemd-nspawn", "dpkg-buildpackage")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can boot a system"),
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"one of {', '.join(NEEDED)} is missing"),
]

CONFIGURATION = f"""\
[meter]
interfaces = lan
direction = ingress
idle_timeout = {{idle}}
max_flows = {{flows}}
[collector test]
address = {LINKS["collector"].host4}:{PORT}
protocol = netflow9
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package, and with two that come after it: one with other programs, one with the same."""
    directory = tmp_path_factory.mktemp("packages")
    made = subprocess.run([ROOT / "scripts/package"], capture_output=True, text=True, check=False, timeout=300)
    assert made.returncode == 0, made.stderr
    path = Path(made.stdout.strip())
    shutil.copy(path, directory / "first.deb")
    later(path, directory / "second.deb", "99.1", b"")
    later(path, directory / "third.deb", "99.2", b"\0")
    directory.chmod(0o755)
    return directory


@pytest.fixture(scope="module")
def fresh() -> Path:
    """A system on which nothing has been installed."""
    made = subprocess.run(
        [ROOT / "tests/packaging/fresh-root", FRESH], capture_output=True, text=True, check=False, timeout=400
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return FRESH / "root"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with router_network(tmp_path, ipv6=False) as standing:
        yield standing


def later(package: Path, to: Path, version: str, more: bytes) -> None:
    """The same package as another version; with octets behind its eBPF object the agent takes that for another one."""
    tree = to.with_suffix("")
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True, timeout=60)
    control, (module,) = tree / "DEBIAN/control", tree.glob("usr/lib/python3*/dist-packages/xflowd")
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", control.read_text()))
    (module / "__init__.py").write_text(f'"""Another version."""\n\n__version__ = "{version}"\n')
    with (module / "meter.bpf.o").open("ab") as programs:
        programs.write(more)
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, to], check=True, timeout=60, capture_output=True)
    shutil.rmtree(tree)


def install(there: Machine, package: str) -> str:
    return there.run("apt-get", "install", "--yes", "--no-install-recommends", f"/packages/{package}")


def answer(there: Machine) -> dict[str, object]:
    return dict(json.loads(there.run("xflowd", "status", "--json")))


def new_agent(there: Machine, before: str) -> str:
    """The process of an agent that was started after `before`, when it is ready."""

    def pid() -> str | None:
        now = there.property(UNIT, "MainPID")
        is_ready = there.property(UNIT, "ActiveState") == "active"
        return now if is_ready and now not in ("0", before) else None

    return wait_until(pid, f"another agent than {before}", 30)


def left_by_us(there: Machine) -> str:
    """Files, pins and sockets with our name; the account stays, by Debian's custom."""
    return there.run("find", "/", "-name", "*xflowd*", "-not", "-path", "/proc/*", "-not", "-path", "/sys/kernel/*")


def test_lintian_finds_no_fault(built: Path) -> None:
    if not shutil.which("lintian"):
        pytest.skip("no lintian here")
    options = ["--fail-on", "error,warning", "--allow-root", "--no-cfg"]
    argv = ["lintian", *options, built / "first.deb"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_from_install_to_purge(built: Path, fresh: Path, network: Network) -> None:
    """In the order in which an administrator meets it all."""
    before = remains(network.router)
    with machine(fresh, network.router, built) as there:
        assert_quiet_until_configured(there)
        collector = Nfcapd(network.collector, PORT)
        assert_waits_for_a_route(there, network)
        there.write("/etc/xflowd.conf", CONFIGURATION.format(idle=15, flows=4096))
        there.run("systemctl", "start", "xflowd")  # which comes back when the agent says that it is ready
        during = held(network.router)
        assert there.property(UNIT, "ActiveState") == "active"
        assert there.property(UNIT, "StatusText") == "metering lan for 1 collector"
        assert_hardened(there)
        load = network.a.start(sys.executable, "-c", traffic.SEND_STEADILY, LINKS["b"].host4, "20")
        assert_reloads(there)
        assert_upgrades(there)
        assert_stuck_agent_is_replaced(there)
        load.stop()
        sent = network.settled()[LAN].packets
        there.run("apt-get", "remove", "--yes", "xflowd")
        collector.stop()
        assert_exact(collector, sent)
        wait_until_clean(network.router, before, during)
        assert "/etc/xflowd.conf" in left_by_us(there), "what was configured is for purge to take"
        there.run("apt-get", "purge", "--yes", "xflowd")
        assert left_by_us(there) == ""
        assert "xflowd" in there.run("cat", "/etc/passwd")
        assert there.try_to("systemctl", "list-units", "--all", "--failed", "--quiet").stdout == ""


def assert_quiet_until_configured(there: Machine) -> None:
    """Nothing to compile with, nothing metered, nothing failed, and one line that says what to do."""
    assert "Setting up xflowd" in install(there, "first.deb")
    assert there.try_to("sh", "-c", "command -v clang gcc cc make").stdout == ""
    assert there.property(UNIT, "UnitFileState") == "enabled"
    assert (there.property(UNIT, "ActiveState"), there.property(UNIT, "Result")) == ("inactive", "exec-condition")
    assert "4 no collector in /etc/xflowd.conf" in there.journal(UNIT)
    assert "no faults found" in there.run("xflowd", "check")
    assert there.run("ls", "-A", "/sys/fs/bpf/xflowd") == ""


def assert_waits_for_a_route(there: Machine, network: Network) -> None:
    """At boot, a default route comes when it can. It is said once, and nothing is started over and over."""
    there.write("/etc/xflowd.conf", "[collector test]\naddress = 192.0.2.10:9\n")
    there.run("systemctl", "start", "--no-block", "xflowd")
    wait_until(lambda: there.property(UNIT, "StatusText").startswith("waiting: no interface"), "an agent that waits")
    there.run("sleep", "3")
    assert there.property(UNIT, "ActiveState") == "activating"
    network.router.ip(f"route add default via {LINKS['b'].host4} dev wan")
    wait_until(lambda: there.property(UNIT, "ActiveState") == "active", "an agent that meters")
    assert there.property(UNIT, "StatusText") == "metering wan for 1 collector"
    assert there.property(UNIT, "NRestarts") == "0"
    assert there.journal(UNIT).count("no default route") == 1
    there.run("systemctl", "stop", "xflowd")
    network.router.ip("route del default")


def assert_hardened(there: Machine) -> None:
    there.run("systemd-analyze", "security", "--threshold=20", "--no-pager", UNIT)
    agent = there.property(UNIT, "MainPID")
    assert there.run("ps", "-o", "user=", "-p", agent).strip() == "xflowd"


def assert_reloads(there: Machine) -> None:
    """Good files, faulty files; the process stays."""
    agent = there.property(UNIT, "MainPID")
    wait_until(lambda: int(str(dict(answer(there)["totals"])["seen"])) > 100, "packets that are seen")  # type: ignore[call-overload]
    there.write("/etc/xflowd.conf", "[meter]\ninterfacs = wan\nidle_timeout = x\n")
    there.run("systemctl", "reload", "xflowd")
    wait_until(lambda: "not read again" in there.property(UNIT, "StatusText"), "a refusal")
    assert "interfacs" in there.property(UNIT, "StatusText")
    assert re.search(r"^3 configuration not read again.* idle_timeout", there.journal(UNIT), re.MULTILINE)
    there.write("/etc/xflowd.conf", CONFIGURATION.format(idle=2, flows=2048))  # another table
    there.run("systemctl", "reload", "xflowd")
    wait_until(lambda: there.property(UNIT, "StatusText") == "metering lan for 1 collector", "another configuration")
    assert "6 configuration read again" in there.journal(UNIT)
    assert there.property(UNIT, "MainPID") == agent


def assert_upgrades(there: Machine) -> None:
    """To a version with the same programs, and to one with others. Nobody is asked what to do with the file."""
    agent = there.property(UNIT, "MainPID")
    for package, version in (("second.deb", "99.1"), ("third.deb", "99.2")):
        said = install(there, package)
        assert f"Unpacking xflowd ({version})" in said
        agent = new_agent(there, agent)
        assert answer(there)["version"] == version
    assert len(re.findall(r"^6 taken over: ", there.journal(UNIT), re.MULTILINE)) == 2
    assert there.property(UNIT, "NRestarts") == "0", "none of them has failed"


def assert_stuck_agent_is_replaced(there: Machine) -> None:
    """The loop that does the work is what says that it is alive; here with less patience than the unit has."""
    there.run("mkdir", "-p", "/run/systemd/system/xflowd.service.d")
    there.write("/run/systemd/system/xflowd.service.d/patience.conf", "[Service]\nWatchdogSec=3\n")
    there.run("systemctl", "daemon-reload")
    there.run("systemctl", "restart", "xflowd")
    agent = there.property(UNIT, "MainPID")
    there.run("sleep", "5")
    assert there.property(UNIT, "MainPID") == agent, "one that is well stays"
    there.run("kill", f"-{signal.SIGSTOP}", agent)
    new_agent(there, agent)
    assert there.property(UNIT, "NRestarts") == "1"
    assert re.search(r"(?s)Fatal Python error: Aborted.*loop\.py.* in run", there.journal(UNIT)), "where it was stuck"
    assert len(re.findall(r"^6 taken over: ", there.journal(UNIT), re.MULTILINE)) == 4
    there.run("rm", "-r", "/run/systemd/system/xflowd.service.d")
    there.run("systemctl", "daemon-reload")


def assert_exact(collector: Nfcapd, sent: int) -> None:
    """Every packet once, through reloads, upgrades, and a kill: of each port as many as of any other."""
    flows = [flow for flow in collector.flows() if flow.key.source_transport_port in PORTS]
    got: Counter[int] = Counter()
    for flow in flows:
        got[flow.key.source_transport_port] += flow.packet_delta_count
        assert flow.ingress_interface == LAN
    assert sum(got.values()) == sent
    assert len(set(got.values())) == 1
    assert collector.bad_packets() == 0
