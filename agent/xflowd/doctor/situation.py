"""What the checks are told: the configuration, what a running agent says of itself, the host."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xflowd.config import Config, Sampling, SamplingMode
from xflowd.edge.network import Interface
from xflowd.status import Status

#: Features of ethtool by name; what they are, of an interface's name. Raises OSError.
Features = Callable[[str], Mapping[str, bool]]


@dataclass(frozen=True, slots=True)
class Situation:
    """`root` is the directory that stands for `/`. Without a `status` no agent runs here, or it does not answer."""

    config: Config
    present: list[Interface]
    features: Features
    status: Status | None = None
    root: Path = Path("/")
    unix_seconds: float = 0.0
    file: str = "/etc/xflowd.conf"
    socket: Path | None = None
    silence: str = ""  # why no agent has answered, and how to mend it
    synchronised: Callable[[], bool | None] = field(default=lambda: None)

    @property
    def metered(self) -> list[Interface]:
        """The interfaces that are metered now, or would be."""
        if self.status:
            indexes = {point["index"] for point in self.status["interfaces"]}
            return [one for one in self.present if one.index in indexes]
        patterns = self.config.meter.interfaces
        return [one for one in self.present if any(fnmatch.fnmatchcase(one.name, pattern) for pattern in patterns)]

    @property
    def sampling(self) -> Sampling:
        """As packets are sampled now, or would be: an option of the command line may be over the file."""
        return self.config.sampling if self.status is None else sampled(self.status)

    def read(self, path: str) -> str | None:
        """A file of the host, without the blanks around it; None where it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace").strip()
        except OSError:
            return None

    def of_interface(self, interface: Interface, path: str) -> str | None:
        """A file below /sys/class/net; None too where that directory is another network namespace's."""
        base = f"/sys/class/net/{interface.name}"
        return self.read(f"{base}/{path}") if self.read(f"{base}/ifindex") == str(interface.index) else None

    def exists(self, path: str) -> bool:
        return os.path.exists(self.root / path.lstrip("/"))  # which says no where one may not look, and does not raise

    def lines(self, path: str) -> Iterator[list[str]]:
        """The words of each line of a file; none where it cannot be read."""
        yield from (line.split() for line in (self.read(path) or "").splitlines())


def sampled(status: Status) -> Sampling:
    """As a running agent says."""
    chosen = status["chosen"]
    return Sampling(SamplingMode[chosen["sampling_mode"].upper()], chosen["sampling_rate"])
