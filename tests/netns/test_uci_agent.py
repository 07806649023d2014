"""Proves that a running agent reads UCI, follows the devices of OpenWrt's networks, and says where it cannot."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.agent import COMMAND, Agent
from lab.namespaces import Namespace, namespaces
from lab.process import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and eBPF need root")

UCI = """config meter 'meter'
	option network 'wan'

config collector 'only'
	option address '127.0.0.1:{port}'
	option protocol 'netflow9'
"""


class Router:
    """A namespace with two devices, a file, and a stand-in for `ubus`."""

    def __init__(self, space: Namespace, directory: Path) -> None:
        self.space, self.file, self._answer = space, directory / "xflowd", directory / "answer"
        (directory / "bin").mkdir()
        command = directory / "bin" / "ubus"
        command.write_text(f"#!/bin/sh\nexec cat {self._answer}\n")
        command.chmod(0o755)
        space.ip("link set lo up")
        for name in ("one", "two"):
            space.ip(
                f"link add {name} type veth peer name end-{name}", f"link set {name} up", f"link set end-{name} up"
            )

    def metered(self) -> set[str]:
        """The devices that the agent says it meters."""
        document = json.loads(self.space.run(*COMMAND, "status", "--json"))
        return {one["name"] for one in document["interfaces"]}

    def netifd_says(self, **devices: str | None) -> None:
        networks = [
            {"interface": name, "up": device is not None, **({"l3_device": device} if device else {})}
            for name, device in devices.items()
        ]
        fresh = self._answer.with_suffix(".fresh")
        fresh.write_text(json.dumps({"interface": networks}))
        fresh.rename(self._answer)


@pytest.fixture
def router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Router]:
    with namespaces(tmp_path, "uci") as (space,):
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
        yield Router(space, tmp_path)


def test_a_network_is_metered_when_it_has_a_device(router: Router) -> None:
    router.netifd_says(wan=None, lan="two")
    router.file.write_text(UCI.format(port=9))
    agent = Agent(router.space, "-c", router.file, metering=())
    agent.wait_for_log("network wan is down: it is metered when it comes up")
    router.netifd_says(wan="one", lan="two")
    agent.wait_for_log(r"metering one egress", timeout=20)
    router.netifd_says(wan=None, lan="two")
    router.space.ip("link delete one")
    agent.wait_for_log(r"no longer metering one egress")
    router.space.ip("link add one type veth peer name end-one", "link set one up", "link set end-one up")
    wait_until(lambda: router.metered() == {"one"}, "one metered again, by its name", 20)
    assert agent.stop() == 0
    assert "Traceback" not in agent.log


def test_reading_the_file_again(router: Router) -> None:
    router.netifd_says(wan="one", lan="two")
    router.file.write_text(UCI.format(port=9))
    agent = Agent(router.space, "-c", router.file, metering=("one",))
    router.file.write_text(UCI.format(port=9).replace("'wan'", "'lan'") + "config collector 'a-b'\n")
    agent.hang_up()
    agent.wait_for_log(r"going on as before: .*xflowd:7: 'a-b' cannot name a section; use letters, digits and _")
    router.file.write_text(UCI.format(port=9).replace("'wan'", "'lan'"))
    agent.hang_up()
    agent.wait_for_log("metering two egress", timeout=20)
    agent.wait_for_log("no longer metering one egress", timeout=20)
    (router.file.parent / "bin" / "ubus").unlink()
    router.space.ip("link delete one")
    agent.wait_for_log("network, going on as before: there is no ubus here to ask")
    agent.hang_up()
    agent.wait_for_log("going on as before: .*network: there is no ubus here to ask: name devices with interfaces")
    assert router.metered() == {"two"}
    assert agent.stop() == 0


FAILING = [
    ("config agent\n\toption enabled 'no'\n", 0, "xflowd: enabled = 0 in [agent]: nothing is metered"),
    (
        "config meter\n\toption network wan\n",
        2,
        "[meter] network: there is no ubus here to ask: name devices with interf",
    ),
    ("config meter\n\toption hook x\n", 2, "xflowd:2 [meter] hook: 'x' is not known; allowed are auto, xdp, tc"),
]


@pytest.mark.parametrize(("text", "code", "told"), FAILING)
def test_an_agent_that_does_not_start(router: Router, text: str, code: int, told: str) -> None:
    (router.file.parent / "bin" / "ubus").unlink()
    router.file.write_text(text)
    process = router.space.start(*COMMAND, "run", "-c", router.file)
    wait_until(lambda: not process.running, "its end", 20)
    assert told in process.log
    assert process.stop() == code
