"""Proves that every element that can be chosen arrives with its value (read by tshark), and what a list becomes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from wire_helpers import NOW, NS_PER_S, WITH_TEMPLATES, Seen, after, flow, flows, many, process

from xflowd.config.elements import least_payload
from xflowd.exporting import catalogue
from xflowd.exporting.announcing import MeterStatistics, SamplingAnnouncement
from xflowd.exporting.catalogue import OFFERED, details, fields_text
from xflowd.exporting.clock import message_clock
from xflowd.exporting.fillers import FILLERS, RecordContext, snake_case
from xflowd.exporting.protocols import PROTOCOLS, with_elements
from xflowd.exporting.records import column_of, fill
from xflowd.metering import flow as metering_flow
from xflowd.metering.flow import FLOW
from xflowd.wire.decoder import Decoder
from xflowd.wire.defaults import Kind
from xflowd.wire.template import Template, fields_of
from xflowd.wire.times import flow_times

NOTHING = MeterStatistics()
NAMES = {2: "eth0", 3: "wan-é"}
#: Columns of what the programs look at only where it is chosen.
DETAILS = {
    "mpls_top_label_stack_section": 0x123456,
    "mpls_label_stack_section2": 0x234567,
    "mpls_label_stack_section3": 0x345679,
    "mpls_label_stack_depth": 4,
    "fragment_identification": 0xDEADBEEF,
    "fragment_flags": 0x60,
    "fragment_offset": 185,
    "ipv4_options": 0x80000001,
    "ipv6_extension_headers": 0x40000002,
    "tcp_options": 0x8000000000000004,
    "tcp_window_size": 64240,
    "tcp_window_scale": 7,
    "tcp_syn_total_count": 101,
    "tcp_fin_total_count": 102,
    "tcp_rst_total_count": 103,
    "tcp_psh_total_count": 104,
    "tcp_ack_total_count": 4_000_000_005,
    "tcp_urg_total_count": 106,
    "layer2_segment_id": 1 << 56 | 0xABCDEF,
    "gre_key": 0xCAFEBABE,
    "gtpu_teid": 0xFEEDF00D,
    "outer_ip_version": 4,
    "outer_source_address": [192, 0, 2, 201] + 12 * [0],
    "outer_destination_address": [192, 0, 2, 202] + 12 * [0],
}
COLUMNS = DETAILS | {
    "packet_delta_count": 10,
    "octet_delta_count": (1 << 40) + 1,
    "flow_start_ns": NOW.monotonic_ns - 3 * NS_PER_S - 123_456_789,
    "minimum_ip_total_length": 40,
    "maximum_ip_total_length": 1500,
    "minimum_ttl": 3,
    "maximum_ttl": 250,
    "flow_label_ipv6": 0xABCDE,
    "vlan_id": 100,
    "dot1q_customer_vlan_id": 200,
    "icmp_type_code": 0x0301,
    "flow_direction": 1,
    "tcp_control_bits": 0x12,
    "ip_class_of_service": 0xB8,
    "bgp_source_as_number": 4_200_000_001,
    "bgp_destination_as_number": 65_551,
    "source_prefix_length": 24,
    "destination_prefix_length": 17,
    "source_mac_address": [2, 1, 2, 3, 4, 5],
    "destination_mac_address": [2, 9, 8, 7, 6, 0],
    "flow_end_reason": 5,
}
#: Element → tshark's field, and what it shows. The last packet was a second before NOW, which is at 22:13:20.25.
TOLD = {
    "sourceIPv4Address": ("srcaddr", "192.0.2.1"),
    "sourceIPv6Address": ("srcaddrv6", "2001:db8::1"),
    "destinationIPv4Address": ("dstaddr", "198.51.100.2"),
    "destinationIPv6Address": ("dstaddrv6", "2001:db8::2"),
    "sourceTransportPort": ("srcport", "40000"),
    "destinationTransportPort": ("dstport", "443"),
    "protocolIdentifier": ("protocol", "6"),
    "icmpTypeCodeIPv4": ("icmp_type_code_ipv4", "0x0301"),
    "icmpTypeCodeIPv6": ("icmp_ipv6_type", "3"),
    "icmpTypeIPv4": ("icmp_ipv4_type", "3"),
    "icmpTypeIPv6": ("icmp_ipv6_type", "3"),
    "icmpCodeIPv4": ("icmp_ipv4_code", "1"),
    "icmpCodeIPv6": ("icmp_ipv6_code", "1"),
    "tcpControlBits": ("tcpflags", "0x12"),
    "ipClassOfService": ("tos", "0xb8"),
    "flowLabelIPv6": ("ipv6flowlabel", "703710"),
    "packetDeltaCount": ("packets", "10"),
    "octetDeltaCount": ("octets", str((1 << 40) + 1)),
    "minimumIpTotalLength": ("length_min", "40"),
    "maximumIpTotalLength": ("length_max", "1500"),
    "minimumTTL": ("ttl_min", "3"),
    "maximumTTL": ("ttl_max", "250"),
    "flowStartSysUpTime": ("timestart", "3596.876000000"),
    "flowEndSysUpTime": ("timeend", "3599.000000000"),
    "systemInitTimeMilliseconds": ("sys_init_time", "Nov 14, 2023 21:13:20.250000000 UTC"),
    "flowStartSeconds": ("abstimestart", "Nov 14, 2023 22:13:17.000000000 UTC"),
    "flowEndSeconds": ("abstimeend", "Nov 14, 2023 22:13:19.000000000 UTC"),
    "flowStartMilliseconds": ("abstimestart", "Nov 14, 2023 22:13:17.126000000 UTC"),
    "flowEndMilliseconds": ("abstimeend", "Nov 14, 2023 22:13:19.250000000 UTC"),
    "flowStartMicroseconds": ("abstimestart", "Nov 14, 2023 22:13:17.126543"),
    "flowEndMicroseconds": ("abstimeend", "Nov 14, 2023 22:13:19.249999999 UTC"),  # tshark cuts: it is 2^30 / 2^32 s
    "flowStartNanoseconds": ("abstimestart", "Nov 14, 2023 22:13:17.126543211 UTC"),
    "flowEndNanoseconds": ("abstimeend", "Nov 14, 2023 22:13:19.249999999 UTC"),
    "flowDurationMilliseconds": ("timedelta", "2.124000000"),
    "flowDurationMicroseconds": ("timedelta", "2.123457000"),
    "flowEndReason": ("flow_end_reason", "5"),
    "ipVersion": ("ip_version", {4: "4", 6: "6"}),
    "ingressInterface": ("inputint", "2"),
    "egressInterface": ("outputint", "3"),
    "interfaceName": ("if_name", "wan-é"),
    "flowDirection": ("direction", "1"),
    "samplingInterval": ("sampling_interval", "500"),
    "sourceMacAddress": ("srcmac", "02:01:02:03:04:05"),
    "destinationMacAddress": ("dstmac", "02:09:08:07:06:00"),
    "vlanId": ("vlanid", "100"),
    "dot1qVlanId": ("dot1q_vlan_id", "100"),
    "dot1qCustomerVlanId": ("dot1q_customer_vlan_id", "200"),
    "sourceIPv4PrefixLength": ("srcmask", "24"),
    "sourceIPv6PrefixLength": ("srcmaskv6", "24"),
    "destinationIPv4PrefixLength": ("dstmask", "17"),
    "destinationIPv6PrefixLength": ("dstmaskv6", "17"),
    "ipNextHopIPv4Address": ("nexthop", "203.0.113.9"),
    "ipNextHopIPv6Address": ("nexthopv6", "fe80::1"),
    "bgpSourceAsNumber": ("srcas", "4200000001"),
    "bgpDestinationAsNumber": ("dstas", "65551"),
    "mplsTopLabelStackSection": ("mpls_label", str(0x12345)),
    "mplsLabelStackSection2": ("mpls_label", str(0x23456)),
    "mplsLabelStackSection3": ("mpls_label", str(0x34567)),
    "mplsLabelStackDepth": ("mpls_label_depth", "4"),
    "fragmentIdentification": ("frag_ident", str(0xDEADBEEF)),
    "fragmentFlags": ("ip_fragment_flags", "0x60"),
    "fragmentOffset": ("fragment_offset", "185"),
    "ipv4Options": ("option_map", "80:00:00:01"),
    "ipv6ExtensionHeaders": ("ipv6_exthdr", "0x40000002"),
    "tcpOptions": ("tcp_option_map", "80:00:00:00:00:00:00:04"),
    "tcpWindowSize": ("tcp_windows_size", "64240"),
    "tcpWindowScale": ("tcp_window_scale", "7"),
    "tcpSynTotalCount": ("total_tcp_syn", "101"),
    "tcpFinTotalCount": ("total_tcp_fin", "102"),
    "tcpRstTotalCount": ("total_tcp_rst", "103"),
    "tcpPshTotalCount": ("total_tcp_psh", "104"),
    "tcpAckTotalCount": ("total_tcp_ack", "4000000005"),
    "tcpUrgTotalCount": ("total_tcp_urg", "106"),
    "layer2SegmentId": ("layer2_segment_id", str(1 << 56 | 0xABCDEF)),
    "greKey": ("gre_key", str(0xCAFEBABE)),
    "gtpuTEid": ("", "fe:ed:f0:0d"),  # tshark 4.0 does not know it
}
#: Those that are in a record once, and have a test each for all protocols.
PLAIN = [name for name in OFFERED if not name.startswith("outer:")]
_UNKNOWN = {"ipfix": "enterprise_private_entry", "netflow9": "unknown_field_type"}
_TOGETHER = {"icmpTypeCodeIPv6": "icmp_ipv6_code", "icmpCodeIPv6": "icmp_ipv6_type"}


def flow_with_details(ip_version: int) -> np.ndarray:
    ends = ("192.0.2.1", "198.51.100.2") if ip_version == 4 else ("2001:db8::1", "2001:db8::2")
    hop = [203, 0, 113, 9] + 12 * [0] if ip_version == 4 else [0xFE, 0x80] + 13 * [0] + [1]
    return flow(*ends, **COLUMNS, ip_next_hop_address=hop)


MOST_FIELDS = 58  # of a template that tshark reads, less padding


def test_details_are_those_of_the_metering_process():
    assert set(DETAILS) == set(metering_flow.DETAIL_NAMES)
    groups = {f"DETAIL_{offered.detail}" for offered in OFFERED.values() if offered.detail}
    assert groups == details(OFFERED)


def lists() -> Iterator[list[str]]:
    """All elements in as few lists as show no field of tshark twice; octets are in each: that is how it is found."""
    waiting = [name for name in PLAIN if name != "octetDeltaCount"]
    while waiting:
        chosen, seen = ["octetDeltaCount"], set[str]()
        for name in list(waiting):
            shown = {TOLD[name][0], _TOGETHER.get(name, "")}
            if len(chosen) < MOST_FIELDS and not seen & (shown - {""}):
                seen |= shown
                chosen.append(name)
                waiting.remove(name)
        yield chosen


LISTS = list(lists())


def expected(name: str, protocol: str, ip_version: int) -> tuple[str, str]:
    shown, value = TOLD[name]
    if name == "icmpTypeCodeIPv6" and protocol == "netflow9":
        return TOLD["icmpTypeCodeIPv4"]
    return shown or _UNKNOWN[protocol], value[ip_version] if isinstance(value, dict) else value


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
@pytest.mark.parametrize("elements", LISTS, ids=lambda names: f"{len(names)} from {names[1]}")
def test_each_element_arrives(protocol, elements, tmp_path):
    exporting = process(protocol, elements=elements, sampling=SamplingAnnouncement("random", 500))
    both = [flow_with_details(ip_version) for ip_version in (4, 6)]
    seen = Seen(tmp_path, exporting.export(np.concatenate(both), NOW, NAMES, NOTHING))
    assert seen.expert == []
    assert len(seen.flows) == 2
    for ip_version, record in zip((4, 6), seen.flows, strict=True):
        for name in elements:
            if OFFERED[name].ip_version in (None, ip_version):
                shown, value = expected(name, protocol, ip_version)
                assert record.get(f"cflow.{shown}", "").startswith(value), (name, record)


def test_every_element_is_told_of_above():
    assert set(TOLD) == set(PLAIN)
    assert set().union(*LISTS) == set(PLAIN)


@pytest.mark.parametrize("name", OFFERED)
def test_what_can_be_chosen_can_be_filled(name):
    assert (column_of(name) in DETAILS) == bool(OFFERED[name].detail)
    assert fill(Template(999, fields_of(name)), flow(), RecordContext(message_clock(NOW, 0), 1)).nbytes


@pytest.mark.parametrize("name", OFFERED)
def test_an_element_has_octets_for_all_its_values(name):
    offered = OFFERED[name]
    column = column_of(name)
    assert 0 < offered.octets <= offered.element.octets
    if column and name not in FILLERS and FLOW[column].subdtype is None:
        assert FLOW[column].itemsize <= offered.octets


def names_of(protocol: str, elements: str, ip_version: int) -> list[str]:
    template = with_elements(protocol, elements.split()).flow_templates[Kind(ip_version)]
    return [field.element.name for field in template.fields]


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
@pytest.mark.parametrize(
    ("elements", "ipv4", "ipv6"),
    [
        ("sourceIPv4Address", "sourceIPv4Address", "sourceIPv6Address"),
        ("sourceIPv6Address", "sourceIPv4Address", "sourceIPv6Address"),
        ("sourceIPv6Address ingressInterface sourceIPv4Address", *["sourceIPv{}Address ingressInterface"] * 2),
        (
            "flowLabelIPv6 ingressInterface ipv4Options",
            "ingressInterface ipv4Options",
            "flowLabelIPv6 ingressInterface",
        ),
        (
            "sourceTransportPort destinationTransportPort icmpTypeCodeIPv4 tcpWindowSize",
            *["sourceTransportPort icmpTypeCodeIPv{} destinationTransportPort tcpWindowSize"] * 2,
        ),
    ],
)
def test_one_list_makes_two_templates(protocol, elements, ipv4, ipv6):
    for ip_version, names in ((4, ipv4), (6, ipv6)):
        wanted = names.format(ip_version).split()
        if protocol == "netflow9":
            wanted = [name.replace("icmpTypeCodeIPv6", "icmpTypeCodeIPv4") for name in wanted]
        told = names_of(protocol, elements, ip_version)
        assert [name for name in told if name != "paddingOctets"] == wanted


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_default_is_the_own_template_and_more_goes_with_it(protocol):
    own = PROTOCOLS[protocol].flow_templates
    assert with_elements(protocol, ["default"]).flow_templates == own
    assert with_elements(protocol, ["default", "vlanId"]).flow_templates == own
    assert with_elements(protocol, []) is PROTOCOLS[protocol]
    for kind, template in own.items():
        wider = with_elements(protocol, ["default", "vlanId", "maximumTTL"]).flow_templates[kind]
        assert wider.template_id != template.template_id
        assert [field.element.name for field in wider.fields[len(template.fields) :]] == ["maximumTTL", "paddingOctets"]
        assert wider.octets == template.octets + 4
        before = with_elements(protocol, ["vlanId", "default"]).flow_templates[kind]
        assert sorted(field.element.number for field in before.fields) == sorted(
            field.element.number for field in template.fields
        )


#: What these numbers stand for collectors may have kept: who changes this has to have a reason.
NUMBERS = {("netflow9", 4): 35_463, ("netflow9", 6): 60_858, ("ipfix", 4): 20_152, ("ipfix", 6): 48_325}


def test_the_number_of_a_template_is_that_of_its_content():
    shown = ("octetDeltaCount", "minimumTTL", "ingressInterface")
    told = {
        (protocol, kind.ip_version): template.template_id
        for protocol in WITH_TEMPLATES
        for kind, template in with_elements(protocol, shown).flow_templates.items()
    }
    assert told == NUMBERS
    others = {
        template.template_id
        for count in range(1, len(PLAIN))
        for protocol in WITH_TEMPLATES
        for template in with_elements(protocol, ["octetDeltaCount", *PLAIN[:count]]).flow_templates.values()
    }
    assert min(others) >= 10_000
    assert max(others) < 65_536
    assert len(others) > 2 * len(OFFERED)


def test_two_templates_of_one_collector_never_share_a_number(monkeypatch):
    monkeypatch.setattr("xflowd.wire.templates.zlib.crc32", lambda _: 65_535 - 10_000)
    numbers = [each.template_id for each in with_elements("ipfix", ["octetDeltaCount"]).flow_templates.values()]
    assert numbers == [65_535, 10_000]


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
@pytest.mark.parametrize("count", range(1, len(PLAIN), 7))
def test_the_least_payload_is_what_the_configuration_says(protocol, count):
    elements = ("octetDeltaCount", *PLAIN[:count])
    least = least_payload(elements, protocol)
    process(protocol, elements=elements, max_payload=least)
    with pytest.raises(ValueError, match=f"use {least} to 65507"):
        process(protocol, elements=elements, max_payload=least - 1)


def test_records_are_whole_words():
    for count in range(1, len(OFFERED) + 1):
        for template in with_elements("ipfix", ["octetDeltaCount", *list(OFFERED)[:count]]).flow_templates.values():
            assert template.octets % 4 == 0
            padding = [field.octets for field in template.fields if field.element.name == "paddingOctets"]
            assert sum(padding) < 4


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_our_own_collector_reads_all_of_them(protocol):
    elements = [name for name in PLAIN if not name.startswith(("flowStart", "flowEnd"))]
    elements += ["flowStartNanoseconds", "flowEndNanoseconds"]
    decoder = Decoder()
    exporting = process(protocol, elements=elements)
    datagrams = exporting.export(flow_with_details(4), NOW, NAMES, NOTHING)
    (records,) = [r for d in datagrams for r in decoder.decode(bytes(d), "one") if not r.is_options]
    assert not decoder.counters.malformed
    for name, value in DETAILS.items():
        element = next((each for each in PLAIN if snake_case(each) == name), None)
        if element and OFFERED[element].ip_version in (None, 4):
            assert int(records.numbers(element)[0]) == value, element
    start, end = flow_times(records)
    shift = NOW.unix_ns - NOW.monotonic_ns
    assert (int(start[0]), int(end[0])) == (COLUMNS["flow_start_ns"] + shift, NOW.monotonic_ns - NS_PER_S + shift)


@pytest.mark.parametrize("digits", ["Microseconds", "Nanoseconds"])
def test_fractions_of_seconds_come_back_whole(digits):
    """Any nanosecond, of any year before 2036 and after: cut to its unit it is the same again."""
    dice = np.random.default_rng(1)
    unix_ns = dice.integers(0, 4_000_000_000 * NS_PER_S, 20_000)
    made = np.repeat(flow(), len(unix_ns))
    made["flow_start_ns"] = made["flow_end_ns"] = unix_ns
    clock = message_clock(type(NOW)(0, 0), 0)
    record = fill(Template(999, fields_of(f"flowStart{digits}")), made, RecordContext(clock, 1))
    ntp = record[f"flowStart{digits}"].astype(np.uint64)
    seconds, fraction = (ntp >> np.uint64(32)).astype(np.int64), ntp & np.uint64(0xFFFF_FFFF)
    unit = {"Microseconds": 1000, "Nanoseconds": 1}[digits]
    units = (fraction * np.uint64(NS_PER_S // unit)) >> np.uint64(32)
    wanted = unix_ns // unit
    assert ((seconds - 2_208_988_800) % 2**32 == unix_ns // NS_PER_S).all()
    assert (units.astype(np.int64) == wanted % (NS_PER_S // unit)).all()
    assert digits == "Nanoseconds" or not (fraction & np.uint64(0x7FF)).any()


def test_what_is_chosen_is_what_is_looked_at():
    assert details(["default", "minimumTTL", "flowLabelIPv6"]) == set()
    assert details(["default", "tcpSynTotalCount", "tcpUrgTotalCount", "greKey"]) == {
        "DETAIL_TCP_COUNTS",
        "DETAIL_TUNNEL",
    }
    groups = {"MPLS", "FRAGMENTS", "OPTIONS", "TCP", "TCP_COUNTS", "TUNNEL"}
    assert details(OFFERED) == {f"DETAIL_{group}" for group in groups}


def test_what_waited_in_a_former_template_is_counted_rightly():
    before = process("ipfix", elements=["octetDeltaCount", "sourceIPv4Address"])
    left = before.export(many(40), NOW, {}, NOTHING)
    new = process("ipfix", elements=["default", "maximumTTL"])
    new.restore(before.state())
    assert sum(map(new.flow_records, left)) == 40
    sent = new.export(many(10), after(1), {}, NOTHING)
    assert sum(map(new.flow_records, sent)) == 10
    third = process("ipfix")
    third.restore(new.state())
    assert sum(map(third.flow_records, [*left, *sent])) == 50


@pytest.mark.parametrize(
    ("protocol", "elements", "words"),
    [
        ("netflow5", ["default"], "one form of record"),
        ("ipfix", ["flowLabelIPv6"], "IPv4"),
        ("netflow9", ["ipv4Options"], "IPv6"),
        ("netflow9", ["default", "outer:sourceIPv4Address"], "once"),
    ],
)
def test_what_cannot_be_is_refused(protocol, elements, words):
    with pytest.raises(ValueError, match=words):
        process(protocol, elements=elements)


def test_a_full_datagram_of_small_records(tmp_path):
    exporting = process("ipfix", elements=["octetDeltaCount"])
    seen = Seen(
        tmp_path, exporting.export(flows(many(1000), many(7, flow("2001:db8::1", "2001:db8::2"))), NOW, {}, NOTHING)
    )
    assert seen.expert == []
    assert [int(record["cflow.octets"]) for record in seen.flows] == [*range(1000, 2000), *range(1000, 1007)]


def test_every_default_is_offered_with_its_octets():
    for (protocol, kind), template in (
        ((name, kind), template) for name in WITH_TEMPLATES for kind, template in PROTOCOLS[name].flow_templates.items()
    ):
        own = " ".join(field.element.name for field in template.fields)
        text = fields_text(protocol, kind, own.split())
        assert fields_of(text) == template.fields
        assert all(protocol in catalogue.defaults(name) for name in own.split())
