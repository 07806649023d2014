"""Capture files as tshark reads them: of each packet the headers that its flow is made of, outermost or innermost.

An independent reading: from tshark's names and layers alone, nothing of it knows the meter.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

#: Source, destination, protocol, source port, destination port, ICMP type * 256 + code.
Key = tuple[str, str, int, int, int, int]

_NEXT_HEADERS = (
    "ipv6.nxt",
    "ipv6.hopopts.nxt",
    "ipv6.routing.nxt",
    "ipv6.dstopts.nxt",
    "ipv6.fraghdr.nxt",
    "ah.next_header",
)
_FIELDS = (
    *("frame.protocols", "ip.src", "ip.dst", "ip.proto", "ip.len", "ip.frag_offset"),
    *("ip.flags.mf", "ip.flags.df", "ip.id", "ip.ttl", "ip.dsfield", "ip.hdr_len", "ip.opt.type"),
    *("ipv6.src", "ipv6.dst", "ipv6.plen", "ipv6.hlim", "ipv6.tclass", "ipv6.flow", *_NEXT_HEADERS),
    *("ipv6.fraghdr.offset", "ipv6.fraghdr.more", "ipv6.fraghdr.ident"),
    *("tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport", "sctp.srcport", "sctp.dstport"),
    *("dccp.srcport", "dccp.dstport"),
    *("tcp.flags", "tcp.window_size_value", "tcp.option_kind", "tcp.options.wscale.shift"),
    *(
        "icmp.type",
        "icmp.code",
        "icmpv6.type",
        "icmpv6.code",
        "teredo.auth",
        "vlan.id",
        "ieee8021ad.id",
        "mpls.label",
        "mpls.exp",
        "mpls.bottom",
    ),
)
_IP = ("ip", "ipv6")
_TUNNELS = {
    "udp", "gre", "vxlan", "geneve", "gtp", "teredo", "eth", "ethertype", "vlan", "ieee8021ad",
    "ipv6.hopopts", "ipv6.dstopts", "ipv6.fraghdr",
}  # fmt: skip
_DEPTH = 2
_SHORTEST_HEADER = 20  # octets of IPv4's
_TRANSPORTS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udp"}
#: Between the frame and its IP header: what the meter walks through.
_WALKED = {"eth", "ethertype", "vlan", "ieee8021ad", "pppoes", "mpls", "chdlc", "ppp", "raw", "null", "sll", "frame"}
_APART = ("ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE")


@dataclass(frozen=True)
class Packet:
    """One packet by the IP header at that place among its layers; `link` is where its first one is."""

    row: dict[str, str]
    layers: list[str]
    place: int
    link: int

    @property
    def is_ipv4(self) -> bool:
        return self.layers[self.place] == "ip"

    @property
    def octets(self) -> int:
        return int(self.ip("ip.len")) if self.is_ipv4 else 40 + int(self.ip("ipv6.plen"))

    @property
    def extensions(self) -> list[str]:
        """Layers of IPv6 extension headers."""
        found = []
        for layer in self.layers[self.place + 1 :]:
            if not layer.startswith("ipv6.") and layer != "ah":
                break
            found.append(layer)
        return [] if self.is_ipv4 else found

    @property
    def protocol(self) -> int:
        if self.is_ipv4:
            return int(self.ip("ip.proto"))
        names = [f"{layer}.nxt" if layer != "ah" else "ah.next_header" for layer in self.extensions]
        return int(self.row[names[-1]].split(",")[-1] or -1 if names else self.ip("ipv6.nxt"))

    @property
    def offset(self) -> int:
        """In units of eight octets."""
        return int((self.ip("ip.frag_offset") if self.is_ipv4 else self.row["ipv6.fraghdr.offset"]) or 0)

    @property
    def key(self) -> Key:
        name = self.layers[self.place]
        ends = [self.ip(f"{name}.{end}") for end in ("src", "dst")]
        ports, icmp = ((0, 0), 0) if self.offset else self._transport()
        return ends[0], ends[1], self.protocol, *ports, icmp

    def ip(self, field: str) -> str:
        """A field of its IP header."""
        return self._nth(field, self.layers[self.place], self.place)

    def transport(self, layer: str, field: str) -> str:
        """A field of the first such layer behind it."""
        return self._nth(field, layer, self.place)

    def tags(self) -> tuple[int, int]:
        """VLANs of the frame, the outer one first; 0 where it has none."""
        fields = {"vlan": "vlan.id", "ieee8021ad": "ieee8021ad.id"}
        places = [place for place, layer in enumerate(self.layers[: self.link]) if layer in fields]
        shown = [self._nth(fields[self.layers[place]], self.layers[place], place) for place in places]
        outer, inner = ([int(tag) for tag in shown] + [0, 0])[:2]
        return outer, inner

    def labels(self) -> list[tuple[int, int, int]]:
        """MPLS: label, traffic class, bottom of the stack. tshark has one layer for the whole stack."""
        if "mpls" not in self.layers[: self.link]:
            return []
        columns = [self.row[f"mpls.{name}"].split(",") for name in ("label", "exp", "bottom")]
        return [(int(label, 0), int(exp), _flag(bottom)) for label, exp, bottom in zip(*columns, strict=True)]

    def all_of(self, field: str) -> list[int]:
        """Every value of the packet."""
        return [int(value, 0) for value in self.row[field].split(",") if value]

    def ipv4_options(self) -> list[int]:
        """Their first octets; tshark does not say of which of two headers they are, but how long each is."""
        return self.all_of("ip.opt.type") if self.is_ipv4 and int(self.ip("ip.hdr_len")) > _SHORTEST_HEADER else []

    def flag(self, field: str) -> int:
        """A bit of its IP header."""
        return _flag(self.ip(field))

    def is_fragment(self) -> bool:
        if not self.is_ipv4:
            return bool("ipv6.fraghdr" in self.extensions and (self.offset or _flag(self.row["ipv6.fraghdr.more"])))
        return bool(self.offset or self.flag("ip.flags.mf"))

    def _nth(self, field: str, name: str, place: int) -> str:
        """As many layers of this name as come before it have a value each."""
        values, before = self.row[field].split(","), self.layers[:place].count(name)
        return values[before] if before < len(values) else ""

    def _transport(self) -> tuple[tuple[int, int], int]:
        layer = _TRANSPORTS.get(self.protocol)
        if layer:
            source, destination = (self.transport(layer, f"{layer}.{end}port") for end in ("src", "dst"))
            return (int(source or 0), int(destination or 0)), 0
        icmp = {1: "icmp", 58: "icmpv6"}.get(self.protocol)
        if icmp is None:
            return (0, 0), 0
        kind, code = (int(self.transport(icmp, f"{icmp}.{field}")) for field in ("type", "code"))
        return (0, 0), kind * 256 + code


def dissect(path: Path, *, inner: bool = False) -> Iterator[Packet | None]:
    """Every packet of a capture file; None for one without an IP header that can be reached."""
    return (_packet(row, inner=inner) for row in _rows(path))


@lru_cache(maxsize=1)
def _rows(path: Path) -> list[dict[str, str]]:
    """A run of tshark takes a second: one is enough for outer and inner headers."""
    options = [word for option in _APART for word in ("-o", option)]
    options += ["-d", "udp.port==8472,vxlan"]  # to the registry OTV's, which tshark does not know
    form = ["-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,", "-E", "separator=|"]
    wanted = [word for name in _FIELDS for word in ("-e", name)]
    command = ["tshark", "-r", str(path), "-n", *options, *form, *wanted]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [dict(zip(_FIELDS, line.split("|"), strict=True)) for line in text.splitlines()]


def _packet(row: dict[str, str], *, inner: bool) -> Packet | None:
    layers = row["frame.protocols"].split(":")
    place = next((place for place, layer in enumerate(layers) if layer in _IP), None)
    if place is None or not set(layers[:place]) <= _WALKED:
        return None
    packet = Packet(row, layers, place, place)
    for _ in range(_DEPTH if inner else 0):
        inside = _inside(packet)
        deeper = Packet(row, layers, inside, place) if inside is not None else None
        if deeper is None or not deeper.ip(f"{layers[deeper.place]}.src"):  # tshark names also what is none
            break
        packet = deeper
    return packet


def _inside(packet: Packet) -> int | None:
    """The next IP header that a tunnel carries; None where this is none, or a fragment of one."""
    if packet.is_fragment() or packet.row["teredo.auth"]:
        return None
    layers, between = packet.layers, packet.place + 1
    while between < len(layers) and layers[between] in _TUNNELS:
        between += 1
    if between == len(layers) or layers[between] not in _IP:
        return None
    return None if layers[between - 1] == "udp" else between


def _flag(shown: str) -> int:
    return int(shown in ("1", "True"))
