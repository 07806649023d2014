"""Lists of elements that somebody has chosen for a template, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xflowd.config.problem import quoted
from xflowd.config.values import UnacceptableError, listed, nearest_name
from xflowd.exporting.catalogue import DEFAULT_WORD, OFFERED, fields_text, kinds
from xflowd.wire.elements import BY_NAME, BY_NUMBER, OUTER

Elements = tuple[str, ...]  # IANA names, and "default" for all of the protocol's own template
#: What speaks against elements in NetFlow v5, whichever they are.
ONE_FORM = "netflow5 has one form of record", "choose no elements, or use netflow9 or ipfix"
_SEE = "`xflowd elements` lists what there is"
_TIMES = ({"flowStartMilliseconds", "flowEndMilliseconds"}, {"flowStartSysUpTime", "flowEndSysUpTime"})
_UPTIMES, _BOOT = _TIMES[1], "systemInitTimeMilliseconds"
#: Octets of what goes before the flows in one datagram, apart from their templates: header, other templates, options.
_ANNOUNCEMENT = {"netflow9": 176, "ipfix": 196}
_TEMPLATE_OCTETS, _FIELD_OCTETS = 4, 4  # of one more than two, and of a field
_MOST_FIELDS = 59  # 60, less one for padding


@dataclass(frozen=True, slots=True)
class ElementNames:
    """Names of elements, and perhaps `default`, parted by commas or blanks; the order is that of the record."""

    def parse(self, text: str) -> Elements:
        names = tuple(listed(text))
        for name in names:
            if name != DEFAULT_WORD and name not in OFFERED:
                raise _unknown(name)
        if not names:
            raise UnacceptableError("is empty", "name elements, or default and elements")
        for name in _outer(names):
            _require_inner(name, names)
        for kind in kinds(names):
            if not fields_text("ipfix", kind, names):
                raise UnacceptableError(
                    f"has no element of IPv{kind.ip_version} flows", f"add {DEFAULT_WORD}, or {_any(kind.ip_version)}"
                )
        return names

    def render(self, value: Elements) -> str:
        return ", ".join(value)


@dataclass(frozen=True, slots=True)
class SectionName:
    """The name of another section, or none. Whether there is such a section is seen when all have been read."""

    def parse(self, text: str) -> str:
        if len(text.split()) > 1:
            raise UnacceptableError(f"{quoted(text)} is more than one name", "name one section")
        return text

    def render(self, value: str) -> str:
        return value


def unsuited(elements: Elements, protocol: str) -> tuple[str, str] | None:
    """What speaks against these elements in this protocol, and how to mend it."""
    if not elements:
        return None
    if protocol not in _ANNOUNCEMENT:
        return ONE_FORM
    outer = next(_outer(elements), None)
    if protocol != "ipfix" and outer:
        return (
            f"{protocol} has no place for {outer}: an element is in a record once",
            f"use ipfix, or leave {outer} out",
        )
    if protocol == "ipfix" and _UPTIMES.intersection(elements) and _BOOT not in elements:
        what = f"ipfix has no clock that {min(_UPTIMES.intersection(elements))} could be read by"
        return what, f"use flowStartMilliseconds and flowEndMilliseconds, or add {_BOOT}"
    return None


def least_payload(elements: Elements, protocol: str) -> int:
    """Octets of the first datagram: it holds all templates."""
    told = kinds(elements)
    fields = sum(_fields(fields_text(protocol, kind, elements)) for kind in told)
    return _ANNOUNCEMENT[protocol] + _TEMPLATE_OCTETS * (len(told) - 2) + _FIELD_OCTETS * fields


def doubts(elements: Elements) -> Iterator[str]:
    """What a collector will miss in a record of these elements, or not read: each is worth a warning."""
    if any(len(fields_text("ipfix", kind, elements).split()) > _MOST_FIELDS for kind in kinds(elements)):
        yield f"Wireshark reads no template of more than {_MOST_FIELDS} fields"
    if DEFAULT_WORD in elements:
        return
    if not {"packetDeltaCount", "octetDeltaCount"}.issubset(elements):
        yield "without packetDeltaCount and octetDeltaCount most collectors count nothing"
    if not any(each.issubset(elements) for each in _TIMES):
        yield "without flowStartMilliseconds and flowEndMilliseconds most collectors know no time"
    own = set(elements).difference(_outer(elements))
    if not any(name.endswith(("Address", "ipVersion")) and "NextHop" not in name for name in own):
        yield "without an address or ipVersion some collectors drop the record"
    if not {"ingressInterface", "egressInterface", "interfaceName"}.intersection(elements):
        yield "without an interface nobody can tell where it was counted"
    if "samplingInterval" not in elements:
        yield "without samplingInterval some collectors take sampled flows for all"


def only_uptimes(elements: Elements) -> bool:
    """Whether a record has no other times than those by the device's clock."""
    return bool(_UPTIMES.intersection(elements)) and not {DEFAULT_WORD, *_TIMES[0]}.intersection(elements)


def of_tunnels(elements: Elements) -> Iterator[str]:
    """Those that tell of the tunnel that a packet was found in."""
    return (name for name in elements if name != DEFAULT_WORD and OFFERED[name].detail == "TUNNEL")


def _outer(elements: Elements) -> Iterator[str]:
    return (name for name in elements if name.startswith(OUTER))


def _require_inner(name: str, names: Elements) -> None:
    """An address of the header around is one before the flow's own: alone it would be taken for that."""
    offered = OFFERED[name]
    inner = offered.element.name
    if not {DEFAULT_WORD, inner, (offered.counterpart or "").removeprefix(OUTER)}.intersection(names):
        raise UnacceptableError(f"{name} without {inner} would be taken for it", f"add {inner}, or {DEFAULT_WORD}")


def _unknown(name: str) -> UnacceptableError:
    if name in BY_NAME:
        return UnacceptableError(f"{quoted(name)} is nothing that can be told of a flow here", _SEE)
    if name.isascii() and name.isdigit() and len(name) < 6 and int(name) in BY_NUMBER:
        return UnacceptableError(f"{quoted(name)} is no name", f"did you mean {BY_NUMBER[int(name)].name}?")
    return UnacceptableError(f"{quoted(name)} is no element", nearest_name(name, [*OFFERED, DEFAULT_WORD]) or _SEE)


def _any(ip_version: int) -> str:
    return f"sourceIPv{ip_version}Address"


def _fields(text: str) -> int:
    """Padding is a field too."""
    words = text.split()
    octets = (
        int(octets) if octets else BY_NAME[name].octets for name, _, octets in (word.partition("/") for word in words)
    )
    return len(words) + bool(sum(octets) % 4)
