"""Proves that a slot becomes a flow record with every column where it belongs, both pairs of counters as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernel.objectfile import structure
from xflowd.metering.flow import FLOW
from xflowd.metering.table import Records, flows

COUNTS = ("packet_delta_count", "octet_delta_count", "flow_end_ns", "minimum_ip_total_length",
          "maximum_ip_total_length", "minimum_ttl", "maximum_ttl", "tcp_control_bits")  # fmt: skip
NOTHING = (0,) * len(COUNTS)


def slot(own: tuple[int, ...] = NOTHING, others: tuple[int, ...] = NOTHING, **fields: Any) -> Records:
    """A slot of which only these fields are set; those of the key by their own names."""
    slots = np.zeros(1, structure("flow_slot"))
    slots["key"]["ip_version"] = 4
    for name, value in fields.items():
        (slots if name in (slots.dtype.names or ()) else slots["key"])[name] = value
    for name, mine, theirs in zip(COUNTS, own, others, strict=True):
        slots["own"][name], slots["others"][name] = mine, theirs
    return slots


def flow(slots: Records, reason: int = 1) -> Any:
    result = flows(slots, np.full(len(slots), reason, np.uint8))
    assert result.dtype == FLOW
    return result[0]


COLUMNS: list[tuple[str, Any]] = [
    ("flow_start_ns", 2**63),
    ("ingress_interface", 2**32 - 1),
    ("egress_interface", 70000),
    ("flow_label_ipv6", 0xFFFFF),
    ("source_mac_address", [2, 0, 0, 0, 0, 1]),
    ("destination_mac_address", [2, 0, 0, 0, 0, 2]),
    ("ip_class_of_service", 0xB8),
    ("ip_next_hop_address", list(range(16))),
    ("vlan_id", 4094),
    ("dot1q_customer_vlan_id", 1),
    ("protocol_identifier", 255),
    ("flow_direction", 1),
    ("source_transport_port", 0x1234),
    ("destination_transport_port", 65535),
]


@pytest.mark.parametrize(("name", "value"), COLUMNS)
def test_column_is_taken_as_it_is(name: str, value: Any) -> None:
    """And it goes into no other column: with it zeroed again, the record is that of an empty slot."""
    result = flow(slot(**{name: value}))
    assert result[name].tolist() == value
    result[name] = 0
    assert result.tobytes() == flow(slot()).tobytes()


@pytest.mark.parametrize("reason", [1, 2, 3, 4, 5])
def test_reason_is_the_callers(reason: int) -> None:
    assert flow(slot(), reason)["flow_end_reason"] == reason


def test_addresses_of_both_versions() -> None:
    """IPv4 addresses are at the front of sixteen octets, and nothing of the union is behind them."""
    four = slot(source_ipv4_address=0xC6336401, destination_ipv4_address=0x08000001)
    four["key"]["destination_ipv6_address"] = 0xEE  # what an IPv6 flow in this slot would have had there
    six = slot(ip_version=6, source_ipv6_address=list(range(16)), destination_ipv6_address=list(range(16, 32)))
    slots = np.zeros(3, six.dtype)
    slots[0], slots[1], slots[2] = six[0], four[0], six[0]
    result = flows(slots, np.ones(3, np.uint8))
    assert result["ip_version"].tolist() == [6, 4, 6]
    assert result["source_address"].tolist()[1] == [198, 51, 100, 1, *[0] * 12]
    assert result["destination_address"].tolist()[1] == [8, 0, 0, 1, *[0] * 12]
    for row in (0, 2):
        assert result["source_address"][row].tolist() == list(range(16))
        assert result["destination_address"][row].tolist() == list(range(16, 32))


@pytest.mark.parametrize(
    ("protocol", "version", "port", "type_code"),
    [(1, 4, 0, 0x030D), (58, 6, 0, 0x030D), (6, 4, 0x030D, 0), (17, 6, 0x030D, 0), (132, 4, 0x030D, 0)],
)
def test_icmp_type_and_code_are_no_port(protocol: int, version: int, port: int, type_code: int) -> None:
    result = flow(slot(protocol_identifier=protocol, ip_version=version, destination_transport_port=0x030D))
    assert (result["destination_transport_port"], result["icmp_type_code"]) == (port, type_code)


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [  # packets, octets, end, shortest, longest, least and most TTL, flags
        ((3, 300, 50, 60, 200, 10, 64, 0x02), NOTHING, (3, 300, 50, 60, 200, 10, 64, 0x02)),
        ((3, 300, 50, 60, 200, 10, 64, 0x02), (1, 40, 70, 40, 40, 64, 64, 0x11), (4, 340, 70, 40, 200, 10, 64, 0x13)),
        ((3, 300, 70, 60, 60, 64, 64, 0x02), (1, 900, 50, 900, 900, 1, 1, 0), (4, 1200, 70, 60, 900, 1, 64, 0x02)),
        ((0, 0, 50, 0, 0, 0, 0, 0), (1, 40, 51, 40, 40, 64, 65, 0x10), (1, 40, 51, 40, 40, 64, 65, 0x10)),
        ((1, 40, 50, 40, 40, 0, 0, 0), (2, 80, 51, 40, 40, 64, 64, 0), (3, 120, 51, 40, 40, 0, 64, 0)),
        ((2**63, 2**40, 1, 20, 65535, 255, 255, 0x80), (2, 3, 2, 21, 22, 0, 0, 0x40),
         (2**63 + 2, 2**40 + 3, 2, 20, 65535, 0, 255, 0xC0)),
    ],
)  # fmt: skip
def test_both_pairs_of_counters_are_one(
    own: tuple[int, ...], others: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    """A side without packets has no ranges: its zeroes are not the least; a TTL of 0 that was seen is."""
    result = flow(slot(own, others))
    assert tuple(int(result[name]) for name in COUNTS) == expected


def test_no_slots_are_no_flows() -> None:
    assert len(flows(np.zeros(0, structure("flow_slot")), np.zeros(0, np.uint8))) == 0
