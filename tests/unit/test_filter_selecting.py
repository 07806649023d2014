"""Proves which flows a filter means: by columns as by a plain look at each flow; and which are the largest."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import numpy as np
import pytest

from kernel.objectfile import structure
from xflowd.metering import selecting
from xflowd.metering.expiry import Timeouts, scan
from xflowd.metering.filtering import parse
from xflowd.metering.filtertree import named
from xflowd.metering.selecting import ORDERS, Look
from xflowd.metering.table import Records, SlotState

SECOND = 10**9
NOW = 1_000 * SECOND
NAMES = {1: "lan", 2: "wan", 3: "wg0"}
LIVE, FREE, EXPIRING = SlotState.LIVE, SlotState.FREE, SlotState.EXPIRING
ADDRESSES = [ip_address(text) for text in ("192.0.2.1", "192.0.2.77", "198.51.100.7", "0.0.0.0", "255.255.255.255",
                                           "2001:db8::1", "2001:db8:1::1", "c000:201::", "::")]  # fmt: skip
NETWORKS = ["192.0.2.0/24", "192.0.2.64/26", "0.0.0.0/0", "::/0", "2001:db8::/32", "2001:db8::/64", "c000:201::/32"]
PORTS = [0, 22, 53, 443, 1024, 6000, 6004, 65535]
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58, "gre": 47}
SIGNS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Flow:
    """One flow as a person would describe it. Two CPUs have counted it. Seconds are before now."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int
    ports: tuple[int, int]
    interfaces: tuple[int, int]
    direction: int
    vlans: tuple[int, int]
    tos: int
    flags: tuple[int, int, int]
    packets: tuple[int, int]
    octets: tuple[int, int]
    age: int
    idle: tuple[int, int]

    @property
    def told_ports(self) -> tuple[int, int]:
        return (0, 0) if self.protocol in (1, 58) else self.ports


def drawn(chance: random.Random) -> Flow:
    source = chance.choice(ADDRESSES)
    destination = chance.choice([one for one in ADDRESSES if one.version == source.version])
    age = chance.randrange(0, 100)
    return Flow(
        source, destination, chance.choice(list(PROTOCOLS.values())), (chance.choice(PORTS), chance.choice(PORTS)),
        (chance.randrange(4), chance.randrange(4)), chance.randrange(2), (chance.choice([0, 7]), chance.choice([0, 8])),
        chance.choice([0, 0xB8, 0xBB]), (chance.choice([0, 2]), chance.choice([0, 16]), chance.choice([0, 1])),
        (chance.randrange(5), chance.choice([0, 1000])), (chance.randrange(5000), chance.choice([0, 2**40])),
        age, (chance.randrange(age + 1), chance.randrange(age + 1)),
    )  # fmt: skip


def table(flows: list[Flow], states: list[SlotState] | None = None) -> Records:
    slots = np.zeros(len(flows), structure("flow_slot"))
    for slot, flow, state in zip(slots, flows, states or [LIVE] * len(flows), strict=True):
        fill(slot, flow)
        slot["state"] = state
    return slots


def fill(slot: Any, flow: Flow) -> None:
    key, version = slot["key"], flow.source.version
    key["ip_version"], key["protocol_identifier"], key["flow_direction"] = version, flow.protocol, flow.direction
    for end, address in (("source", flow.source), ("destination", flow.destination)):
        key[f"{end}_ipv{version}_address"] = list(address.packed) if version == 6 else int(address)
    key["source_transport_port"], key["destination_transport_port"] = flow.ports
    key["vlan_id"], key["dot1q_customer_vlan_id"] = flow.vlans
    slot["ip_class_of_service"] = flow.tos
    slot["ingress_interface"], slot["egress_interface"] = flow.interfaces
    slot["flow_start_ns"] = NOW - flow.age * SECOND
    for number, half in enumerate(("own", "others")):
        slot[half]["packet_delta_count"], slot[half]["octet_delta_count"] = flow.packets[number], flow.octets[number]
        slot[half]["tcp_control_bits"], slot[half]["flow_end_ns"] = flow.flags[number], NOW - flow.idle[number] * SECOND
    slot["tcp_control_bit_seen"] = [flow.flags[2] >> bit & 1 for bit in range(8)]


