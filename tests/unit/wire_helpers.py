"""Flows made by hand, and what tshark reads from the datagrams that they become."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from xflowd.exporting.announcing import SamplingAnnouncement
from xflowd.exporting.process import ExportingProcess
from xflowd.metering.flow import FLOW
from xflowd.metering.instant import Instant

NS_PER_S = 1_000_000_000
PORT = 2055
#: An hour after boot, a quarter of a second into the second 1,700,000,000.
NOW = Instant(monotonic_ns=3600 * NS_PER_S, unix_ns=1_700_000_000 * NS_PER_S + 250_000_000)
NOT_SAMPLED = SamplingAnnouncement("none", 1)
WITH_TEMPLATES = ("netflow9", "ipfix")
ALL = ("netflow5", *WITH_TEMPLATES)


def flow(source: str = "192.0.2.1", destination: str = "198.51.100.2", **columns: Any) -> np.ndarray:
    """One flow, of a TCP connection that ended a second ago unless `columns` say something else."""
    record = np.zeros(1, FLOW)
    values: dict[str, Any] = {
        "packet_delta_count": 10,
        "octet_delta_count": 5000,
        "flow_start_ns": NOW.monotonic_ns - 3 * NS_PER_S,
        "flow_end_ns": NOW.monotonic_ns - NS_PER_S,
        "ingress_interface": 2,
        "egress_interface": 3,
        "source_transport_port": 40000,
        "destination_transport_port": 443,
        "ip_version": ip_address(source).version,
        "protocol_identifier": 6,
        "flow_end_reason": 3,
    }
    for name, value in (values | columns).items():
        record[name] = value
    record["source_address"] = _octets(source)
    record["destination_address"] = _octets(destination)
    return record


def flows(*each: np.ndarray) -> np.ndarray:
    """Several as one array; none as an empty one."""
    return np.concatenate(each) if each else np.zeros(0, FLOW)


def many(count: int, like: np.ndarray | None = None) -> np.ndarray:
    """So many flows, of which each has its number as source port and octets."""
    made = np.repeat(flow() if like is None else like, count)
    made["source_transport_port"] = np.arange(count) % 65536
    made["octet_delta_count"] = 1000 + np.arange(count)
    return made


def process(protocol: str, **options: Any) -> ExportingProcess:
    """An Exporting Process of domain 77, not sampled unless `options` say something else."""
    defaults: dict[str, Any] = {"observation_domain": 77, "sampling": NOT_SAMPLED}
    return ExportingProcess(protocol, **(defaults | options))


def after(seconds: float, start: Instant = NOW) -> Instant:
    """So much later, on both clocks."""
    step = round(seconds * NS_PER_S)
    return Instant(start.monotonic_ns + step, start.unix_ns + step)


def _octets(address: str) -> np.ndarray:
    return np.frombuffer(ip_address(address).packed.ljust(16, b"\0"), np.uint8)


def write_pcap(path: Path, datagrams: Iterable[bytes | memoryview]) -> None:
    """The datagrams as UDP packets from 192.0.2.254 to PORT at 192.0.2.255, with raw IP as link type."""
    packets = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)]
    for datagram in map(bytes, datagrams):
        udp = struct.pack(">HHHH", 50000, PORT, 8 + len(datagram), 0) + datagram
        addresses = bytes([192, 0, 2, 254, 192, 0, 2, 255])
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses + udp
        packets.append(struct.pack("<IIII", 1_700_000_000, 0, len(ip), len(ip)) + ip)
    path.write_bytes(b"".join(packets))


def tshark(path: Path, *options: str) -> str:
    """What tshark prints of a capture, PORT decoded as NetFlow and IPFIX."""
    command = ["tshark", "-n", "-r", str(path), "-d", f"udp.port=={PORT},cflow", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


class Seen:
    """The datagrams as tshark understands them. Names are tshark's, values are text as it shows them."""

    def __init__(self, directory: Path, datagrams: Sequence[bytes | memoryview]) -> None:
        self._path = directory / "export.pcap"
        write_pcap(self._path, datagrams)
        document = ElementTree.fromstring(tshark(self._path, "-T", "pdml"))
        self._messages = list(document.iterfind(".//proto[@name='cflow']"))

    @property
    def expert(self) -> list[str]:
        """What tshark finds wrong: sequence numbers, sets without a template, malformed ones."""
        return [line for line in tshark(self._path, "-q", "-z", "expert").splitlines() if line.strip()]

    @property
    def headers(self) -> list[dict[str, str]]:
        """The header fields of each message."""
        return [_shown(message.iterfind("field")) for message in self._messages]

    @property
    def records(self) -> list[dict[str, str]]:
        """The fields of each data record, options data too, in the order sent."""
        groups = (field for message in self._messages for field in message.iter("field"))
        return [_shown(group.iter("field")) for group in groups if _is_record(group)]

    @property
    def flows(self) -> list[dict[str, str]]:
        """The fields of each flow's record."""
        return [record for record in self.records if "cflow.octets" in record]

    @property
    def flow_octets(self) -> list[dict[str, int]]:
        """The numbers that stand in each flow's record, and in the header before it."""
        found = []
        for message in self._messages:
            header = _numbers(_header_fields(message))
            records = [_numbers(group.iter("field")) for group in message.iter("field") if _is_record(group)]
            found += [header | record for record in records if "cflow.octets" in record]
        return found

    @property
    def sets(self) -> list[list[int]]:
        """The set IDs of each message, in order."""
        return [
            [int(field.get("show", "")) for field in message.iter("field") if _is_set_id(field)]
            for message in self._messages
        ]

    @property
    def templates(self) -> dict[int, list[tuple[int, int]]]:
        """Template ID → the element and octets of each field, scope first."""
        found: dict[int, list[tuple[int, int]]] = {}
        for message in self._messages:
            template_id = 0
            for field in message.iter("field"):
                name, show = field.get("name", ""), field.get("show", "")
                if name == "cflow.template_id":
                    template_id = int(show)
                    found[template_id] = []
                elif name in TEMPLATE_FIELD_NUMBERS:
                    found[template_id].append((int(show), 0))
                elif name in TEMPLATE_FIELD_LENGTHS:
                    number, _ = found[template_id].pop()
                    found[template_id].append((number, int(show)))
        return found


TEMPLATE_FIELD_NUMBERS = (
    "cflow.template_field_type",
    "cflow.template_ipfix_field_type",
    "cflow.scope_field_type",
    "cflow.template_ipfix_scope_field_type",
)
TEMPLATE_FIELD_LENGTHS = ("cflow.template_field_length", "cflow.scope_field_length")


def _shown(fields: Iterable[ElementTree.Element]) -> dict[str, str]:
    return {field.get("name", ""): field.get("show", "") for field in fields}


def _header_fields(message: ElementTree.Element) -> Iterable[ElementTree.Element]:
    for field in message.iterfind("field"):
        if field.get("name"):
            yield from field.iter("field")


def _numbers(fields: Iterable[ElementTree.Element]) -> dict[str, int]:
    shown = [field for field in fields if field.get("name") and field.get("value")]
    return {field.get("name", ""): int(field.get("value", ""), 16) for field in shown}


def _is_record(field: ElementTree.Element) -> bool:
    return field.get("show", "").split(" ")[0] in ("Flow", "pdu", "DataRecord") and len(field) > 0


def _is_set_id(field: ElementTree.Element) -> bool:
    return field.get("name") in ("cflow.flowset_id", "cflow.set_id")
