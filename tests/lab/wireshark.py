"""tcpdump in the namespace, tshark as reader: a third opinion on what was sent, the only one on its form."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from xml.etree import ElementTree

from lab.flow import ICMP, ICMPV6, WITH_PORTS, Flow, Key
from lab.namespaces import Namespace

#: An open port that nobody reads from: without it the kernel would answer "port unreachable".
LISTEN = """
import signal, socket, sys
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as both_families:
    both_families.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    both_families.bind(("::", int(sys.argv[1])))
    signal.pause()
"""


class Capture:
    """A running tcpdump. What it got is read after `stop`. `only`: packets of one direction, in or out."""

    def __init__(
        self, space: Namespace, interface: str, expression: str, *, snaplen: int = 65535, only: str = "inout"
    ) -> None:
        self.path = space.directory / f"{space.name}-{interface}-{len(space.processes)}.pcap"
        options = ["-n", "-U", "--immediate-mode", "-Z", "root", "-B", "8192", "-s", str(snaplen), "-Q", only]
        self._process = space.start("tcpdump", *options, "-i", interface, "-w", self.path, expression)
        self._process.wait_for_log("listening on")

    def stop(self) -> None:
        """Raises AssertionError when the kernel dropped packets: the capture is then no witness."""
        self._process.stop(signal.SIGINT)
        assert "0 packets dropped by kernel" in self._process.log, self._process.log


class Tshark(Capture):
    """A capture of the datagrams to one collector's port, decoded as NetFlow or IPFIX.

    `listen`: open the port too, for a collector of which the capture is all there is.
    """

    def __init__(self, space: Namespace, port: int, interface: str = "eth0", *, listen: bool = False) -> None:
        super().__init__(space, interface, f"udp dst port {port}")
        self._port = port
        if listen:
            space.start(sys.executable, "-c", LISTEN, str(port))
            space.wait_for_udp_port(port)

    def flows(self) -> list[Flow]:
        """Every flow record; options data is left out."""
        records = ({**_clocks(packet), **_fields(group)} for packet, group in self._groups())
        return [_flow(record) for record in records if "cflow.packets" in record]

    def records(self) -> list[dict[str, str]]:
        """Every data record, options data too, as tshark's field names and values."""
        return [{name: show for name, (show, _) in _fields(group).items()} for _, group in self._groups()]

    def datagrams(self) -> list[dict[str, str]]:
        """The header of every datagram (cflow.version, cflow.sequence, ...), and how many octets it had."""
        return [
            {
                **{name: show for name, (show, _) in _fields(packet, deep=False).items()},
                "octets": packet.get("size", "0"),
            }
            for packet in self._protocols()
        ]

    def expert(self) -> list[str]:
        """tshark's expert information, a line each: sequence numbers, missing templates, malformed sets."""
        text = _tshark(self.path, self._port, "-q", "-z", "expert")
        return [line.strip() for line in text.splitlines() if re.match(r"\s+\d+\s+\w+\s+CFLOW", line)]

    def _protocols(self) -> Iterator[ElementTree.Element]:
        document = ElementTree.fromstring(_tshark(self.path, self._port, "-T", "pdml"))
        yield from document.iterfind(".//proto[@name='cflow']")

    def _groups(self) -> Iterator[tuple[ElementTree.Element, ElementTree.Element]]:
        for packet in self._protocols():
            for group in packet.iter("field"):
                if re.match(r"(Flow|pdu) \d+", group.get("show", "")):
                    yield packet, group


def _clocks(packet: ElementTree.Element) -> dict[str, tuple[str, str]]:
    """The header's own clocks, which the times of v5 and v9 records are relative to."""
    wanted = ("cflow.sysuptime", "cflow.unix_secs", "cflow.unix_nsecs")
    return {name: shown for name, shown in _fields(packet).items() if name in wanted}


def _tshark(path: Path, port: int, *options: str) -> str:
    decode = ["-n", "-d", f"udp.port=={port},cflow"]
    return subprocess.run(
        ["tshark", "-r", str(path), *decode, *options], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def _fields(element: ElementTree.Element, *, deep: bool = True) -> dict[str, tuple[str, str]]:
    """Field name -> what tshark shows, and the octets on the wire in hexadecimal."""
    inner = element.iter("field") if deep else element.iterfind("field")
    named = (field for field in inner if field.get("name"))
    return {field.get("name", ""): (field.get("show", ""), field.get("value", "")) for field in named}


def _flow(record: dict[str, tuple[str, str]]) -> Flow:
    protocol = _number(record, "cflow.protocol") or 0
    ports = protocol in WITH_PORTS
    source, destination = (
        record[f"cflow.{side}addrv6" if f"cflow.{side}addrv6" in record else f"cflow.{side}addr"][0]
        for side in ("src", "dst")
    )
    key = Key(
        str(ip_address(source)),
        str(ip_address(destination)),
        protocol,
        (_number(record, "cflow.srcport") or 0) if ports else 0,
        (_number(record, "cflow.dstport") or 0) if ports else 0,
    )
    return Flow(
        key,
        int(record["cflow.packets"][0]),
        int(record["cflow.octets"][0]),
        _moment(record, "start"),
        _moment(record, "end"),
        ip_class_of_service=_number(record, "cflow.tos"),
        tcp_control_bits=_number(record, "cflow.tcpflags"),
        icmp_type_code=_icmp(record, protocol),
        ingress_interface=_number(record, "cflow.inputint"),
        egress_interface=_number(record, "cflow.outputint"),
        vlan_id=_number(record, "cflow.vlanid"),
        source_mac_address=_mac(record, "cflow.srcmac"),
        destination_mac_address=_mac(record, "cflow.dstmac"),
        sampling_interval=_number(record, "cflow.sampling_interval"),
        flow_direction=_number(record, "cflow.direction"),
        bgp_source_as_number=_number(record, "cflow.srcas"),
        source_prefix_length=_number(record, "cflow.srcmask", "cflow.srcmaskv6"),
    )


def _number(record: dict[str, tuple[str, str]], *names: str) -> int | None:
    for name in names:
        if name in record:
            return int(record[name][0], 0)
    return None


def _mac(record: dict[str, tuple[str, str]], name: str) -> str | None:
    shown = record.get(name, (None, ""))[0]
    return None if shown == "00:00:00:00:00:00" else shown


def _icmp(record: dict[str, tuple[str, str]], protocol: int) -> int | None:
    """Element 32 or 139; v5 has the destination port for it."""
    if "cflow.unix_nsecs" in record:  # only v5 has them
        return _number(record, "cflow.dstport") if protocol in (ICMP, ICMPV6) else None
    if "cflow.icmp_ipv6_type" in record:  # tshark takes 139 apart, and leaves 32 whole
        return int(record["cflow.icmp_ipv6_type"][0]) * 256 + int(record["cflow.icmp_ipv6_code"][0])
    return _number(record, "cflow.icmp_type_code_ipv4")


def _moment(record: dict[str, tuple[str, str]], which: str) -> int:
    """Unix milliseconds: of 152 and 153 as they stand, of 22 and 21 by the header's two clocks."""
    absolute = record.get(f"cflow.abstime{which}")
    if absolute is not None:
        return int(absolute[1], 16)
    uptime = int(record[f"cflow.time{which}"][1], 16)
    fraction = int(record.get("cflow.unix_nsecs", ("0", ""))[0]) // 1_000_000
    now = int(record["cflow.unix_secs"][0]) * 1000 + fraction
    return now - round(float(record["cflow.sysuptime"][0]) * 1000) + uptime
