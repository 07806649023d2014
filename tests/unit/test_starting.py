"""Proves that a service which cannot start yet goes by the file as it is at each try."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xflowd import service
from xflowd.config import Config, ConfigError, load
from xflowd.edge.notify import Supervisor
from xflowd.edge.signals import Signals
from xflowd.settings import StartError

LAN, FAULTY, WAN = "[meter]\ninterfaces = lan\n", "[meter]\ninterface = wan\n", "[meter]\ninterfaces = wan\n"
OFF = "[agent]\nenabled = 0\n" + WAN


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        made = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        yield made
        made.close()


def test_a_file_that_is_mended_meanwhile_counts(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "_TRY_AGAIN_SECONDS", 0.0)
    path, texts, tried = tmp_path / "xflowd.conf", iter([FAULTY, OFF, WAN]), []
    path.write_text(LAN)

    def reread() -> Config:
        path.write_text(next(texts))
        return load(path)

    def start(config: Config) -> Any:
        tried.append(config.meter.interfaces)
        if "lan" in config.meter.interfaces:
            raise StartError("interface lan: there is none")
        return "an agent"

    with Signals() as signals:
        agent = service._started(start, service._configurations(load(path), reread), supervisor, signals)
    assert (agent, tried) == ("an agent", [("lan",), ("wan",)])
    told = [record.getMessage() for record in caplog.records]
    assert [line.rpartition("; ")[2] for line in told] == ["trying again each second"] * 3
    assert "interface lan" in told[0]
    assert "did you mean interfaces?" in told[1]
    assert "enabled = 0" in told[2]


def test_a_faulty_file_ends_what_is_no_service(tmp_path: Path) -> None:
    def reread() -> Config:
        raise AssertionError("tried again")

    def start(config: Config) -> Any:
        raise ConfigError([])

    with Signals() as signals, pytest.raises(ConfigError):
        service._started(start, service._configurations(replace(Config()), reread), Supervisor({}), signals)
