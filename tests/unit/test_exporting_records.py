"""Proves that every column of a flow arrives as the element of the same name (read by tshark)."""

from __future__ import annotations

import pytest
from wire_helpers import ALL, NOW, NS_PER_S, Seen, flow, process

from xflowd.exporting.announcing import MeterStatistics, SamplingAnnouncement
from xflowd.exporting.catalogue import OFFERED
from xflowd.exporting.clock import message_clock
from xflowd.exporting.fillers import RecordContext
from xflowd.exporting.protocols import PROTOCOLS
from xflowd.exporting.records import column_of, fill
from xflowd.metering.flow import FLOW
from xflowd.wire.elements import ELEMENTS
from xflowd.wire.template import Template, fields_of

IPV4 = flow(
    "192.0.2.1",
    "198.51.100.2",
    packet_delta_count=(1 << 40) + 1,
    octet_delta_count=(1 << 50) + 7,
    ip_next_hop_address=[203, 0, 113, 9] + 12 * [0],
    ingress_interface=0x01020304,
    egress_interface=0x05060708,
    source_transport_port=0x1234,
    destination_transport_port=0xFEDC,
    vlan_id=0x0ABC,
    tcp_control_bits=0xDA,
    protocol_identifier=6,
    ip_class_of_service=0xB8,
    flow_direction=1,
    source_prefix_length=24,
    destination_prefix_length=17,
    minimum_ttl=63,
    flow_end_reason=2,
    bgp_source_as_number=4_200_000_001,
    bgp_destination_as_number=65_551,
    source_mac_address=[0x02, 1, 2, 3, 4, 5],
    destination_mac_address=[0x02, 9, 8, 7, 6, 0],
)
TOLD = {
    "packets": str((1 << 40) + 1),
    "octets": str((1 << 50) + 7),
    "inputint": "16909060",
    "outputint": "84281096",
    "srcport": "4660",
    "dstport": "65244",
    "vlanid": "2748",
    "tcpflags": "0xda",
    "protocol": "6",
    "tos": "0xb8",
    "direction": "1",
    "sampling_interval": "500",
    "srcas": "4200000001",
    "dstas": "65551",
    "srcmac": "02:01:02:03:04:05",
    "dstmac": "02:09:08:07:06:00",
}
ADDRESSES_4 = {
    "srcaddr": "192.0.2.1",
    "dstaddr": "198.51.100.2",
    "nexthop": "203.0.113.9",
    "srcmask": "24",
    "dstmask": "17",
    "ip_version": "4",
}
ADDRESSES_6 = {
    "srcaddrv6": "2001:db8::1",
    "dstaddrv6": "2001:db8:0:ffff::2",
    "nexthopv6": "fe80::1",
    "srcmaskv6": "24",
    "dstmaskv6": "17",
    "ip_version": "6",
}
LAST_OCTET = {"netflow9": {"ttl_min": "63"}, "ipfix": {"flow_end_reason": "2"}}


def ipv6():
    changed = flow("2001:db8::1", "2001:db8:0:ffff::2")
    for column in set(FLOW.names) - {"source_address", "destination_address", "ip_version"}:
        changed[column] = IPV4[column]
    changed["ip_next_hop_address"] = [0xFE, 0x80] + 13 * [0] + [1]
    return changed


def only_flow(protocol: str, made, tmp_path) -> dict[str, str]:
    exporting = process(protocol, sampling=SamplingAnnouncement("random", 500))
    (record,) = Seen(tmp_path, exporting.export(made, NOW, {}, MeterStatistics())).flows
    return {name.removeprefix("cflow."): value for name, value in record.items()}


