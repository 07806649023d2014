"""Proves that `xflowd check` says what an agent that is started here would be refused for, and how to mend it."""

from __future__ import annotations

import getpass
import os
import sys
import sysconfig
from pathlib import Path

import pytest

from xflowd import cli, lacking
from xflowd.config import Config, Endpoint
from xflowd.config.schema import Agent, Meter, Metrics

NEEDS_FILE = "; put the file there, or leave as_table empty"
TABLES = {
    "there": ("{}/table", None),
    "not there": ("{}/none", "there is no such file"),
    "a directory": ("{}", "is no regular file"),
    "one that waits for ever": ("{}/fifo", "is no regular file"),
}


@pytest.mark.parametrize(("path", "told"), TABLES.values(), ids=TABLES)
def test_as_table(path: str, told: str | None, tmp_path: Path) -> None:
    (tmp_path / "table").write_text("192.0.2.0/24 64496\n")
    os.mkfifo(tmp_path / "fifo")
    table = path.format(tmp_path)
    said = [str(one) for one in lacking.lacking(Config(Meter(as_table=table)))]
    assert said == ([f"[meter] as_table: {table}: {told}{NEEDS_FILE}"] if told else [])


@pytest.mark.parametrize(("user", "said"), [("", 0), (getpass.getuser(), 0), ("nobodyxx", 1)])
def test_user(user: str, said: int) -> None:
    found = [str(one) for one in lacking.lacking(Config(agent=Agent(user=user)))]
    assert found == ["[agent] user: there is no user nobodyxx here; add it, or leave user empty"][:said]


#: prefix, whether the system is Debian, whether its Python is managed → what installs the package.
PYTHONS = {
    "an environment of its own": (("/opt/venv", True, True), "/opt/venv/bin/python -m pip install prometheus_client"),
    "Debian's own": (("/usr", True, True), "apt install python3-prometheus-client"),
    "built on a Debian": (("/usr/local", True, False), "/usr/local/bin/python -m pip install prometheus_client"),
    "another system's": (("/usr", False, True), "install your system's package of prometheus_client"),
    "one without a word of it": (("/usr", False, False), "/usr/bin/python -m pip install prometheus_client"),
}


@pytest.mark.parametrize(("python", "mend"), PYTHONS.values(), ids=PYTHONS)
def test_prometheus_client(
    python: tuple[str, bool, bool], mend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, is_debian, is_managed = python
    base = prefix if prefix != "/opt/venv" else "/usr"
    for name, value in (("prefix", prefix), ("base_prefix", base), ("executable", f"{prefix}/bin/python")):
        monkeypatch.setattr(sys, name, value)
    monkeypatch.setattr(lacking, "_DEBIAN", tmp_path if is_debian else tmp_path / "none")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    if is_managed:
        (tmp_path / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (lack,) = lacking.lacking(Config(metrics=Metrics(Endpoint("127.0.0.1"))))
    assert str(lack) == f"[metrics] listen: the package prometheus_client is missing; {mend}, or leave listen empty"
    assert list(lacking.lacking(Config())) == []


def test_the_command_says_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As warnings: it may be another host's file."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    file = tmp_path / "conf"
    file.write_text("[meter]\nas_table = /nonexistent\n[agent]\nuser = nobodyxx\n[metrics]\nlisten = 127.0.0.1\n")
    assert cli.main(["check", "-c", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" warning: ")[0] for line in lines[:3]] == [
        f"xflowd: {file} {key}:" for key in ("[agent] user", "[meter] as_table", "[metrics] listen")
    ]
    assert all("the agent will not start here; " in line for line in lines[:3])
    assert lines[3:] == [f"{file}: no faults found"]
