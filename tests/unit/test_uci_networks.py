"""Proves that logical networks become the devices that netifd says they have, and what is said where it does not.

`ubus` is a stand-in on PATH that prints documents of the form of netifd's, or fails as ubus does.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from lab.process import wait_until
from xflowd import cli
from xflowd.config import Direction, Meter, override
from xflowd.config.schema import Config
from xflowd.edge import ubus
from xflowd.networks import Networks

SECOND = 1_000_000_000


def network(name: str, device: str | None, below: str | None = None) -> dict[str, object]:
    """What netifd says of a network: l3_device is there while it is up, device what stands below it."""
    said: dict[str, object] = {"interface": name, "up": device is not None, "pending": False, "available": True}
    said |= {"autostart": True, "dynamic": False}
    if device is not None:
        said |= {"uptime": 12, "l3_device": device}
    return {**said, "proto": "pppoe", "device": below or "eth1", "metric": 0, "ipv4-address": [], "data": {}}


class Netifd:
    """The stand-in: what it answers from now on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "bin").mkdir()
        self._command = directory / "bin" / "ubus"

    def says(self, **devices: str | None) -> None:
        document = {"interface": [network(name, device) for name, device in devices.items()]}
        self.answers(json.dumps(document))

    def answers(self, text: str, code: int = 0, error: str = "", seconds: float = 0) -> None:
        (self._directory / "answer").write_text(text)
        script = f"""#!/bin/sh
[ "$*" = "-t 2 call network.interface dump" ] || exit 2
{f"exec sleep {seconds}" if seconds else ""}
cat {self._directory}/answer
echo "{error}" >&2
exit {code}
"""
        fresh = self._directory / "fresh"
        fresh.write_text(script)
        fresh.chmod(0o755)
        fresh.rename(self._command)


@pytest.fixture
def netifd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Netifd:
    made = Netifd(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return made


def test_devices(netifd: Netifd) -> None:
    netifd.says(loopback="lo", lan="br-lan", wan="pppoe-wan", wan6=None)
    assert ubus.devices() == {"loopback": "lo", "lan": "br-lan", "wan": "pppoe-wan", "wan6": ""}


@pytest.mark.parametrize("device", [5, None, "", "a b", "abcdefghijklmnop", "a\x1bb", {"a": 1}])
def test_what_is_no_device(netifd: Netifd, device: object) -> None:
    netifd.answers(json.dumps({"interface": [{"interface": "wan", "up": True, "l3_device": device}]}))
    assert ubus.devices() == {"wan": ""}


FAILURES = {
    "no ubusd": (("", 255, "Failed to connect to ubus"), "ubus says 'Failed to connect to ubus': start netifd"),
    "no netifd": (("", 4, "Command failed: Not found"), "ubus says 'Command failed: Not found': start netifd"),
    "timed out": (("", 7, "Command failed: Request timed out"), "ubus says 'Command failed: Request timed out': start"),
    "silent": (("", 9, ""), "ubus says 'exit code 9': start netifd, let [agent] user ask it in /usr/share"),
    "nothing": (("", 0, ""), "ubus answers '', which is not netifd's list of networks: name devices with"),
    "no JSON": (("wan: up", 0, ""), "ubus answers 'wan: up', which is not netifd's list of networks"),
    "other JSON": (("[1]", 0, ""), "ubus answers '[1]', which is not netifd's list of networks"),
    "no list": (('{"interface": 5}', 0, ""), "ubus answers '{\"interface\": 5}', which is not"),
    "no name": (('{"interface": [{}]}', 0, ""), "ubus answers '{\"interface\": [{}]}', which is not"),
    "deep": (("[" * 100_000, 0, ""), "ubus answers '[[["),
}


@pytest.mark.parametrize(("answer", "told"), FAILURES.values(), ids=FAILURES)
def test_failures(netifd: Netifd, answer: tuple[str, int, str], told: str) -> None:
    netifd.answers(*answer)
    with pytest.raises(OSError, match=r"^ubus ") as caught:
        ubus.devices()
    assert str(caught.value).startswith(told)


def test_no_text(netifd: Netifd, tmp_path: Path) -> None:
    netifd.answers("")
    (tmp_path / "answer").write_bytes(b"\xff\xfe")
    with pytest.raises(OSError, match="ubus answers what is no text: name devices with interfaces"):
        ubus.devices()


def test_no_ubus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="there is no ubus here to ask: name devices with interfaces"):
        ubus.devices()


def test_a_ubus_that_cannot_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ubus").touch(0o644)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match=r"ubus cannot be run \(Permission denied\): name devices with interfaces"):
        ubus.devices()


def test_an_answer_that_does_not_come_is_not_waited_for(netifd: Netifd) -> None:
    netifd.answers("", seconds=30)
    began = time.monotonic()
    with pytest.raises(OSError, match="ubus does not answer: start netifd, or name devices with interfaces"):
        ubus.devices()
    assert time.monotonic() - began < 10


