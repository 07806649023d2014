"""What a program that loads eBPF can leave behind on a host."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.namespaces import Namespace
from lab.process import wait_until


@dataclass(frozen=True)
class Remains:
    """A snapshot. Programs, maps and links are the kernel's ids, the rest is text of the namespace."""

    programs: frozenset[int]
    maps: frozenset[int]
    links: frozenset[int]
    attached: str
    queueing: str
    pinned: str
    interfaces: str

    def of(self, during: Remains) -> Remains:
        """Without the programs, maps and links that were not there `during` the run: those are not ours."""
        return replace(
            self,
            programs=self.programs & during.programs,
            maps=self.maps & during.maps,
            links=self.links & during.links,
        )

    def since(self, before: Remains) -> list[str]:
        """What is here and was not `before`, a line each."""
        found = [
            f"{what} {sorted(new)}"
            for what, new in (
                ("programs", self.programs - before.programs),
                ("maps", self.maps - before.maps),
                ("links", self.links - before.links),
            )
            if new
        ]
        texts = ("attached", "queueing", "pinned", "interfaces")  # of the namespace alone
        return found + [
            f"{name}: {getattr(self, name)}" for name in texts if getattr(self, name) != getattr(before, name)
        ]


def remains(space: Namespace) -> Remains:
    """Take the snapshot, as seen in `space`."""
    bpftool = _bpftool()
    return Remains(
        _ids(space, bpftool, "prog"),
        _ids(space, bpftool, "map"),
        _ids(space, bpftool, "link"),
        space.run(bpftool, "net", "show"),
        space.run("tc", "qdisc", "show"),
        space.run("find", "/sys/fs/bpf", "-mindepth", "1"),
        _interfaces(space),
    )


def held(space: Namespace) -> Remains:
    """The same while the program runs, but of programs, maps and links only those that processes in `space` have: other
    programs on this machine come and go."""
    seen = remains(space)
    ours = _held_by(space)
    programs = seen.programs & ours["prog_id"]
    used = {
        number
        for program in _listed(space, _bpftool(), "prog")
        if program["id"] in programs
        for number in program.get("map_ids", ())
    }
    maps = seen.maps & (ours["map_id"] | used)
    return replace(seen, programs=programs, maps=maps, links=seen.links & ours["link_id"])


def wait_until_clean(space: Namespace, before: Remains, during: Remains) -> None:
    """Nothing of what was held `during` the run and not `before` is there any more, or AssertionError says what.

    The kernel frees programs and maps a grace period after their last user is gone: hence the patience.
    """

    def left() -> list[str]:
        return remains(space).of(during).since(before)

    try:
        wait_until(lambda: not left(), "a clean host", timeout=5)
    except TimeoutError:
        raise AssertionError(f"left behind: {left()}") from None


def _bpftool() -> str:
    """The first that really runs: Ubuntu's /usr/sbin/bpftool is a script in want of a package a kernel."""
    found = shutil.which("bpftool", path="/usr/sbin:/usr/local/sbin:/usr/bin:/sbin")
    for path in [found, *map(str, Path("/usr/lib/linux-tools").glob("*/bpftool"))]:
        if path and not subprocess.run([path, "version"], capture_output=True, check=False).returncode:
            return path
    raise RuntimeError("no bpftool that runs on this kernel: scripts/setup --test")


def _ids(space: Namespace, bpftool: str, what: str) -> frozenset[int]:
    return frozenset(int(item["id"]) for item in _listed(space, bpftool, what))


def _listed(space: Namespace, bpftool: str, what: str) -> list[dict[str, Any]]:
    """bpftool gives up at a program, map or link that goes while it looks: others' may, so it is asked again."""

    def listed() -> list[dict[str, Any]] | None:
        try:
            return json.loads(space.run(bpftool, "-j", what, "show")) or [{}]
        except RuntimeError:
            return None

    return [item for item in wait_until(listed, f"bpftool {what} show") if item]


def _held_by(space: Namespace) -> dict[str, set[int]]:
    """prog_id, map_id and link_id of all descriptors of the processes in a namespace (/proc/PID/fdinfo)."""
    found: dict[str, set[int]] = {"prog_id": set(), "map_id": set(), "link_id": set()}
    pids = subprocess.run(["ip", "netns", "pids", space.name], capture_output=True, text=True, check=True).stdout
    for pid in pids.split():
        for path in Path(f"/proc/{pid}/fdinfo").glob("*"):
            with suppress(OSError):
                fields = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
                for name in found.keys() & fields.keys():
                    found[name].add(int(fields[name]))
    return found


def _interfaces(space: Namespace) -> str:
    """Names, flags and XDP programs: no counters."""
    shown = json.loads(space.run("ip", "-json", "link", "show"))
    names = ("ifname", "flags", "xdp", "mtu")
    return json.dumps([{name: link.get(name) for name in names} for link in shown])
