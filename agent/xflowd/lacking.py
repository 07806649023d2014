"""What a configuration names that this host has not: an agent that is started here would refuse it."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xflowd.config import Config
from xflowd.config.problem import shown
from xflowd.edge import regular

_DEBIAN = Path("/etc/debian_version")  # its children have it too


@dataclass(frozen=True, slots=True)
class Lack:
    """Where it is named, what is missing, how to mend it."""

    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.mend}"


def lacking(config: Config) -> Iterator[Lack]:
    """Each thing that is missing. Only an agent that is started needs them: another host may have them."""
    user, table = config.agent.user, config.meter.as_table
    if user and not is_account(user):
        yield Lack("[agent] user", f"there is no user {shown(user)} here", "add it, or leave user empty")
    if table and (fault := _unreadable(table)):
        yield Lack("[meter] as_table", f"{shown(table)}: {fault}", "put the file there, or leave as_table empty")
    if config.metrics.listen and (lack := without_client()):
        yield lack


def without_client() -> Lack | None:
    """What there is to say where the package that [metrics] needs is not found."""
    return None if importlib.util.find_spec("prometheus_client") else client()


def client() -> Lack:
    """That package, and a command that puts it where this Python looks for it."""
    mend = f"{_installs('prometheus_client', 'python3-prometheus-client')}, or leave listen empty"
    return Lack("[metrics] listen", "the package prometheus_client is missing", mend)


def _installs(package: str, debian: str) -> str:
    is_systems = sys.prefix == sys.base_prefix
    if is_systems and sys.prefix == "/usr" and _DEBIAN.exists():
        return f"apt install {debian}"
    if is_systems and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists():  # PEP 668: pip keeps off
        return f"install your system's package of {package}"
    return f"{sys.executable} -m pip install {package}"


def is_account(name: str) -> bool:
    """Whether there is a user of this name."""
    import pwd  # noqa: PLC0415

    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _unreadable(path: str) -> str:
    """Why a file cannot be read; nothing where it can."""
    try:
        regular.opened(Path(path)).close()
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""
