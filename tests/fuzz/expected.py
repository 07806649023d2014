"""The flow table that a batch of packets must make, by what the reference says of each packet."""

from __future__ import annotations

import ctypes as c

import numpy as np
import numpy.typing as npt

from xflowd.metering.flow import DETAIL_NAMES, FLOW
from xflowd.metering.table import Records

Rows = npt.NDArray[np.uint8]
Packets = npt.NDArray[np.void]


_SECTIONS = ("top_label_stack_section", "label_stack_section2", "label_stack_section3")


class _Meaning(c.Structure):
    """struct meaning of reference.h"""

    _fields_ = [
        *((name, c.c_uint64) for name in ("tcp_options", "layer2_segment_id")),
        *((name, c.c_uint32) for name in ("outcome", "octets", "headers_length", "flow_label", "network_at")),
        *((f"tcp_{flag}_total_count", c.c_uint32) for flag in ("syn", "fin", "rst", "psh", "ack", "urg")),
        *((f"mpls_{name}", c.c_uint32) for name in _SECTIONS),
        *((name, c.c_uint32) for name in ("fragment_identification", "ipv4_options", "ipv6_extension_headers")),
        *((name, c.c_uint32) for name in ("gre_key", "gtpu_teid")),
        *((name, c.c_uint16) for name in ("source_port", "destination_port", "vlan_id", "customer_vlan_id")),
        *((name, c.c_uint16) for name in ("fragment_offset", "tcp_window_size", "tcp_window_scale")),
        *((name, c.c_uint8) for name in ("protocol", "ip_version", "class_of_service", "ttl")),
        *((name, c.c_uint8) for name in ("tcp_flags", "later_fragment", "dropped", "fragment_flags")),
        *((name, c.c_uint8) for name in ("mpls_label_stack_depth", "tcp_syn_seen", "outer_ip_version")),
        *((name, c.c_uint8 * 16) for name in ("source", "destination", "outer_source", "outer_destination")),
        ("pad", c.c_uint8 * 3),
    ]


class _Spoilt(c.Structure):
    """struct spoilt of loaded.c"""

    _fields_ = [
        *((name, c.c_uint32) for name in ("length", "segments", "told", "segment_size")),
        ("result", c.c_int32),
        ("meaning", _Meaning),
    ]


#: One packet of a batch. Of a GSO packet `segments` is what it stands for, else it is 0.
SPOILT = np.dtype(_Spoilt)

#: Columns of FLOW, in this order: what makes a flow, and the rest that comes from packets.
KEY = (
    "ip_version", "protocol_identifier", "source_address", "destination_address", "source_transport_port",
    "destination_transport_port", "icmp_type_code", "vlan_id", "dot1q_customer_vlan_id",
)  # fmt: skip
REST = (
    "packet_delta_count", "octet_delta_count", "minimum_ip_total_length", "maximum_ip_total_length",
    "minimum_ttl", "maximum_ttl", "tcp_control_bits", "ip_class_of_service", "flow_label_ipv6",
    "source_mac_address", "destination_mac_address", *DETAIL_NAMES,
)  # fmt: skip

_COLUMNS = {
    "ip_version": "ip_version",
    "protocol_identifier": "protocol",
    "source_address": "source",
    "destination_address": "destination",
    "source_transport_port": "source_port",
    "vlan_id": "vlan_id",
    "dot1q_customer_vlan_id": "customer_vlan_id",
    "octet_delta_count": "octets",
    "minimum_ttl": "ttl",
    "maximum_ttl": "ttl",
    "tcp_control_bits": "tcp_flags",
    "ip_class_of_service": "class_of_service",
    "flow_label_ipv6": "flow_label",
} | {name: name.removesuffix("_address") for name in DETAIL_NAMES}
_SUMS = ("packet_delta_count", "octet_delta_count", *(name for name in DETAIL_NAMES if name.endswith("_total_count")))
_SETS = ("tcp_control_bits", "tcp_options", "ipv4_options", "ipv6_extension_headers")
_OF_THE_FIRST_SYN = ("tcp_window_size", "tcp_window_scale")
_ICMP = (1, 58)
_MOST_LENGTH = 65535  # what its column holds
_PARSED = 0


def flows_of(rows: Rows, packets: Packets, *, macs: bool, details: bool) -> Records:
    """The flows of these packets, in the order of sorted(): each as FLOW, without times and interfaces."""
    parsed = packets["meaning"]["outcome"] == _PARSED
    singly = _singly(rows[parsed], packets[parsed], macs=macs)
    _, first, group = np.unique(keys(singly), return_index=True, return_inverse=True)
    flows = singly[first]
    for name in _SUMS:
        flows[name] = 0
        np.add.at(flows[name], group, singly[name])
    for name in ("minimum_ip_total_length", "minimum_ttl"):
        np.minimum.at(flows[name], group, singly[name])
    for name in ("maximum_ip_total_length", "maximum_ttl"):
        np.maximum.at(flows[name], group, singly[name])
    for name in _SETS:
        np.bitwise_or.at(flows[name], group, singly[name])
    _take_first_syn(flows, group, singly, packets["meaning"]["tcp_syn_seen"][parsed])
    for name in () if details else DETAIL_NAMES:
        flows[name] = 0
    return flows


def _take_first_syn(flows: Records, group: npt.NDArray[np.intp], singly: Records, syn: npt.NDArray[np.uint8]) -> None:
    """Window and scale are not the first packet's, but those of the first that is a SYN."""
    packets = np.flatnonzero(syn)
    which, first = np.unique(group[packets], return_index=True)
    for name in _OF_THE_FIRST_SYN:
        flows[name] = 0
        flows[name][which] = singly[name][packets[first]]


def keys(flows: Records) -> npt.NDArray[np.void]:
    """What makes each flow, as octets that sort and compare."""
    packed = np.zeros(len(flows), [(name, FLOW[name]) for name in KEY])
    for name in KEY:
        packed[name] = flows[name]
    return packed.view(f"V{packed.itemsize}")


def _singly(rows: Rows, packets: Packets, *, macs: bool) -> Records:
    """Each packet as the flow that it would be alone."""
    meaning, segments = packets["meaning"], np.maximum(packets["segments"], 1)
    flows = np.zeros(len(packets), FLOW)
    for name, column in _COLUMNS.items():
        flows[name] = meaning[column]
    icmp = np.isin(meaning["protocol"], _ICMP)
    flows["icmp_type_code"] = np.where(icmp, meaning["destination_port"], 0)
    flows["destination_transport_port"] = np.where(icmp, 0, meaning["destination_port"])
    flows["packet_delta_count"] = segments
    whole = meaning["headers_length"].astype(np.int64) + packets["segment_size"]
    longest = np.where(segments > 1, whole, meaning["octets"])
    shortest = np.where(segments > 1, meaning["octets"] - (segments.astype(np.int64) - 1) * whole, longest)
    flows["maximum_ip_total_length"] = np.minimum(longest, _MOST_LENGTH)
    flows["minimum_ip_total_length"] = np.minimum(shortest, _MOST_LENGTH)
    if macs:
        flows["destination_mac_address"], flows["source_mac_address"] = rows[:, :6], rows[:, 6:12]
    return flows
