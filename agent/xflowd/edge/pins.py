"""Where the table lives on when the agent dies: names in the BPF file system, one directory a network namespace."""

from __future__ import annotations

import contextlib
import ctypes as c
import fcntl
import os
from pathlib import Path

from xflowd.edge import libbpf

_SYSTEM = Path("/sys/fs/bpf")
_NAME = "xflowd"


class HeldError(Exception):
    """Another agent has this directory: the message is its process, where that can be told."""


class Pins:
    """This agent's directory, locked for as long as it is open. Names are relative to it, with at most one `/`.

    All access goes by the directory's descriptor, so that a process without the right to walk to it can use it.
    """

    def __init__(self, instance: str) -> None:
        """Raises HeldError if another agent has it, and OSError where there is no BPF file system to be had.

        `is_private`: what is pinned goes when this process ends, all the same.
        """
        home, self.is_private = _home()
        home.mkdir(mode=0o755, exist_ok=True)
        directory = home / instance
        directory.mkdir(mode=0o700, exist_ok=True)
        self.path = directory
        self._home = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self._directory)
            self.close()
            raise HeldError(holder) from None

    def close(self) -> None:
        """Leave everything as it is, for the next agent."""
        os.close(self._directory)
        os.close(self._home)

    def remove(self) -> None:
        """Take everything away, the directory too, and close."""
        for name in self.names():
            if self._is_directory(name):
                self.remove_directory(name)
            else:
                self.unpin(name)
        with contextlib.suppress(OSError):  # whoever may not remove it leaves it empty; the other may have others'
            os.rmdir(self.path.name, dir_fd=self._home)
            os.rmdir(self.path.parent)
        self.close()

    def give_to(self, user: int, group: int) -> None:
        """Let another user add and remove names."""
        for name in self.names():
            for inside in self.names(name) if self._is_directory(name) else ():
                os.chown(f"{name}/{inside}", user, group, dir_fd=self._directory)
            os.chown(name, user, group, dir_fd=self._directory)
        os.chown(self._directory, user, group)
        os.chown(self._home, user, group)

    def pin(self, descriptor: int, name: str) -> None:
        """Let a map, a program or a link live under a name."""
        libbpf.call("bpf_obj_pin", descriptor, self._named(name), what=f"{self.path}/{name}")

    def get(self, name: str) -> int:
        """A descriptor of what lives under a name. Raises OSError."""
        return int(libbpf.call("bpf_obj_get", self._named(name), what=f"{self.path}/{name}"))

    def unpin(self, name: str) -> None:
        """Take a name away, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._directory)

    def make(self, name: str) -> None:
        """Make a directory, unless it is there."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode=0o700, dir_fd=self._directory)

    def rename(self, before: str, after: str) -> None:
        """Rename a directory: all that is in it is there under the new name at once."""
        os.rename(before, after, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def remove_directory(self, name: str) -> None:
        """Take a directory and all names in it away, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            for inside in self.names(name):
                self.unpin(f"{name}/{inside}")
            os.rmdir(name, dir_fd=self._directory)

    def names(self, directory: str = ".") -> list[str]:
        """What is in the directory, or in one that is in it; nothing where that is not there."""
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._directory)
        except FileNotFoundError:
            return []
        try:
            return sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)

    def _named(self, name: str) -> bytes:
        return f"/proc/self/fd/{self._directory}/{name}".encode()

    def _is_directory(self, name: str) -> bool:
        return os.path.isdir(f"/proc/self/fd/{self._directory}/{name}")


def _holder(directory: int) -> str:
    """Who has the lock, by /proc/locks: `... FLOCK ADVISORY WRITE <pid> <device>:<inode> ...`."""
    inode = str(os.fstat(directory).st_ino)
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "FLOCK" in fields and fields[-3].endswith(f":{inode}"):
                return fields[-4]
    return "?"


def _home() -> tuple[Path, bool]:
    """The directory of all agents, in a BPF file system; where none is mounted, that is done, at the usual place.

    True with it where that mount, and all that is pinned there, goes with this process (`ip netns exec`).
    """
    for process, root in (("self", "/"), ("1", "/proc/1/root")):  # `ip netns exec` hides the system's by a fresh /sys
        if _mounted(process) & {_SYSTEM, _SYSTEM / _NAME}:
            return Path(root) / _SYSTEM.relative_to("/") / _NAME, False
    libc = c.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(_SYSTEM), b"bpf", 0, b"mode=0700"):
        number = c.get_errno()
        raise OSError(number, f"no BPF file system, and none can be mounted ({os.strerror(number)})", str(_SYSTEM))
    return _SYSTEM / _NAME, not _shares_mounts()


def _shares_mounts() -> bool:
    """Whether the first process sees what is mounted here."""
    try:
        return os.path.samefile("/proc/self/ns/mnt", "/proc/1/ns/mnt")
    except OSError:
        return True  # who may not look cannot mount either


def _mounted(process: str) -> set[Path]:
    """Where a process sees BPF file systems."""
    try:
        lines = Path(f"/proc/{process}/mounts").read_text().splitlines()
    except OSError:
        return set()
    return {Path(fields[1]) for line in lines if (fields := line.split())[2] == "bpf"}
