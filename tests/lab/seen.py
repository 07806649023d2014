"""What the IP layer of a host has received and sent, by its own counters (RFC 4293): the other side of every total."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kernel.namespace import inside
from lab.flow import Count
from lab.namespaces import Namespace
from lab.process import wait_until

_FILES = ("snmp", "netstat", "snmp6")


@dataclass(frozen=True)
class Seen:
    """Packets and octets, both families together."""

    received: Count
    sent: Count

    def since(self, before: Seen) -> Seen:
        return Seen(_less(self.received, before.received), _less(self.sent, before.sent))

    def and_then(self, later: Seen) -> Seen:
        return Seen(added((self.received, later.received)), added((self.sent, later.sent)))


NOTHING = Seen(Count(0, 0), Count(0, 0))


def settled(space: Namespace) -> Seen:
    """When the last segments are through: the same, five times in a row (a twentieth of a second apart)."""
    seen: list[Seen] = []

    def unchanged() -> bool:
        seen.append(_now(space))
        return seen[-5:] == [seen[-1]] * 5

    wait_until(unchanged, f"silence of {space.name}")
    return seen[-1]


def added(counts: Iterable[Count]) -> Count:
    """The sum of one count at least."""
    packets, octets = zip(*counts, strict=True)
    return Count(sum(packets), sum(octets))


def _now(space: Namespace) -> Seen:
    """/proc/net/snmp, netstat and snmp6, read by this thread: a process each time takes seconds in an emulator."""
    with inside(space):
        snmp, netstat, snmp6 = (Path(f"/proc/thread-self/net/{name}").read_text() for name in _FILES)
    lines = [line.split() for line in (snmp + netstat).splitlines()]
    four = {
        names[0] + name: int(value)
        for names, values in zip(lines[::2], lines[1::2], strict=True)
        for name, value in zip(names[1:], values[1:], strict=True)
    }
    six = dict(line.split() for line in snmp6.splitlines())
    return Seen(
        Count(four["Ip:InReceives"] + int(six["Ip6InReceives"]), four["IpExt:InOctets"] + int(six["Ip6InOctets"])),
        Count(four["Ip:OutRequests"] + int(six["Ip6OutRequests"]), four["IpExt:OutOctets"] + int(six["Ip6OutOctets"])),
    )


def _less(after: Count, before: Count) -> Count:
    return Count(after.packets - before.packets, after.octets - before.octets)
