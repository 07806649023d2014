"""Proves that a command whose reader has gone away (`| head`) ends quietly, and that a full disk is told in a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ("--help", "status --help", "elements", "elements --json", "check -c {file}", "check -c {file} --to uci")
COMMANDS += ("doctor -c {file} --socket {nowhere}",)
#: Python buffers what goes to a pipe, unless it is told not to: the fault then comes at another place.
BUFFERING = ({"PYTHONUNBUFFERED": ""}, {"PYTHONUNBUFFERED": "1"})


def printed_to(descriptor: int, directory: Path, command: str, environment: dict[str, str]) -> tuple[int, str]:
    """The exit code, and what standard error has."""
    (directory / "conf").write_text("[meter]\ninterfaces = lo\n")
    words = command.format(file=directory / "conf", nowhere=directory / "nowhere")
    done = subprocess.run(
        [sys.executable, "-m", "xflowd", *words.split()],
        stdout=descriptor,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("environment", BUFFERING, ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_gone_is_no_fault(command: str, environment: dict[str, str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        code, told = printed_to(writing, tmp_path, command, environment)
    finally:
        os.close(writing)
    assert told == ""
    assert code == 0 or (code == 1 and command.startswith("doctor")), "what it has found, and told nobody"


@pytest.mark.parametrize("environment", BUFFERING, ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "command",
    ["--version", "status --help", "check -c {file}", "elements", "elements --json", "check -c {file} --to uci"],
)
def test_a_full_disk_is_one(command: str, environment: dict[str, str], tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        code, told = printed_to(full.fileno(), tmp_path, command, environment)
    mend = "make room there, or write to another place"
    assert (code, told) == (1, f"xflowd: standard output: No space left on device: {mend}\n")


def test_help_fits_a_terminal() -> None:
    """Of 80 columns."""
    from xflowd.commands import COMMANDS  # noqa: PLC0415

    for name in ([], *([one.__name__.rpartition(".")[2]] for one in COMMANDS)):
        done = subprocess.run(
            [sys.executable, "-m", "xflowd", *name, "--help"],
            env={**os.environ, "COLUMNS": "80"},
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert [line for line in done.stdout.splitlines() if len(line) > 80] == []


WITHOUT_EFFECT = {
    "bare word": (("run", "lan"), 2, "unrecognized arguments: lan; name an interface by -i: -i lan"),
    "bare word elsewhere": (("elements", "lan"), 2, "xflowd elements: error: unrecognized arguments: lan\n"),
    "of the command": (("collect", "-l", "5"), 2, "usage: xflowd collect [-h]"),
    "softflowd's file": (
        ("run", "-r", "x.pcap", "-n", "::1"),
        2,
        "-r x.pcap; -r of softflowd: a capture is read by xflowd",
    ),
    "softflowd's level": (("run", "-T", "ip"), 2, "-T ip; -T of softflowd: levels are those of -k"),
    "softflowd's size": (("replay", "x", "-m100"), 2, "-m100; -m of softflowd: set max_flows"),
    "softflowd's, no value": (("run", "-6"), 2, "-6; -6 of softflowd: IPv6 is always counted: leave it out\n"),
    "two of softflowd's": (("run", "-P", "tcp", "-d"), 2, ": leave it out; -d of softflowd: "),
    "softflowd's elsewhere": (("status", "-T", "ip"), 2, "unrecognized arguments: -T ip\n"),
    "all interfaces": (("run", "-i", "any"), 2, "xflowd: -i any: no interface is called so; use -i '*'\n"),
    "numbered": (("run", "-i", "1:lan"), 2, "-i 1:lan: the number is always the system's own; use -i lan\n"),
    "all, numbered": (("run", "-i", "7:any"), 2, "use -i '*'\n"),
    "command": (("flow",), 2, "xflowd: error: there is no command 'flow'; did you mean flows?\n"),
    "help": (("help",), 2, "there is no command 'help'; did you mean --help?\n"),
    "no command": (("zzz",), 2, "there is no command 'zzz'; known are run, status, "),
    "limit": (("flows", "--all", "--limit", "3"), 2, "--limit does nothing beside --all: leave out one of the two\n"),
    "protocol": (("replay", "/nonexistent", "-v", "9"), 2, "-v does nothing without a collector: name one with -n\n"),
}


@pytest.mark.parametrize(("arguments", "code", "said"), WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_what_would_do_nothing_is_told(arguments: tuple[str, ...], code: int, said: str) -> None:
    call = [sys.executable, "-m", "xflowd", *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code
    assert said in done.stderr


@pytest.mark.parametrize("name", ["bench", "fuzz", "lint", "test"])
def test_help_of_a_script_installs_nothing(name: str, tmp_path: Path) -> None:
    """In a tree of its own, in which there is nothing to set up with."""
    script = tmp_path / "scripts" / name
    script.parent.mkdir()
    script.write_bytes((Path(__file__).resolve().parents[2] / "scripts" / name).read_bytes())
    done = subprocess.run(["bash", str(script), "--help"], capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()[0]) > 20
