"""Proves that bash, zsh and fish complete every command and option that the parsers have."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xflowd.cli import parser

ROOT = Path(__file__).resolve().parents[2]
COMMANDS: dict[str, argparse.ArgumentParser] = next(
    each.choices for each in parser()._actions if isinstance(each, argparse._SubParsersAction)
)
Completer = Callable[[str], set[str]]

BASH = """
source "$1"
COMP_WORDS=($2); [[ $2 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMP_LINE=$2 COMP_POINT=${#2}
$(complete -p xflowd | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = "source $argv[1]; complete -C $argv[2]"
#: A terminal of zsh's own, in which the line is typed, and two tabs; it is read until all that is looked for is there.
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PROMPT=; fpath=(${1:h} \$fpath); autoload -Uz compinit; compinit -D -u; LISTMAX=10000"
zpty -w shell "compdef _xflowd xflowd; print READY"
zpty -r shell heard '*READY*READY*'
zpty -w -n shell "$2"$'\t\t'
for try in {1..200}; do
  while zpty -r -t shell heard; do all+=$heard; done
  missing=0
  for word in ${@:3}; do [[ $all == *$word* ]] || missing=1; done
  (( missing )) || break
  sleep 0.05
done
print -rn -- $all
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("completions")
    command = [sys.executable, "-B", ROOT / "docs" / "man", "completions", directory]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT / "agent")}, check=True, timeout=30)
    return directory


@pytest.fixture(scope="module", params=["bash", "fish"])
def complete(request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Completer:
    """What is offered at the end of a line; in bash and fish the shell itself is asked."""
    home = str(tmp_path_factory.mktemp("home"))
    shell = {
        "bash": ["bash", "--norc", "-c", BASH, "bash", str(built / "xflowd.bash")],
        "fish": ["fish", "--no-config", "-c", FISH, str(built / "xflowd.fish")],
    }[request.param]

    def ask(line: str) -> set[str]:
        environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_DATA_HOME": home}
        told = subprocess.run(
            [*shell, line], env=environment, cwd=built, capture_output=True, text=True, check=True, timeout=30
        )
        return {each.partition("\t")[0] for each in told.stdout.splitlines() if each}

    return ask


def test_commands(complete: Completer) -> None:
    assert set(COMMANDS) <= complete("xflowd ")
    assert complete("xflowd sta") == {"status"}


@pytest.mark.parametrize("name", COMMANDS)
def test_options(complete: Completer, name: str) -> None:
    options = {option for action in COMMANDS[name]._actions for option in action.option_strings}
    long = {option for option in options if option.startswith("--")}
    assert complete(f"xflowd {name} --") == long
    assert options <= complete(f"xflowd {name} -")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("xflowd run --format ", {"table", "json"}),
        ("xflowd run -i wan -n 192.0.2.1 --format j", {"json"}),
        ("xflowd run -v ", {"netflow5", "netflow9", "ipfix"}),
        ("xflowd replay -v netflow", {"netflow5", "netflow9"}),
        ("xflowd run --key ", {"ip", "proto", "full", "vlan", "ether"}),
        ("xflowd check -c xflowd.", {"xflowd.bash", "xflowd.fish"}),
        ("xflowd replay xflowd.b", {"xflowd.bash"}),
    ],
)
def test_values(complete: Completer, line: str, offered: set[str]) -> None:
    assert complete(line) == offered


def test_interfaces(complete: Completer) -> None:
    """Others come and go while the tests run."""
    assert "lo" in complete("xflowd run -i ")
    assert complete("xflowd run -i no-such") == set()


@pytest.mark.parametrize(
    ("line", "offered"),
    [("xflowd ", set(COMMANDS)), ("xflowd run -", {"--interface", "--collector"}), ("xflowd run -i ", {"lo"})],
)
def test_zsh(built: Path, line: str, offered: set[str], tmp_path: Path) -> None:
    """What zsh lists has been typeset for a terminal: that it is there is what counts."""
    environment = {**os.environ, "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "TERM": "dumb", "COLUMNS": "200"}
    command = ["zsh", "-f", "-c", ZSH, "zsh", str(built / "_xflowd"), line, *offered]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert all(word in told.stdout for word in offered), told
