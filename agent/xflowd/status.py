"""`xflowd status`: the document that a running agent answers with, made of its figures.

Every packet has its place: seen = exported + in the table + overflow + sampled out + not metered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:  # netlink's library takes longer to load than the rest of the command
    from xflowd.edge.network import InterfaceCounters


class Packets(TypedDict):
    """Packets at an Observation Point, by what became of them; the rest of `seen` is in flows."""

    seen: int
    sampled_out: int
    not_ip: int
    too_short: int
    malformed: int
    jumbogram: int
    overflow: int  # no slot was free: in an overflow record, which is exported
    lost: int  # no overflow record was to be had either


class KernelCounters(TypedDict):
    """The interface's own counters since metering began there: RX of ingress, TX of egress."""

    packets: int
    octets: int  # with the link layer's header, as the driver counts


class Placed(TypedDict):
    """Where the packets of flows are, at one Observation Point."""

    exported: int  # in flows that have ended, overflow records among them
    in_table: int
    overflow_waiting: int  # in overflow records, not exported yet
    difference: int  # see Totals


class Point(TypedDict):
    """One interface in one direction."""

    name: str
    index: int
    direction: str  # ingress, egress
    hook: str  # XDP, TC, TC (clsact)
    packets: Packets
    in_flows: int  # packets of flows, in the table or ended: seen less all that `packets` names
    placed: Placed | None  # None: not counted by interface
    kernel: KernelCounters | None  # None: the interface has just gone
    coverage_percent: float | None  # of the packets in `kernel`, rounded down; None: there were none


class Totals(TypedDict):
    """Packets of all interfaces, and of those that are gone too."""

    seen: int
    exported: int  # in flows that have ended, overflow records among them
    in_table: int
    overflow_waiting: int  # in overflow records, not exported yet
    sampled_out: int
    not_metered: dict[str, int]  # by reason
    difference: int  # seen less all of these: 0, but for packets that are just on their way


class Flows(TypedDict):
    """The flow table. `ended` are flows by flowEndReason (IANA 136)."""

    live: int
    free: int
    slots: int
    ended: dict[str, int]


class Timeouts(TypedDict):
    """Seconds."""

    active: float
    idle: float
    idle_in_force: float  # lower than `idle` while the table is nearly full


class AgentUse(TypedDict):
    """What the agent itself takes; the programs in the kernel are not in it."""

    cpu_seconds: float  # user and system
    cpu_percent: float  # of one CPU, since the start
    memory_octets: int  # resident
    threads: int


class Refused(TypedDict):
    """An interface that could not be attached to."""

    name: str
    direction: str
    reason: str


class Chosen(TypedDict):
    """What the agent was told to do with all packets: by words of the configuration, whoever has said them."""

    direction: str
    hook: str
    sampling_mode: str
    sampling_rate: int  # packets, of which one is counted
    metrics_listen: str | None  # address and port; None: nowhere


class LastError(TypedDict):
    """What went wrong last."""

    text: str
    seconds_ago: float


class CollectorStatus(TypedDict):
    """What a collector was sent, as CollectorSink.status() has it."""

    name: str
    address: str  # as configured
    resolved_address: str | None
    protocol: str
    flows_exported: int
    datagrams_sent: int
    octets_sent: int  # UDP payload
    waiting_datagrams: int
    waiting_octets: int
    flows_not_sent: dict[str, int]  # by reason
    datagrams_dropped: dict[str, int]  # by reason
    errors: dict[str, int]  # by reason; an error need not lose a datagram
    last_error: LastError | None
    trouble: str | None  # what hinders it now
    templates_sent_seconds_ago: float | None
    sequence: int  # of the next message


class CollectorReport(CollectorStatus):
    """And what was chosen for it."""

    source: str | None  # address, and port; None: the system chooses
    template_refresh: int | None  # seconds; None: the protocol has no templates
    max_payload: int  # octets of UDP payload
    observation_domain: int | None  # that is told; None: the protocol has none
    observation_domain_chosen: bool  # by the configuration; else it is that of the host
    elements: list[str] | None  # of its template, by IANA's names; None: the protocol's own


