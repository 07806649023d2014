"""Proves that the systemd unit is understood, hardened, fits the agent, and accounts for every right it leaves."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from xflowd.config import load
from xflowd.edge import privileges

INIT = Path(__file__).resolve().parents[2] / "init"
UNIT = INIT / "xflowd.service"
MOST_EXPOSED = 20  # tenths, as `systemd-analyze security` counts: a service with no sandbox has 96
#: CAP_BPF of xflowd.edge.privileges, and whatever else it keeps.
KEPT = {name for name, number in vars(privileges).items() if name.startswith("CAP_") and number in privileges.KEPT}

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories to others")


def directive(name: str) -> list[str]:
    """The values of a directive, line by line."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def systemd(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False, timeout=60)


def complaints(unit: str, directory: Path) -> list[str]:
    """What `systemd-analyze verify` says of the text of a unit; what runs in it need not be installed."""
    path = directory / UNIT.name
    path.write_text(unit.replace("=/usr/bin/xflowd ", "=/bin/true "))
    done = systemd("systemd-analyze", "verify", "--man=no", path)
    told = [line for line in done.stderr.splitlines() if UNIT.name in line]  # and not of the host's other units
    return told + [f"exit code {done.returncode}"] * (done.returncode != 0 and not told)


@needs_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    assert complaints(UNIT.read_text(), tmp_path) == []
    assert complaints(UNIT.read_text().replace("Restart=always", "Restart=ever"), tmp_path), "a fault would be told"


@needs_systemd
def test_the_unit_is_hardened() -> None:
    check = ("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}")
    done = systemd(*check, UNIT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_hears_that_it_is_ready_and_alive() -> None:
    assert directive("Type") == ["notify"]
    (seconds,) = directive("WatchdogSec")
    assert 30 <= int(seconds) <= 120, "longer than the longest turn of the loop, shorter than a table takes to fill"
    assert directive("StandardError") == ["journal"], "its default is StandardOutput, which is null"


#: A configuration → the exit code of the unit's condition. What the program finds a collector in is started.
COLLECTORS = [
    ("[collector office]\naddress = 192.0.2.10\n", 0),
    ("# a comment\n \t[collector x]\naddress = 192.0.2.10\n", 0),
    ("[ collector  office ]\naddress = 192.0.2.10\n", 0),
    ("\N{BYTE ORDER MARK}[collector x]\naddress = 192.0.2.10\n", 0),
    ("config collector 'office'\n\toption address '192.0.2.10'\n", 0),
    ('config collector "x"\n\toption address 192.0.2.10\n', 0),
    ("\tconfig \t'collector' x\noption address 192.0.2.10\n", 0),
    ("package xflowd\nconfig collector\noption address 192.0.2.10\n", 0),
    ("c collector x\no address 192.0.2.10\n", 0),
    ("p xflowd\nc 'collector' 'x'\no 'address' '192.0.2.10'\n", 0),
    ("", 1),
    ("#[collector office]\n", 1),
    ("; [collector office]\n", 1),
    ("# config collector office\n", 1),
    ("[meter]\ninterfaces = collector\n", 1),
    ("config meter\n\toption interfaces 'collector'\n", 1),
    ("config meter 'collector'\n", 1),
    (None, 1),
]


@pytest.mark.parametrize(("text", "code"), COLLECTORS)
def test_nothing_is_started_before_there_is_a_collector(tmp_path: Path, text: str | None, code: int) -> None:
    """The condition as the unit has it, on a file of our own."""
    path = tmp_path / "xflowd.conf"
    if text is not None:
        path.write_text(text)
    (condition,) = directive("ExecCondition")
    command = shlex.split(condition.replace("/etc/xflowd.conf", str(path)))
    done = systemd(*command)
    assert done.returncode == code
    assert not text or bool(load(path).collectors) == (code == 0), "as the program reads it"
    assert ("add one and say systemctl start xflowd" in done.stderr) == bool(code)


def test_the_agent_is_given_what_it_keeps_and_never_root() -> None:
    assert KEPT
    assert [set(line.split()) for line in directive("AmbientCapabilities")] == [KEPT]
    assert [set(line.split()) for line in directive("CapabilityBoundingSet")] == [KEPT]
    assert directive("NoNewPrivileges") == ["yes"]
    assert directive("User") == directive("Group") == ["xflowd"]


@pytest.mark.parametrize("name", ["AmbientCapabilities", "RestrictAddressFamilies", "SystemCallFilter"])
def test_every_right_has_its_reason_beside_it(name: str) -> None:
    text = UNIT.read_text()
    above = text[: text.index(f"\n{name}=")].rpartition("\n\n")[2]
    comment = " ".join(line for line in above.splitlines() if line.startswith("#"))
    granted = [word for line in directive(name) for word in line.split() if not line.startswith("~")]
    rights = [word for word in granted if not word.startswith("@")]
    assert rights
    assert [right for right in rights if f"{right}:" not in comment and f"{right}," not in comment] == []


def test_a_crash_leaves_what_the_next_start_needs() -> None:
    assert directive("Restart") == ["always"]
    assert directive("StartLimitIntervalSec") == ["0"]
    assert directive("RestartKillSignal") == ["SIGQUIT"], "a restart leaves the table to the next agent"
    assert directive("RestartPreventExitStatus") == ["2"], "wrong use and a wrong configuration stay wrong"
    assert directive("RuntimeDirectory") == ["xflowd"]
    assert directive("RuntimeDirectoryPreserve") == ["yes"]
    assert not directive("ExecStopPost"), "nothing takes pins away behind the agent's back"


@needs_systemd
@needs_root
def test_account_and_directory_of_pins_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    account = systemd("systemd-sysusers", f"--root={tmp_path}", INIT / "xflowd.sysusers")
    assert account.returncode == 0, account.stderr
    made = systemd("systemd-tmpfiles", "--create", f"--root={tmp_path}", INIT / "xflowd.tmpfiles")
    assert made.returncode == 0, made.stderr
    name, _, uid, gid, *_ = (tmp_path / "etc/passwd").read_text().split(":")
    assert name == directive("User")[0]
    (bound,) = directive("BindPaths")
    pins = tmp_path / bound.lstrip("-/")
    assert pins.is_dir()
    assert (pins.stat().st_uid, pins.stat().st_gid) == (int(uid), int(gid))
    assert pins.stat().st_mode & 0o777 == 0o750
