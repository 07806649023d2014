"""Proves that the longest match is the one that a search through all prefixes finds, whatever they are."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import numpy as np
import pytest

from xflowd.metering.flow import FLOW
from xflowd.metering.prefixes import AutonomousSystems, LongestMatch, Octets, Prefixes, RoutingTables

Known = list[tuple[str, int]]


def prefixes(known: Sequence[tuple[str, int]]) -> Prefixes:
    networks = [ipaddress.ip_network(text) for text, _ in known]
    return Prefixes(
        np.array([network.version for network in networks], np.uint8),
        octets([str(network.network_address) for network in networks])[0],
        np.array([network.prefixlen for network in networks], np.uint8),
        np.array([value for _, value in known], np.uint32),
    )


def octets(texts: Sequence[str]) -> tuple[Octets, Octets]:
    """Addresses, and the version of each."""
    addresses = [ipaddress.ip_address(text) for text in texts]
    rows = b"".join(address.packed.ljust(16, b"\0") for address in addresses)
    versions = np.array([address.version for address in addresses], np.uint8)
    return np.frombuffer(rows, np.uint8).reshape(-1, 16), versions


def found(known: Known, *texts: str) -> list[int]:
    return LongestMatch([prefixes(known)]).find(*octets(texts)).tolist()


NESTED: Known = [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.1.2.0/24", 3), ("10.1.2.3/32", 4)]


@pytest.mark.parametrize(
    ("known", "address", "value"),
    [
        ([], "192.0.2.1", 0),
        (NESTED, "9.255.255.255", 0),
        (NESTED, "10.0.0.0", 1),
        (NESTED, "10.1.2.2", 3),
        (NESTED, "10.1.2.3", 4),
        (NESTED, "10.1.2.4", 3),
        (NESTED, "10.1.3.0", 2),
        (NESTED, "10.255.255.255", 1),
        (NESTED, "11.0.0.0", 0),
        (NESTED[::-1], "10.1.2.3", 4),
        (NESTED, "a01::", 0),  # the same octets of the other version
        ([("0.0.0.0/0", 7)], "255.255.255.255", 7),
        ([("0.0.0.0/0", 7)], "::1", 0),
        ([("255.255.255.0/24", 5)], "255.255.255.255", 5),
        ([("255.255.255.255/32", 5)], "255.255.255.255", 5),
        ([("0.0.0.0/32", 5)], "0.0.0.0", 5),
        ([("0.0.0.0/32", 5)], "0.0.0.1", 0),
        ([("192.0.2.0/24", 1), ("192.0.2.0/24", 2)], "192.0.2.9", 2),
        ([("192.0.2.0/25", 4294967295)], "192.0.2.127", 4294967295),
        ([("::/0", 6)], "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 6),
        ([("::/0", 6)], "::", 6),
        ([("2001:db8::/64", 1), ("2001:db8::/65", 2)], "2001:db8::7fff:ffff:ffff:ffff", 2),
        ([("2001:db8::/64", 1), ("2001:db8::/65", 2)], "2001:db8::8000:0:0:0", 1),
        ([("2001:db8::/64", 1), ("2001:db8::1/128", 2)], "2001:db8::1", 2),
        ([("2001:db8::/64", 1), ("2001:db8::1/128", 2)], "2001:db8::2", 1),
        ([("2001:db8::ffff:ffff:ffff:ffff/128", 2)], "2001:db8:0:1::", 0),
        ([("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", 2)], "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 2),
        ([("2001:db8::100/120", 2)], "2001:db8::1ff", 2),
        ([("2001:db8::100/120", 2)], "2001:db8::200", 0),
    ],
)
def test_longest_match(known: Known, address: str, value: int) -> None:
    assert found(known, address) == [value]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("seed", range(4))
def test_random_prefixes_as_a_search_through_all_finds_them(version: int, seed: int) -> None:
    """Crowded into few bits, so that they nest, touch and repeat; asked at the borders of each."""
    random = np.random.default_rng(seed)
    width, space = (32, ipaddress.IPv4Network) if version == 4 else (128, ipaddress.IPv6Network)
    offsets = [0, (1 << width) - 1024, (1 << width // 2) - 512]
    networks = []
    for value, length in enumerate(random.integers(max(0, width - 12), width + 1, 300).tolist(), 1):
        start = offsets[value % len(offsets)] + int(random.integers(0, 1024))
        networks.append((space((start % (1 << width), length), strict=False), value))
    known = {str(network): value for network, value in networks}
    by_length = sorted(known.items(), key=lambda one: -ipaddress.ip_network(one[0]).prefixlen)
    borders = [int(end) + step for network, _ in networks for end in (network[0], network[-1]) for step in (-1, 0, 1)]
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    asked = [kind(border % (1 << width)) for border in borders]
    right = [
        next((value for text, value in by_length if address in ipaddress.ip_network(text)), 0) for address in asked
    ]
    assert len(set(right)) > 30
    portions = [prefixes([(str(network), value)]) for network, value in networks]
    assert LongestMatch(portions).find(*octets([str(address) for address in asked])).tolist() == right


def test_what_is_behind_the_length_counts_for_nothing() -> None:
    one = prefixes([("192.0.2.0/24", 9)])
    addresses, _ = octets(["192.0.2.77"])
    match = LongestMatch([Prefixes(one.versions, addresses, one.lengths, one.values)])
    assert match.find(*octets(["192.0.2.1", "192.0.3.1"])).tolist() == [9, 0]


@pytest.mark.parametrize(
    ("address", "length"),
    [
        ("192.0.2.1", 32),  # the local table is asked first
        ("192.0.2.2", 24),
        ("203.0.113.9", 0),  # by a route to nowhere
        ("203.0.113.200", 25),
        ("127.1.0.1", 8),  # the first table knows it, though the second has a longer prefix
        ("8.8.8.8", 0),
        ("2001:db8::1", 128),
        ("2001:db8::2", 0),
    ],
)
def test_tables_are_asked_in_their_order(address: str, length: int) -> None:
    local = [("192.0.2.1/32", 33), ("127.0.0.0/8", 9), ("2001:db8::1/128", 129)]
    nowhere = RoutingTables.NOWHERE
    main = [("192.0.2.0/24", 25), ("203.0.113.0/24", nowhere), ("203.0.113.128/25", 26), ("127.1.0.0/16", 17)]
    default = [("203.0.113.0/24", 25), ("0.0.0.0/0", 1)]
    tables = RoutingTables([LongestMatch([prefixes(known)]) for known in (local, main, default)])
    assert tables.lengths(*octets([address])).tolist() == [length]


@pytest.mark.parametrize(("prefix", "address", "length"), [
    ("192.0.2.128/25", "192.0.2.200", 16),
    ("2001:db8:0:1::/64", "2001:db8:0:1::1", 48),
    ("2001:db8:0:1:2::/80", "2001:db8:0:1:2::1", 48),  # longer than 64 bits: looked for apart
])  # fmt: skip
def test_a_throw_ends_the_search_in_its_table(prefix: str, address: str, length: int) -> None:
    """Also that for a shorter prefix there."""
    one = [("192.0.2.0/24", 25), ("2001:db8::/32", 33), (prefix, RoutingTables.THROW)]
    next_one = [("192.0.0.0/16", 17), ("2001:db8::/48", 49)]
    tables = RoutingTables([LongestMatch([prefixes(known)]) for known in (one, next_one)])
    assert tables.lengths(*octets([address])).tolist() == [length]


def test_an_address_that_is_not_in_the_key_has_no_prefix_and_no_system() -> None:
    """It is zero, and the halves of all addresses, which some VPNs route to themselves, begin with that."""
    flows = np.zeros(2, FLOW)
    flows["ip_version"] = 4, 6
    RoutingTables([LongestMatch([prefixes([("0.0.0.0/1", 2), ("::/3", 4)])])]).fill(flows)
    AutonomousSystems([prefixes([("0.0.0.0/0", 64496), ("::/0", 64496)])]).fill(flows)
    for end in ("source", "destination"):
        assert flows[f"{end}_prefix_length"].tolist() == flows[f"bgp_{end}_as_number"].tolist() == [0, 0]


def test_columns_of_flows() -> None:
    flows = np.zeros(2, FLOW)
    flows["source_address"], flows["ip_version"] = octets(["192.0.2.1", "2001:db8::1"])
    flows["destination_address"] = octets(["198.51.100.1", "2001:db8:1::1"])[0]
    RoutingTables([LongestMatch([prefixes([("192.0.2.0/24", 25), ("2001:db8::/32", 33)])])]).fill(flows)
    AutonomousSystems([prefixes([("198.51.100.0/24", 64496), ("2001:db8::/48", 4200000000)])]).fill(flows)
    assert flows["source_prefix_length"].tolist() == [24, 32]
    assert flows["destination_prefix_length"].tolist() == [0, 32]
    assert flows["bgp_source_as_number"].tolist() == [0, 4200000000]
    assert flows["bgp_destination_as_number"].tolist() == [64496, 0]