#: A term as a text, and what it says of a flow in plain words.
Plain = tuple[str, Callable[[Flow], bool]]


def ends(flow: Flow, way: str, holds: Callable[[int], bool]) -> bool:
    if way == "src and dst ":
        return holds(0) and holds(1)
    return {"src ": holds(0), "dst ": holds(1)}.get(way, holds(0) or holds(1))


def term(chance: random.Random) -> Plain:
    way, sign = chance.choice(["src ", "dst ", "", "src or dst ", "src and dst "]), chance.choice(list(SIGNS))
    address, network, port = chance.choice(ADDRESSES), ip_network(chance.choice(NETWORKS)), chance.choice(PORTS)
    name, interface = chance.choice(list(PROTOCOLS)), chance.choice(list(NAMES))
    count, seconds, compare = chance.choice([0, 3, 1000, 10**6]), chance.randrange(100), SIGNS[sign]
    compared_way = (
        {"": "src and dst ", "src or dst ": "src and dst "}.get(way, way) if sign == "!=" else way
    )  # at neither end
    bits = chance.choice([1, 2, 16, 18, 19])
    letters = "".join("FSRPAUEC"[bit] for bit in range(8) if bits >> bit & 1)
    return chance.choice([
        (f"{way}host {address}", lambda f: ends(f, way, lambda i: (f.source, f.destination)[i] == address)),
        (f"{way}net {network}", lambda f: ends(f, way, lambda i: (f.source, f.destination)[i] in network)),
        (f"{way}port {port}", lambda f: ends(f, way, lambda i: f.told_ports[i] == port)),
        (f"{'' if way == 'src or dst ' else way}port {sign} {port}",
         lambda f: ends(f, compared_way, lambda i: compare(f.told_ports[i], port))),
        (f"{way}port 1000-6001", lambda f: ends(f, way, lambda i: 1000 <= f.told_ports[i] <= 6001)),
        (name, lambda f: f.protocol == PROTOCOLS[name]),
        (f"proto {PROTOCOLS[name]}", lambda f: f.protocol == PROTOCOLS[name]),
        (f"udp dst port {port}", lambda f: f.protocol == 17 and f.told_ports[1] == port),
        ("ip", lambda f: f.source.version == 4),
        ("ip6", lambda f: f.source.version == 6),
        (f"interface {NAMES[interface]}", lambda f: interface in f.interfaces),
        (f"in interface {interface}", lambda f: f.interfaces[0] == interface),
        ("out interface w*", lambda f: f.interfaces[1] in (2, 3)),
        ("ingress", lambda f: f.direction == 0),
        ("egress", lambda f: f.direction == 1),
        ("vlan", lambda f: any(f.vlans)),
        ("vlan 7", lambda f: 7 in f.vlans),
        ("vlan 8", lambda f: 8 in f.vlans),
        ("dscp 46", lambda f: f.tos >> 2 == 46),
        ("tos 0xbb", lambda f: f.tos == 0xBB),
        (f"packets {sign} {count}", lambda f: compare(sum(f.packets), count)),
        (f"octets {sign} {count}", lambda f: compare(sum(f.octets), count)),
        (f"age {sign} {seconds}s", lambda f: compare(f.age, seconds)),
        (f"idle {sign} {seconds}", lambda f: compare(min(f.idle), seconds)),
        (f"duration {sign} {seconds}", lambda f: compare(f.age - min(f.idle), seconds)),
        (f"pps {sign} {count}", lambda f: compare(int(sum(f.packets) / max(f.age, 1)), count)),
        (f"bps {sign} {count}", lambda f: compare(int(8 * sum(f.octets) / max(f.age, 1)), count)),
        (f"flags {letters}",
         lambda f: f.protocol == 6 and (f.flags[0] | f.flags[1] | f.flags[2]) & bits == bits),
        ("any", lambda f: True),
    ])  # fmt: skip