RESOLVED = [
    (Meter(network=("wan",)), ("pppoe-wan",), Direction.BOTH),
    (Meter(network=("wan", "wan4")), ("pppoe-wan",), Direction.INGRESS),
    (Meter(("eth0",), ("wan",)), ("eth0", "pppoe-wan"), Direction.INGRESS),
    (Meter(("pppoe-wan",), ("wan",)), ("pppoe-wan",), Direction.INGRESS),
    (Meter(("wg*",), ("wan",), Direction.EGRESS), ("wg*", "pppoe-wan"), Direction.EGRESS),
    (Meter(network=("down",)), (), Direction.BOTH),
    (Meter(network=("none",)), (), Direction.BOTH),
    (Meter(network=("odd",)), ("a[*]b",), Direction.BOTH),
    (Meter(("eth0",)), ("eth0",), Direction.AUTO),
]


@pytest.mark.parametrize(("meter", "interfaces", "direction"), RESOLVED)
def test_resolved(netifd: Netifd, meter: Meter, interfaces: tuple[str, ...], direction: Direction) -> None:
    """`auto` goes by what is named: it is the same whatever is up."""
    netifd.says(wan="pppoe-wan", wan4="pppoe-wan", down=None, odd="a*b")
    networks = Networks()
    networks.ask(meter)
    resolved = networks.resolved(meter)
    assert (resolved.interfaces, resolved.direction) == (interfaces, direction)
    assert resolved.network == meter.network


def test_a_meter_without_networks_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    networks = Networks()
    networks.ask(Meter(("lo",)))
    assert not networks.follow(Meter(("lo",)), 0)


class Followed:
    """Networks that are asked for as the agent does: now and then, and the answer comes later."""

    def __init__(self, meter: Meter) -> None:
        self.networks, self.meter, self.now_ns = Networks(), meter, 0
        self.networks.ask(meter)

    @property
    def interfaces(self) -> tuple[str, ...]:
        return self.networks.resolved(self.meter).interfaces

    def after(self, seconds: int) -> bool:
        """Whether there is something new, so much later."""
        self.now_ns += seconds * SECOND
        if self.networks.follow(self.meter, self.now_ns):
            return True
        question = self.networks._question
        if question is None:
            return False
        wait_until(lambda: not question.is_alive(), "an answer")
        return self.networks.follow(self.meter, self.now_ns)


def test_a_network_that_comes_up_is_found_within_seconds(netifd: Netifd) -> None:
    netifd.says(wan=None)
    followed = Followed(Meter(network=("wan",)))
    assert not followed.after(0)
    netifd.says(wan="eth1")
    assert not followed.after(4)
    assert followed.after(1)
    assert followed.interfaces == ("eth1",)


def test_a_network_that_is_down_keeps_the_device_it_had(netifd: Netifd) -> None:
    netifd.says(wan="eth1")
    followed = Followed(Meter(network=("wan",)))
    assert not followed.after(0)
    netifd.says(wan=None)
    assert not followed.after(60)
    assert followed.interfaces == ("eth1",)
    netifd.says(wan="wwan0")
    assert followed.after(5)
    assert followed.interfaces == ("wwan0",)
    netifd.says()
    assert not followed.after(60)
    assert followed.interfaces == ("wwan0",)


def test_interfaces_that_change_are_a_reason_to_ask(netifd: Netifd) -> None:
    netifd.says(wan="eth1")
    followed = Followed(Meter(network=("wan",)))
    assert not followed.after(0)
    netifd.says(wan="eth2")
    assert not followed.after(59)
    followed.networks.hurry()
    assert followed.after(0)
    assert followed.interfaces == ("eth2",)


def test_a_failure_later_changes_nothing(netifd: Netifd) -> None:
    netifd.says(wan="eth1")
    followed = Followed(Meter(network=("wan",)))
    netifd.answers("", 4, "Command failed: Not found")
    with pytest.raises(OSError, match="ubus says 'Command failed: Not found'"):
        followed.after(0)
    assert followed.interfaces == ("eth1",)
    netifd.says(wan="eth2")
    assert not followed.after(4)
    assert followed.after(1)


def test_options_take_the_place_of_networks() -> None:
    config = Config(Meter(("a",), ("wan",)))
    assert override(config, interfaces=["b"]).meter == Meter(("b",))


def test_check_says_what_netifd_does_not_know(
    netifd: Netifd, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "xflowd"
    file.write_text("config meter\n\tlist network wan\n\tlist network wann\n\tlist network lan\n")
    netifd.says(lan="br-lan", wan=None)
    assert cli.main(["check", "-c", str(file)]) == 0
    where = f"xflowd: {file} [meter] network: warning:"
    assert capsys.readouterr().out.splitlines() == [
        f"{where} network wan is down: it is metered when it comes up",
        f"{where} netifd knows no network wann now, but lan, wan: it is metered when it comes",
        f"{file}: no faults found",
    ]
    monkeypatch.setenv("PATH", "/none")
    assert cli.main(["check", "-c", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{where} there is no ubus here to ask: name devices with interfaces",
        f"{file}: no faults found",
    ]
