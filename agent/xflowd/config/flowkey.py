"""What tells one flow from another: a level, or IANA names of header fields."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xflowd.config.problem import quoted
from xflowd.config.values import UnacceptableError, listed, nearest_name
from xflowd.wire.elements import BY_NAME


class KeyField(enum.Enum):
    """A header field that can be part of the key, by the IANA names that stand for it; it is written by the first.

    Names are those of enum key_field in ebpf/flow.h.
    """

    SOURCE_ADDRESS = ("sourceIPv4Address", "sourceIPv6Address")
    DESTINATION_ADDRESS = ("destinationIPv4Address", "destinationIPv6Address")
    SOURCE_PORT = ("sourceTransportPort",)
    DESTINATION_PORT = ("destinationTransportPort", "icmpTypeCodeIPv4", "icmpTypeCodeIPv6")
    PROTOCOL = ("protocolIdentifier",)
    VLAN = ("vlanId", "dot1qVlanId")
    CUSTOMER_VLAN = ("dot1qCustomerVlanId",)
    SOURCE_MAC = ("sourceMacAddress",)
    DESTINATION_MAC = ("destinationMacAddress",)
    CLASS_OF_SERVICE = ("ipClassOfService",)
    FLOW_LABEL = ("flowLabelIPv6",)


FlowKey = tuple[KeyField, ...]  # in the order of KeyField, each once

_IP = (KeyField.SOURCE_ADDRESS, KeyField.DESTINATION_ADDRESS)
_PORTS = (KeyField.SOURCE_PORT, KeyField.DESTINATION_PORT)
_FULL = (*_IP, *_PORTS, KeyField.PROTOCOL)
_VLAN = (*_FULL, KeyField.VLAN, KeyField.CUSTOMER_VLAN)
LEVELS: dict[str, FlowKey] = {
    "ip": _IP,
    "proto": (*_IP, KeyField.PROTOCOL),
    "full": _FULL,
    "vlan": _VLAN,
    "ether": (*_VLAN, KeyField.SOURCE_MAC, KeyField.DESTINATION_MAC),
}
#: What is 0 in a flow's record where it is not in the key: one packet's value would pass for that of all.
_ZEROED = frozenset(_VLAN)
#: Belong to every key: to name them changes nothing.
_ALWAYS = ("flowDirection", "ingressInterface", "egressInterface", "ipVersion")
_BY_NAME = {name: (field,) for field in KeyField for name in field.value}
_KNOWN: dict[str, FlowKey] = {**LEVELS, **_BY_NAME, **dict.fromkeys(_ALWAYS, ())}
_ALLOWED = f"allowed are {', '.join(LEVELS)}, or IANA names like {KeyField.CLASS_OF_SERVICE.value[0]}"


@dataclass(frozen=True, slots=True)
class KeyFields:
    """Levels and names, parted by commas or blanks: all that any of them stands for."""

    def parse(self, text: str) -> FlowKey:
        words = listed(text)
        if not words:
            raise UnacceptableError("is empty", _ALLOWED)
        chosen = {field for word in words for field in _fields(word)}
        if chosen.intersection(_PORTS) and KeyField.PROTOCOL not in chosen:
            # An ICMP type would be taken for a port.
            raise UnacceptableError("has ports without their protocol", "add protocolIdentifier")
        return tuple(field for field in KeyField if field in chosen)

    def render(self, value: FlowKey) -> str:
        within = [level for level, fields in LEVELS.items() if set(fields) <= set(value)]
        words = within[-1:]  # the last level has most
        covered = LEVELS[words[0]] if words else ()
        words += _names(field for field in value if field not in covered)
        return ", ".join(words) or _ALWAYS[0]


def zeroed(key: FlowKey) -> frozenset[str]:
    """The elements that are 0 in every flow of this key."""
    return frozenset(name for field in _ZEROED.difference(key) for name in field.value)


def _names(key: Iterable[KeyField]) -> Iterator[str]:
    return (field.value[0] for field in key)


def _fields(word: str) -> FlowKey:
    known = _KNOWN.get(word, LEVELS.get(word.lower()))
    if known is not None:
        return known
    if word in BY_NAME:
        raise UnacceptableError(f"{quoted(word)} cannot be part of a key", _ALLOWED)
    raise UnacceptableError(f"{quoted(word)} is not known", nearest_name(word, _KNOWN) or _ALLOWED)
