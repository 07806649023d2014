"""Network namespaces of one test, named after the process that made them: leftovers can be told and swept."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.flow import Count
from lab.process import Process, wait_until

PREFIX = "xft"
NETNS_DIRECTORY = Path("/run/netns")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Namespace:
    """One network namespace.

    Commands enter it by `nsenter` and not by `ip netns exec`, which hides /sys/fs/bpf behind a fresh sysfs.
    `mounts_pid` owns the mount namespace that they enter too: one with a BPF file system of its own.
    """

    name: str
    mounts_pid: int
    directory: Path
    processes: list[Process] = field(default_factory=list, compare=False)

    def argv(self, *command: str | Path) -> list[str]:
        inside = [f"--net={NETNS_DIRECTORY / self.name}", f"--mount=/proc/{self.mounts_pid}/ns/mnt"]
        return ["nsenter", *inside, "--", *map(str, command)]

    def run(self, *command: str | Path, timeout: float = 60.0) -> str:
        """Run to the end and return standard output. Raises RuntimeError with standard error on failure."""
        done = subprocess.run(
            self.argv(*command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {command} exited with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def start(self, *command: str | Path) -> Process:
        """Start in the background; the namespace ends it at the latest when it is torn down itself."""
        log = self.directory / f"{self.name}-{len(self.processes)}-{Path(command[0]).name}.log"
        process = Process(self.argv(*command), log)
        self.processes.append(process)
        return process

    def sysctl(self, **values: int | str) -> None:
        """Set /proc/sys/net/...: `__` in a name stands for the separator."""
        lines = (f"echo {value} > /proc/sys/net/{key.replace('__', '/')}" for key, value in values.items())
        self.run("sh", "-ec", "\n".join(lines))

    def ip(self, *lines: str) -> None:
        """Commands of `ip -batch`, in this namespace."""
        _ip_batch(lines, "-n", self.name)

    def ip_sent(self) -> Count:
        """What the IP stack of the namespace has sent, by its own counters (RFC 4293), both families."""
        ip4 = _columns(self.run("cat", "/proc/net/snmp", "/proc/net/netstat"))
        ip6 = dict(line.split() for line in self.run("cat", "/proc/net/snmp6").splitlines())
        return Count(
            ip4["Ip:OutRequests"] + int(ip6.get("Ip6OutRequests", 0)),
            ip4["IpExt:OutOctets"] + int(ip6.get("Ip6OutOctets", 0)),
        )

    def udp_sockets(self) -> dict[int, tuple[int, int]]:
        """Local port -> octets waiting to be read, datagrams dropped: from /proc/net/udp and udp6."""
        sockets = {}
        for line in self.run("cat", "/proc/net/udp", "/proc/net/udp6").splitlines():
            columns = line.split()
            if columns[0] == "sl":
                continue
            port, waiting = (int(columns[place].rpartition(":")[2], 16) for place in (1, 4))
            sockets[port] = waiting, int(columns[-1])
        return sockets

    def wait_for_udp_port(self, port: int) -> None:
        wait_until(lambda: port in self.udp_sockets(), f"a program listening on UDP port {port}")

    def wait_until_read(self, *ports: int) -> None:
        """Wait until the programs behind `ports` have read all they got. Fails if a datagram was dropped."""

        def all_read() -> bool:
            sockets = self.udp_sockets()
            return all(sockets[port][0] == 0 for port in ports)

        wait_until(all_read, f"empty receive queues of {ports}")
        dropped = {port: self.udp_sockets()[port][1] for port in ports}
        assert not any(dropped.values()), f"the collectors' own sockets dropped datagrams: {dropped}"


@contextmanager
def namespaces(directory: Path, *roles: str) -> Iterator[list[Namespace]]:
    """Fresh namespaces called xft<pid>-<n>-<role>, with `lo` up; deleted with all that runs in them."""
    number = next(_numbers)
    names = [f"{PREFIX}{os.getpid()}-{number}-{role}" for role in roles]
    holder = _own_mounts(directory / f"mounts-{number}.log")
    spaces = [Namespace(name, holder.pid, directory) for name in names]
    try:
        for space in spaces:
            _ip_batch([f"netns add {space.name}"])
            space.ip("link set lo up")
        yield spaces
    finally:
        for space in spaces:
            for process in space.processes:
                process.kill()
            delete(space.name)
        holder.kill()


def delete(name: str) -> None:
    """Kill what runs in the namespace, and the namespace. It is no error if there is none."""
    if not (NETNS_DIRECTORY / name).exists():
        return
    listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    for pid in map(int, listed.stdout.split()):
        _kill(pid)
    subprocess.run(["ip", "netns", "delete", name], check=True)


def sweep() -> list[str]:
    """Delete the namespaces of test runs that were killed. Returns their names."""
    swept = []
    for path in sorted(NETNS_DIRECTORY.glob(f"{PREFIX}*")):
        owner = re.match(rf"{PREFIX}(\d+)-", path.name)
        if owner is None or Path(f"/proc/{owner.group(1)}").exists():
            continue
        delete(path.name)
        swept.append(path.name)
    return swept


def _own_mounts(log: Path) -> Process:
    """A process with mounts of its own. It dies with the tests, and all pins and sockets go with it."""
    sockets = "mkdir -p /run/xflowd && mount -t tmpfs tmpfs /run/xflowd"
    script = f"mount -t bpf bpf /sys/fs/bpf && {sockets} && echo ready && exec sleep infinity"
    unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    holder = Process(["setpriv", "--pdeathsig", "KILL", *unshare], log)
    try:
        holder.wait_for_log("ready", timeout=60)  # an emulated kernel is slow
    except BaseException:
        holder.kill()
        raise
    return holder


def _columns(text: str) -> dict[str, int]:
    """/proc/net/snmp and netstat: a line of names, then a line of values, each after "Group:"."""
    lines = [line.split() for line in text.splitlines()]
    return {
        f"{names[0]}{name}": int(value)
        for names, values in zip(lines[::2], lines[1::2], strict=True)
        for name, value in zip(names[1:], values[1:], strict=True)
    }


def _ip_batch(lines: Sequence[str], *options: str) -> None:
    script = "\n".join(lines) + "\n"
    done = subprocess.run(
        ["ip", *options, "-batch", "-"], input=script, capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(options)} -batch: {done.stderr.strip()} in\n{script}")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    wait_until(lambda: not Path(f"/proc/{pid}/ns/net").exists(), f"the end of process {pid}", 5)
