"""pmacct's nfacctd as collector and reader."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from lab.flow import ICMP, WITH_PORTS, Flow, Key
from lab.namespaces import Namespace

AGGREGATE = (
    "src_host, dst_host, src_port, dst_port, proto, tos, tcpflags, in_iface, out_iface, "
    "src_mac, dst_mac, vlan, src_as, src_mask, sampling_rate, timestamp_start, timestamp_end, "
    "export_proto_seqno, export_proto_version, export_proto_sysid, icmp4, icmp6"
)
#: Elements that pmacct has no name of its own for.
PRIMITIVES = """\
name=icmp4 field_type=32 len=2 semantics=u_int
name=icmp6 field_type=139 len=2 semantics=u_int
"""
NO_MAC = "00:00:00:00:00:00"


class Nfacctd:
    """A running nfacctd. What it got is read after `stop`.

    `renormalize`: multiply the counters by the sampling rate that the exporter announced. `elements`: what records()
    is to have, number → octets and semantics, as pmacct writes them.
    """

    def __init__(
        self,
        space: Namespace,
        port: int,
        address: str = "0.0.0.0",
        *,
        renormalize: bool = False,
        elements: Mapping[int, tuple[int, str]] | None = None,
    ) -> None:
        self.port = port
        stem = f"nfacctd-{space.name}-{len(space.processes)}"
        self._output = space.directory / f"{stem}.json"
        primitives = space.directory / f"{stem}.primitives"
        more = elements or {}
        lines = (f"name=x{number} field_type={number} len={n} semantics={kind}\n" for number, (n, kind) in more.items())
        primitives.write_text(PRIMITIVES + "".join(lines))
        settings = {
            "daemonize": "false",
            "nfacctd_ip": address,
            "nfacctd_port": port,
            "nfacctd_disable_checks": "false",  # sequence jumps are logged only then
            "nfacctd_renormalize": str(renormalize).lower(),
            "aggregate_primitives": primitives,
            "plugins": "print[out]",
            "aggregate[out]": ", ".join([AGGREGATE, *(f"x{number}" for number in more)]),
            "print_output[out]": "json",
            "print_output_file[out]": self._output,
            "print_output_file_append[out]": "true",
            "print_refresh_time[out]": 1,
            "print_cache_entries[out]": 4099,
            "plugin_pipe_size[out]": 8_000_000,
            "timestamps_since_epoch[out]": "true",
            "print_num_protos[out]": "true",
        }
        configuration = space.directory / f"{stem}.conf"
        configuration.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
        self._process = space.start("nfacctd", "-f", configuration)
        space.wait_for_udp_port(port)
        self._process.wait_for_log("cache entries")

    def stop(self) -> None:
        self._process.stop(signal.SIGINT)  # the signal at which pmacct writes out what it holds

    def flows(self) -> list[Flow]:
        """Every record: pmacct joins only those of one datagram with the same key and times."""
        return [_flow(record) for record in self.records()]

    def records(self) -> list[dict[str, Any]]:
        """The same as pmacct writes them; element 52 is `x52`."""
        if not self._output.exists():
            return []
        return [json.loads(line) for line in self._output.read_text().splitlines()]

    def sequence_jumps(self) -> list[str]:
        """Lines of the log on sequence numbers that did not follow."""
        return [line for line in self._process.log.splitlines() if "expecting flow" in line]

    def complaints(self) -> list[str]:
        """Warnings and errors in the log."""
        lines = self._process.log.splitlines()
        return [line for line in lines if line.startswith(("WARN", "ERROR")) or "discarded" in line]


def _flow(record: dict[str, Any]) -> Flow:
    protocol = int(record["ip_proto"])
    ports = protocol in WITH_PORTS
    version = record["export_proto_version"]
    key = Key(
        str(ip_address(record["ip_src"])),
        str(ip_address(record["ip_dst"])),
        protocol,
        record["port_src"] if ports else 0,
        record["port_dst"] if ports else 0,
    )
    with_layer2 = version != 5
    return Flow(
        key,
        record["packets"],
        record["bytes"],
        _milliseconds(record["timestamp_start"]),
        _milliseconds(record["timestamp_end"]),
        ip_class_of_service=record["tos"],
        tcp_control_bits=int(record["tcp_flags"]),
        icmp_type_code=_icmp(record, protocol, version),
        ingress_interface=record["iface_in"],
        egress_interface=record["iface_out"],
        vlan_id=record["vlan"] if with_layer2 else None,
        source_mac_address=_mac(record["mac_src"]) if with_layer2 else None,
        destination_mac_address=_mac(record["mac_dst"]) if with_layer2 else None,
        sampling_interval=record["sampling_rate"],
        bgp_source_as_number=record["as_src"],
        source_prefix_length=record["mask_src"],
    )


def _icmp(record: dict[str, Any], protocol: int, version: int) -> int | None:
    if protocol == ICMP and version == 5:
        return int(record["port_dst"])
    return int(record.get("icmp6", 0)) or int(record.get("icmp4", 0))


def _milliseconds(text: str) -> int:
    return round(float(text) * 1000)


def _mac(text: str) -> str | None:
    return None if text == NO_MAC else text
