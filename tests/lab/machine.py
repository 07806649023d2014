"""A whole system in a container: systemd is its first process, and its network is a namespace of the test's own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from lab.namespaces import NETNS_DIRECTORY, Namespace
from lab.process import Process, wait_until

_BOOT_SECONDS = 60.0
#: Nothing of the host's: no proxy, no Python, no locale.
_ENVIRONMENT = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")


class Machine:
    """A container that has booted."""

    def __init__(self, process: Process, first: int) -> None:
        self._process, self._first = process, first

    def argv(self, *command: str | Path) -> list[str]:
        return ["nsenter", f"--target={self._first}", "--all", "--", *_ENVIRONMENT, *map(str, command)]

    def try_to(self, *command: str | Path, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run to the end, whatever that is; standard error is part of standard output."""
        pipe, into = subprocess.PIPE, subprocess.STDOUT
        return subprocess.run(
            self.argv(*command),
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=into,
            text=True,
            check=False,
            timeout=timeout,
        )

    def run(self, *command: str | Path, timeout: float = 120.0) -> str:
        """What it prints. Raises RuntimeError with all of that on failure."""
        done = self.try_to(*command, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"{command} exited with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        subprocess.run(self.argv("sh", "-c", f"cat >{path}"), input=text, text=True, check=True, timeout=20)

    def property(self, unit: str, name: str) -> str:
        """What systemd knows of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit: str) -> str:
        """Messages with their priorities: `4 text`."""
        self.run("journalctl", "--sync")
        fields = self.run("journalctl", f"--unit={unit}", "--output=export", "--all")
        entries = [dict(line.partition("=")[::2] for line in one.splitlines()) for one in fields.split("\n\n")]
        return "\n".join(f"{one.get('PRIORITY')} {one.get('MESSAGE')}" for one in entries if "MESSAGE" in one)


@contextmanager
def machine(root: Path, network: Namespace, packages: Path) -> Iterator[Machine]:
    """Boot what lies in `root`, which stays as it is, and see `packages` at /packages. All goes when it is over."""
    name = f"{network.name}-machine"
    # /sys as it is on a machine, with a place for BPF file systems; nothing of the host's is set by what boots.
    writable = ("setpriv", "--pdeathsig", "KILL", "env", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes")
    nspawn = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--console=pipe")
    place = (f"--directory={root}", f"--machine={name}", "--volatile=overlay", f"--bind-ro={packages}:/packages")
    # Programs are loaded by the host's kernel: that is for those with all rights, and for bpf().
    rights = ("--capability=all", "--system-call-filter=bpf")
    apart = (f"--network-namespace-path={NETNS_DIRECTORY / network.name}", "--resolv-conf=off", "--timezone=off")
    argv = [*writable, *nspawn, *place, *rights, *apart, "--link-journal=no", "systemd.mask=systemd-sysctl.service"]
    process = Process(argv, network.directory / f"{name}.log")
    try:
        there = _booted(process)
        try:
            yield there
        except BaseException:
            print(there.try_to("journalctl", "--no-pager", "--lines=60").stdout)  # pytest shows it
            raise
    finally:
        if process.running:
            process.stop(timeout=30)
        shutil.rmtree(Path("/run/systemd/nspawn/propagate") / name, ignore_errors=True)


def _booted(process: Process) -> Machine:
    """As soon as all is started that starts by itself. A BPF file system is mounted, as on any machine."""

    def booted() -> Machine | None:
        if not process.running:
            raise RuntimeError(f"the machine does not boot:\n{process.log}")
        for child in psutil.Process(process.pid).children():  # the first of them only makes the other
            there = Machine(process, child.pid)
            if there.try_to("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"):
                return there
        return None

    there = wait_until(booted, "a machine that has booted", _BOOT_SECONDS)
    there.run("mount", "-t", "bpf", "-o", "mode=0700", "bpf", "/sys/fs/bpf")
    return there
