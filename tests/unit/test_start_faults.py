"""Proves that what is in the way of a start is told once, with its place and how to mend it."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from xflowd import lasting
from xflowd.config import Config
from xflowd.config.schema import Agent, Meter
from xflowd.rights import lessen_rights, require
from xflowd.settings import StartError
from xflowd.systems import Systems

PINS = {
    "hidden": (errno.EACCES, "/proc/1/root/sys/fs/bpf/xflowd", "nsenter --net="),
    "not ours": (errno.EACCES, "/sys/fs/bpf/xflowd", "run as root"),
    "none": (errno.EPERM, "/sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf, outside"),
    "without a name": (errno.EINVAL, None, "mount -t bpf bpf /sys/fs/bpf, outside"),
}


@pytest.mark.parametrize(("number", "path", "mend"), PINS.values(), ids=PINS)
def test_pins_that_cannot_be(
    number: int, path: str | None, mend: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: str) -> Any:
        raise OSError(number, os.strerror(number), *([path] if path else []))

    monkeypatch.setattr(lasting, "Pins", fail)
    assert lasting._pins("net-1") is None
    (told,) = [record.getMessage() for record in caplog.records]
    assert f": {path or '/sys/fs/bpf'}: {os.strerror(number)}: " in told
    assert mend in told
    assert "Errno" not in told


TABLES = {
    "none": "{}/none: No such file or directory",
    "fifo": "{}/fifo: is no regular file",
    "linked": "{}/linked: is no regular file",
    ".": "{}: is no regular file",
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start an agent")
@pytest.mark.parametrize(("name", "told"), TABLES.items(), ids=TABLES)
def test_an_as_table_that_cannot_be_read_is_not_waited_for(name: str, told: str, tmp_path: Path) -> None:
    """Nobody writes to the FIFO: whoever opened it to read would be there for ever."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "linked").symlink_to("fifo")
    with pytest.raises(StartError) as caught:
        require(Config(Meter(as_table=str(tmp_path / name))))
    assert str(caught.value) == f"[meter] as_table: {told.format(tmp_path)}"


def test_an_as_table_that_becomes_a_fifo_leaves_the_old_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, systems = tmp_path / "as.txt", Systems()
    path.write_text("nothing\n192.0.2.0/24 64496\n")
    systems.load(str(path))
    path.unlink()
    os.mkfifo(path)
    systems.reload(str(path))
    for thread in threading.enumerate():
        if thread.name == "as_table":
            thread.join(5)
            assert not thread.is_alive()
    assert f"as_table not read again, going on as before: {path}: is no regular file" in caplog.text
    assert systems.faulty == 1


def test_a_user_that_there_is_not() -> None:
    with pytest.raises(StartError) as caught:
        lessen_rights(Agent(user="nobodyxx"), None, ())
    assert str(caught.value) == "[agent] user = nobodyxx: there is no such user: add it, or leave user empty"
