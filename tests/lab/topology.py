"""The network of the tests: host a - router - host b, and a collector on a link of its own.

         lan       wan
    a ───────router───────b
               │ exp
               │
           collector

The router's interfaces have large indexes that differ, addresses are of the ranges kept for documentation,
and every neighbour is known beforehand: nothing but the test's own traffic crosses the links.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.flow import Count
from lab.namespaces import Namespace, namespaces
from lab.process import wait_until

LAN, WAN, EXP = 1001, 1002, 1003  # ifIndex of the router's interfaces


@dataclass(frozen=True)
class Link:
    """One link from the router to a host, whose interface is called eth0."""

    interface: str
    index: int
    router4: str
    host4: str
    router6: str
    host6: str
    router_mac: str
    host_mac: str
    mtu: int = 1500


LINKS = {
    "a": Link("lan", LAN, "198.51.100.1", "198.51.100.2", "2001:db8:a::1", "2001:db8:a::2",
              "02:00:00:00:0a:01", "02:00:00:00:0a:02",
              mtu=2000),  # captures hold frames of up to 1,911 octets; XDP on veth takes 3,500
    "b": Link("wan", WAN, "203.0.113.1", "203.0.113.2", "2001:db8:b::1", "2001:db8:b::2",
              "02:00:00:00:0b:01", "02:00:00:00:0b:02"),
    "collector": Link("exp", EXP, "192.0.2.1", "192.0.2.10", "2001:db8:c::1", "2001:db8:c::10",
                      "02:00:00:00:0c:01", "02:00:00:00:0c:02"),
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """The four namespaces, and the directory for what is written while the network stands."""

    a: Namespace
    router: Namespace
    b: Namespace
    collector: Namespace
    directory: Path

    def sent(self) -> dict[int, Count]:
        """What hosts a and b have sent, each by the router's interface that takes it in.

        These are the hosts' own IP counters: those of a veth interface count with or without the link layer's
        header, as there is an XDP program at the other end or not.
        """
        return {LAN: self.a.ip_sent(), WAN: self.b.ip_sent()}

    def settled(self) -> dict[int, Count]:
        """What they have sent when the last segments are through: the same, five times in a row."""
        seen: list[dict[int, Count]] = []

        def unchanged() -> bool:
            seen.append(self.sent())
            return seen[-5:] == [seen[-1]] * 5

        wait_until(unchanged, "silence of the hosts")
        return seen[-1]


@contextmanager
def router_network(directory: Path, *, ipv6: bool = True, offloads: bool = False) -> Iterator[Network]:
    """Build the network, and tear it down whatever happens.

    Without `offloads` the wire carries what the hosts' counters count: no segment is joined or split.
    """
    with namespaces(directory, "a", "r", "b", "c") as (a, router, b, collector):
        hosts = {"a": a, "b": b, "collector": collector}
        for space in (router, *hosts.values()):
            _quiet(space, ipv6)
        for role, host in hosts.items():
            _connect(router, host, LINKS[role], ipv6)
            if not offloads:
                _one_segment_a_packet(router, LINKS[role].interface)
                _one_segment_a_packet(host, "eth0")
        router.sysctl(ipv4__ip_forward=1)
        if ipv6:
            router.sysctl(ipv6__conf__all__forwarding=1)
        yield Network(a, router, b, collector, directory)


def _quiet(space: Namespace, ipv6: bool) -> None:
    """No duplicate address detection, no router solicitation, no link-local address to send them from.

    What multicast listener reports remain (RFC 3810 6.1) are sent at once and not over several seconds.
    """
    if not ipv6:
        space.sysctl(ipv6__conf__all__disable_ipv6=1, ipv6__conf__default__disable_ipv6=1)
        return
    space.sysctl(
        ipv6__conf__default__accept_dad=0,
        ipv6__conf__default__accept_ra=0,
        ipv6__conf__default__router_solicitations=0,
        ipv6__conf__default__addr_gen_mode=1,
        ipv6__conf__default__mldv2_unsolicited_report_interval=1,
    )


def _connect(router: Namespace, host: Namespace, link: Link, ipv6: bool) -> None:
    router.ip(
        f"link add name {link.interface} index {link.index} address {link.router_mac} "
        f"mtu {link.mtu} type veth peer name eth0 address {link.host_mac} mtu {link.mtu} netns {host.name}",
        *_end(link.interface, f"{link.router4}/24", (link.host4, link.host_mac)),
        *(_end(link.interface, f"{link.router6}/64", (link.host6, link.host_mac)) if ipv6 else ()),
    )
    host.ip(
        *_end("eth0", f"{link.host4}/24", (link.router4, link.router_mac)),
        *(_end("eth0", f"{link.host6}/64", (link.router6, link.router_mac)) if ipv6 else ()),
        f"route add default via {link.router4}",
        *([f"route add default via {link.router6}"] if ipv6 else []),
    )


def _end(interface: str, address: str, neighbour: tuple[str, str]) -> list[str]:
    """One end of a link, that knows the station at the other."""
    there, mac = neighbour
    return [
        f"address add {address} dev {interface}",
        f"link set {interface} up",
        f"neighbour add {there} lladdr {mac} nud permanent dev {interface}",
    ]


def _one_segment_a_packet(space: Namespace, interface: str) -> None:
    """TCP then hands its segments to IP one by one: without this IP counts a train of them as one packet."""
    space.run("ethtool", "-K", interface, "tso", "off", "gso", "off", "gro", "off")
    space.ip(f"link set dev {interface} gso_max_segs 1")
