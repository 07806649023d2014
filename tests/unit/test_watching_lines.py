"""Proves that live flows are a table on a terminal of any size, and what keys do to it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from xflowd.edge.asking import ControlError
from xflowd.watching.document import Flows
from xflowd.watching.lines import Row, Table, endpoints
from xflowd.watching.rates import Rate
from xflowd.watching.top import HELP, ORDERS, Top, require_agent

SECOND = 10**9
FOUR = {
    "id": "1-5", "ipVersion": 4, "sourceIPv4Address": "198.51.100.2", "destinationIPv4Address": "203.0.113.2",
    "protocolIdentifier": 6, "sourceTransportPort": 58618, "destinationTransportPort": 443, "tcpControlBits": 0x1B,
    "icmpTypeCodeIPv4": 0, "packetDeltaCount": 1234, "octetDeltaCount": 1_234_567, "ingressInterface": 1,
    "egressInterface": 2, "flowDirection": 0, "vlanId": 0, "age_seconds": 61.5, "idle_seconds": 0.3,
    "ends_in_seconds": 3.0,
}  # fmt: skip
LONG = {
    **FOUR, "id": "2-7", "ipVersion": 6, "sourceIPv6Address": "2001:db8:1234:5678:9abc:def0:1234:5678",
    "destinationIPv6Address": "2001:db8::2", "protocolIdentifier": 58, "icmpTypeCodeIPv6": 0x8000,
}  # fmt: skip
PING = {**FOUR, "id": "3-9", "protocolIdentifier": 1, "icmpTypeCodeIPv4": 0x0800}
RATE = Rate(9_876_543, 1_000)
NAMES = {"1": "lan", "2": "wan"}


def row(flow: dict[str, Any]) -> Row:
    return Row(flow, RATE)


@pytest.mark.parametrize(
    ("flow", "both"),
    [
        (FOUR, ("198.51.100.2:58618", "203.0.113.2:443")),
        (LONG, ("[2001:db8:1234:5678:9abc:def0:1234:5678]", "[2001:db8::2]:128/0")),
        (PING, ("198.51.100.2", "203.0.113.2:8/0")),
        ({**FOUR, "protocolIdentifier": 47, "sourceTransportPort": 0, "destinationTransportPort": 0},
         ("198.51.100.2", "203.0.113.2")),
    ],
)  # fmt: skip
def test_endpoints(flow: dict[str, Any], both: tuple[str, str]) -> None:
    assert endpoints(flow) == both


def test_eighty_columns() -> None:
    table = Table(80, NAMES)
    assert [table.heading(), table.row(row(FOUR))] == [
        "proto  source                → destination            pkts octet bit/s  age idle",
        "TCP    198.51.100.2:58618    → 203.0.113.2:443        1234 1.23M 9.88M   61  0.3",
    ]
    assert list(table.rows(row(LONG))) == [
        "ICMPv6 [2001:db8:1234:5678:9abc:def0:1234:5678]",
        "       → [2001:db8::2]:128/0                          1234 1.23M 9.88M   61  0.3",
    ]


def test_two_lines_at_their_longest_stay_in_eighty_columns() -> None:
    longest = {**LONG, "destinationIPv6Address": LONG["sourceIPv6Address"], "protocolIdentifier": 17,
               "sourceTransportPort": 65535, "destinationTransportPort": 65535}  # fmt: skip
    assert list(Table(80, NAMES).rows(row(longest))) == [
        "UDP    [2001:db8:1234:5678:9abc:def0:1234:5678]:65535",
        "    → [2001:db8:1234:5678:9abc:def0:1234:5678]:65535  1234 1.23M 9.88M   61  0.3",
    ]


def test_wider_terminals_show_more() -> None:
    assert "flags" in Table(90, NAMES).heading()
    assert Table(110, NAMES).row(row(FOUR)).endswith("...AP.SF lan→wan")
    assert "[2001:db8:1234:5678:9abc:def0:1234:5678]  " in Table(160, NAMES).row(row(LONG))


@pytest.mark.parametrize("order", ORDERS.values())
@pytest.mark.parametrize("width", [1, 2, 7, 20, 30, 39, 40, 57, 79, 80, 81, 100, 132, 200, 500])
def test_any_width_holds_every_line(width: int, order: str) -> None:
    table = Table(width, {"1": "x" * 15, "2": "\x1b[2J"}, order=order)
    lines = [table.heading(), *(table.row(row(flow)) for flow in (FOUR, LONG, PING))]
    assert all(len(line) <= width for line in lines)
    assert not any("\x1b" in line for line in lines)
    assert len({line.find(" → ") for line in lines}) == 1 or width < 30, "endpoints are below each other"


def test_the_column_that_is_sorted_by_stays() -> None:
    for order, heading in (("idle", "idle"), ("age", "age"), ("packets", "pkts"), ("packet-rate", "pkt/s")):
        assert heading in Table(40, {}, order=order).heading()


def test_without_arrows() -> None:
    assert " > " in Table(80, {}, arrow=">").row(row(FOUR))
    assert Table(40, {}, arrow=">").row(row(LONG)).isascii()


def answer(seconds: float, *flows: dict[str, Any], seen: int = 0) -> Flows:
    at = round(seconds * SECOND)
    return Flows(monotonic_ns=at, sampling_interval=1, packets_seen=seen, live=5, matching=len(flows), next=None,
                 interfaces=NAMES, flows=list(flows))  # fmt: skip


@pytest.mark.parametrize("size", [(1, 1), (2, 10), (10, 40), (24, 80), (60, 200), (3, 500)])
def test_any_screen_is_filled_and_no_more(size: tuple[int, int]) -> None:
    top = Top(filter="tcp")
    for _ in range(2):
        lines = top.lines(*size, "→", "12:00:00")
        assert len(lines) == size[0]
        assert all(len(text) <= size[1] for text, _ in lines)
        top.take(answer(1, *[FOUR, LONG, PING] * 30))


def test_the_largest_of_now_are_first() -> None:
    """One that was large before rests; one that is small in all has just begun to send."""
    rests, sends = FOUR, {**PING, "octetDeltaCount": 10_000}
    top = Top()
    top.take(answer(10, rests, sends, seen=100))
    assert [one.flow["id"] for one in top.rows] == ["1-5", "3-9"]
    top.take(answer(12, rests, {**sends, "octetDeltaCount": 20_000}, seen=300))
    assert [(one.flow["id"], one.rate.bits) for one in top.rows] == [("3-9", 40_000), ("1-5", 0)]
    assert "100 pkt/s" in top.lines(24, 80, "→", "12:00:00")[0][0]


def test_keys() -> None:
    top = Top()
    for key, order in ORDERS.items():
        assert top.press(key)
        assert top.order == order
    assert top.press(">")
    assert top.order == "rate"
    assert top.press("left")
    assert top.order == "idle"
    assert top.press("v")
    assert top.smallest
    assert top.press(" ")
    assert top.paused
    assert top.press("resize")
    assert not top.press("q")


def test_any_key_at_any_time() -> None:
    chance, top = random.Random(2), Top()
    for _ in range(2000):
        top.press(chance.choice(["x", "", "é", "\x00", "resize", *ORDERS, "<", ">", "left", "right", "v", " "]))
        assert top.order in ORDERS.values()
        top.take(answer(chance.random() * 100, FOUR, LONG)) if chance.random() < 0.5 else top.miss("gone")
        top.lines(chance.randrange(1, 40), chance.randrange(1, 200), "→", "12:00:00")


def test_what_is_asked_for() -> None:
    assert Top(filter="tcp or udp", order="octets").request(20) == {
        "filter": "tcp or udp", "sort": "octets", "smallest": False, "limit": 20,
    }  # fmt: skip
    asked = Top(filter="tcp or udp", delay=5).request(20)
    assert (asked["filter"], asked["idle_below_seconds"]) == ("tcp or udp", 10.0), "faults name places in it"
    lately = {"idle_below_seconds": 2.0, "limit": 500}
    assert Top().request(20) == {"filter": "", "sort": "rate", "smallest": False, **lately}


def test_an_agent_that_is_away_is_told_and_its_flows_stay() -> None:
    top = Top()
    top.take(answer(1, FOUR))
    top.miss("no agent answers; asking again")
    lines = top.lines(24, 80, "→", "12:00:00")
    assert lines[0] == ("no agent answers; asking again", "reverse")
    assert "198.51.100.2" in lines[2][0]
    top.take(answer(5, FOUR))
    assert top.lines(24, 80, "→", "12:00:00")[0][1] == "plain"


def test_the_keys_fit_a_terminal_and_the_way_out_is_first() -> None:
    assert len(HELP) <= 80
    assert HELP.startswith("q quit")
    assert {part.split()[0] for part in HELP.split("  ")} == {"q", "v", "space", *ORDERS}


def test_without_an_agent_there_is_nothing_to_watch(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"no agent answers at .*: start it with xflowd run"):
        require_agent(tmp_path / "none.sock", Top())
