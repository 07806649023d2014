"""Proves that a filter is read as tcpdump and nfdump users write it, and that every fault is told with its place."""

from __future__ import annotations

import random

import pytest

from xflowd.metering import filterwords
from xflowd.metering.filtering import DEEPEST, LONGEST, parse
from xflowd.metering.filterreader import MOST_TERMS
from xflowd.metering.filtertree import All, AnyOf, Compare, FilterError, Flags, Interface, Network, Not, named

TCP, UDP = Compare("protocol_identifier", "=", 6), Compare("protocol_identifier", "=", 17)
SOURCE_PORT, DESTINATION_PORT = "source_transport_port", "destination_transport_port"


WORDS = """and or not ( ) ! && || src dst host net port proto tcp interface vlan octets > < = 192.0.2.7 "x y" " é
    2001:db8::/32 443 1M 5s ingress in out flags S any ip mac 02:00:5e:00:00:01 \0 - 0x 9999999999"""
TERMS = "any ip ip4 ipv4 ip6 ipv6 host net port mac vlan flags tos in out src dst and or not"


def port(number: int, *, end: str = DESTINATION_PORT, sign: str = "=") -> Compare:
    return Compare(end, sign, number)


def either_port(number: int) -> AnyOf:
    return AnyOf((port(number, end=SOURCE_PORT), port(number)))


def either_network(network: bytes, mask: bytes) -> AnyOf:
    return AnyOf(tuple(Network(end, network, mask) for end in ("source", "destination")))


