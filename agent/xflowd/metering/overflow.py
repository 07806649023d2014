"""Overflow records as flows: what their counters, which only grow, have grown by since they were last exported."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from xflowd.metering.flow import FLOW, FlowEndReason
from xflowd.metering.table import Records

#: A record's key as octets in hexadecimal; packets, octets and the end of what was exported.
OverflowState = list[tuple[str, int, int, int]]


class OverflowFlows:
    """What of each overflow record has been exported."""

    def __init__(self, state: OverflowState | Iterable[tuple[str, int, int, int]] = ()) -> None:
        """`state`: of the predecessor that exported from the same records."""
        self._exported = {bytes.fromhex(key): (packets, octets, end_ns) for key, packets, octets, end_ns in state}

    @property
    def packets(self) -> int:
        """Packets exported so far."""
        return sum(packets for packets, _, _ in self._exported.values())

    def state(self) -> OverflowState:
        """For a successor."""
        return [(key.hex(), *exported) for key, exported in self._exported.items()]

    def waiting(self, record: np.void) -> int:
        """Packets of a record that have not been exported."""
        exported = self._exported.get(record["key"].tobytes(), (0, 0, 0))
        return int(record["value"]["packet_total_count"]) - exported[0]

    def grown(self, records: Records, now_ns: int) -> Records:
        """The growth of `records` (struct overflow_key and struct overflow_record) as flows: no addresses, no ports.

        They count as exported with this call.
        """
        flows = np.zeros(len(records), FLOW)
        for flow, record in zip(flows, records, strict=True):
            self._fill(flow, record["key"], record["value"], now_ns)
        return flows[flows["packet_delta_count"] > 0]

    def _fill(self, flow: np.void, key: np.void, value: np.void, now_ns: int) -> None:
        packets, octets = int(value["packet_total_count"]), int(value["octet_total_count"])
        end_ns = int(value["flow_end_ns"])
        packets_before, octets_before, end_before = self._exported.get(key.tobytes(), (0, 0, now_ns))
        if packets == packets_before:
            return
        self._exported[key.tobytes()] = (packets, octets, end_ns)
        for name in ("flow_direction", "ip_version", "protocol_identifier"):
            flow[name] = key[name]
        flow["egress_interface" if key["flow_direction"] else "ingress_interface"] = key["interface"]
        flow["packet_delta_count"], flow["octet_delta_count"] = packets - packets_before, octets - octets_before
        flow["flow_start_ns"], flow["flow_end_ns"] = min(end_before, end_ns), end_ns
        flow["flow_end_reason"] = FlowEndReason.LACK_OF_RESOURCES
