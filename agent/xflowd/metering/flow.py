"""A flow that has ended, as one record of columns: what the Metering Process hands to the Exporting Process."""

from __future__ import annotations

import enum

import numpy as np


class FlowEndReason(enum.IntEnum):
    """flowEndReason, IANA element 136 (RFC 5102 5.11.3)."""

    IDLE_TIMEOUT = 1
    ACTIVE_TIMEOUT = 2
    END_OF_FLOW = 3
    FORCED_END = 4
    LACK_OF_RESOURCES = 5


INGRESS, EGRESS = 0, 1  # flowDirection, IANA element 61

#: An interface's index, and a direction: where packets are observed.
Place = tuple[int, int]

#: Columns of FLOW that are kept only where they are asked for, else 0: struct flow_detail of ebpf/flow.h says of which
#: packets they are. The three sets of options lie as IANA has them in a number in network order.
DETAILS = (
    ("tcp_options", np.uint64),
    ("layer2_segment_id", np.uint64),
    ("tcp_syn_total_count", np.uint32),
    ("tcp_fin_total_count", np.uint32),
    ("tcp_rst_total_count", np.uint32),
    ("tcp_psh_total_count", np.uint32),
    ("tcp_ack_total_count", np.uint32),
    ("tcp_urg_total_count", np.uint32),
    ("mpls_top_label_stack_section", np.uint32),  # 24 bits: label, experimental bits, bottom of stack
    ("mpls_label_stack_section2", np.uint32),
    ("mpls_label_stack_section3", np.uint32),
    ("fragment_identification", np.uint32),
    ("ipv4_options", np.uint32),
    ("ipv6_extension_headers", np.uint32),
    ("gre_key", np.uint32),
    ("gtpu_teid", np.uint32),
    ("fragment_offset", np.uint16),  # in units of eight octets
    ("tcp_window_size", np.uint16),
    ("tcp_window_scale", np.uint16),
    ("fragment_flags", np.uint8),
    ("mpls_label_stack_depth", np.uint8),
    ("outer_ip_version", np.uint8),  # of the outermost header, where the flow is one in a tunnel; else 0
    ("outer_source_address", np.uint8, 16),
    ("outer_destination_address", np.uint8, 16),
)

DETAIL_NAMES = tuple(str(name) for name, *_ in DETAILS)

#: One ended flow. Numbers are native, addresses are octets in network order, an IPv4 address fills the first
#: four of its sixteen octets and leaves the rest zero. Times are nanoseconds of the monotonic clock.
FLOW = np.dtype(
    [
        ("packet_delta_count", np.uint64),
        ("octet_delta_count", np.uint64),  # IP octets: header and payload, no link layer
        ("flow_start_ns", np.uint64),
        ("flow_end_ns", np.uint64),
        ("source_address", np.uint8, 16),
        ("destination_address", np.uint8, 16),
        ("ip_next_hop_address", np.uint8, 16),  # zero when the destination is on the link, or unknown
        ("ingress_interface", np.uint32),
        ("egress_interface", np.uint32),  # 0: to this host itself, or unknown
        ("bgp_source_as_number", np.uint32),
        ("bgp_destination_as_number", np.uint32),
        ("flow_label_ipv6", np.uint32),
        ("source_transport_port", np.uint16),  # 0 for ICMP and for later fragments
        ("destination_transport_port", np.uint16),
        ("icmp_type_code", np.uint16),  # type * 256 + code, of IPv4 and of IPv6; 0 for all else
        ("vlan_id", np.uint16),
        ("dot1q_customer_vlan_id", np.uint16),
        ("minimum_ip_total_length", np.uint16),
        ("maximum_ip_total_length", np.uint16),
        ("source_mac_address", np.uint8, 6),
        ("destination_mac_address", np.uint8, 6),
        ("ip_version", np.uint8),
        ("protocol_identifier", np.uint8),
        ("ip_class_of_service", np.uint8),
        ("tcp_control_bits", np.uint8),
        ("minimum_ttl", np.uint8),
        ("maximum_ttl", np.uint8),
        ("flow_direction", np.uint8),
        ("flow_end_reason", np.uint8),
        ("source_prefix_length", np.uint8),
        ("destination_prefix_length", np.uint8),
        *DETAILS,
        # 264 octets: with 256 the values of a column lie in few sets of a cache, and encoding takes half as long again.
        ("reserved", np.uint8, 8),
    ],
    align=True,
)
