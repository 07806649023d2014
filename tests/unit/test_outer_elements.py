"""Proves that addresses of the header around come before the flow's own, and what collectors make of the two."""

from __future__ import annotations

import os
import shutil
import sys
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from test_exporting_nfdump import Nfcapd
from wire_helpers import NOW, Seen, flow, flows, process, tshark

from lab.namespaces import namespaces
from lab.pmacct import Nfacctd
from lab.process import wait_until
from xflowd.exporting.announcing import MeterStatistics
from xflowd.exporting.catalogue import fields_text, kinds
from xflowd.exporting.protocols import with_elements
from xflowd.wire.decoder import Decoder
from xflowd.wire.defaults import Kind
from xflowd.wire.template import fields_of

NOTHING = MeterStatistics()
ELEMENTS = ("default", "outer:sourceIPv4Address", "outer:destinationIPv4Address")
#: Source and destination of each flow, and those of the tunnel around; None where there is none.
WAYS = [
    ("10.1.1.1", "10.1.1.2", "192.0.2.201", "192.0.2.202"),
    ("10.1.2.1", "10.1.2.2", "2001:db8:f::1", "2001:db8:f::2"),
    ("2001:db8:1::1", "2001:db8:1::2", "192.0.2.201", "192.0.2.202"),
    ("2001:db8:2::1", "2001:db8:2::2", "2001:db8:f::1", "2001:db8:f::2"),
    ("10.1.3.1", "10.1.3.2", None, None),
    ("2001:db8:3::1", "2001:db8:3::2", None, None),
]
PORT = 2055
SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
    sending.sendto(bytes.fromhex(sys.argv[1]), ("127.0.0.1", int(sys.argv[2])))
"""


def datagrams() -> list[bytes]:
    told = [_flow(*way) for way in WAYS]
    return [bytes(each) for each in process("ipfix", elements=ELEMENTS).export(flows(*told), NOW, {}, NOTHING)]


def _flow(source: str, destination: str, outer_source: str | None, outer_destination: str | None) -> np.ndarray:
    made = flow(source, destination)
    if outer_source and outer_destination:
        made["outer_ip_version"] = ip_address(outer_source).version
        for end, address in (("source", outer_source), ("destination", outer_destination)):
            made[f"outer_{end}_address"] = np.frombuffer(ip_address(address).packed.ljust(16, b"\0"), np.uint8)
    return made


def test_each_kind_has_a_template_and_the_outer_header_is_first() -> None:
    """RFC 7011 section 8; wherever in the list they are."""
    told = with_elements("ipfix", ("octetDeltaCount", "sourceIPv4Address", "outer:sourceIPv6Address")).flow_templates
    names = {kind: [field.name for field in template.fields] for kind, template in told.items()}
    assert names == {
        (4, 4): ["outer:sourceIPv4Address", "octetDeltaCount", "sourceIPv4Address"],
        (4, 6): ["outer:sourceIPv6Address", "octetDeltaCount", "sourceIPv4Address"],
        (6, 4): ["outer:sourceIPv4Address", "octetDeltaCount", "sourceIPv6Address"],
        (6, 6): ["outer:sourceIPv6Address", "octetDeltaCount", "sourceIPv6Address"],
        (4, 0): ["octetDeltaCount", "sourceIPv4Address"],
        (6, 0): ["octetDeltaCount", "sourceIPv6Address"],
    }
    assert len({template.template_id for template in told.values()}) == 6


def test_who_chooses_none_has_two_templates() -> None:
    assert kinds(("default", "greKey")) == (Kind(4), Kind(6))
    assert not fields_text("ipfix", Kind(4), ("outer:sourceIPv4Address",))


def test_wireshark_shows_both(tmp_path: Path) -> None:
    seen = Seen(tmp_path, datagrams())
    assert seen.expert == []
    both = [address for source, _, outer, _ in WAYS for address in (outer, source) if address]
    for name, sign in (("srcaddr", "."), ("srcaddrv6", ":")):
        told = tshark(tmp_path / "export.pcap", "-T", "fields", "-e", f"cflow.{name}")
        assert told.replace("\n", ",").split(",")[:-1] == [address for address in both if sign in address]


def test_our_own_collector_takes_the_last_for_the_flows() -> None:
    decoder = Decoder()
    records = [each for datagram in datagrams() for each in decoder.decode(datagram, "one") if not each.is_options]
    assert not decoder.counters.malformed
    names = [each.template.names for each in records]
    assert [[name for name in each if "sourceIP" in name and "Address" in name] for each in names] == [
        ["outer:sourceIPv4Address", "sourceIPv4Address"],
        ["sourceIPv6Address", "sourceIPv4Address"],
        ["sourceIPv4Address", "sourceIPv6Address"],
        ["outer:sourceIPv6Address", "sourceIPv6Address"],
        ["sourceIPv4Address"],
        ["sourceIPv6Address"],
    ]
    first = records[0].array[0]
    assert int(first["outer:sourceIPv4Address"]) == int(ip_address("192.0.2.201"))
    assert int(first["sourceIPv4Address"]) == int(ip_address("10.1.1.1"))


def test_three_of_one_are_told_apart() -> None:
    """Whatever somebody sends: no name twice."""
    fields = fields_of("outer:sourceIPv4Address outer:sourceIPv4Address sourceIPv4Address")
    template = with_elements("ipfix", ("default",)).flow_templates[Kind(4)]
    names = type(template)(300, fields).names
    assert names == ("outer:sourceIPv4Address", "outer:sourceIPv4Address_2", "sourceIPv4Address")


@pytest.mark.skipif(shutil.which("nfcapd") is None, reason="nfcapd is not installed")
def test_nfdump_takes_the_flows_own(tmp_path: Path) -> None:
    collector = Nfcapd(tmp_path)
    try:
        collector.send(datagrams())
    finally:
        collector.stop()
    told = set(map(_shown_by_nfdump, collector.records()))
    assert told == {way[:2] for way in WAYS}


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nfacctd") is None, reason="needs root and nfacctd")
def test_pmacct_takes_the_flows_own(tmp_path: Path) -> None:
    with namespaces(tmp_path, "p") as (space,):
        space.ip("link set lo up")
        nfacctd = Nfacctd(space, PORT)
        for datagram in datagrams():
            space.run(sys.executable, "-c", SEND, datagram.hex(), str(PORT))
        wait_until(lambda: len(nfacctd.records()) == len(WAYS), "all records")
        nfacctd.stop()
        told = {(record["ip_src"], record["ip_dst"]) for record in nfacctd.records()}
    assert told == {way[:2] for way in WAYS}


def _shown_by_nfdump(record: dict[str, str]) -> tuple[str, str]:
    """Where a record has addresses of both versions, one pair has been written over the other: `::10.1.1.1`."""
    version = 6 if record.get("src6_addr", "::").removeprefix("::").startswith("2001:") else 4
    return record[f"src{version}_addr"], record[f"dst{version}_addr"]
