"""Datagrams of other exporters into records. Nothing that they send is trusted to be what it says it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from types import ModuleType

from xflowd.wire import ipfix, netflow5, netflow9, sets
from xflowd.wire.elements import TYPE_OCTETS, VARIABLE_LENGTH
from xflowd.wire.layout import Layout
from xflowd.wire.memory import CollectorMemory, Stream
from xflowd.wire.message import MalformedMessage, MessageHeader, Records
from xflowd.wire.rows import fixed_records, variable_records
from xflowd.wire.template import Field, Template, outer_marked

MAXIMUM_FIELDS = 256  # of one template: what is kept has a limit
_LONGEST_RECORD = 65_535 - ipfix.HEADER.octets - sets.HEADER.octets
_CACHED_SET, _CACHED_SETS = 1024, 128  # octets of a template set that is worth remembering the meaning of; how many
_WHOLE_ONLY = {"signed32": (1, 2, 4, 8), "float64": (4, 8), "boolean": (1,)}
_WHOLE_ONLY |= {kind: (TYPE_OCTETS[kind],) for kind in ("ipv4Address", "ipv6Address", "macAddress")}


@dataclass(frozen=True, slots=True)
class _Message:
    """One v9 or IPFIX message on its way through the decoder. `protocol` is the module of wire."""

    protocol: ModuleType
    exporter: Hashable
    header: MessageHeader
    datagram: bytes

    @property
    def stream(self) -> Stream:
        return (self.header.version, self.header.observation_domain)


@dataclass(slots=True)
class DecoderCounters:
    """Totals since the start. `lost` is by sequence, in v5 flows, in v9 messages, in IPFIX data records."""

    datagrams: int = 0
    flow_records: int = 0
    options_records: int = 0
    templates: int = 0
    sets_without_template: int = 0
    lost: Counter[int] = field(default_factory=Counter)  # by version of the protocol
    out_of_order: int = 0
    restarts: int = 0
    malformed: Counter[str] = field(default_factory=Counter)  # by reason
    pushed_out: Counter[str] = field(default_factory=Counter)  # for lack of room: templates, domains, exporters


class Decoder:
    """Takes v5, v9 and IPFIX from any number of exporters, and remembers the templates of each."""

    def __init__(self, *, max_templates: int = 4096, max_templates_per_exporter: int = 512) -> None:
        self.counters = DecoderCounters()
        self._memory = CollectorMemory(max_templates, max_templates_per_exporter, self.counters.pushed_out)
        self._by_version: dict[int, Callable[[bytes, Hashable], list[Records]]] = {
            netflow5.VERSION: self._decode_netflow5,
            netflow9.VERSION: partial(self._decode_sets, netflow9),
            ipfix.VERSION: partial(self._decode_sets, ipfix),
        }

    def decode(self, datagram: bytes, exporter: Hashable) -> list[Records]:
        """The records in one datagram; `exporter` is whoever sent it, address and port as a rule.

        Raises MalformedMessage for what is no message at all. A fault further in is counted in
        `counters.malformed`, and what is whole is used.
        """
        self.counters.datagrams += 1
        decode = self._by_version.get(int.from_bytes(datagram[:2], "big"))
        if decode is None:
            raise self._fault("unknown version")
        records = decode(datagram, exporter)
        for each in records:
            self._count(each)
        return records

    def _decode_netflow5(self, datagram: bytes, exporter: Hashable) -> list[Records]:
        values = self._header(netflow5.HEADER, datagram)
        header = netflow5.message_header(values)
        start, octets = netflow5.HEADER.octets, netflow5.RECORD.octets
        told = start + values["count"] * octets
        if told > len(datagram):
            self._fault("message cut off")
        self._follow(exporter, header, values["count"])
        array = fixed_records(netflow5.RECORD, datagram, start, min(told, len(datagram)))
        return [Records(header, netflow5.RECORD, array)] if len(array) else []

    def _decode_sets(self, protocol: ModuleType, datagram: bytes, exporter: Hashable) -> list[Records]:
        values = self._header(protocol.HEADER, datagram)
        message = _Message(protocol, exporter, protocol.message_header(values), datagram)
        end = self._end(values, datagram)
        unread, records = self._unread(), list[Records]()
        try:
            for set_id, start, stop in sets.set_spans(datagram, protocol.HEADER.octets, end):
                records += self._set(message, set_id, start, stop)
        except MalformedMessage as error:
            self._fault(error.reason)
        # How many records there were is known only if every set could be read.
        units = sum(len(each.array) for each in records) if self._unread() == unread else None
        self._follow(exporter, message.header, 1 if protocol is netflow9 else units)
        return records

    def _set(self, message: _Message, set_id: int, start: int, end: int) -> Iterator[Records]:
        protocol = message.protocol
        if set_id in (protocol.TEMPLATE_SET, protocol.OPTIONS_TEMPLATE_SET):
            self._learn(message, message.datagram[start:end], set_id == protocol.OPTIONS_TEMPLATE_SET)
            return
        if set_id < sets.MINIMUM_DATA_SET:
            self._fault("reserved set ID")
            return
        template = self._memory.template(message.exporter, message.stream, set_id)
        if template is None:
            self.counters.sets_without_template += 1
            return
        yield from self._records(message, template, start, end)

    def _records(self, message: _Message, template: Template, start: int, end: int) -> Iterator[Records]:
        if template.is_variable:
            array, is_whole = variable_records(template, message.datagram, start, end)
        else:
            array, is_whole = fixed_records(template, message.datagram, start, end), True
        if not is_whole or not len(array):
            self._fault("record longer than its set" if end > start else "empty set")
        if len(array):
            yield Records(message.header, template, array)

    def _learn(self, message: _Message, octets: bytes, is_options: bool) -> None:
        read = _templates if len(octets) <= _CACHED_SET else _templates.__wrapped__
        templates, fault = read(message.protocol, octets, is_options)
        for template in templates:
            self._apply(message, template)
        if fault is not None:
            self._fault(fault)

    def _apply(self, message: _Message, template: Template) -> None:
        """Keep a template, or drop what it withdraws: over UDP none should be (RFC 7011 section 8.4)."""
        exporter, stream = message.exporter, message.stream
        if template.all_fields:
            self._memory.learn(exporter, stream, template)
            self.counters.templates += 1
        elif template.template_id < sets.MINIMUM_DATA_SET:  # the number of the set itself: see _check()
            self._memory.forget_all(exporter, stream, options=template.is_options)
        else:
            self._memory.forget(exporter, stream, template.template_id)

    def _unread(self) -> tuple[int, int]:
        """How much could not be read so far, in any message."""
        return self.counters.sets_without_template, self.counters.malformed.total()

    def _header(self, layout: Layout, datagram: bytes) -> dict[str, int]:
        if len(datagram) < layout.octets:
            raise self._fault("message shorter than its header")
        return layout.read(datagram)

    def _end(self, values: dict[str, int], datagram: bytes) -> int:
        """Where the message ends: IPFIX tells, v9 goes to the end of the datagram."""
        length = values.get("length", len(datagram))
        if length < ipfix.HEADER.octets:
            raise self._fault("length shorter than the header")
        if length > len(datagram):
            self._fault("message cut off")
        if length < len(datagram):
            self._fault("octets after the message")
        return min(length, len(datagram))

    def _follow(self, exporter: Hashable, header: MessageHeader, units: int | None) -> None:
        sequence = self._memory.sequence(exporter, (header.version, header.observation_domain))
        step = sequence.step(header.sequence_number, units, header.boot_unix_ns)
        lost = self.counters.lost
        lost[header.version] = max(0, lost[header.version] + step.lost)
        self.counters.out_of_order += step.is_late
        self.counters.restarts += step.is_restart

    def _count(self, records: Records) -> None:
        if records.is_options:
            self.counters.options_records += len(records.array)
        else:
            self.counters.flow_records += len(records.array)

    def _fault(self, reason: str) -> MalformedMessage:
        self.counters.malformed[reason] += 1
        return MalformedMessage(reason)


@lru_cache(maxsize=_CACHED_SETS)
def _templates(protocol: ModuleType, octets: bytes, is_options: bool) -> tuple[tuple[Template, ...], str | None]:
    """The templates in a set's content, and why there are no more. Exporters repeat them: hence the cache."""
    found: list[Template] = []
    try:
        for template in protocol.read_templates(octets, options=is_options):
            _check(protocol, template)
            found.append(_suited(replace(template, fields=outer_marked(template.fields))))
    except MalformedMessage as error:
        return tuple(found), error.reason
    return tuple(found), None