def sentence(chance: random.Random, depth: int = 0) -> Plain:
    kind = chance.random()
    if depth > 3 or kind < 0.4:
        return term(chance)
    if kind < 0.55:
        text, holds = sentence(chance, depth + 1)
        return f"not ({text})", lambda f: not holds(f)
    parts = [sentence(chance, depth + 1) for _ in range(chance.randrange(2, 4))]
    if kind < 0.8:
        return " and ".join(f"({text})" for text, _ in parts), lambda f: all(holds(f) for _, holds in parts)
    return " or ".join(f"({text})" for text, _ in parts), lambda f: any(holds(f) for _, holds in parts)


def chain(chance: random.Random) -> Plain:
    """Ends of one kind, all joined in one way; whatever follows the first may stand alone, and means the same."""
    way = chance.choice(["src ", "dst ", "", "src or dst ", "src and dst "])
    kind, values, join = chance.choice(["host", "net", "port", "tcp"]), [], chance.choice([any, all])
    for _ in range(chance.randrange(2, 5)):
        values.append(chance.choice({"host": ADDRESSES, "net": [ip_network(one) for one in NETWORKS]}.get(kind, PORTS)))
    nots = [False] + [chance.random() < 0.3 for _ in values[1:]]
    while True in nots[:-1]:  # behind a not everything has to have one
        nots[nots.index(True)] = False
    words = f"tcp {way}port" if kind == "tcp" else f"{way}{kind}"

    def one(flow: Flow, value: Any) -> bool:
        if kind == "tcp" and flow.protocol != 6:
            return False
        pair = flow.told_ports if kind in ("port", "tcp") else (flow.source, flow.destination)
        return ends(flow, way, lambda i: pair[i] in value if kind == "net" else pair[i] == value)

    texts = [f"{'not ' * no}{words if not number or chance.random() < 0.2 else ''} {value}"
             for number, (value, no) in enumerate(zip(values, nots, strict=True))]  # fmt: skip
    text = (" or " if join is any else " and ").join(texts)
    return text, lambda flow: join(one(flow, value) != no for value, no in zip(values, nots, strict=True))


def look(slots: Records, text: str = "", now_ns: int = NOW) -> Look:
    return Look(slots, len(slots), named(parse(text), NAMES), now_ns)


def meant(slots: Records, text: str) -> list[int]:
    numbers = selecting.every(look(slots, text), NOW)
    assert numbers.dtype == np.uint32
    return numbers.tolist()


def test_columns_say_what_a_plain_look_says() -> None:
    """1,000 filters of random terms over 300 random flows; the seed is fixed."""
    chance, some = random.Random(3), 0
    flows = [drawn(chance) for _ in range(300)]
    slots = table(flows)
    for _ in range(1000):
        text, holds = sentence(chance)
        if text.count("(") > 30:
            continue  # more terms than a filter may have
        expected = [number for number, flow in enumerate(flows) if holds(flow)]
        assert meant(slots, text) == expected, text
        some += 0 < len(expected) < len(flows)
    assert some > 300, "most filters mean some of the flows"


def test_each_term_by_itself_says_what_a_plain_look_says() -> None:
    chance = random.Random(4)
    flows = [drawn(chance) for _ in range(200)]
    slots, seen = table(flows), set()
    for _ in range(1500):
        text, holds = term(chance)
        assert meant(slots, text) == [number for number, flow in enumerate(flows) if holds(flow)], text
        seen.add(text.split()[0])
    assert len(seen) > 20


def test_what_stands_alone_says_what_a_plain_look_says() -> None:
    """`src host A or B`, `tcp dst port 80 or 443`: 1,000 of them, alone and beside others in brackets."""
    chance = random.Random(11)
    flows = [drawn(chance) for _ in range(300)]
    slots, some = table(flows), 0
    for _ in range(1000):
        (text, holds), (other, others) = chain(chance), chain(chance)
        assert meant(slots, text) == [number for number, flow in enumerate(flows) if holds(flow)], text
        expected = [number for number, flow in enumerate(flows) if holds(flow) and not others(flow)]
        assert meant(slots, f"({text}) and not ({other})") == expected, (text, other)
        some += 0 < len(expected) < len(flows)
    assert some > 300, "most filters mean some of the flows"


