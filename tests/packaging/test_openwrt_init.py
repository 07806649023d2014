"""Proves what procd is told by the init script, in busybox's shell: one agent, its triggers, and no flow is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCRIPT, DEFAULT = ROOT / "init" / "xflowd.init", ROOT / "packaging" / "openwrt" / "files" / "xflowd.config"
#: What procd_set_param knows of what is used here, and how it sends it; anything else is dropped without a word.
ARRAYS, NUMBERS, SWITCHES = {"command", "respawn"}, {"nice", "term_timeout"}, {"stdout", "stderr"}
SIGNALS = {"HUP": 1, "QUIT": 3}
RELOAD = ["run_script", "/etc/init.d/xflowd", "reload"]

Words = list[str]


@dataclass
class Router:
    """A directory that stands for a router: its /etc/config, a `xflowd` that checks, a `logger` that keeps."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("bin", "config"):
            (self.directory / name).mkdir()
        self._command("logger", 'echo "$@" >>"$LOGGED"; cat >>"$LOGGED"')
        self.accept()
        self.script = self.directory / "xflowd"
        text = SCRIPT.read_text().replace("PROGRAM=/usr/bin/xflowd", f"PROGRAM={self.directory}/bin/xflowd")
        self.script.write_text(text.replace("=/etc/config/xflowd", f"={self.directory}/config/xflowd"))
        self.configure(DEFAULT.read_text().replace("enabled '0'", "enabled '1'"))

    def accept(self) -> None:
        self._command("xflowd", "exit 0")

    def refuse(self, why: str) -> None:
        """The configuration has a fault from now on."""
        self._command("xflowd", f"echo {why!r} >&2; exit 2")

    def configure(self, text: str) -> None:
        (self.directory / "config" / "xflowd").write_text(text)

    def run(self, action: str, **environment: str) -> list[Words]:
        """What procd is told by an action of the script."""
        record = self.directory / "record"
        record.write_text("")
        variables = {
            "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
            "RECORD": str(record),
            "RUNNING": str(self.directory / "running"),
            "LOGGED": str(self.directory / "logged"),
            "ETC_CONFIG": str(self.directory / "config"),
        }
        shell = shutil.which("busybox")
        assert shell, "no busybox: run scripts/setup --test"
        command = [shell, "ash", str(HERE / "openwrt_rc.common"), str(self.script), action]
        self.done = subprocess.run(
            command, env=variables | environment, capture_output=True, text=True, check=False, timeout=20
        )
        assert not self.done.stderr, self.done.stderr
        return [line.split("\t") for line in record.read_text().splitlines()]

    def running(self, is_running: bool = True) -> None:
        path = self.directory / "running"
        path.touch() if is_running else path.unlink(missing_ok=True)

    @property
    def logged(self) -> str:
        path = self.directory / "logged"
        return path.read_text() if path.exists() else ""

    def _command(self, name: str, body: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return Router(tmp_path)


def message(calls: list[Words]) -> dict[str, object]:
    """What procd.sh would send by `ubus call service set`, of the calls from open to close."""
    instances: dict[str, dict[str, object]] = {}
    triggers: list[object] = []
    opened = ""
    for name, *words in calls:
        if name == "procd_open_instance":
            opened = words[0]
            instances[opened] = {}
        elif name == "procd_set_param":
            instances[opened][words[0]] = parameter(*words)
        elif name == "procd_add_reload_trigger":
            triggers += [["config.change", ["if", ["eq", "package", word], RELOAD], 1000] for word in words]
        elif name == "procd_add_reload_interface_trigger":
            (interface,) = words
            triggers.append(["interface.*", ["if", ["eq", "interface", interface], RELOAD], 1000])
        elif name == "procd_add_raw_trigger":
            event, delay, *command = words
            triggers.append([event, [["run_script", *command]], int(delay)])
    return {"name": "xflowd", "instances": instances, "triggers": triggers}


def parameter(name: str, *values: str) -> object:
    if name in ARRAYS:
        return list(values)
    (value,) = values
    if name in NUMBERS:
        return int(value)
    if name in SWITCHES:
        return value == "1"
    assert name == "reload_signal", f"procd_set_param does not know {name}"
    return SIGNALS[value]


def test_procd_is_told_of_one_agent(router: Router) -> None:
    directory = router.directory
    assert message(router.run("start")) == {
        "name": "xflowd",
        "instances": {
            "agent": {
                "command": [f"{directory}/bin/xflowd", "run", "-c", f"{directory}/config/xflowd"],
                "respawn": ["3600", "5", "0"],
                "reload_signal": 1,
                "term_timeout": 10,
                "stdout": True,
                "stderr": True,
                "nice": 5,
            }
        },
        "triggers": [
            ["config.change", ["if", ["eq", "package", "xflowd"], RELOAD], 1000],
            ["interface.*", ["if", ["eq", "interface", "wan"], RELOAD], 1000],
        ],
    }


METERS = [
    ("config meter\n\tlist network 'wan'\n\tlist network 'wan6'\n", ["wan", "wan6"]),
    ("config meter\n\toption network 'wan, lan'\n", ["wan", "lan"]),
    ("config meter 'named'\n\toption network 'guest'\n\tlist interface 'wg0'\n", ["guest"]),
    ("config meter\n\tlist interface 'eth0'\n", []),
    ("config meter\n\toption interfaces 'eth0'\n", []),
    ("config meter\n", None),  # the default route's, which any network may bring
    ("", None),
]


@pytest.mark.parametrize(("meter", "networks"), METERS)
def test_triggers_follow_the_configuration(router: Router, meter: str, networks: list[str] | None) -> None:
    router.configure(meter + "config collector 'main'\n\toption address '192.0.2.1'\n")
    told = message(router.run("start"))["triggers"]
    assert isinstance(told, list)
    found = [trigger[1][1][2] for trigger in told[1:] if trigger[1][0] == "if"]
    assert found == (networks or [])
    assert (told[-1] == ["interface.*", [RELOAD], 2000]) == (networks is None)


@pytest.mark.parametrize(
    ("configuration", "reason"),
    [
        ("config agent\n\toption enabled '0'\nconfig collector 'a'\n", ""),
        ("config agent\n\toption enabled 'off'\nconfig collector 'a'\n", ""),
        (DEFAULT.read_text(), ""),  # nothing runs before somebody has said where flows go
        ("config meter\n", "no collector is enabled"),
        ("config collector 'a'\n\toption enabled '0'\n", "no collector is enabled"),
    ],
)
def test_nothing_is_started_that_is_not_wanted(router: Router, configuration: str, reason: str) -> None:
    router.configure(configuration)
    told = message(router.run("start"))
    assert not told["instances"]
    assert told["triggers"], "or a change of the configuration would never start it"
    assert reason in router.logged
    assert bool(reason) == bool(router.logged)


def test_a_faulty_configuration_is_refused_and_told(router: Router) -> None:
    why = "xflowd: /etc/config/xflowd:3 [meter] idle_timeout: not a time"
    router.refuse(why)
    told = message(router.run("start"))
    assert not told["instances"]
    assert told["triggers"]
    assert why in router.logged
    assert "-t xflowd -p daemon.err" in router.logged
    router.run("check")
    assert router.done.returncode == 1


@pytest.mark.parametrize("nice", ["", "\toption nice '0'\n", "\toption nice 'low'\n"])
def test_no_nice_but_a_number(router: Router, nice: str) -> None:
    router.configure(f"config agent\n{nice}config collector 'a'\n")
    instances = message(router.run("start"))["instances"]
    assert isinstance(instances, dict)
    assert "nice" not in instances["agent"]


def signals(calls: list[Words]) -> list[Words]:
    return [words for words in calls if words[0] in ("procd_send_signal", "procd_kill")]


def test_a_reload_tells_the_agent_that_runs(router: Router) -> None:
    router.running()
    router.refuse("a fault: the agent itself will say so, and go on as before")
    calls = router.run("reload")
    assert message(calls)["instances"], "or procd would end it"
    assert signals(calls) == [["procd_send_signal", "xflowd", "agent", "HUP"]]


def test_a_reload_starts_what_does_not_run(router: Router) -> None:
    calls = router.run("reload")
    assert message(calls)["instances"]
    assert signals(calls) == [], "a SIGHUP would come before it is minded"


def test_a_reload_ends_what_is_disabled(router: Router) -> None:
    router.running()
    router.configure(DEFAULT.read_text())
    calls = router.run("reload")
    assert not message(calls)["instances"]
    assert signals(calls) == []


KILL, LEAVE = ["procd_kill", "xflowd"], ["procd_send_signal", "xflowd", "agent", "QUIT"]


@pytest.mark.parametrize(
    ("action", "environment", "expected"),
    [
        ("stop", {}, [KILL]),  # SIGTERM: what is in the table is sent, and the host is as it was
        ("stop", {"PKG_UPGRADE": "0"}, [KILL]),
        ("stop", {"PKG_UPGRADE": "1"}, [LEAVE, KILL]),  # the next version takes the table over
        ("restart", {}, [LEAVE, KILL]),
    ],
)
def test_the_table_stays_for_a_successor(
    router: Router, action: str, environment: dict[str, str], expected: list[Words]
) -> None:
    router.running()
    calls = router.run(action, **environment)
    assert signals(calls) == expected
    assert bool(message(calls)["instances"]) == (action == "restart")


def test_a_restart_with_a_faulty_configuration_changes_nothing(router: Router) -> None:
    router.running()
    router.refuse("a fault")
    assert router.run("restart") == []
    assert router.done.returncode == 1


def test_a_restart_of_what_is_disabled_leaves_nothing_behind(router: Router) -> None:
    router.running()
    router.configure(DEFAULT.read_text())
    calls = router.run("restart")
    assert signals(calls) == [KILL]
    assert not message(calls)["instances"]


def test_it_is_a_script_of_rc_common() -> None:
    lines = SCRIPT.read_text().splitlines()
    assert lines[0] == "#!/bin/sh /etc/rc.common"
    assert {"USE_PROCD=1", "START=50"} <= set(lines)
    assert SCRIPT.stat().st_mode & 0o111


def test_shellcheck_has_nothing_to_say() -> None:
    command = ["shellcheck", str(SCRIPT), str(HERE / "openwrt_rc.common")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
