"""The cells of the table: one list of texts for each column, whatever elements the records have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.edge.terminal import texts

Records = npt.NDArray[Any]
Cells = list[str]

UNKNOWN = "-"
TCP, ICMP, ICMPV6 = 6, 1, 58
_PROTOCOLS = {
    1: "ICMP", 2: "IGMP", 4: "IPIP", 6: "TCP", 17: "UDP", 33: "DCCP", 41: "IPv6", 46: "RSVP", 47: "GRE",
    50: "ESP", 51: "AH", 58: "ICMPv6", 88: "EIGRP", 89: "OSPF", 103: "PIM", 112: "VRRP", 115: "L2TP",
    132: "SCTP", 136: "UDPlit", 137: "MPLS",
}  # fmt: skip
_PROTOCOL = [_PROTOCOLS.get(number, str(number)) for number in range(256)]
_FLAGS = [
    "".join(letter if bits >> (7 - place) & 1 else "." for place, letter in enumerate("CEUAPRSF"))
    for bits in range(256)
]
_REASONS = {1: "idle", 2: "active", 3: "end", 4: "forced", 5: "resources"}  # flowEndReason, RFC 5102 5.11.3
_UNITS = ("", "k", "M", "G", "T", "P", "E")


def starts(records: Records) -> Cells:
    """2024-05-01T12:00:00.123 of the first packet, or of the last where only that is known."""
    column = _column(records, "flowStartMilliseconds", "flowEndMilliseconds")
    return _unknown(records) if column is None else texts.of_times(column)


def durations(records: Records) -> Cells:
    """Seconds, with as many decimals as fit into six characters."""
    start, end = _column(records, "flowStartMilliseconds"), _column(records, "flowEndMilliseconds")
    if start is None or end is None:
        start, end = _column(records, "flowStartSysUpTime"), _column(records, "flowEndSysUpTime")
    if start is None or end is None:
        return _unknown(records)
    # Unsigned: the uptime passes zero every 49.7 days.
    native = np.uint32 if start.dtype.itemsize == 4 else np.uint64
    return [_seconds(value) for value in (end.astype(native) - start.astype(native)).tolist()]


def protocols(records: Records) -> Cells:
    column = _column(records, "protocolIdentifier")
    return _unknown(records) if column is None else [_PROTOCOL[number & 0xFF] for number in column.tolist()]


def endpoints(records: Records, with_types: bool = True) -> tuple[Cells, Cells]:
    """Source and destination, with ports where there are any; the second with the type and code of ICMP.

    Without `with_types` those are not known: flows are not told apart by them, and their 0 is no echo reply.
    """
    sources = _addresses(records, "sourceIPv4Address", "sourceIPv6Address")
    destinations = _addresses(records, "destinationIPv4Address", "destinationIPv6Address")
    source_ports = _numbers(records, "sourceTransportPort")
    destination_ports = _numbers(records, "destinationTransportPort")
    have_ports = (source_ports | destination_ports) != 0
    is_icmp = np.isin(_numbers(records, "protocolIdentifier"), (ICMP, ICMPV6))
    _add_ports(sources, source_ports, have_ports & ~is_icmp)
    _add_ports(destinations, destination_ports, have_ports & ~is_icmp)
    if with_types:
        _add_type_and_code(destinations, records, is_icmp)
    return sources, destinations


def packets(records: Records) -> Cells:
    return _scaled(records, "packetDeltaCount", "packetTotalCount")


def octets(records: Records) -> Cells:
    return _scaled(records, "octetDeltaCount", "octetTotalCount")


def flags(records: Records) -> Cells:
    """The eight flags of a TCP flow, as letters; nothing for other protocols."""
    column, protocol = _column(records, "tcpControlBits"), _numbers(records, "protocolIdentifier")
    if column is None:
        return _unknown(records)
    pairs = zip(column.tolist(), protocol.tolist(), strict=True)
    return [_FLAGS[bits & 0xFF] if number == TCP else "" for bits, number in pairs]


def reasons(records: Records) -> Cells:
    column = _column(records, "flowEndReason")
    return _unknown(records) if column is None else [_REASONS.get(code, str(code)) for code in column.tolist()]


def interfaces(records: Records, names: Mapping[int, str], arrow: str) -> Cells:
    """Where the flow came in and went out: names of `names` by ifIndex, else the ifIndex, 0 is unknown."""

    def named(element: str) -> Cells:
        column = _numbers(records, element).tolist()
        return [names.get(index) or (str(index) if index else UNKNOWN) for index in column]

    pairs = zip(named("ingressInterface"), named("egressInterface"), strict=True)
    return [f"{ingress}{arrow}{egress}" for ingress, egress in pairs]


def _column(records: Records, *names: str) -> texts.Column | None:
    """The first of the columns that is there."""
    for name in names:
        if name in (records.dtype.names or ()):
            return records[name]
    return None


def _numbers(records: Records, *names: str) -> npt.NDArray[np.uint64]:
    column = _column(records, *names)
    return np.zeros(len(records), np.uint64) if column is None else column.astype(np.uint64)


def _unknown(records: Records) -> Cells:
    return [UNKNOWN] * len(records)


def _addresses(records: Records, ipv4: str, ipv6: str) -> Cells:
    """IPv6 addresses in brackets: a port may follow."""
    if ipv4 in (records.dtype.names or ()):
        return texts.of_octets(ipv4, records[ipv4])
    if ipv6 in (records.dtype.names or ()):
        return [f"[{text}]" for text in texts.of_octets(ipv6, records[ipv6])]
    return _unknown(records)


def _add_ports(cells: Cells, ports: npt.NDArray[np.uint64], where: npt.NDArray[np.bool_]) -> None:
    values = ports.tolist()
    for row in np.flatnonzero(where).tolist():
        cells[row] = f"{cells[row]}:{values[row]}"


def _add_type_and_code(cells: Cells, records: Records, where: npt.NDArray[np.bool_]) -> None:
    """Type * 256 + code, in an element of its own or, in version 5, in the destination port."""
    values = _numbers(records, "icmpTypeCodeIPv4", "icmpTypeCodeIPv6", "destinationTransportPort").tolist()
    for row in np.flatnonzero(where).tolist():
        cells[row] = f"{cells[row]}:{values[row] >> 8}/{values[row] & 0xFF}"


def _scaled(records: Records, *names: str) -> Cells:
    column = _column(records, *names)
    return _unknown(records) if column is None else [_short(value) for value in column.tolist()]


def _short(value: int) -> str:
    """Five characters at most: 99999, then three digits and a unit of 1000: 100k, 1.23M."""
    if value < 100_000:
        return str(value)
    power = (len(str(value)) - 1) // 3
    whole = value / 1000**power
    decimals = 2 if whole < 9.995 else 1 if whole < 99.95 else 0
    if whole >= 999.5:
        return f"1.00{_UNITS[power + 1]}"
    return f"{whole:.{decimals}f}{_UNITS[power]}"


def _seconds(milliseconds: int) -> str:
    if milliseconds < 100_000:
        return f"{milliseconds / 1000:.3f}"
    if milliseconds < 1_000_000:
        return f"{milliseconds / 1000:.2f}"
    return _short(milliseconds // 1000)
