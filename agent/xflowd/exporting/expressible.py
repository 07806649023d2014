"""What v5 cannot tell as it is: wide counters, ifIndexes, AS numbers, and ICMP, which has no field in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.exporting.blocks import copied, picked

Array = npt.NDArray[Any]
_COUNTER_LIMIT = (1 << 32) - 1
_UNSIGNED16 = (1 << 16) - 1
AS_TRANS = 23_456  # RFC 6793: stands for an AS number that does not fit 16 bits
_ICMP = 1


def in_netflow5(flows: Array) -> Array:
    """The same IPv4 flows (of FLOW) as v5 can tell them: a new array, longer where counters are split."""
    told = split_counters(flows)
    for column in ("ingress_interface", "egress_interface"):
        told[column] = np.where(told[column] > _UNSIGNED16, 0, told[column])
    for column in ("bgp_source_as_number", "bgp_destination_as_number"):
        told[column] = np.where(told[column] > _UNSIGNED16, AS_TRANS, told[column])
    is_icmp = told["protocol_identifier"] == _ICMP
    told["destination_transport_port"] = np.where(is_icmp, told["icmp_type_code"], told["destination_transport_port"])
    told["source_transport_port"] = np.where(is_icmp, 0, told["source_transport_port"])
    return told


def split_counters(flows: Array) -> Array:
    """A copy in which no counter is above 2^32 - 1: such a flow is shared out evenly over several records.

    The parts sum up exactly, and where a flow has as many octets as packets or more, each part has too.
    """
    packets, octets = flows["packet_delta_count"], flows["octet_delta_count"]
    parts = np.maximum(_parts(packets), _parts(octets))
    if not (parts > 1).any():
        return copied(flows)
    told = picked(flows, np.repeat(np.arange(len(flows)), parts))
    divisor = np.repeat(parts.astype(np.uint64), parts)
    first = np.repeat(np.cumsum(parts) - parts, parts)
    place = (np.arange(len(told)) - first).astype(np.uint64)
    for column in ("packet_delta_count", "octet_delta_count"):
        share, left = np.divmod(told[column], divisor)
        told[column] = share + (place < left)
    return told


def _parts(counter: Array) -> Array:
    """Into how many parts, one at least; of unsigned 64 bits without overflow."""
    whole = counter // np.uint64(_COUNTER_LIMIT) + (counter % np.uint64(_COUNTER_LIMIT) > 0)
    parts: Array = np.maximum(whole, np.uint64(1)).astype(np.int64)
    return parts
