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
@pytest.mark.parametrize("command", ["status --help", "check -c {file}"])
def test_a_full_disk_is_one(command: str, environment: dict[str, str], tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        code, told = printed_to(full.fileno(), tmp_path, command, environment)
    assert (code, told) == (1, "xflowd: [Errno 28] No space left on device\n")


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
    "bare word elsewhere": (("elements", "lan"), 2, "unrecognized arguments: lan\n"),
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
