"""nfcapd as collector, nfdump as reader."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import datetime, timezone
from ipaddress import ip_address
from typing import Any

from lab.flow import WITH_PORTS, Flow, Key
from lab.namespaces import Namespace

FLAG_LETTERS = "CEUAPRSF"  # CWR to FIN, from the eighth bit down
NO_MAC = "00:00:00:00:00:00"


class Nfcapd:
    """A running nfcapd. What it got is read after `stop`."""

    def __init__(self, space: Namespace, port: int, address: str = "0.0.0.0") -> None:
        self.port = port
        self._directory = space.directory / f"nfcapd-{space.name}-{len(space.processes)}"
        self._directory.mkdir()
        # one file for the whole test, unless it runs across an hour: `-R` reads as many as there are
        options = ["-w", str(self._directory), "-t", "3600", "-B", "4000000"]
        self._process = space.start("nfcapd", "-b", address, "-p", str(port), *options)
        space.wait_for_udp_port(port)

    def stop(self) -> None:
        self._process.stop()

    def flows(self) -> list[Flow]:
        """Every record; counters as nfdump stores them: multiplied by the sampling rate it was told."""
        text = self._nfdump("-o", "json")
        if "No matching flows" in text:
            return []
        return [_flow(record) for record in json.loads(text)]

    def sequence_failures(self) -> int:
        """nfdump's own count. For IPFIX it is wrong: nfdump 1.7.1 leaves options data out (RFC 7011 3.1)."""
        return sum(map(int, re.findall(r"^Sequence failures: (\d+)$", self._nfdump("-I"), re.MULTILINE)))

    def bad_packets(self) -> int:
        """Datagrams that nfcapd could not read."""
        return sum(map(int, re.findall(r"Bad Packets: (\d+)", self._process.log)))

    def complaints(self) -> list[str]:
        """Lines of nfcapd's log on something that it did not like."""
        pattern = re.compile(r"error|skip|unknown|missing|mismatch|corrupt|not enough|short", re.IGNORECASE)
        lines = (line for line in self._process.log.splitlines() if "Sequence Errors" not in line)
        return [line for line in lines if pattern.search(line)]

    def table(self) -> str:
        """nfdump's long table, for the eye."""
        return self._nfdump("-o", "long6")

    def _nfdump(self, *options: str) -> str:
        command = ["nfdump", "-R", str(self._directory), "-N", *options]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def _flow(record: dict[str, Any]) -> Flow:
    protocol = int(record["proto"])
    ports = protocol in WITH_PORTS
    source, destination = (record.get(f"{side}4_addr") or record[f"{side}6_addr"] for side in ("src", "dst"))
    key = Key(
        str(ip_address(source)),
        str(ip_address(destination)),
        protocol,
        int(record["src_port"]) if ports else 0,
        int(record["dst_port"]) if ports else 0,
    )
    return Flow(
        key,
        int(record["in_packets"]),
        int(record["in_bytes"]),
        _milliseconds(record["first"]),
        _milliseconds(record["last"]),
        ip_class_of_service=record.get("src_tos"),
        tcp_control_bits=_bits(record["tcp_flags"]) if "tcp_flags" in record else None,
        icmp_type_code=record["icmp_type"] * 256 + record["icmp_code"] if "icmp_type" in record else None,
        ingress_interface=record.get("input_snmp"),
        egress_interface=record.get("output_snmp"),
        vlan_id=record.get("src_vlan"),
        source_mac_address=_mac(record.get("in_src_mac")),
        destination_mac_address=_mac(record.get("in_dst_mac")),
        flow_direction=record.get("direction"),
        bgp_source_as_number=record.get("src_as"),
        source_prefix_length=record.get("src_mask") or None,  # nfdump 1.7.1 stores 0 for every v5 record
    )


def _milliseconds(text: str) -> int:
    """nfdump writes local time; the tests run it as the machine does, so the local zone it is."""
    moment = datetime.fromisoformat(text).astimezone(timezone.utc)
    return round(moment.timestamp() * 1000)


def _bits(letters: str) -> int:
    return sum(1 << 7 - place for place, letter in enumerate(letters) if letter == FLAG_LETTERS[place])


def _mac(text: str | None) -> str | None:
    return None if text in (None, NO_MAC) else text
