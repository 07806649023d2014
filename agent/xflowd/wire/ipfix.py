"""IPFIX (RFC 7011): the message header, templates and options templates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from construct import (  # type: ignore[import-untyped]
    Array,
    Const,
    Container,
    If,
    Int16ub,
    Int32ub,
    Rebuild,
    Struct,
    len_,
    this,
)

from xflowd.wire.elements import Element, element_of
from xflowd.wire.layout import Layout
from xflowd.wire.message import NS_PER_S, MalformedMessage, MessageHeader
from xflowd.wire.sets import framed, parsed
from xflowd.wire.template import Field, Template

VERSION = 10
TEMPLATE_SET, OPTIONS_TEMPLATE_SET = 2, 3
ENTERPRISE_BIT = 0x8000

HEADER = Layout(
    Struct(
        "version" / Const(VERSION, Int16ub),
        "length" / Int16ub,  # octets of the whole message
        "export_time" / Int32ub,  # Unix seconds
        "sequence_number" / Int32ub,  # data records before this message, options data included
        "observation_domain" / Int32ub,
    )
)

_FIELD = Struct(
    "number" / Int16ub,
    "octets" / Int16ub,
    "enterprise" / If(this.number & ENTERPRISE_BIT, Int32ub),
)
_TEMPLATE = Struct(
    "template_id" / Int16ub,
    "field_count" / Rebuild(Int16ub, len_(this.fields)),
    "fields" / Array(this.field_count, _FIELD),
)
# A withdrawal ends after a field count of 0 (RFC 7011 section 8.1).
_OPTIONS_TEMPLATE = Struct(
    "template_id" / Int16ub,
    "field_count" / Rebuild(Int16ub, len_(this.fields)),
    "scope_field_count" / If(this.field_count, Int16ub),
    "fields" / Array(this.field_count, _FIELD),
)


def message_header(values: dict[str, int]) -> MessageHeader:
    """The header's values in common terms."""
    return MessageHeader(
        version=VERSION,
        export_unix_ns=values["export_time"] * NS_PER_S,
        sequence_number=values["sequence_number"],
        observation_domain=values["observation_domain"],
    )


def template_set(templates: Iterable[Template]) -> bytes:
    """One template set with these templates."""
    records = [{"template_id": each.template_id, "fields": _specified(each.fields)} for each in templates]
    return framed(TEMPLATE_SET, b"".join(map(_TEMPLATE.build, records)))


def options_template_set(template: Template) -> bytes:
    """One options template set with this template, padded to 4 octets."""
    record = {
        "template_id": template.template_id,
        "scope_field_count": len(template.scope_fields),
        "fields": _specified(template.all_fields),
    }
    return framed(OPTIONS_TEMPLATE_SET, _OPTIONS_TEMPLATE.build(record))


def read_templates(octets: bytes, *, options: bool) -> Iterator[Template]:
    """The templates in a template set's content; one without fields is withdrawn by it.

    Raises MalformedMessage at the first that is none.
    """
    for record in parsed(_OPTIONS_TEMPLATE if options else _TEMPLATE, octets):
        yield _options_template(record) if options else Template(record.template_id, _fields(record.fields))


def _options_template(record: Container) -> Template:
    scope, fields = record.scope_field_count or 0, _fields(record.fields)
    if fields and not 0 < scope <= len(fields):
        raise MalformedMessage("options template without a scope, or with more scope than fields")
    return Template(record.template_id, fields[scope:], fields[:scope], is_options=True)


def _fields(records: Iterable[Container]) -> tuple[Field, ...]:
    return tuple(Field(_element(each), each.octets) for each in records)


def _element(record: Container) -> Element:
    return element_of(record.number & ~ENTERPRISE_BIT, record.enterprise or 0)


def _specified(fields: Iterable[Field]) -> list[dict[str, Any]]:
    return [
        {
            "number": field.element.number | (ENTERPRISE_BIT if field.element.enterprise else 0),
            "octets": field.octets,
            "enterprise": field.element.enterprise or None,
        }
        for field in fields
    ]
