"""Proves that one list of elements gives the template, the record type and the way back."""

from __future__ import annotations

import pytest

from xflowd.exporting.protocols import PROTOCOLS
from xflowd.wire import ipfix, netflow5, netflow9, sets
from xflowd.wire.elements import BY_NAME, BY_NUMBER, ELEMENTS, TYPE_OCTETS, Element, element_of
from xflowd.wire.template import Field, Template, column_type, fields_of
from xflowd.wire.templates import IPFIX, NETFLOW9

PAGE = {
    "NETFLOW9": (NETFLOW9, (84, 120, 24, 40, 28)),
    "IPFIX": (IPFIX, (92, 128, 24, 40, 44)),
}
SEVERAL = [
    Template(300, fields_of("sourceIPv4Address tcpControlBits/1 interfaceName/16 paddingOctets/3")),
    Template(301, (Field(element_of(7, 29305), 4), *fields_of("interfaceName octetDeltaCount"))),
]


@pytest.mark.parametrize(("templates", "octets"), PAGE.values(), ids=list(PAGE))
def test_records_have_the_octets_of_the_page(templates, octets):
    every = (*templates.flows.values(), *templates.options)
    assert tuple(template.octets for template in every) == octets
    assert tuple(template.dtype.itemsize for template in every) == octets


def test_no_template_id_stands_for_two_things():
    every = [each for told in (NETFLOW9, IPFIX) for each in (*told.flows.values(), *told.options)]
    assert len({template.template_id for template in every}) == len(every) == 10
    assert all(template.template_id >= 256 for template in every)


def test_icmp_stands_before_the_destination_port():
    for protocol in (PROTOCOLS["netflow9"], PROTOCOLS["ipfix"]):
        for template in protocol.flow_templates.values():
            numbers = [field.element.number for field in template.fields]
            (icmp,) = [numbers.index(number) for number in (32, 139) if number in numbers]
            assert icmp < numbers.index(7) < numbers.index(11)


@pytest.mark.parametrize("template", [*SEVERAL, *IPFIX.flows.values()])
def test_an_ipfix_template_is_read_back(template):
    content = ipfix.template_set([template, template])[sets.HEADER.octets :]
    assert list(ipfix.read_templates(content, options=False)) == [template, template]


@pytest.mark.parametrize("template", [SEVERAL[0], *NETFLOW9.flows.values()])
def test_a_netflow9_template_is_read_back(template):
    content = netflow9.template_set([template, template])[sets.HEADER.octets :]
    assert list(netflow9.read_templates(content, options=False)) == [template, template]


@pytest.mark.parametrize("protocol", [netflow9, ipfix], ids=["netflow9", "ipfix"])
def test_options_templates_are_padded_and_read_back(protocol):
    for template in (NETFLOW9 if protocol is netflow9 else IPFIX).options:
        octets = protocol.options_template_set(template)
        assert len(octets) % 4 == 0
        assert int.from_bytes(octets[2:4], "big") == len(octets)
        assert list(protocol.read_templates(octets[sets.HEADER.octets :], options=True)) == [template]


def test_the_header_types_come_from_the_declared_structs():
    octets = {netflow5: 24, netflow9: 20, ipfix: 16, sets: 4}
    for module, length in octets.items():
        layout = module.HEADER
        values = {name: place + 1 for place, name in enumerate(layout.names) if name != "version"}
        built = layout.build(**values)
        assert len(built) == layout.octets == layout.dtype.itemsize == length
        read = layout.read(b"??" + built, 2)
        assert {name: read[name] for name in values} == values


@pytest.mark.parametrize(
    ("name", "octets", "expected"),
    [
        ("octetDeltaCount", 8, ">u8"),
        ("octetDeltaCount", 4, ">u4"),
        ("octetDeltaCount", 3, ("u1", (3,))),
        ("sourceIPv4Address", 4, ">u4"),
        ("sourceIPv6Address", 16, ("u1", (16,))),
        ("sourceMacAddress", 6, ("u1", (6,))),
        ("interfaceName", 9, "S9"),
        ("interfaceName", 65535, "O"),
        ("samplingProbability", 4, ">f4"),
        ("mplsTopLabelStackSection", 4, ("u1", (4,))),
    ],
)
def test_the_column_of_a_field(name, octets, expected):
    assert column_type(Field(BY_NAME[name], octets)) == expected


def test_the_registry_is_without_doubles():
    assert len(BY_NAME) == len(BY_NUMBER) == len(ELEMENTS)
    assert all(element.octets == TYPE_OCTETS[element.type] for element in ELEMENTS)
    wanted = [*range(1, 65), 70, 80, 89, 95, *range(128, 168), 176, 210, 225, 230, 233, 243, 302, 352, 410]
    assert set(wanted) <= set(BY_NUMBER)


def test_an_unknown_element_keeps_its_number():
    assert element_of(4095) == Element("element_4095", 4095, "octetArray", 65535, "not known here")
    assert element_of(1, 29305).name == "enterprise_29305_1"