class Status(TypedDict):
    """The whole document."""

    version: str
    pid: int
    since: str  # ISO 8601, UTC
    uptime_seconds: float
    interfaces: list[Point]
    refused: list[Refused]
    totals: Totals
    flows: Flows
    timeouts: Timeouts
    chosen: Chosen
    collectors: list[CollectorReport]
    agent: AgentUse


def packets(outcomes: Mapping[str, int]) -> Packets:
    """Of the counters by enum packet_outcome of flow.h."""
    return Packets(
        seen=int(outcomes["PACKETS_SEEN"]),
        sampled_out=int(outcomes["PACKETS_SAMPLED_OUT"]),
        not_ip=int(outcomes["PACKETS_NOT_IP"]),
        too_short=int(outcomes["PACKETS_TOO_SHORT"]),
        malformed=int(outcomes["PACKETS_MALFORMED"]),
        jumbogram=int(outcomes["PACKETS_JUMBOGRAM"]),
        overflow=int(outcomes["PACKETS_OVERFLOW"]),
        lost=int(outcomes["PACKETS_UNCOUNTED"]),
    )


def kernel_counters(direction: str, now: InterfaceCounters, then: InterfaceCounters) -> KernelCounters:
    """What the interface has counted since `then`, in `direction` (ingress, egress)."""
    way = ("rx_packets", "rx_octets") if direction == "ingress" else ("tx_packets", "tx_octets")
    counted, octets = (_since(getattr(now, name), getattr(then, name)) for name in way)
    return KernelCounters(packets=counted, octets=octets)


def _since(now: int, then: int) -> int:
    """A driver that was set up anew counts from 0 again."""
    return now - then if now >= then else now


def point(  # noqa: PLR0913 - a line of figures
    interface: tuple[str, int],
    direction: str,
    hook: str,
    counted: Packets,
    *,
    kernel: KernelCounters | None = None,
    flows: tuple[int, int, int] | None = None,
) -> Point:
    """An interface, by name and index, in one direction (ingress, egress).

    `flows`: its packets exported, in the table, in overflow records that are still to be exported.
    """
    covered = 10_000 * counted["seen"] // kernel["packets"] / 100 if kernel and kernel["packets"] else None
    in_flows = counted["seen"] - counted["sampled_out"] - sum(not_metered(counted).values())
    return Point(
        name=interface[0],
        index=interface[1],
        direction=direction,
        hook=hook,
        packets=counted,
        in_flows=in_flows - counted["overflow"],
        placed=None if flows is None else _placed(in_flows, *flows),
        kernel=kernel,
        coverage_percent=covered,
    )


def _placed(packets_of_flows: int, exported: int, in_table: int, overflow_waiting: int) -> Placed:
    return Placed(
        exported=exported,
        in_table=in_table,
        overflow_waiting=overflow_waiting,
        difference=packets_of_flows - exported - in_table - overflow_waiting,
    )


def totals(counted: Packets, exported: int, in_table: int, overflow_waiting: int) -> Totals:
    """The equation, of packets. `counted` is the sum over all interfaces, those that are gone included."""
    ignored = not_metered(counted)
    placed = exported + in_table + overflow_waiting + counted["sampled_out"] + sum(ignored.values())
    return Totals(
        seen=counted["seen"],
        exported=exported,
        in_table=in_table,
        overflow_waiting=overflow_waiting,
        sampled_out=counted["sampled_out"],
        not_metered=ignored,
        difference=counted["seen"] - placed,
    )


def not_metered(counted: Packets) -> dict[str, int]:
    """Packets that are in no flow, by reason (their sum is ignoredPacketTotalCount, IANA 164)."""
    return {
        "not_ip": counted["not_ip"],
        "too_short": counted["too_short"],
        "malformed": counted["malformed"],
        "jumbogram": counted["jumbogram"],
        "lost": counted["lost"],
    }