@pytest.mark.parametrize("protocol", LAST_OCTET)
@pytest.mark.parametrize(("made", "addresses"), [(IPV4, ADDRESSES_4), (ipv6(), ADDRESSES_6)])
def test_each_element(protocol, made, addresses, tmp_path):
    record = only_flow(protocol, made, tmp_path)
    expected = TOLD | addresses | LAST_OCTET[protocol]
    assert {name: record.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("protocol", "version", "told"),
    [
        ("netflow5", 4, {"dstport": "769"}),
        ("netflow9", 4, {"icmp_type_code_ipv4": "0x0301"}),
        ("netflow9", 6, {"icmp_type_code_ipv4": "0x0301"}),
        ("ipfix", 4, {"icmp_type_code_ipv4": "0x0301"}),
        ("ipfix", 6, {"icmp_ipv6_type": "3", "icmp_ipv6_code": "1"}),
    ],
)
def test_icmp_has_type_and_code_and_no_ports(protocol, version, told, tmp_path):
    ends = ("192.0.2.1", "192.0.2.2") if version == 4 else ("2001:db8::1", "2001:db8::2")
    columns = {"source_transport_port": 0, "destination_transport_port": 0, "icmp_type_code": 0x0301}
    made = flow(*ends, protocol_identifier=1 if version == 4 else 58, **columns)
    record = only_flow(protocol, made, tmp_path)
    assert {name: record[name] for name in told} == told
    assert (record["srcport"], record["dstport"]) == ("0", told.get("dstport", "0"))


def test_a_record_has_one_direction_and_no_post_counters():
    for protocol in PROTOCOLS.values():
        for template in protocol.flow_templates.values():
            numbers = [field.element.number for field in template.fields]
            assert not {23, 24} & set(numbers)
            assert {1, 2} <= set(numbers)
            assert all(field.element.enterprise == 0 for field in template.fields)
            assert not template.is_variable


@pytest.mark.parametrize(
    ("element", "column"),
    [
        ("octetDeltaCount", "octet_delta_count"),
        ("sourceIPv4Address", "source_address"),
        ("sourceIPv6Address", "source_address"),
        ("ipNextHopIPv6Address", "ip_next_hop_address"),
        ("destinationIPv6PrefixLength", "destination_prefix_length"),
        ("icmpTypeCodeIPv6", "icmp_type_code"),
        ("flowLabelIPv6", "flow_label_ipv6"),
        ("minimumTTL", "minimum_ttl"),
        ("dot1qCustomerVlanId", "dot1q_customer_vlan_id"),
        ("minimumIpTotalLength", "minimum_ip_total_length"),
        ("samplerName", None),
    ],
)
def test_the_column_of_an_element_is_its_name(element, column):
    assert column_of(element) == column


def test_every_column_is_some_element():
    times = {"flow_start_ns", "flow_end_ns"}  # nanoseconds since boot: no element is that
    names = {element.name for element in ELEMENTS} | set(OFFERED)
    none = {"outer_ip_version", "reserved"}  # which of the outer addresses there is; nothing
    assert {column_of(name) for name in names} - {None} == set(FLOW.names) - times - none
    assert FLOW.itemsize % 64, "a column's values would lie in few sets of a cache"


def test_a_template_of_other_elements_needs_no_code():
    elements = "maximumTTL flowLabelIPv6 dot1qCustomerVlanId minimumIpTotalLength/2"
    template = Template(999, fields_of(elements))
    columns = {"flow_label_ipv6": 0xABCDE, "dot1q_customer_vlan_id": 300, "minimum_ip_total_length": 40}
    made = flow(maximum_ttl=7, **columns)
    context = RecordContext(message_clock(NOW, NOW.monotonic_ns), 1)
    assert fill(template, made, context).tobytes().hex() == "07000abcde012c0028"


def test_an_element_that_nothing_fills_is_refused():
    context = RecordContext(message_clock(NOW, NOW.monotonic_ns), 1)
    with pytest.raises(LookupError, match="natEvent"):
        fill(Template(999, fields_of("natEvent")), flow(), context)


@pytest.mark.parametrize("protocol", ALL)
def test_flows_are_left_as_they_were(protocol):
    columns = {"icmp_type_code": 0x0301, "ingress_interface": 70000, "octet_delta_count": 1 << 40}
    made = flow(protocol_identifier=1, **columns)
    before = made.copy()
    process(protocol).export(made, NOW, {}, MeterStatistics())
    assert made.tobytes() == before.tobytes()
    assert int(made["flow_end_ns"][0]) == NOW.monotonic_ns - NS_PER_S
