"""The terms of a filter: what each word begins, and what it wants behind it. docs/commands.md lists them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import TypeAlias

from xflowd.metering import filterwords
from xflowd.metering.filterreader import SIGNS, Reader
from xflowd.metering.filtertree import All, AnyOf, Compare, Filter, Flags, Interface, Network, Station

AND, OR = ("and", "&&"), ("or", "||")
_SOURCE, _DESTINATION = ("src", "source"), ("dst", "dest", "destination")
_ENDS = ("source", "destination")
_INGRESS, _EGRESS = 0, 1  # flowDirection, IANA 61
_MAC = re.compile(r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}", re.IGNORECASE)

#: A term of an end, made for one of them: source or destination.
_OfEnd = Callable[[str], Filter]
#: Which ends are named, and how they are joined.
_Ends: TypeAlias = "tuple[type[All] | type[AnyOf], tuple[str, ...]]"


@dataclass(frozen=True, slots=True)
class Words:
    """What stands before an address or a port: it holds for one behind it that has none."""

    kind: Callable[[Reader], _OfEnd]
    joined: type[All] | type[AnyOf]
    ends: tuple[str, ...]
    protocol: int | None = None
    is_negated: bool = False

    @property
    def has_direction(self) -> bool:
        return (self.joined, self.ends) != (AnyOf, _ENDS)

    def suit(self, word: str) -> bool:
        """Whether this could stand behind them, and is no term by itself."""
        if self.kind is _port:
            first, dash, last = word.partition("-")
            numbers = (filterwords.port(first), filterwords.port(last)) if dash else ()
            is_port = filterwords.port(word) is not None or (dash and None not in numbers)
            return bool(is_port) and word not in _TERMS and word not in filterwords.PROTOCOLS
        return bool(_MAC.fullmatch(word)) if self.kind is _mac else is_address(word)

    def term(self, reader: Reader) -> Filter:
        made = self.kind(reader)
        parts = tuple(made(end) for end in self.ends)
        found = parts[0] if len(parts) == 1 else self.joined(parts)
        return found if self.protocol is None else All((_is_protocol(self.protocol), found))


def term(reader: Reader) -> Filter:
    """One term, without what may stand before it."""
    if ends := _ends(reader):
        return _of_ends(reader, ends)
    word = reader.word()
    if word in ("in", "out"):
        reader.advance(1)
        if not reader.skip("interface", "if", "iface"):
            raise reader.fault("expected interface")
        return _interface(reader, ("ingress_interface",) if word == "in" else ("egress_interface",))
    if word in _TERMS:
        reader.advance(1)
        return _TERMS[word](reader)
    if word in _OF_END or is_address(word):
        return _of_ends(reader)
    if word in filterwords.PROTOCOLS:
        reader.advance(1)
        return _protocol_and_port(reader, filterwords.PROTOCOLS[word])
    raise reader.fault("expected a term such as host 192.0.2.7, port 443, tcp, interface wan0 or octets > 1M")


def _ends(reader: Reader) -> _Ends | None:
    """`src`, `dst`, `src or dst`, `src and dst`; None where no end is named."""
    words = [reader.word(ahead) for ahead in range(3)]
    if words[0] in _SOURCE and words[1] in (*AND, *OR) and words[2] in _DESTINATION:
        reader.advance(3)
        return (All if words[1] in AND else AnyOf), _ENDS
    if reader.skip(*_SOURCE):
        return AnyOf, ("source",)
    if reader.skip(*_DESTINATION):
        return AnyOf, ("destination",)
    return None


def _of_ends(reader: Reader, ends: _Ends | None = None, address: Callable[[Reader], _OfEnd] | None = None) -> Filter:
    """What can be said of source and destination; an address may stand without `host` or `net`.

    `ends` are those that are named; without, either. `address` reads one that stands without a word.
    """
    word = reader.word()
    if word in _OF_END:
        reader.advance(1)
    elif not is_address(word):
        raise reader.fault("expected host, net, port, portrange, mac or an address")
    sign = SIGNS.get(reader.word()) if word in ("port", "portrange") else None
    words = Words(_OF_END.get(word, address or _address), *(ends or (AnyOf, _ENDS)))
    tree = (_of_neither(reader, words, ends) if sign == "!=" else words).term(reader)
    reader.level.words = words
    if sign:  # > 1023 or 80: nobody can say what the sign is for
        reader.level.words, reader.has_direction = None, reader.has_direction or words.has_direction
    return tree


def _of_neither(reader: Reader, words: Words, ends: _Ends | None) -> Words:
    """`port != 53` is a flow with that port at neither end: nearly every flow has another one at either."""
    if (words.joined, words.ends) != (AnyOf, _ENDS):
        return words
    if ends:
        raise reader.fault("could be meant in two ways: write port != for neither end, or name the ends one by one")
    return replace(words, joined=All)


def is_address(word: str) -> bool:
    """Or a network: something that is worth a try."""
    try:
        ip_network(word, strict=False)
    except ValueError:
        return False
    return True


def _host(reader: Reader) -> _OfEnd:
    text = reader.value("an address")
    try:
        address = ip_address(text)
    except ValueError:
        hint = "a network has net before it" if "/" in text else "names are not looked up"
        raise reader.fault(f"no address, such as 192.0.2.7 or 2001:db8::7: {hint}", 1) from None
    if getattr(address, "scope_id", None):
        raise reader.fault("an address without its interface is expected", 1)
    return lambda end: Network(end, address.packed, b"\xff" * len(address.packed))


def _address(reader: Reader) -> _OfEnd:
    text = reader.value("an address or a network, such as 192.0.2.0/24")
    try:
        network = ip_network(text)
    except ValueError as error:
        if is_address(text):
            raise reader.fault(f"bits beyond the prefix: {ip_network(text, strict=False)} is meant?", 1) from None
        raise reader.fault("no address or network, such as 192.0.2.0/24 or 2001:db8::/32", 1) from error
    if getattr(network.network_address, "scope_id", None):
        raise reader.fault("an address without its interface is expected", 1)
    return lambda end: Network(end, network.network_address.packed, network.netmask.packed)


def _port(reader: Reader) -> _OfEnd:
    sign = _sign(reader)
    text = reader.value("a port")
    first, dash, last = text.partition("-")
    number = filterwords.port(text)
    if number is not None:
        return lambda end: Compare(f"{end}_transport_port", sign or "=", number)
    low, high = filterwords.port(first), filterwords.port(last)
    if not dash or sign or low is None or high is None:
        raise reader.fault("no port: use 443, 6000-6008, or a name such as https", 1)
    if low > high:
        raise reader.fault("the range ends before it begins", 1)
    return lambda end: All((Compare(f"{end}_transport_port", ">=", low), Compare(f"{end}_transport_port", "<=", high)))


def _mac(reader: Reader) -> _OfEnd:
    text = reader.value("a MAC address")
    if not _MAC.fullmatch(text):
        raise reader.fault("no MAC address, such as 02:00:5e:10:00:01", 1)
    return lambda end: Station(end, bytes.fromhex(text.replace("-", ":").replace(":", "")))


def _sign(reader: Reader) -> str | None:
    word = reader.word()
    if word not in SIGNS:
        return None
    reader.advance(1)
    return SIGNS[word]


def _compared(column: str, unit: Callable[[str], int | None], what: str) -> Callable[[Reader], Filter]:
    """A term such as `octets > 1M`; without a sign, equal."""

    def term(reader: Reader) -> Filter:
        sign = _sign(reader) or "="
        number = unit(reader.value(what))
        if number is None:
            raise reader.fault(f"expected {what}", 1)
        return Compare(column, sign, number)

    return term


def _protocol(reader: Reader) -> Filter:
    text = reader.value("a protocol")
    number = filterwords.protocol(text)
    if number is None:
        raise reader.fault("no protocol: use 0 to 255, or a name such as tcp, udp, icmp, icmp6, gre, esp", 1)
    return Compare("protocol_identifier", "=", number)


def _protocol_and_port(reader: Reader, number: int) -> Filter:
    """`tcp`, and `tcp dst port 443` too."""
    protocol = _is_protocol(number)
    ends = _ends(reader)
    if reader.word() in ("port", "portrange"):
        tree = _of_ends(reader, ends)
        if reader.level.words:
            reader.level.words = replace(reader.level.words, protocol=number)
        return All((protocol, tree))
    if ends:
        raise reader.fault("expected port: write and between a protocol and anything else")
    return protocol


def _is_protocol(number: int) -> Compare:
    return Compare("protocol_identifier", "=", number)


def _interface(reader: Reader, columns: tuple[str, ...]) -> Filter:
    return Interface(columns, reader.value("an interface's name"))


def _vlan(reader: Reader) -> Filter:
    """Either tag; without a number, any tag."""
    number = filterwords.vlan(reader.word())
    if number is None:
        if reader.word().isdecimal():
            raise reader.fault("no VLAN: use 0 to 4095")
        return AnyOf((Compare("vlan_id", "!=", 0), Compare("dot1q_customer_vlan_id", "!=", 0)))
    reader.advance(1)
    return AnyOf((Compare("vlan_id", "=", number), Compare("dot1q_customer_vlan_id", "=", number)))


def _flags(reader: Reader) -> Filter:
    bits = filterwords.flags(reader.value("TCP flags"))
    if bits is None:
        raise reader.fault("no TCP flags: use letters of CEUAPRSF", 1)
    return All((Compare("protocol_identifier", "=", filterwords.PROTOCOLS["tcp"]), Flags(bits)))


def _dscp(reader: Reader) -> Filter:
    number = filterwords.octet(reader.value("0 to 63"))
    if number is None or number > 63:
        raise reader.fault("expected 0 to 63", 1)
    low = Compare("ip_class_of_service", ">=", number << 2)
    return All((low, Compare("ip_class_of_service", "<=", number << 2 | 3)))


def _version(number: int) -> Callable[[Reader], Filter]:
    """`ip`; and `ip 192.0.2.7`, which nfdump has for `host`."""

    def address(reader: Reader) -> _OfEnd:
        made, version = _address(reader), ip_network(reader.word(-1)).version
        if version != number:
            raise reader.fault(f"an address of IPv{version}: write ip{'' if version == 4 else version} before it", 1)
        return made

    def term(reader: Reader) -> Filter:
        if is_address(reader.word()):
            return _of_ends(reader, address=address)
        return Compare("ip_version", "=", number)

    return term


_OF_END: dict[str, Callable[[Reader], _OfEnd]] = {
    "host": _host,
    "net": _address,
    "port": _port,
    "portrange": _port,
    "mac": _mac,
}
_COUNT, _TIME = "a number such as 100 or 1.5M", "a time such as 30s or 1m30s"
_TERMS: dict[str, Callable[[Reader], Filter]] = {
    "any": lambda _: All(),
    "ip": _version(4),
    "ip4": _version(4),
    "ipv4": _version(4),
    "ip6": _version(6),
    "ipv6": _version(6),
    "proto": _protocol,
    "protocol": _protocol,
    "ingress": lambda _: Compare("flow_direction", "=", _INGRESS),
    "egress": lambda _: Compare("flow_direction", "=", _EGRESS),
    **{word: lambda reader: _interface(reader, ("ingress_interface", "egress_interface"))
       for word in ("interface", "if", "iface")},
    "vlan": _vlan,
    "flags": _flags,
    "tos": _compared("ip_class_of_service", filterwords.octet, "0 to 255"),
    "dscp": _dscp,
    "packets": _compared("packets", filterwords.count, _COUNT),
    "octets": _compared("octets", filterwords.count, _COUNT),
    "bytes": _compared("octets", filterwords.count, _COUNT),
    "rate": _compared("rate", filterwords.count, _COUNT),
    "bps": _compared("rate", filterwords.count, _COUNT),
    "pps": _compared("packet_rate", filterwords.count, _COUNT),
    "age": _compared("age", filterwords.nanoseconds, _TIME),
    "duration": _compared("duration", filterwords.nanoseconds, _TIME),
    "idle": _compared("idle", filterwords.nanoseconds, _TIME),
}  # fmt: skip
