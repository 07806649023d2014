"""The program under test: started in the router, watched by its log and its exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.namespaces import Namespace
from lab.process import Process

BESIDE_PYTHON = Path(sys.executable).with_name("xflowd")
#: The installed command, or the source tree on PYTHONPATH when there is none.
COMMAND: tuple[str, ...] = (
    (str(BESIDE_PYTHON),)
    if BESIDE_PYTHON.exists()
    else (sys.executable, "-c", "import sys; from xflowd.cli import main; sys.exit(main())")
)


@dataclass(frozen=True)
class Collector:
    """One [collector NAME] section."""

    name: str
    address: str  # host:port, [v6]:port
    protocol: str
    template_refresh: int = 60
    source: str | None = None
    template: str | None = None


#: What [meter] holds in most tests: the hosts' traffic as it comes in, timeouts of seconds.
METER = {"interfaces": "lan, wan", "direction": "ingress", "active_timeout": 2, "idle_timeout": 1}


def write_configuration(
    path: Path,
    collectors: Sequence[Collector],
    *,
    sampling: tuple[str, int] = ("none", 1),
    templates: Mapping[str, str] | None = None,
    **meter: str | int,
) -> Path:
    """Write an INI file for `xflowd run -c`: `meter` overrides METER, `templates` are elements by name."""
    sections = {
        "meter": {key: str(value) for key, value in {**METER, **meter}.items()},
        "sampling": {"mode": sampling[0], "rate": str(sampling[1])},
    }
    sections |= {f"template {name}": {"elements": elements} for name, elements in (templates or {}).items()}
    for collector in collectors:
        fields = {"address": collector.address, "protocol": collector.protocol}
        fields["template_refresh"] = str(collector.template_refresh)
        if collector.source:
            fields["source"] = collector.source
        if collector.template:
            fields["template"] = collector.template
        sections[f"collector {collector.name}"] = fields
    path.write_text("\n".join(_section(name, fields) for name, fields in sections.items()))
    return path


class Agent:
    """A running `xflowd run`, metering when the constructor returns."""

    def __init__(self, space: Namespace, *options: str | Path, metering: Sequence[str] = ("lan", "wan")) -> None:
        self._process: Process = space.start(*COMMAND, "run", *options)
        for interface in metering:
            self._process.wait_for_log(rf"metering {interface}\b", timeout=20)

    @property
    def log(self) -> str:
        return self._process.log

    @property
    def running(self) -> bool:
        return self._process.running

    def wait_for_log(self, pattern: str, timeout: float = 10.0) -> str:
        return self._process.wait_for_log(pattern, timeout)

    def hang_up(self) -> None:
        self._process.send(signal.SIGHUP)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to send what it has and to end. Returns the exit code."""
        return self._process.stop(number)

    def crash(self) -> None:
        """End it as a fault would: nothing is sent, nothing is cleaned up."""
        self._process.kill()


def xflowd(*arguments: str | Path, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run a command of xflowd that ends by itself, outside of any namespace."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL
    )


def _section(name: str, fields: dict[str, str]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())
