"""Proves that what is in the way of a start is told once, with its place and how to mend it."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from xflowd import lasting
from xflowd.config.schema import Agent
from xflowd.rights import lessen_rights
from xflowd.settings import StartError

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


def test_a_user_that_there_is_not() -> None:
    with pytest.raises(StartError) as caught:
        lessen_rights(Agent(user="nobodyxx"), None, ())
    assert str(caught.value) == "[agent] user = nobodyxx: there is no such user: add it, or leave user empty"
