"""A real terminal of any size, by tmux: what a program draws on it, and keys."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.process import Process, wait_until

_numbers = itertools.count(1)


class Terminal:
    """A pane with a shell in it. Its server is a process of the test and dies with it, and so does what runs in it."""

    def __init__(self, directory: Path, columns: int, lines: int) -> None:
        number = next(_numbers)
        self._socket = directory / f"tmux-{number}"
        self._server = Process(
            ["setpriv", "--pdeathsig", "KILL", *self._tmux("-f", "/dev/null", "-D")], directory / f"tmux-{number}.log"
        )
        wait_until(self._socket.exists, "a tmux server")
        shell = "env -i PATH=/usr/bin:/bin TERM=screen LC_ALL=C.UTF-8 PS1=prompt:  sh"
        self._run("set-option", "-g", "default-size", f"{columns}x{lines}")
        self._run("new-session", "-d", "-x", str(columns), "-y", str(lines), shell)
        self.wait_for(lambda text: "prompt:" in text, "a shell")

    def type(self, *command: str | Path) -> None:
        """A line for the shell."""
        self._run("send-keys", "-l", shlex.join(map(str, command)))
        self._run("send-keys", "Enter")

    def press(self, *keys: str) -> None:
        """Keys by tmux's names."""
        self._run("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        self._run("resize-window", "-x", str(columns), "-y", str(lines))

    @property
    def text(self) -> str:
        """What the pane shows."""
        return self._run("capture-pane", "-p")

    def wait_for(self, condition: Callable[[str], object], what: str, timeout: float = 10.0) -> str:
        """The text of the pane when it is as `condition` says."""
        try:
            return wait_until(lambda: text if condition(text := self.text) else None, what, timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the terminal shows:\n{self.text}") from None

    def close(self) -> None:
        self._server.kill()
        self._socket.unlink(missing_ok=True)

    def _tmux(self, *arguments: str) -> list[str]:
        return ["tmux", "-S", os.fspath(self._socket), *arguments]

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            self._tmux(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=10
        )
        if done.returncode:
            raise RuntimeError(f"tmux {arguments}: {done.stderr.strip()}")
        return done.stdout


@contextmanager
def terminal(directory: Path, columns: int = 80, lines: int = 24) -> Iterator[Terminal]:
    """A terminal for the length of a test."""
    made = Terminal(directory, columns, lines)
    try:
        yield made
    finally:
        made.close()
