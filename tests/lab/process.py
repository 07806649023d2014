"""Programs under test: started with their output in a file, ended by their own process group."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.05


def wait_until(condition: Callable[[], T | None], what: str, timeout: float = 10.0) -> T:
    """The first true value of `condition`, asked again and again.

    Raises TimeoutError, saying `what` never came, after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(POLL_SECONDS)


class Process:
    """A running program and all it forks, in a session of its own: a Ctrl-C reaches only the tests."""

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self.argv = list(argv)
        self._log = log
        with log.open("wb") as sink:
            self._child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def wait_for_log(self, pattern: str, timeout: float = 10.0) -> str:
        """The first line of the log with `pattern` in it. Raises RuntimeError if the program ends before."""

        def line() -> str | None:
            ended = not self.running  # asked first: the last line may come just before the end
            found = re.search(f"^.*(?:{pattern}).*$", self.log, re.MULTILINE)
            if found is None and ended:
                raise RuntimeError(f"{self.argv} ended before it logged {pattern!r}:\n{self.log}")
            return found.group(0) if found else None

        try:
            return wait_until(line, f"{pattern!r} in the log of {self.argv[-4:]}", timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log}") from None

    def wait(self, timeout: float = 20.0) -> int:
        """The exit code, once the program and everything it forked are gone."""
        code = self._child.wait(timeout)
        wait_until(lambda: not self._group_alive(), f"the end of all that {self.argv} forked", timeout)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Ask the program to end, and kill it and its children when it does not. Returns the exit code."""
        if self.running:
            self._child.send_signal(number)
        try:
            return self.wait(timeout)
        except (subprocess.TimeoutExpired, TimeoutError):
            self.kill()
            raise

    def kill(self) -> None:
        """End the whole process group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()

    def _group_alive(self) -> bool:
        """Whether any process of the group runs. A zombie does not: a container may never reap orphans."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(FileNotFoundError, ProcessLookupError):
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.pid and state != "Z":
                    return True
        return False
