"""One Exporting Process (RFC 5470): ended flows and the time go in, datagrams for one collector come out."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
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
from xflowd.exporting.fillers import RecordContext
from xflowd.exporting.packing import Packing
from xflowd.exporting.protocols import PROTOCOLS, Protocol, with_elements
from xflowd.exporting.records import by_template, fill
from xflowd.metering.instant import Instant
from xflowd.wire import netflow5
from xflowd.wire.template import Template
from xflowd.wire.templates import ExportTemplates

Array = npt.NDArray[Any]
CHUNK = 8192  # flows turned to records at a time: bounds what is in memory beside the datagrams
CALL_INTERVAL_NS = NS_PER_S  # how often `export` is called; a refresh is never later for it
_SET = struct.Struct(">HH")  # set ID, octets with this header: alike in v9 and IPFIX
MAXIMUM_PAYLOAD = 65_507  # octets of UDP over IPv4


@dataclass(slots=True)
class ExportCounters:
    """Totals of what was made for one collector, sent or not. What cannot be told has a reason each."""

    exported_message_total_count: int = 0
    exported_flow_record_total_count: int = 0
    exported_octet_total_count: int = 0  # of payload: no UDP or IP header
    exported_options_record_total_count: int = 0
    not_exportable_flows: Counter[str] = field(default_factory=Counter)
    not_exportable_packets: Counter[str] = field(default_factory=Counter)


_COUNTERS_BY_REASON = ("not_exportable_flows", "not_exportable_packets")
_PLAIN_COUNTERS = tuple(each.name for each in fields(ExportCounters) if each.name not in _COUNTERS_BY_REASON)


@dataclass(frozen=True, slots=True)
class Sent:
    """Totals of what has left for the collector (IANA 41, 42, 40): datagrams, flow records, octets of payload."""

    messages: int
    flow_records: int
    octets: int


class ExportingProcess:
    """What is remembered for one collector: sequence number, last template refresh, interfaces it knows.

    `protocol` is "netflow5", "netflow9" or "ipfix"; `max_payload` is in octets, without UDP and IP headers; `elements`
    are those that somebody has chosen for flows, by name.
    Raises ValueError for what the protocol cannot do, saying how to mend it.
    """

    def __init__(  # noqa: PLR0913 - what a collector's section says
        self,
        protocol: str,
        *,
        observation_domain: int,
        max_payload: int = 1400,
        template_refresh_ns: int = 60 * NS_PER_S,
        sampling: SamplingAnnouncement,
        elements: Sequence[str] = (),
    ) -> None:
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol {protocol!r}: use one of {', '.join(PROTOCOLS)}")
        self._protocol = with_elements(protocol, elements)
        self._domain, self._max_payload = observation_domain, max_payload
        self._template_refresh_ns = template_refresh_ns
        self._templates = template_sets(self._protocol)
        self._record_octets = {
            template.template_id if self._protocol.wire else 0: template.octets
            for template in self._protocol.flow_templates.values()
        }
        self._check()
        self._sequence = 0
        self._announced_ns: int | None = None  # of the uptime; None: templates are due
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
        self.announce_again()

    def announce_again(self) -> None:
        """Templates are due: what went before may not have arrived, or not where it goes from now on."""
        self._announced_ns = None

    def refresh_due(self, now: Instant) -> bool:
        """True if an export now announces the templates: they are never older than the refresh interval."""
        if self._protocol.announced is None:
            return False
        if self._announced_ns is None:
            return True
        return now.uptime_ns - self._announced_ns > self._template_refresh_ns - CALL_INTERVAL_NS

    def export(
        self,
        flows: Array,
        now: Instant,
        interfaces: Mapping[int, str],
        statistics: MeterStatistics,
        sent: Sent | None = None,
    ) -> list[memoryview]:
        """The datagrams to send now, in this order, none longer than `max_payload`.

        `flows` is of FLOW, `interfaces` is ifIndex → name. To be called every second, flows or not: nothing
        comes out unless there are flows, templates are due, or an interface is new or has another name.
        `sent` is what the collector is told of; None: all that was made has been sent.
        """
        clock = message_clock(now, int(flows["flow_end_ns"].max(initial=0)))
        header_values = self._protocol.header_values(clock, self._domain, self._sampling.rate)
        packing = Packing(self._protocol.framing, self._max_payload, header_values, self._sequence)
        if self._protocol.announced is not None:
            totals = self._totals(statistics, sent or self._made())
            self._announce(self._protocol.announced, packing, now, interfaces, totals)
        context = RecordContext(clock, self._sampling.rate, interfaces)
        for start in range(0, len(flows), CHUNK):
            for template, chosen in self._tellable(flows[start : start + CHUNK]):
                packing.add_records(template.template_id, fill(template, chosen, context))
                self.counters.exported_flow_record_total_count += len(chosen)
        return self._finished(packing)

    def flows_within(self, octets: int, overhead: int, interfaces: int) -> int:
        """How many flows surely fit into `octets` of datagrams that take `overhead` octets more each.

        Negative if not even the announcement does, with so many interfaces. Counters that v5 has to split are not
        reckoned with.
        """
        framing, templates = self._protocol.framing, self._protocol.flow_templates.values()
        longest = max(template.octets for template in templates)
        content = self._max_payload - framing.header.octets
        payload = min(self._max_payload, framing.header.octets + framing.set_octets + framing.record_limit * longest)
        datagrams = octets // (payload + overhead) - 1  # the last one may hold a single record
        if self._protocol.announced is not None:
            each = (content - framing.set_octets) // self._protocol.announced.interface.octets
            datagrams -= 2 + interfaces // each
        if len(templates) == 1:
            return datagrams * min(framing.record_limit, (content - framing.set_octets) // longest)
        sets = len(templates) + 1
        return datagrams * (content - sets * framing.set_octets - longest) // longest

    def flow_records(self, datagram: memoryview | bytes) -> int:
        """How many records of flows there are in a datagram that export() has made, now or in a former life."""
        framing, octets = self._protocol.framing, self._record_octets
        if framing.set_header is None:
            return (len(datagram) - framing.header.octets) // octets[0]
        at, count = framing.header.octets, 0
        while at < len(datagram):
            set_id, length = _SET.unpack_from(datagram, at)
            if set_id in octets:
                count += (length - framing.set_octets) // octets[set_id]
            at += max(length, framing.set_octets)
        return count

    def state(self) -> dict[str, Any]:
        """What a successor must know to go on, fit for JSON. Templates are not in it: it announces them anew."""
        counters = {name: getattr(self.counters, name) for name in _PLAIN_COUNTERS}
        by_reason = {name: dict(getattr(self.counters, name)) for name in _COUNTERS_BY_REASON}
        record_octets = {str(set_id): octets for set_id, octets in self._record_octets.items()}
        return {"sequence": self._sequence, "counters": counters | by_reason, "record_octets": record_octets}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where state() was taken, by a process of the same protocol and domain."""
        kept = state["counters"]
        self.counters = ExportCounters()
        for name in _PLAIN_COUNTERS:
            setattr(self.counters, name, int(kept[name]))
        for name in _COUNTERS_BY_REASON:
            setattr(self.counters, name, Counter(kept[name]))
        self._sequence = int(state["sequence"])
        # Its datagrams may wait still, in templates that are not ours: no number stands for two of them.
        former = {int(set_id): int(octets) for set_id, octets in state.get("record_octets", {}).items()}
        self._record_octets = former | self._record_octets
        self._known_interfaces = {}
        self.announce_again()

    @property
    def sequence(self) -> int:
        """The sequence number of the next message."""
        return self._sequence

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
        totals: Mapping[str, int],
    ) -> None:
        """Templates and all options if they are due, else the interfaces that have changed."""
        known = self._known_interfaces
        changed = {index: name for index, name in interfaces.items() if known.get(index) != name}
        if self.refresh_due(now):
            self._announced_ns = now.uptime_ns
            changed = dict(interfaces)
            packing.add_set(*self._templates)
            sampler = sampler_records(templates.sampler, self._domain, self._sampling)
            self._add_options(packing, templates.sampler, sampler)
            told = statistics_records(templates.statistics, self._domain, totals)
            self._add_options(packing, templates.statistics, told)
        told = interface_records(templates.interface, self._domain, changed)
        self._add_options(packing, templates.interface, told)
        self._known_interfaces = dict(interfaces)

    def _add_options(self, packing: Packing, template: Template, records: Array) -> None:
        packing.add_records(template.template_id, records)
        self.counters.exported_options_record_total_count += len(records)

    def _made(self) -> Sent:
        made = self.counters
        return Sent(
            made.exported_message_total_count,
            made.exported_flow_record_total_count,
            made.exported_octet_total_count,
        )

    def _totals(self, statistics: MeterStatistics, sent: Sent) -> dict[str, int]:
        """By IANA name. Those of this collector leave out the message that tells them (IANA, 40 to 42)."""
        not_sent = statistics.not_sent_flow_total_count + self.counters.not_exportable_flows.total()
        return {
            "exportedMessageTotalCount": sent.messages,
            "exportedFlowRecordTotalCount": sent.flow_records,
            "exportedOctetTotalCount": sent.octets,
            "ignoredPacketTotalCount": statistics.ignored_packet_total_count,
            "notSentFlowTotalCount": not_sent,
        }

    def _tellable(self, flows: Array) -> Iterator[tuple[Template, Array]]:
        """The flows that the protocol can tell, by template; the others are counted."""
        version = flows["ip_version"]
        on_interface = (flows["ingress_interface"] | flows["egress_interface"]) != 0
        self._count_not_exportable("no_interface", flows, ~on_interface)
        remaining = on_interface
        for template, told in by_template(flows, self._protocol.flow_templates, on_interface):
            remaining = remaining & ~told
            chosen = flows if told.all() else picked(flows, told)
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
