"""Proves that pmacct reads every element that can be chosen as it was, and nfdump those that it keeps."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_chosen_elements import COLUMNS, NAMES, NOTHING, PLAIN, flow_with_details
from test_exporting_nfdump import Nfcapd
from wire_helpers import NOW, NS_PER_S, WITH_TEMPLATES, process

from lab.namespaces import namespaces
from lab.pmacct import Nfacctd
from lab.process import wait_until
from xflowd.exporting.announcing import SamplingAnnouncement
from xflowd.exporting.catalogue import OFFERED
from xflowd.exporting.fillers import snake_case

PORT = 2055
SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
    for line in open(sys.argv[1]):
        sending.sendto(bytes.fromhex(line), ("127.0.0.1", int(sys.argv[2])))
"""
#: What every record has: pmacct counts nothing without it.
ALWAYS = ["ipVersion", "packetDeltaCount", "octetDeltaCount"]
START_NS = NOW.unix_ns - 3 * NS_PER_S - 123_456_789
END_NS = NOW.unix_ns - NS_PER_S
_NTP_UNIX_S = 2_208_988_800
#: What pmacct shows of elements that are not a number of a column of their name: IPv4, IPv6.
SHOWN: dict[str, tuple[str, str]] = {
    "sourceIPv4Address": ("192.0.2.1", "0.0.0.0"),
    "sourceIPv6Address": ("::", "2001:db8::1"),
    "destinationIPv4Address": ("198.51.100.2", "0.0.0.0"),
    "destinationIPv6Address": ("::", "2001:db8::2"),
    "ipNextHopIPv4Address": ("203.0.113.9", "0.0.0.0"),
    "ipNextHopIPv6Address": ("::", "fe80::1"),
    "sourceMacAddress": ("02:01:02:03:04:05",) * 2,
    "destinationMacAddress": ("02:09:08:07:06:00",) * 2,
    "interfaceName": ("wan-é",) * 2,
    "mplsTopLabelStackSection": ("12-34-56",) * 2,
    "mplsLabelStackSection2": ("23-45-67",) * 2,
    "mplsLabelStackSection3": ("34-56-79",) * 2,
}
NUMBERS: dict[str, tuple[int, int]] = {
    "ipVersion": (4, 6),
    "sourceTransportPort": (40000, 40000),
    "destinationTransportPort": (443, 443),
    "protocolIdentifier": (6, 6),
    "icmpTypeCodeIPv4": (0x0301, 0),
    "icmpTypeCodeIPv6": (0, 0x0301),
    "icmpTypeIPv4": (3, 0),
    "icmpTypeIPv6": (0, 3),
    "icmpCodeIPv4": (1, 0),
    "icmpCodeIPv6": (0, 1),
    "sourceIPv4PrefixLength": (24, 0),
    "sourceIPv6PrefixLength": (0, 24),
    "destinationIPv4PrefixLength": (17, 0),
    "destinationIPv6PrefixLength": (0, 17),
    "ipv4Options": (COLUMNS["ipv4_options"], 0),
    "ipv6ExtensionHeaders": (0, COLUMNS["ipv6_extension_headers"]),
    "flowLabelIPv6": (0, COLUMNS["flow_label_ipv6"]),
    "ingressInterface": (2, 2),
    "egressInterface": (3, 3),
    "samplingInterval": (500, 500),
    "dot1qVlanId": (100, 100),
    "systemInitTimeMilliseconds": ((NOW.unix_ns - NOW.monotonic_ns) // 10**6,) * 2,
    "flowStartSysUpTime": (3_596_876,) * 2,
    "flowEndSysUpTime": (3_599_000,) * 2,
    "flowStartSeconds": (START_NS // NS_PER_S,) * 2,
    "flowEndSeconds": (END_NS // NS_PER_S,) * 2,
    "flowStartMilliseconds": (START_NS // 10**6,) * 2,
    "flowEndMilliseconds": (END_NS // 10**6,) * 2,
    "flowEndMicroseconds": ((END_NS // NS_PER_S + _NTP_UNIX_S) << 32 | 1 << 30,) * 2,
    "flowEndNanoseconds": ((END_NS // NS_PER_S + _NTP_UNIX_S) << 32 | 1 << 30,) * 2,
    "flowDurationMilliseconds": (2124,) * 2,
    "flowDurationMicroseconds": (2_123_457,) * 2,
}
FRACTIONS = {"flowStartMicroseconds": 1000, "flowStartNanoseconds": 1}  # compared as times, in these ns
PARTS = [[name for name in PLAIN if name not in ALWAYS][at::3] for at in range(3)]


def expected(name: str, row: int) -> str:
    if name in SHOWN:
        return SHOWN[name][row]
    return str(NUMBERS[name][row] if name in NUMBERS else COLUMNS[snake_case(name)])


def semantics(name: str) -> tuple[int, str]:
    offered = OFFERED[name]
    kinds = {"ipv4Address": "ip", "ipv6Address": "ip", "macAddress": "mac", "string": "str", "octetArray": "raw"}
    return offered.octets, kinds.get(offered.element.type, "u_int")


def datagrams(protocol: str, elements: list[str]) -> list[bytes]:
    exporting = process(protocol, elements=elements, sampling=SamplingAnnouncement("random", 500))
    both = np.concatenate([flow_with_details(4), flow_with_details(6)])
    return list(map(bytes, exporting.export(both, NOW, NAMES, NOTHING)))


@pytest.fixture
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, list[str], list[dict[str, Any]]]]:
    """Protocol, elements, and the records of IPv4 and IPv6 as nfacctd wrote them."""
    protocol, part = request.param
    elements = ALWAYS + PARTS[part]
    (tmp_path / "hex").write_text("".join(f"{each.hex()}\n" for each in datagrams(protocol, elements)))
    with namespaces(tmp_path, "p") as (space,):
        space.ip("link set lo up")
        numbers = {OFFERED[name].element.number: semantics(name) for name in elements}
        nfacctd = Nfacctd(space, PORT, elements=numbers)
        space.run(sys.executable, "-c", SEND, tmp_path / "hex", str(PORT))
        wait_until(lambda: len(nfacctd.records()) == 2, "both records")
        nfacctd.stop()
        assert nfacctd.complaints() == []
        version = f"x{OFFERED['ipVersion'].element.number}"
        yield protocol, elements, sorted(nfacctd.records(), key=lambda record: int(record[version]))


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nfacctd") is None, reason="needs root and nfacctd")
@pytest.mark.parametrize(
    "told", [(protocol, part) for protocol in WITH_TEMPLATES for part in range(len(PARTS))], indirect=True, ids=str
)
def test_pmacct_reads_every_element(told: tuple[str, list[str], list[dict[str, Any]]]) -> None:
    protocol, elements, records = told
    for row, record in enumerate(records):
        for name in elements:
            shown = record[f"x{OFFERED[name].element.number}"]
            if name in FRACTIONS:
                seconds, fraction = divmod(int(shown), 1 << 32)
                unix_ns = (seconds - _NTP_UNIX_S) * NS_PER_S + (fraction * NS_PER_S >> 32)
                assert unix_ns // FRACTIONS[name] == START_NS // FRACTIONS[name], name
            elif name.startswith("icmpTypeCode") and protocol == "netflow9":
                assert int(shown) == (0x0301 if name == "icmpTypeCodeIPv4" else 0), name  # 32 is for both
            else:
                assert shown == expected(name, row), name


def test_all_of_them_are_asked_for() -> None:
    assert {*ALWAYS, *(name for part in PARTS for name in part)} == set(PLAIN)


@pytest.mark.skipif(shutil.which("nfcapd") is None, reason="nfcapd is not installed")
@pytest.mark.parametrize("protocol", WITH_TEMPLATES)
def test_nfdump_reads_what_it_keeps(protocol: str, tmp_path: Path) -> None:
    collector = Nfcapd(tmp_path)
    # Of several times it takes the last; of VLANs either.
    late = ("flowStart", "flowEnd", "systemInit", "dot1q", "samplingInterval")
    elements = [name for name in PLAIN if not name.startswith(late)] + [
        "flowStartMilliseconds",
        "flowEndMilliseconds",
    ]
    try:
        collector.send(datagrams(protocol, elements))
    finally:
        collector.stop()
    stored = collector.records()
    assert len(stored) == 2
    for version, record in zip((4, 6), sorted(stored, key=lambda one: "src6_addr" in one), strict=True):
        told = {name: record[name] for name in KEPT}
        rate = 500  # it multiplies
        assert told == KEPT | {"in_packets": 10 * rate, "in_bytes": COLUMNS["octet_delta_count"] * rate}
        assert record[f"src{version}_addr"] == ("192.0.2.1" if version == 4 else "2001:db8::1")
        assert record[f"ip{version}_next_hop"] == ("203.0.113.9" if version == 4 else "fe80::1")


#: By nfdump's names; of a label: label, traffic class, bottom of the stack.
KEPT = {
    "first": "2023-11-14T22:13:17.126",
    "last": "2023-11-14T22:13:19.250",
    "in_packets": 10,
    "in_bytes": 0,
    "proto": 6,
    "tcp_flags": "...A..S.",
    "src_port": 40000,
    "dst_port": 443,
    "src_tos": 0xB8,
    "input_snmp": 2,
    "output_snmp": 3,
    "src_mask": 24,
    "dst_mask": 17,
    "direction": 1,
    "src_vlan": 100,
    "src_as": 4_200_000_001,
    "dst_as": 65_551,
    "mpls_1": f"{0x12345}-3-0",
    "mpls_2": f"{0x23456}-3-1",
    "mpls_3": f"{0x34567}-4-1",
    "in_src_mac": "02:01:02:03:04:05",
    "in_dst_mac": "02:09:08:07:06:00",
}
