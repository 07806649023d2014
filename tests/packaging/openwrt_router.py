"""A directory that stands for a router: its init script runs in busybox's shell, and what procd is told is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

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
    """A directory that stands for a router: /etc/config, an `xflowd` that checks, a `logger` that keeps, `killall`."""

    directory: Path

    def __post_init__(self) -> None:
        for name in ("bin", "config"):
            (self.directory / name).mkdir()
        self.command("logger", 'echo "$@" >>"$LOGGED"; cat >>"$LOGGED"')
        self.command("killall", 'echo "killall\t$1\t$2" >>"$RECORD"')
        self.accept()
        self.script = placed(self.directory, self.directory / "bin" / "xflowd", self.directory / "config" / "xflowd")
        self.command("service", f'exec {shell()} ash {HERE / "openwrt_rc.common"} {self.script} "$@"')
        self.configure(DEFAULT.read_text().replace("enabled '0'", "enabled '1'"))

    def accept(self) -> None:
        self.command("xflowd", "exit 0")

    def refuse(self, why: str) -> None:
        """The configuration has a fault from now on."""
        self.command("xflowd", f"echo {why!r} >&2; exit 2")

    def configure(self, text: str) -> None:
        (self.directory / "config" / "xflowd").write_text(text)

    def run(self, action: str, **environment: str) -> list[Words]:
        """What procd is told by an action of the init script."""
        return self.execute(f"service {action}", **environment)

    def execute(self, script: str, **environment: str) -> list[Words]:
        """What procd, and whom `killall` names, is told by a script, in which `service` is the init script."""
        record = self.directory / "record"
        record.write_text("")
        variables = {
            "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
            "RECORD": str(record),
            "RUNNING": str(self.directory / "running"),
            "LOGGED": str(self.directory / "logged"),
            "ETC_CONFIG": str(self.directory / "config"),
        }
        self.done = subprocess.run(
            [shell(), "ash", "-c", script],
            env=variables | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
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

    def command(self, name: str, body: str) -> None:
        """A script of that name in the PATH of all others."""
        path = self.directory / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)


def shell() -> str:
    busybox = shutil.which("busybox")
    assert busybox, "no busybox: run scripts/setup --test"
    return busybox


def placed(directory: Path, program: Path, configuration: Path) -> Path:
    """The init script with other paths than a router's, in that directory."""
    text = SCRIPT.read_text()
    paths = {"PROGRAM=/usr/bin/xflowd": program, "CONFIGURATION=/etc/config/xflowd": configuration,
             "STOPPED=/var/run/xflowd.stopped": directory / "stopped"}  # fmt: skip
    for line, path in paths.items():
        assert line in text
        text = text.replace(line, f"{line.split('=')[0]}={path}")
    script = directory / "xflowd"
    script.write_text(text)
    return script


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


def signals(calls: list[Words]) -> list[Words]:
    return [words for words in calls if words[0] in ("procd_send_signal", "procd_kill")]
