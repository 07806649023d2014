"""NetFlow v9 (RFC 3954): the packet header, FlowSets, templates and options templates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from construct import (  # type: ignore[import-untyped]
    Array,
    Const,
    Container,
    Int16ub,
    Int32ub,
    Rebuild,
    Struct,
    len_,
    this,
)

from xflowd.wire.elements import VARIABLE_LENGTH, Element, element_of
from xflowd.wire.layout import Layout
from xflowd.wire.message import NS_PER_S, MalformedMessage, MessageHeader
from xflowd.wire.sets import framed, parsed
from xflowd.wire.template import Field, Template

VERSION = 9
TEMPLATE_SET, OPTIONS_TEMPLATE_SET = 0, 1

HEADER = Layout(
    Struct(
        "version" / Const(VERSION, Int16ub),
        "count" / Int16ub,  # records of every kind, templates included
        "system_uptime" / Int32ub,  # ms
        "unix_seconds" / Int32ub,
        "sequence_number" / Int32ub,  # counts packets
        "source_id" / Int32ub,
    )
)

_FIELD = Struct("number" / Int16ub, "octets" / Int16ub)
_TEMPLATE = Struct(
    "template_id" / Int16ub,
    "field_count" / Rebuild(Int16ub, len_(this.fields)),
    "fields" / Array(this.field_count, _FIELD),
)
_OPTIONS_TEMPLATE = Struct(
    "template_id" / Int16ub,
    "scope_octets" / Rebuild(Int16ub, len_(this.scope_fields) * _FIELD.sizeof()),
    "option_octets" / Rebuild(Int16ub, len_(this.fields) * _FIELD.sizeof()),
    "scope_fields" / Array(this.scope_octets // _FIELD.sizeof(), _FIELD),
    "fields" / Array(this.option_octets // _FIELD.sizeof(), _FIELD),
)

#: Scopes have numbers of their own (RFC 3954 section 6.1), here as elements so that they too have a name.
SCOPES = {
    number: Element(name, number, "unsigned32", 4, meaning)
    for number, name, meaning in (
        (1, "scopeSystem", "the whole exporter; its value is the source ID"),
        (2, "scopeInterface", "an interface"),
        (3, "scopeLineCard", "a line card"),
        (4, "scopeCache", "a flow cache"),
        (5, "scopeTemplate", "a template"),
    )
}


def message_header(values: dict[str, int]) -> MessageHeader:
    """The header's values in common terms."""
    return MessageHeader(
        version=VERSION,
        export_unix_ns=values["unix_seconds"] * NS_PER_S,
        sequence_number=values["sequence_number"],
        observation_domain=values["source_id"],
        uptime_ms=values["system_uptime"],
    )


def template_set(templates: Iterable[Template]) -> bytes:
    """One template FlowSet with these templates."""
    records = [{"template_id": each.template_id, "fields": _specified(each.fields)} for each in templates]
    return framed(TEMPLATE_SET, b"".join(map(_TEMPLATE.build, records)))


def options_template_set(template: Template) -> bytes:
    """One options template FlowSet with this template, padded to 4 octets."""
    record = {
        "template_id": template.template_id,
        "scope_fields": _specified(template.scope_fields),
        "fields": _specified(template.fields),
    }
    return framed(OPTIONS_TEMPLATE_SET, _OPTIONS_TEMPLATE.build(record))


def read_templates(octets: bytes, *, options: bool) -> Iterator[Template]:
    """The templates in a template FlowSet's content. Raises MalformedMessage at the first that is not one."""
    for record in parsed(_OPTIONS_TEMPLATE if options else _TEMPLATE, octets):
        yield _options_template(record) if options else _template(record)


def _template(record: Container) -> Template:
    return Template(record.template_id, _fields(record.fields))


def _options_template(record: Container) -> Template:
    if record.scope_octets % 4 or record.option_octets % 4:
        raise MalformedMessage("options template with a part of a field")
    scope = tuple(map(_scope, record.scope_fields))
    return Template(record.template_id, _fields(record.fields), scope, is_options=True)


def _fields(records: Iterable[Container]) -> tuple[Field, ...]:
    return tuple(Field(element_of(each.number), _fixed(each.octets)) for each in records)


def _scope(record: Container) -> Field:
    number = record.number
    unknown = Element(f"scope_{number}", number, "octetArray", VARIABLE_LENGTH, "not known here")
    return Field(SCOPES.get(number, unknown), _fixed(record.octets))


def _fixed(octets: int) -> int:
    """v9 has no fields of variable length: 65,535 would be meant as it stands, and fits no packet."""
    if octets == VARIABLE_LENGTH:
        raise MalformedMessage("template longer than a message")
    return octets


def _specified(fields: Iterable[Field]) -> list[dict[str, int]]:
    return [{"number": field.element.number, "octets": field.octets} for field in fields]