NEITHER_PORT = All((port(53, end=SOURCE_PORT, sign="!="), port(53, sign="!=")))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", All()),
        ("  \t ", All()),
        ("any", All()),
        ("tcp", TCP),
        ("TCP", TCP),
        ("proto 17", UDP),
        ("protocol udp", UDP),
        ("tcp and udp", All((TCP, UDP))),
        ("tcp && udp || tcp", AnyOf((All((TCP, UDP)), TCP))),
        ("tcp and (udp or tcp)", All((TCP, AnyOf((UDP, TCP))))),
        ("not tcp and udp", All((Not(TCP), UDP))),
        ("not (tcp and udp)", Not(All((TCP, UDP)))),
        ("!tcp", Not(TCP)),
        ("not not tcp", Not(Not(TCP))),
        ("dst port 443", port(443)),
        ("dst port https", port(443)),
        ("dst port > 1024", port(1024, sign=">")),
        ("dst port>=1024", port(1024, sign=">=")),
        ("port > 1024", AnyOf((port(1024, end=SOURCE_PORT, sign=">"), port(1024, sign=">")))),
        ("port != 53", NEITHER_PORT),  # either is another port in nearly every flow
        ("tcp port != 53", All((TCP, NEITHER_PORT))),
        ("src and dst port != domain", NEITHER_PORT),
        ("dst port != 53", port(53, sign="!=")),
        ("not port 53", Not(AnyOf((port(53, end=SOURCE_PORT), port(53))))),
        ("port 53", either_port(53)),
        ("src or dst port 53", either_port(53)),
        ("src and dst port 53", All(either_port(53).parts)),
        ("tcp port 53", All((TCP, either_port(53)))),
        ("tcp dst port 443", All((TCP, port(443)))),
        ("dst portrange 6000-6008", All((port(6000, sign=">="), port(6008, sign="<=")))),
        ("dst port 6000-6008", All((port(6000, sign=">="), port(6008, sign="<=")))),
        ("dst port ftp-data", port(20)),  # a name with a dash is no range
        ("src 192.0.2.7", Network("source", bytes([192, 0, 2, 7]), b"\xff" * 4)),
        ("src host 192.0.2.7", Network("source", bytes([192, 0, 2, 7]), b"\xff" * 4)),
        ("src net 192.0.2.0/24", Network("source", bytes([192, 0, 2, 0]), b"\xff\xff\xff\0")),
        ("src 192.0.2.0/24", Network("source", bytes([192, 0, 2, 0]), b"\xff\xff\xff\0")),
        ("dst net 2001:db8::/32", Network("destination", b"\x20\x01\x0d\xb8" + bytes(12), b"\xff" * 4 + bytes(12))),
        ("dst net 0.0.0.0/0", Network("destination", bytes(4), bytes(4))),
        ("ip6 2001:db8::/32", either_network(b"\x20\x01\x0d\xb8" + bytes(12), b"\xff" * 4 + bytes(12))),
        ("ip 192.0.2.7", either_network(bytes([192, 0, 2, 7]), b"\xff" * 4)),
        ("ip", Compare("ip_version", "=", 4)),
        ("ip6", Compare("ip_version", "=", 6)),
        ("interface wan0", Interface(("ingress_interface", "egress_interface"), "wan0")),
        ("in if wan0", Interface(("ingress_interface",), "wan0")),
        ("out interface 3", Interface(("egress_interface",), "3")),
        ('interface "and"', Interface(("ingress_interface", "egress_interface"), "and")),
        ('interface "a (b)"', Interface(("ingress_interface", "egress_interface"), "a (b)")),
        ("interface ppp0@if3", Interface(("ingress_interface", "egress_interface"), "ppp0@if3")),
        ("egress", Compare("flow_direction", "=", 1)),
        ("octets > 1M", Compare("octets", ">", 10**6)),
        ("bytes>1.5k", Compare("octets", ">", 1500)),
        ("packets 7", Compare("packets", "=", 7)),
        ("packets != 7", Compare("packets", "!=", 7)),
        ("packets == 7", Compare("packets", "=", 7)),
        ("age > 1m30s", Compare("age", ">", 90 * 10**9)),
        ("idle < 500ms", Compare("idle", "<", 5 * 10**8)),
        ("duration >= 2h", Compare("duration", ">=", 7200 * 10**9)),
        ("pps > 1000", Compare("packet_rate", ">", 1000)),
        ("bps > 10M", Compare("rate", ">", 10**7)),
        ("vlan 7", AnyOf((Compare("vlan_id", "=", 7), Compare("dot1q_customer_vlan_id", "=", 7)))),
        ("vlan", AnyOf((Compare("vlan_id", "!=", 0), Compare("dot1q_customer_vlan_id", "!=", 0)))),
        ("tos 0xb8", Compare("ip_class_of_service", "=", 0xB8)),
        ("flags SA", All((TCP, Flags(0x12)))),
    ],
)
def test_a_filter_is_read(text: str, tree: object) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot tcp", "character 1: 'prot': expected a term such as host"),
        ("tcp udp", "character 5: 'udp': expected and, or, or the end"),
        ("tcp and", "at its end: expected a term"),
        ("and tcp", "character 1: 'and': expected a term"),
        ("(tcp", "at its end: expected ), and, or or"),
        ("tcp)", "character 4: ')': expected and, or, or the end"),
        ("()", "character 2: ')': expected a term"),
        ("not", "at its end: expected a term"),
        ("host", "at its end: expected an address"),
        ("host (", "character 6: '(': expected an address"),
        ("host example.com", "character 6: 'example.com': no address, such as 192.0.2.7 or 2001:db8::7: names are"),
        ("host 192.0.2.0/24", "a network has net before it"),
        ("host fe80::1%lan", "an address without its interface"),
        ("net 192.0.2.7/24", "character 5: '192.0.2.7/24': bits beyond the prefix: 192.0.2.0/24 is meant?"),
        ("net 192.0.2.0/33", "no address or network"),
        ("src tcp", "character 5: 'tcp': expected host, net, port"),
        ("port htps", "character 6: 'htps': no port: use 443, 6000-6008, or a name such as https"),
        ("port 65536", "'65536': no port"),
        ("port 9-3", "the range ends before it begins"),
        ("port > 3-9", "'3-9': no port"),
        ("proto 256", "'256': no protocol"),
        ("octets >", "at its end: expected a number"),
        ("octets > 1X", "character 10: '1X': expected a number such as 100 or 1.5M"),
        ("octets > 99999999T", "expected a number"),
        (f"octets > {'9' * 20}", "expected a number"),
        (f"octets > {'9' * 400}", "expected a number"),  # beyond what a float holds
        (f"octets > {'9' * 400}k", "expected a number"),
        (f"octets > 1.{'9' * 900}", "expected a number"),
        (f"age > {'9' * 400}d", "expected a time"),
        (f"vlan {'9' * 400}", "no VLAN"),
        (f"tos {'9' * 400}", "expected 0 to 255"),
        ("src or dst port != 53", "character 17: '!=': could be meant in two ways: write port != for neither end"),
        ("tcp src or dst port != 53", "could be meant in two ways"),
        ("ip6 198.51.100.2", "character 5: '198.51.100.2': an address of IPv4: write ip before it"),
        ("ip 2001:db8::/32", "character 4: '2001:db8::/32': an address of IPv6: write ip6 before it"),
        ("ip6 2001:db8::1 or 198.51.100.2", "character 20: '198.51.100.2': an address of IPv4"),
        ("age > soon", "expected a time such as 30s"),
        ("vlan 4096", "no VLAN: use 0 to 4095"),
        ("tos 256", "expected 0 to 255"),
        ("dscp 64", "expected 0 to 63"),
        ("flags SX", "no TCP flags: use letters of CEUAPRSF"),
        ("in tcp", "expected interface"),
        ("mac 02:00", "no MAC address"),
        ("tcp src host 192.0.2.7", "character 9: 'host': expected port: write and between"),
        ("tcp & udp", "character 5: '&' has no meaning here"),
        ('interface "wan', "character 11: '\"' has no meaning here"),
        ("x" * (LONGEST + 1), f"1,001 characters: use {LONGEST:,} at most"),
        (" or ".join(["tcp"] * (MOST_TERMS + 1)), f"too many terms: use {MOST_TERMS} at most"),
        ("(" * (DEEPEST + 1) + "tcp" + ")" * (DEEPEST + 1), f"too deep: use {DEEPEST} brackets"),
        ("not " * 200 + "tcp", "too deep"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(FilterError) as raised:
        parse(text)
    assert str(raised.value).startswith("filter")
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


A, B = "192.0.2.1", "198.51.100.7"
#: What stands alone → the same written out.
ALONE = {
    f"src host {A} or {B}": f"src host {A} or src host {B}",
    f"src {A} or {B} or 2001:db8::/32": f"src {A} or src {B} or src 2001:db8::/32",
    f"dst net 192.0.2.0/24 and {B}": f"dst net 192.0.2.0/24 and dst net {B}",
    f"src and dst host {A} or {B}": f"src and dst host {A} or src and dst host {B}",
    f"src host {A} and not {B}": f"src host {A} and not src host {B}",
    f"not src host {A} and not {B}": f"not src host {A} and not src host {B}",
    f"src host {A} or dst {B} or 192.0.2.9": f"src host {A} or dst {B} or dst 192.0.2.9",
    f"tcp and ({A} or {B})": f"tcp and (host {A} or host {B})",
    f"tcp and (src host {A} or {B})": f"tcp and (src host {A} or src host {B})",
    f"tcp and {A} and udp and {B}": f"tcp and host {A} and udp and host {B}",
    f"port 80 and {A}": f"port 80 and host {A}",
    f"tcp and {A} or udp": f"tcp and host {A} or udp",
    "port 80 or 443": "port 80 or port 443",
    "dst port http or https or 6000-6008": "dst port 80 or dst port 443 or dst port 6000-6008",
    "tcp dst port ftp or ftp-data or domain": "tcp dst port 21 or tcp dst port 20 or tcp dst port 53",
    "tcp port 80 or udp port 53 or 123": "tcp port 80 or udp port 53 or udp port 123",
    "tcp port 80 or tcp": "(tcp port 80) or tcp",
    "port not-a-port or 443": None,
    f"host {A} and (port 80 or 443)": f"host {A} and (port 80 or port 443)",
    "mac 02:00:5e:00:00:01 or 02:00:5e:00:00:02": "mac 02:00:5e:00:00:01 or mac 02:00:5e:00:00:02",
    # What could be meant in two ways.
    f"host {A} and port 80 or 443": None,
    f"port 80 or 443 and host {A}": None,
    f"src host {A} or {B} and tcp": None,
    f"not host {A} or {B}": None,
    f"not host {A} and {B}": None,
    f"src host {A} or tcp or {B}": None,
    f"(src host {A}) or {B}": None,
    f"src host {A} or ({B})": None,
    f"src port 80 and {A}": None,
    f"dst port > 1023 and {A}": None,
    f"tcp dst port 80 and {A}": None,
    f"port != 53 and {A}": f"port != 53 and host {A}",
    f"ip {A} or {B}": f"ip {A} or ip {B}",
    "port != 53 or 80": None,
    f"src and dst port 80 and {A}": None,
    "port > 1023 or 80": None,
    "port != 80 and 443": None,
    "port 80 or > 1023": None,
    "port 80 or tcp or 443": None,
    f"host {A} or 192.0.2.0/24": None,
    f"host {A} or 80": None,
    f"{A} {B}": None,
}


@pytest.mark.parametrize(("text", "same"), ALONE.items(), ids=ALONE)
def test_what_stands_alone_has_the_words_of_the_term_before_it(text: str, same: str | None) -> None:
    if same is not None:
        assert parse(text) == parse(same)
        return
    with pytest.raises(FilterError):
        parse(text)


def test_what_is_meant_in_two_ways_is_told() -> None:
    for text, told in {
        f"host {A} and port 80 or 443": "'443': could be meant in two ways beside and, or: put brackets",
        f"not host {A} or {B}": f"'{B}': is the not before it meant for this too? Write src, dst, host",
        f"src host {A} or tcp or {B}": f"'{B}': in which direction? Write src, dst, or host before it",
    }.items():
        with pytest.raises(FilterError) as raised:
            parse(text)
        assert told in str(raised.value)


def test_what_is_just_within_the_bounds_is_read() -> None:
    assert parse(" or ".join(["tcp"] * MOST_TERMS)) == AnyOf((TCP,) * MOST_TERMS)
    assert parse("(" * DEEPEST + "tcp" + ")" * DEEPEST) == TCP
    assert parse("tcp".ljust(LONGEST)) == TCP


def test_anything_is_read_or_refused() -> None:
    """20,000 texts of words that filters are made of, in any order; the seed is fixed."""
    chance = random.Random(7)
    words = WORDS.split()
    read, faults = 0, []
    for _ in range(20_000):
        text = " ".join(chance.choices(words, k=chance.randrange(1, 9)))
        try:
            parse(text)
            read += 1
        except FilterError as error:
            faults.append(str(error))
    assert all(fault.startswith("filter") for fault in faults)
    assert read > 200


@pytest.mark.parametrize(
    ("name", "indexes"),
    [("wan", [2]), ("wg*", [3, 4]), ("2", [2]), ("9", [9]), ("?an", [1, 2]), ("[wl]an", [1, 2]), ("[", [5])],
)
def test_interfaces_get_their_numbers(name: str, indexes: list[int]) -> None:
    names = {1: "lan", 2: "wan", 3: "wg0", 4: "wg1", 5: "["}
    got = named(All((TCP, Not(Interface(("ingress_interface",), name)))), names)
    assert got == All((TCP, Not(AnyOf(tuple(Compare("ingress_interface", "=", index) for index in indexes)))))


@pytest.mark.parametrize("name", ["wlan", "eth*", "-1", "99999999999", "²"])
def test_an_interface_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(FilterError, match="there is none of this name"):
        named(Interface(("ingress_interface",), name), {1: "lan"})


def test_names_do_not_collide_with_other_words() -> None:
    """A protocol's name is a term by itself: none may be another term, and no port a number."""
    assert set(TERMS.split()).isdisjoint(filterwords.PROTOCOLS)
    assert not any(name.isdecimal() for name in (*filterwords.PORTS, *filterwords.PROTOCOLS))
