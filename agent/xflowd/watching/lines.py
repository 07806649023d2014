"""Live flows as lines of a table, for a terminal of any width: what there is no room for is left out, or cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xflowd.metering.filterwords import PROTOCOLS, TCP_FLAGS
from xflowd.watching.document import LiveFlow
from xflowd.watching.figures import cut, printable, seconds, short
from xflowd.watching.rates import Rate

_IPV4_ENDPOINT, _IPV6_ENDPOINT, _LEAST_ENDPOINT = 21, 47, 12  # 255.255.255.255:65535; eight groups in brackets
_TCP, _ICMP, _ICMPV6 = 6, 1, 58
_NAMES = {number: name.upper() for name, number in reversed(PROTOCOLS.items())} | {_ICMPV6: "ICMPv6"}


@dataclass(frozen=True, slots=True)
class Row:
    """A flow and what passes of it now."""

    flow: LiveFlow
    rate: Rate


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    width: int
    text: Callable[[Row], str]


_RIGHT = {
    "packets": _Column("pkts", 5, lambda row: short(row.flow["packetDeltaCount"])),
    "octets": _Column("octet", 5, lambda row: short(row.flow["octetDeltaCount"])),
    "rate": _Column("bit/s", 5, lambda row: short(row.rate.bits)),
    "packet-rate": _Column("pkt/s", 5, lambda row: short(row.rate.packets)),
    "age": _Column("age", 4, lambda row: seconds(row.flow["age_seconds"])),
    "idle": _Column("idle", 4, lambda row: seconds(row.flow["idle_seconds"])),
}
#: In the order of the table; and what is given up first, where there is no room.
_SHOWN = ("packets", "octets", "rate", "age", "idle")
_GIVEN_UP = ("idle", "age", "packets", "protocol", "octets", "rate")
_PROTOCOL, _FLAGS = 6, 8


class Table:
    """Lines of `width` columns; `names` are interfaces' by index as a text, `arrow` as the terminal can show it."""

    def __init__(self, width: int, names: Mapping[str, str], *, arrow: str = "→", order: str = "rate") -> None:
        """`order` is shown, whatever there is room for."""
        self._width, self._arrow = max(width, 1), arrow
        self._names = {index: printable(name) for index, name in names.items()}
        self._mark = "…" if arrow == "→" else "~"
        shown = [*_SHOWN, *([order] if order not in _SHOWN else [])]
        parts = ["protocol", *shown]
        for part in _GIVEN_UP:
            if self._rest(parts) < 2 * _LEAST_ENDPOINT and part != order:
                parts.remove(part)
        self._with_protocol = "protocol" in parts
        self._columns = [_RIGHT[part] for part in shown if part in parts]
        self._wide = self._wider(self._rest(parts) - 2 * _IPV4_ENDPOINT)
        rest = self._rest(parts) - sum(1 + column.width for column in self._wide)
        self._endpoint = max(1, min(_IPV6_ENDPOINT, rest // 2))

    def heading(self) -> str:
        """The line above the rows."""
        return self._line("proto", "source", "destination", [column.heading for column in self._all])

    def row(self, row: Row) -> str:
        """One line; endpoints that are too long lose their middle."""
        source, destination = (cut(text, self._endpoint, self._mark) for text in endpoints(row.flow))
        return self._line(protocol(row.flow), source, destination, self._texts(row))

    def rows(self, row: Row) -> Iterator[str]:
        """One line, or two where endpoints are too long: nothing of them is left out."""
        source, destination = endpoints(row.flow)
        if max(len(source), len(destination)) <= self._endpoint:
            yield self._line(protocol(row.flow), source, destination, self._texts(row))
            return
        before = f"{protocol(row.flow):{_PROTOCOL}} " if self._with_protocol else ""
        yield f"{before}{source}"
        room, second = 2 * self._endpoint + 3, f"{self._arrow} {destination}"
        indent = max(0, len(before) - max(0, len(second) - room))  # what comes after stays in its column
        yield f"{'':{indent}}{second:{room}}{self._right(self._texts(row))}".rstrip()

    @property
    def _all(self) -> list[_Column]:
        return [*self._columns, *self._wide]

    def _rest(self, parts: Sequence[str]) -> int:
        """What is left for both endpoints, without the arrow between them."""
        right = sum(1 + _RIGHT[part].width for part in parts if part in _RIGHT)
        return self._width - right - 3 - (_PROTOCOL + 1 if "protocol" in parts else 0)

    def _wider(self, room: int) -> list[_Column]:
        """What comes behind, where there is room beyond that for IPv4's endpoints."""
        longest = max([len(name) for name in self._names.values()], default=6)
        arrow = self._arrow
        candidates = [
            _Column("flags", _FLAGS, _flags),
            _Column(f"in{arrow}out", max(2 * longest + 1, 6), self._interfaces),
        ]
        wide = []
        for column in candidates:
            if room < 1 + column.width:
                break
            room -= 1 + column.width
            wide.append(column)
        return wide

    def _texts(self, row: Row) -> list[str]:
        return [column.text(row) for column in self._all]

    def _line(self, proto: str, source: str, destination: str, right: Sequence[str]) -> str:
        before = f"{proto:{_PROTOCOL}.{_PROTOCOL}} " if self._with_protocol else ""
        between = (
            f"{source:{self._endpoint}.{self._endpoint}} {self._arrow} {destination:{self._endpoint}.{self._endpoint}}"
        )
        return f"{before}{between}{self._right(right)}"[: self._width].rstrip()

    def _right(self, right: Sequence[str]) -> str:
        narrow = len(self._columns)
        texts = [f" {text:>{column.width}}" for text, column in zip(right[:narrow], self._columns, strict=True)]
        texts += [f" {text:{column.width}}" for text, column in zip(right[narrow:], self._wide, strict=True)]
        return "".join(texts)

    def _interfaces(self, row: Row) -> str:
        ends = [str(row.flow[f"{way}Interface"]) for way in ("ingress", "egress")]
        names = [self._names.get(index, index) if index != "0" else "-" for index in ends]
        return self._arrow.join(names)


def protocol(flow: LiveFlow) -> str:
    """By its name, where it has a usual one."""
    number = flow["protocolIdentifier"]
    return _NAMES.get(number, str(number))


def endpoints(flow: LiveFlow) -> tuple[str, str]:
    """Source and destination, with ports where there are any; the second with the type and code of ICMP."""
    is_ipv4 = flow["ipVersion"] == 4
    kind = "IPv4" if is_ipv4 else "IPv6"
    source, destination = (flow[f"{end}{kind}Address"] for end in ("source", "destination"))
    if not is_ipv4:
        source, destination = f"[{source}]", f"[{destination}]"
    if flow["protocolIdentifier"] in (_ICMP, _ICMPV6):
        told = flow[f"icmpTypeCode{kind}"]
        return source, f"{destination}:{told >> 8}/{told & 0xFF}"
    ports = [flow[f"{end}TransportPort"] for end in ("source", "destination")]
    return (f"{source}:{ports[0]}", f"{destination}:{ports[1]}") if any(ports) else (source, destination)


def _flags(row: Row) -> str:
    if row.flow["protocolIdentifier"] != _TCP:
        return ""
    bits: Any = row.flow["tcpControlBits"]
    return "".join(letter if bits & TCP_FLAGS[letter] else "." for letter in "CEUAPRSF")
