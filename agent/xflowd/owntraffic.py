"""Which flows are our own export, or what collectors answer to it: sent alone, they would make the next datagram."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from xflowd.edge.sending import Flow
from xflowd.metering.table import Records

_UDP, _ICMP, _ICMPV6 = 17, 1, 58


def is_own(ended: Records, sockets: Iterable[Flow]) -> npt.NDArray[np.bool_]:
    """A mask of the flows that are datagrams of these sockets, or answers to them by ICMP."""
    mask = np.zeros(len(ended), np.bool_)
    for flow in sockets:
        mask |= _is_export(ended, flow) | _is_answer(ended, flow)
    return mask


def _is_export(ended: Records, flow: Flow) -> npt.NDArray[np.bool_]:
    source, source_port, destination, destination_port = flow
    mask: npt.NDArray[np.bool_] = (
        (ended["protocol_identifier"] == _UDP)
        & (ended["source_transport_port"] == source_port)
        & (ended["destination_transport_port"] == destination_port)
        & _is_address(ended["source_address"], source)
        & _is_address(ended["destination_address"], destination)
    )
    return mask


def _is_answer(ended: Records, flow: Flow) -> npt.NDArray[np.bool_]:
    source, _, destination, _ = flow
    mask: npt.NDArray[np.bool_] = (
        np.isin(ended["protocol_identifier"], (_ICMP, _ICMPV6))
        & _is_address(ended["source_address"], destination)
        & _is_address(ended["destination_address"], source)
    )
    return mask


def _is_address(column: npt.NDArray[np.uint8], address: bytes) -> npt.NDArray[np.bool_]:
    equal: npt.NDArray[np.bool_] = (column == np.frombuffer(address.ljust(16, b"\0"), np.uint8)).all(axis=1)
    return equal
