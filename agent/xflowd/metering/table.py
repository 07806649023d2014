"""The flow table as the agent sees it: columns over the slots that the kernel's programs write."""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt

from xflowd.metering.flow import DETAIL_NAMES, FLOW

Records = npt.NDArray[np.void]

#: Columns of a flow that are taken from the slot, or from its key, as they are.
_FROM_SLOT = (
    "flow_start_ns",
    "ip_next_hop_address",
    "ingress_interface",
    "egress_interface",
    "ip_class_of_service",
)
_FROM_KEY = (
    "vlan_id",
    "dot1q_customer_vlan_id",
    "ip_version",
    "protocol_identifier",
    "flow_direction",
    "source_transport_port",
    "destination_transport_port",
    "source_mac_address",
    "destination_mac_address",
    "flow_label_ipv6",
)
_ICMP, _ICMPV6 = 1, 58


class SlotState(enum.IntEnum):
    """enum slot_state of ebpf/flow.h; a test compares the two."""

    FREE = 0
    LIVE = 1
    EXPIRING = 2
    DISCARDED = 3


def flows(slots: Records, reasons: npt.NDArray[np.uint8]) -> Records:
    """Slots that nothing writes to any more, as records of type FLOW; `reasons` are flowEndReasons, one a slot."""
    result = np.zeros(len(slots), FLOW)
    key = slots["key"]
    for name in _FROM_SLOT:
        result[name] = slots[name]
    for name in _FROM_KEY:
        result[name] = key[name] if name in (key.dtype.names or ()) else slots[name]  # a table of an older version
    if "detail" in (slots.dtype.names or ()):
        for name in DETAIL_NAMES:
            result[name] = slots["detail"][name]
    _addresses(result, key)
    _icmp(result)
    _counters(result, slots)
    result["flow_end_reason"] = reasons
    return result


def _addresses(result: Records, key: Records) -> None:
    ipv4 = key["ip_version"] == 4
    for end in ("source", "destination"):
        result[f"{end}_address"] = key[f"{end}_ipv6_address"]
        short = np.zeros((int(ipv4.sum()), 16), np.uint8)
        short[:, :4] = np.ascontiguousarray(key[f"{end}_ipv4_address"][ipv4]).view(np.uint8).reshape(-1, 4)
        result[f"{end}_address"][ipv4] = short


def _icmp(result: Records) -> None:
    """The key holds type and code where other protocols have the destination port."""
    icmp = np.isin(result["protocol_identifier"], (_ICMP, _ICMPV6))
    result["icmp_type_code"] = np.where(icmp, result["destination_transport_port"], 0)
    result["destination_transport_port"][icmp] = 0


def _counters(result: Records, slots: Records) -> None:
    """The owner's counters and everybody else's, taken together."""
    own, others = slots["own"], slots["others"]
    flags_seen = np.packbits(slots["tcp_control_bit_seen"], axis=1, bitorder="little")[:, 0]
    for name in ("packet_delta_count", "octet_delta_count"):
        result[name] = own[name] + others[name]
    for name in ("maximum_ip_total_length", "maximum_ttl"):
        result[name] = np.maximum(own[name], others[name])
    result["tcp_control_bits"] = own["tcp_control_bits"] | others["tcp_control_bits"] | flags_seen
    result["flow_end_ns"] = np.maximum(own["flow_end_ns"], others["flow_end_ns"])
    both, only_others = others["packet_delta_count"] > 0, own["packet_delta_count"] == 0
    for name in ("minimum_ip_total_length", "minimum_ttl"):
        least = np.where(both, np.minimum(own[name], others[name]), own[name])
        result[name] = np.where(only_others, others[name], least)
