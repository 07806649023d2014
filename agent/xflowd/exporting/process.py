"""One Exporting Process (RFC 5470): ended flows and the time go in, datagrams for one collector come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.exporting.announcing import (
    MeterStatistics,
    SamplingAnnouncement,
    interface_records,
    sampler_records,
    statistics_records,
    template_sets,
)
from xflowd.exporting.blocks import picked
from xflowd.exporting.clock import NS_PER_S, message_clock
from xflowd.exporting.expressible import in_netflow5
from xflowd.exporting.packing import Packing
from xflowd.exporting.protocols import PROTOCOLS, Protocol
from xflowd.exporting.records import RecordContext, fill
from xflowd.metering.instant import Instant
from xflowd.wire import netflow5
from xflowd.wire.template import Template
from xflowd.wire.templates import ExportTemplates

Array = npt.NDArray[Any]
CHUNK = 8192  # flows turned to records at a time: bounds what is in memory beside the datagrams
CALL_INTERVAL_NS = NS_PER_S  # how often `export` is called; a refresh is never later for it
MAXIMUM_PAYLOAD = 65_507  # octets of UDP over IPv4


@dataclass(slots=True)
class ExportCounters:
    """Totals of one collector since the start. Records and packets that cannot be told have a reason each."""

    exported_message_total_count: int = 0
    exported_flow_record_total_count: int = 0
    exported_octet_total_count: int = 0  # of payload: no UDP or IP header
    exported_options_record_total_count: int = 0
    not_exportable_flows: Counter[str] = field(default_factory=Counter)
    not_exportable_packets: Counter[str] = field(default_factory=Counter)


class ExportingProcess:
    """What is remembered for one collector: sequence number, last template refresh, interfaces it knows.

    `protocol` is "netflow5", "netflow9" or "ipfix"; `max_payload` is in octets, without UDP and IP headers.
    Raises ValueError for what the protocol cannot do, saying how to mend it.
    """

    def __init__(
        self,
        protocol: str,
        *,
        observation_domain: int,
        max_payload: int = 1400,
        template_refresh_ns: int = 60 * NS_PER_S,
        sampling: SamplingAnnouncement,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol {protocol!r}: use one of {', '.join(PROTOCOLS)}")
        self._protocol = PROTOCOLS[protocol]
        self._domain, self._max_payload = observation_domain, max_payload
        self._template_refresh_ns = template_refresh_ns
        self._templates = template_sets(self._protocol)
        self._check()
        self._sequence = 0
        self._announced_ns: int | None = None  # monotonic; None: templates are due
        self._known_interfaces: dict[int, str] = {}
        self.counters = ExportCounters()
        self.change_sampling(sampling)

    def change_sampling(self, sampling: SamplingAnnouncement) -> None:
        """From the next export on packets are sampled like this; it is announced with that export."""
        limit = netflow5.MAXIMUM_SAMPLING_INTERVAL
        if self._protocol.name == "netflow5" and sampling.rate > limit:
            raise ValueError(
                f"sampling rate {sampling.rate}: netflow5 has room for {limit} at most;"
                " use a lower rate, or netflow9 or ipfix"
            )
        self._sampling = sampling
        self._announced_ns = None

    def refresh_due(self, now: Instant) -> bool:
        """True if an export now announces the templates: they are never older than the refresh interval."""
        if self._protocol.announced is None:
            return False
        if self._announced_ns is None:
            return True
        return now.monotonic_ns - self._announced_ns > self._template_refresh_ns - CALL_INTERVAL_NS

    def export(
        self, flows: Array, now: Instant, interfaces: Mapping[int, str], statistics: MeterStatistics
    ) -> list[memoryview]:
        """The datagrams to send now, in this order, none longer than `max_payload`.

        `flows` is of FLOW, `interfaces` is ifIndex → name. To be called every second, flows or not: nothing
        comes out unless there are flows, templates are due, or an interface is new or has another name.
        """
        clock = message_clock(now, int(flows["flow_end_ns"].max(initial=0)))
        header_values = self._protocol.header_values(clock, self._domain, self._sampling.rate)
        packing = Packing(self._protocol.framing, self._max_payload, header_values, self._sequence)
        if self._protocol.announced is not None:
            self._announce(self._protocol.announced, packing, now, interfaces, statistics)
        context = RecordContext(clock, self._sampling.rate)
        for start in range(0, len(flows), CHUNK):
            for template, chosen in self._tellable(flows[start : start + CHUNK]):
                packing.add_records(template.template_id, fill(template, chosen, context))
                self.counters.exported_flow_record_total_count += len(chosen)
        return self._finished(packing)

    def _check(self) -> None:
        """Raise ValueError for a domain or a payload that cannot be."""
        needed = _least_payload(self._protocol)
        if not needed <= self._max_payload <= MAXIMUM_PAYLOAD:
            raise ValueError(
                f"max_payload {self._max_payload}: use {needed} to {MAXIMUM_PAYLOAD} octets"
                f" for {self._protocol.name}; 1400 suits most paths"
            )
        if self._protocol.announced is not None and not 0 < self._domain < 1 << 32:
            raise ValueError(f"observation_domain {self._domain}: use 1 to 4294967295, another one for each exporter")

    def _announce(
        self,
        templates: ExportTemplates,
        packing: Packing,
        now: Instant,
        interfaces: Mapping[int, str],
        statistics: MeterStatistics,
    ) -> None:
        """Templates and all options if they are due, else the interfaces that have changed."""
        known = self._known_interfaces
        changed = {index: name for index, name in interfaces.items() if known.get(index) != name}
        if self.refresh_due(now):
            self._announced_ns = now.monotonic_ns
            changed = dict(interfaces)
            packing.add_set(*self._templates)
            sampler = sampler_records(templates.sampler, self._domain, self._sampling)
            self._add_options(packing, templates.sampler, sampler)
            totals = statistics_records(templates.statistics, self._domain, self._totals(statistics))
            self._add_options(packing, templates.statistics, totals)
        told = interface_records(templates.interface, self._domain, changed)
        self._add_options(packing, templates.interface, told)
        self._known_interfaces = dict(interfaces)

    def _add_options(self, packing: Packing, template: Template, records: Array) -> None:
        packing.add_records(template.template_id, records)
        self.counters.exported_options_record_total_count += len(records)

    def _totals(self, statistics: MeterStatistics) -> dict[str, int]:
        """By IANA name. Those of this collector leave out the message that tells them (IANA, 40 to 42)."""
        not_sent = statistics.not_sent_flow_total_count + self.counters.not_exportable_flows.total()
        return {
            "exportedMessageTotalCount": self.counters.exported_message_total_count,
            "exportedFlowRecordTotalCount": self.counters.exported_flow_record_total_count,
            "exportedOctetTotalCount": self.counters.exported_octet_total_count,
            "ignoredPacketTotalCount": statistics.ignored_packet_total_count,
            "notSentFlowTotalCount": not_sent,
        }

    def _tellable(self, flows: Array) -> Iterator[tuple[Template, Array]]:
        """The flows that the protocol can tell, by template; the others are counted."""
        version = flows["ip_version"]
        on_interface = (flows["ingress_interface"] | flows["egress_interface"]) != 0
        self._count_not_exportable("no_interface", flows, ~on_interface)
        remaining = on_interface
        for number, template in self._protocol.flow_templates.items():
            is_version = remaining & (version == number)
            remaining = remaining & ~is_version
            if is_version.any():
                chosen = flows if is_version.all() else picked(flows, is_version)
                yield template, in_netflow5(chosen) if template is netflow5.RECORD else chosen
        for number in np.unique(version[remaining]):
            self._count_not_exportable(f"ipv{number}", flows, remaining & (version == number))

    def _count_not_exportable(self, reason: str, flows: Array, chosen: Array) -> None:
        count = int(np.count_nonzero(chosen))
        if count:
            self.counters.not_exportable_flows[reason] += count
            self.counters.not_exportable_packets[reason] += int(flows["packet_delta_count"][chosen].sum())

    def _finished(self, packing: Packing) -> list[memoryview]:
        datagrams = packing.finish()
        self._sequence = packing.sequence
        self.counters.exported_message_total_count += len(datagrams)
        self.counters.exported_octet_total_count += sum(map(len, datagrams))
        return datagrams


def _least_payload(protocol: Protocol) -> int:
    """Octets of the announcement of templates, sampler and statistics, or of one record if that is more."""
    framing = protocol.framing
    longest = max(template.octets for template in protocol.flow_templates.values())
    least = framing.header.octets + framing.set_octets + longest
    if protocol.announced is None:
        return least
    octets, _ = template_sets(protocol)
    options = protocol.announced.sampler.octets + protocol.announced.statistics.octets
    return max(least, framing.header.octets + len(octets) + 2 * framing.set_octets + options)