def _check(protocol: ModuleType, template: Template) -> None:
    """Raise MalformedMessage for a template that no data can follow."""
    is_withdrawal = protocol is ipfix and not template.all_fields
    if is_withdrawal and template.template_id == protocol.TEMPLATE_SET + template.is_options:
        return  # of all there are (RFC 7011 section 8.1)
    if template.template_id < sets.MINIMUM_DATA_SET:
        raise MalformedMessage("template ID below 256")
    if is_withdrawal:
        return
    if len(template.all_fields) > MAXIMUM_FIELDS:
        raise MalformedMessage("template of too many fields")
    if template.octets == 0:
        raise MalformedMessage("template of no octets")
    if template.octets > _LONGEST_RECORD:
        raise MalformedMessage("template longer than a message")


def _suited(template: Template) -> Template:
    """The template, with octets for each field whose length cannot be one of its element: a port of 16 octets."""
    if all(map(_suits, template.all_fields)):
        return template
    scope_fields, fields = tuple(map(_as_octets, template.scope_fields)), tuple(map(_as_octets, template.fields))
    return replace(template, fields=fields, scope_fields=scope_fields)


def _suits(each: Field) -> bool:
    """Full width or less, as RFC 7011 section 6.2 allows for numbers; more is taken too, up to 64 bits."""
    kind = each.element.type
    if kind in ("string", "octetArray") or not each.octets:
        return True
    return each.octets in _WHOLE_ONLY[kind] if kind in _WHOLE_ONLY else each.octets <= TYPE_OCTETS["unsigned64"]


def _as_octets(each: Field) -> Field:
    if _suits(each):
        return each
    element = replace(each.element, name=f"{each.element.name}_octets", type="octetArray", octets=VARIABLE_LENGTH)
    return Field(element, each.octets)
