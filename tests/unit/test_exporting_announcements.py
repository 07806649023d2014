"""Proves what is announced beside the flows, and when (read by tshark)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from wire_helpers import ALL, NOW, NS_PER_S, WITH_TEMPLATES, Seen, after, flow, flows, many, process

from xflowd.exporting.announcing import MeterStatistics, SamplingAnnouncement

NOTHING = MeterStatistics()
COMMON = (
    "10/4 14/4 2/8 1/8 {times} {icmp}/2 7/2 11/2 58/2 6/1 4/1 5/1 61/1 {masks} 60/1 {last}/1 34/4 16/4 17/4 56/6 80/6"
)
V4, V6 = "8/4 12/4 15/4 ", "27/16 28/16 62/16 "
STATISTICS = "41/8 42/8 40/8"
TEMPLATES = {
    "netflow9": {
        904: V4 + COMMON.format(times="22/4 21/4", icmp=32, masks="9/1 13/1", last=52),
        906: V6 + COMMON.format(times="22/4 21/4", icmp=32, masks="29/1 30/1", last=52),
        910: "1/4 34/4 50/4 49/1 84/11",
        911: "1/4 10/4 83/32",
        912: f"1/4 {STATISTICS}",
    },
    "ipfix": {
        1004: V4 + COMMON.format(times="152/8 153/8", icmp=32, masks="9/1 13/1", last=136),
        1006: V6 + COMMON.format(times="152/8 153/8", icmp=139, masks="29/1 30/1", last=136),
        1010: "149/4 34/4 50/4 49/1 84/11",
        1011: "149/4 10/4 83/32",
        1012: f"149/4 {STATISTICS} 164/8 166/8",
    },
}
IDS = {"netflow9": (904, 906, 910, 911, 912), "ipfix": (1004, 1006, 1010, 1011, 1012)}
TEMPLATE_SETS = {"netflow9": [0, 1, 1, 1], "ipfix": [2, 3, 3, 3]}


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_the_templates_are_those_of_the_page(protocol, tmp_path):
    seen = Seen(tmp_path, process(protocol).export(flows(), NOW, {}, NOTHING))
    told = {
        number: " ".join(f"{element}/{octets}" for element, octets in fields)
        for number, fields in seen.templates.items()
    }
    assert told == TEMPLATES[protocol]
    assert all(sum(octets for _, octets in fields) % 4 == 0 for fields in seen.templates.values())
    assert seen.expert == []


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_the_first_datagram_has_templates_then_options_then_flows(protocol, tmp_path):
    ipv4, _, sampler, interface, statistics = IDS[protocol]
    datagrams = process(protocol).export(many(3), NOW, {2: "eth0"}, NOTHING)
    seen = Seen(tmp_path, datagrams)
    assert seen.sets == [[*TEMPLATE_SETS[protocol], sampler, statistics, interface, ipv4]]
    assert len(seen.flows) == 3


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_interfaces_that_do_not_fit_come_before_any_flow(protocol, tmp_path):
    names = {index: f"interface-{index}" for index in range(1, 101)}
    datagrams = process(protocol).export(many(40), NOW, names, NOTHING)
    seen = Seen(tmp_path, datagrams)
    kinds = ["flow" if "cflow.octets" in record else "options" for record in seen.records]
    assert kinds == ["options"] * 102 + ["flow"] * 40
    assert max(map(len, datagrams)) <= 1400
    told = [record for record in seen.records if "cflow.if_descr" in record]
    assert {int(record["cflow.inputint"]): record["cflow.if_descr"] for record in told} == names


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
@pytest.mark.parametrize(
    ("mode", "rate", "told_mode"), [("none", 1, "1"), ("systematic", 100, "1"), ("random", 70000, "2")]
)
def test_the_sampling_is_announced_at_every_rate(protocol, mode, rate, told_mode, tmp_path):
    exporting = process(protocol, sampling=SamplingAnnouncement(mode, rate))
    seen = Seen(tmp_path, exporting.export(flow(), NOW, {}, NOTHING))
    sampler = next(record for record in seen.records if "cflow.sampler_name" in record)
    assert sampler["cflow.sampling_interval"] == sampler["cflow.sampler_random_interval"] == str(rate)
    assert sampler["cflow.sampler_mode"] == told_mode
    assert seen.flows[0]["cflow.sampling_interval"] == str(rate)


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_the_scope_is_the_observation_domain(protocol, tmp_path):
    exporting = process(protocol, observation_domain=0x01020304)
    seen = Seen(tmp_path, exporting.export(flows(), NOW, {2: "eth0"}, NOTHING))
    scopes = {record.get("cflow.scope_system") or record.get("cflow.od_id") for record in seen.records}
    assert scopes == {{"netflow9": "01:02:03:04", "ipfix": "16909060"}[protocol]}
    domains = {header.get("cflow.source_id") or header.get("cflow.od_id") for header in seen.headers}
    assert domains == {"16909060"}


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_templates_are_never_older_than_the_refresh(protocol):
    exporting = process(protocol, template_refresh_ns=60 * NS_PER_S)
    times = [0.01 * tick + tick for tick in range(200)]  # called a little less often than every second
    sent = [tick for tick in times if exporting.export(flows(), after(tick), {}, NOTHING)]
    gaps = [later - sooner for sooner, later in pairwise(sent)]
    assert sent[0] == 0
    assert all(58 < gap <= 60 for gap in gaps)
    assert len(gaps) == 3


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_a_step_of_the_wall_clock_does_not_move_the_refresh(protocol):
    exporting = process(protocol)
    exporting.export(flows(), NOW, {}, NOTHING)
    stepped = after(-86400, NOW)
    for wall in (stepped, after(86400, NOW)):
        soon = type(NOW)(NOW.monotonic_ns + NS_PER_S, wall.unix_ns)
        assert not exporting.refresh_due(soon)
    assert exporting.refresh_due(type(NOW)(NOW.monotonic_ns + 60 * NS_PER_S, stepped.unix_ns))


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_a_timeline_of_interfaces(protocol, tmp_path):
    exporting = process(protocol)
    interface = IDS[protocol][3]
    timeline = [
        ({2: "eth0", 3: "eth1"}, {"2": "eth0", "3": "eth1"}),
        ({2: "eth0", 3: "eth1"}, {}),
        ({2: "eth0", 3: "wan"}, {"3": "wan"}),  # renamed
        ({2: "eth0"}, {}),  # gone
        ({2: "eth0", 3: "wan", 9: "tun0"}, {"3": "wan", "9": "tun0"}),  # back, and a new one
    ]
    for second, (interfaces, told) in enumerate(timeline):
        datagrams = exporting.export(flows(), after(second), interfaces, NOTHING)
        if not told:
            assert datagrams == []
            continue
        seen = Seen(tmp_path, [*process(protocol).export(flows(), NOW, {}, NOTHING), *datagrams])
        found = [record for record in seen.records if "cflow.if_descr" in record]
        assert {record["cflow.inputint"]: record["cflow.if_descr"] for record in found} == told
        assert interface in seen.sets[1]


def test_a_long_name_is_cut_between_characters(tmp_path):
    seen = Seen(tmp_path, process("ipfix").export(flows(), NOW, {2: "x" * 31 + "é"}, NOTHING))
    assert seen.records[-1]["cflow.if_descr"] == "x" * 31


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_statistics_tell_of_the_messages_before(protocol, tmp_path):
    exporting = process(protocol)
    first = exporting.export(many(50), NOW, {}, NOTHING)
    second = exporting.export(flows(), after(60), {}, MeterStatistics(123, 45))
    seen = Seen(tmp_path, [*first, *second])
    before, after_ = [record for record in seen.records if "cflow.packetsexp" in record]
    names = ("packetsexp", "flowsexp", "octetsexp")
    assert [before[f"cflow.{name}"] for name in names] == ["0", "0", "0"]
    assert [int(after_[f"cflow.{name}"]) for name in names] == [len(first), 50, sum(map(len, first))]
    metering = [after_.get(f"cflow.{name}") for name in ("ignore_packets", "notsent_flows")]
    assert metering == (["123", "45"] if protocol == "ipfix" else [None, None])


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_a_change_of_the_sampling_is_announced_at_once(protocol, tmp_path):
    exporting = process(protocol)
    first = exporting.export(flow(), NOW, {}, NOTHING)
    exporting.change_sampling(SamplingAnnouncement("random", 10))
    second = exporting.export(flow(), after(1), {}, NOTHING)
    samplers = [r for r in Seen(tmp_path, [*first, *second]).records if "cflow.sampler_name" in r]
    assert [record["cflow.sampling_interval"] for record in samplers] == ["1", "10"]


@pytest.mark.parametrize("protocol", ALL)
def test_nothing_to_tell_is_nothing_sent(protocol):
    exporting = process(protocol)
    exporting.export(flows(), NOW, {2: "eth0"}, NOTHING)
    assert exporting.export(flows(), after(1), {2: "eth0"}, NOTHING) == []


@pytest.mark.parametrize(
    ("protocol", "options", "words"),
    [
        ("netflow5", {"sampling": SamplingAnnouncement("random", 16384)}, "16383"),
        ("netflow5", {"max_payload": 71}, "use 72 to 65507"),
        ("netflow9", {"max_payload": 300}, "use 384 to"),
        ("ipfix", {"max_payload": 300}, "use 404 to"),
        ("ipfix", {"max_payload": 65508}, "65507"),
        ("ipfix", {"observation_domain": 0}, "use 1 to 4294967295"),
        ("netflow9", {"observation_domain": 1 << 32}, "use 1 to 4294967295"),
        ("sflow", {}, "netflow5, netflow9, ipfix"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_to_mend_it(protocol, options, words):
    with pytest.raises(ValueError, match=words):
        process(protocol, **options)


@pytest.mark.parametrize(("mode", "rate"), [("none", 2), ("random", 0), ("hash", 10), ("random", 1 << 32)])
def test_sampling_that_cannot_be_is_refused(mode, rate):
    with pytest.raises(ValueError, match="use"):
        SamplingAnnouncement(mode, rate)


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_the_least_payload_is_enough(protocol, tmp_path):
    least = {"netflow9": 384, "ipfix": 404}[protocol]
    datagrams = process(protocol, max_payload=least).export(many(20), NOW, {2: "a", 3: "b"}, NOTHING)
    seen = Seen(tmp_path, datagrams)
    assert max(map(len, datagrams)) <= least
    assert (len(seen.flows), seen.expert) == (20, [])


@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_a_refresh_tells_all_interfaces_again(protocol, tmp_path):
    exporting = process(protocol)
    sent = [exporting.export(flows(), after(at), {2: "eth0", 3: "eth1"}, NOTHING) for at in (0, 30, 60)]
    seen = Seen(tmp_path, [datagram for each in sent for datagram in each])
    told = [record["cflow.if_descr"] for record in seen.records if "cflow.if_descr" in record]
    assert told == ["eth0", "eth1"] * 2
