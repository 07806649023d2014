"""Proves that pmacct reads each element that is a number (tshark reads all, in unit tests)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kernel.namespace import inside
from lab.namespaces import Namespace, namespaces
from lab.pmacct import Nfacctd
from xflowd.exporting.announcing import MeterStatistics, SamplingAnnouncement
from xflowd.exporting.catalogue import OFFERED
from xflowd.exporting.process import ExportingProcess
from xflowd.exporting.records import column_of
from xflowd.metering.flow import FLOW
from xflowd.metering.instant import Instant

PORT = 2055
NOW = Instant(3600 * 10**9, 1_700_000_000 * 10**9)
#: What a record needs to be one for pmacct, and to be told from others.
ALWAYS = ("sourceIPv4Address", "destinationIPv4Address", "protocolIdentifier", "packetDeltaCount", "octetDeltaCount")
#: Elements that are octets and no number, or that pmacct has names of its own for, which test_end_to_end.py compares.
OTHERWISE = {
    "mplsTopLabelStackSection", "mplsLabelStackSection2", "mplsLabelStackSection3", "interfaceName", "sourceMacAddress",
    "destinationMacAddress", "sourceIPv4Address", "destinationIPv4Address", "ipNextHopIPv4Address",
}  # fmt: skip
#: Made of other columns, or there twice: unit tests have the values (test_chosen_elements.py, test_outer_elements.py).
MADE = ("flowStart", "flowEnd", "flowDuration", "systemInit", "icmpType", "icmpCode", "samplingInterval", "dot1qVlanId",
        "outer:")  # fmt: skip
NUMBERS = [
    name
    for name, each in OFFERED.items()
    if name not in OTHERWISE | set(ALWAYS) and each.ip_version != 6 and not name.startswith(MADE)
]


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Namespace]:
    with namespaces(tmp_path, "c") as (one,):
        yield one


@pytest.mark.parametrize("protocol", ["netflow9", "ipfix"])
def test_pmacct_reads_every_number(space: Namespace, protocol: str) -> None:
    elements = {OFFERED[name].element.number: (OFFERED[name].octets, "u_int") for name in NUMBERS}
    nfacctd = Nfacctd(space, PORT, elements=elements)
    made, wanted = _flow()
    process = ExportingProcess(
        protocol, observation_domain=7, sampling=SamplingAnnouncement("none", 1), elements=(*ALWAYS, *NUMBERS)
    )
    with inside(space), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        for datagram in process.export(made, NOW, {}, MeterStatistics()):
            sending.sendto(datagram, ("127.0.0.1", PORT))
    space.wait_until_read(PORT)
    nfacctd.stop()
    (record,) = nfacctd.records()
    assert {name: int(record[f"x{OFFERED[name].element.number}"]) for name in NUMBERS} == wanted
    assert nfacctd.complaints() == []


def _flow() -> tuple[np.ndarray, dict[str, int]]:
    """One flow, in which each element has a value of its own that fills its octets."""
    flow = np.zeros(1, FLOW)
    flow["source_address"][0, :4], flow["destination_address"][0, :4] = (192, 0, 2, 1), (192, 0, 2, 2)
    flow["flow_start_ns"], flow["flow_end_ns"] = NOW.monotonic_ns - 2 * 10**9, NOW.monotonic_ns - 10**9
    flow["packet_delta_count"], flow["octet_delta_count"] = 10, 1000
    wanted = {}
    for number, name in enumerate(NUMBERS, 1):
        column = column_of(name)
        assert column is not None, name
        octets = min(FLOW[column].itemsize, OFFERED[name].octets)
        value = (0xF1 << 8 * (octets - 1) if octets > 1 else 0) + number
        flow[column] = value
        wanted[name] = value
    flow["ip_version"], flow["protocol_identifier"] = 4, 6
    if "ipVersion" in wanted:
        wanted["ipVersion"] = 4
    return flow, wanted