@pytest.mark.parametrize("smallest", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_the_largest_are_the_largest(order: str, smallest: bool, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of 16 slots, of which some have no flow."""
    monkeypatch.setattr(selecting, "_CHUNK", 16)
    chance = random.Random(5)
    flows = [drawn(chance) for _ in range(200)]
    states = [chance.choice([LIVE, LIVE, FREE, EXPIRING]) for _ in flows]
    slots = table(flows, states)
    value = {
        "octets": lambda f: sum(f.octets),
        "packets": lambda f: sum(f.packets),
        "rate": lambda f: int(8 * sum(f.octets) / max(f.age, 1)),
        "packet-rate": lambda f: int(sum(f.packets) / max(f.age, 1)),
        "age": lambda f: f.age,
        "idle": lambda f: min(f.idle),
    }[order]
    there = [number for number, flow in enumerate(flows) if states[number] == LIVE and flow.source.version == 4]
    chosen = selecting.largest(look(slots, "ip"), order, limit, smallest=smallest)
    values = sorted((value(flows[number]) for number in there), reverse=not smallest)
    assert [value(flows[number]) for number in chosen.numbers.tolist()] == values[:limit]
    assert set(chosen.numbers.tolist()) <= set(there)
    assert (chosen.matching, chosen.live) == (len(there), states.count(LIVE))


@pytest.mark.parametrize("limit", [1, 5, 16, 17, 1000])
def test_pages_hold_every_flow_once(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selecting, "_CHUNK", 16)
    chance = random.Random(6)
    slots = table([drawn(chance) for _ in range(100)], [chance.choice([LIVE, FREE]) for _ in range(100)])
    pages, after, is_last = [], -1, False
    while not is_last:
        numbers, is_last = selecting.following(look(slots, "ip6"), after, limit)
        assert len(numbers) == limit or is_last
        pages += numbers.tolist()
        after = pages[-1]
    assert pages == meant(slots, "ip6")


def test_an_empty_table() -> None:
    slots = table([])
    assert selecting.largest(look(slots), "octets", 5).numbers.tolist() == []
    assert selecting.following(look(slots), -1, 5)[0].tolist() == []
    assert meant(slots, "tcp") == []


def test_a_flow_that_began_later_is_not_meant() -> None:
    chance = random.Random(8)
    flows = [drawn(chance) for _ in range(50)]
    limit = 40
    numbers = selecting.every(look(table(flows)), NOW - limit * SECOND).tolist()
    assert numbers == [number for number, flow in enumerate(flows) if flow.age >= limit]


def test_times_that_are_not_there_yet_are_now() -> None:
    """A slot may be seen LIVE before its times are, and a packet may come after the clock was read."""
    slots = table([drawn(random.Random(9)) for _ in range(2)])
    slots["flow_start_ns"], slots["own"]["flow_end_ns"], slots["others"]["flow_end_ns"] = [0, NOW + 5], 0, [0, NOW + 9]
    for name in ("age", "idle", "duration"):
        assert selecting.Columns(slots, NOW).column(name, np.arange(2)).tolist() == [0, 0]


def test_a_flow_ends_when_it_was_said_that_it_would() -> None:
    """The scan agrees with what is told: a moment before nothing, at that moment the end."""
    chance, timeouts = random.Random(10), Timeouts(active_ns=60 * SECOND, idle_ns=15 * SECOND)
    slots = table([drawn(chance) for _ in range(200)])
    slots["end_seen"] = [chance.randrange(2) for _ in range(200)]
    rows = np.arange(200)
    left = selecting.ends_in_ns(slots, rows, timeouts, NOW)
    for ns in sorted(set(left[left > 0].tolist())):
        assert set(scan(slots, NOW + ns - 1, timeouts).numbers.tolist()) == set(rows[left < ns].tolist())
        assert set(scan(slots, NOW + ns, timeouts).numbers.tolist()) == set(rows[left <= ns].tolist())
    within = [0, SECOND, 10 * SECOND, 2**62]
    assert selecting.count_ending(look(slots), timeouts, within) == [int((left <= ns).sum()) for ns in within]
