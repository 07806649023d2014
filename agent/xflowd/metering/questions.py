"""What to ask the kernel of flows, where it takes more than a destination to know a packet's route."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xflowd.metering.table import Records

#: One packet. Addresses are as in FLOW; interface is where it came in, 0 if it is this host's own. 0 is "any" in all.
QUESTION = np.dtype(
    [
        ("source_address", np.uint8, 16),
        ("destination_address", np.uint8, 16),
        ("interface", np.uint32),
        ("source_transport_port", np.uint16),
        ("destination_transport_port", np.uint16),
        ("ip_version", np.uint8),
        ("protocol_identifier", np.uint8),
        ("ip_class_of_service", np.uint8),
    ]
)
_PORTS = ("source_transport_port", "destination_transport_port", "protocol_identifier")


def there(flows: Records, *, by_port: bool) -> Records:
    """The way of flows (of FLOW); with `by_port` their protocols and ports may have a say in it."""
    asked = _questions(flows, by_port)
    for end in ("source", "destination"):
        asked[f"{end}_address"] = flows[f"{end}_address"]
    asked["interface"] = flows["ingress_interface"]
    return asked


def back(flows: Records, *, by_port: bool) -> Records:
    """The way of answers to them, which come in where the flows go out."""
    asked = _questions(flows, by_port)
    asked["source_address"], asked["destination_address"] = flows["destination_address"], flows["source_address"]
    if by_port:
        asked["source_transport_port"] = flows["destination_transport_port"]
        asked["destination_transport_port"] = flows["source_transport_port"]
    asked["interface"] = flows["egress_interface"]
    return asked


def plain(asked: Records) -> Records:
    """The same destinations, whoever asks: for what the kernel would refuse to route."""
    result = np.zeros(len(asked), QUESTION)
    for name in ("destination_address", "ip_version"):
        result[name] = asked[name]
    return result


def distinct(asked: Records) -> tuple[Records, npt.NDArray[np.intp]]:
    """Each question once, and which of them is that of each row."""
    octets = np.ascontiguousarray(asked).view(f"S{QUESTION.itemsize}")
    _, first, which = np.unique(octets, return_index=True, return_inverse=True)
    return asked[first], which


def _questions(flows: Records, by_port: bool) -> Records:
    asked = np.zeros(len(flows), QUESTION)
    for name in ("ip_version", "ip_class_of_service", *(_PORTS if by_port else ())):
        asked[name] = flows[name]
    return asked
