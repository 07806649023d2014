"""Proves that the journal has room for all there can be, and that what it is told comes back."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from xflowd.edge.journal import OCTETS, Journal
from xflowd.edge.network import InterfaceCounters
from xflowd.metering.overflow import OverflowFlows
from xflowd.observing import ObservationPoints, Point
from xflowd.reporting import Baselines

INTERFACES = range(100_000, 101_024)
PLACES = [(index, direction) for index in INTERFACES for direction in (0, 1)]
LARGE = 10**13
COUNTERS = InterfaceCounters(LARGE, 1000 * LARGE, LARGE, 1000 * LARGE)
#: After a reload: what was counted in a table that is gone, of the outcomes that there usually are.
BEFORE = Counter({"PACKETS_SEEN": -LARGE, "PACKETS_NOT_IP": -5, "PACKETS_TOO_SHORT": 0, "PACKETS_OVERFLOW": 0})


def baselines() -> Baselines:
    made = Baselines()
    made.add(PLACES, dict.fromkeys(INTERFACES, COUNTERS))
    return made


def points() -> ObservationPoints:
    made = ObservationPoints()
    made._points = {place: Point(cast(Any, None), "tc_ingress", BEFORE) for place in PLACES}
    return made


def overflow() -> OverflowFlows:
    """As many records as there can be, of long numbers each."""
    key = bytes.fromhex("ffffffff") + bytes(2)
    return OverflowFlows(
        [((key + number.to_bytes(2, "big")).hex(), LARGE, 1000 * LARGE, 10**16) for number in range(4096)]
    )


def test_a_thousand_interfaces_both_ways_and_a_flood_at_each() -> None:
    memory = memoryview(bytearray(OCTETS))
    journal, known, attached = Journal(memory), baselines(), points()
    journal.include("baselines", known.state)
    journal.include("points", attached.state)
    journal.include("overflow", overflow().state)
    journal.include("places", lambda: [[*place, LARGE] for place in PLACES])
    journal.commit()
    found = Journal(memory)
    again = Baselines(found.remembered("baselines"))
    assert again.state() == known.state()
    for place in PLACES[:2]:
        assert again.since(place, {place[0]: COUNTERS}) == {"packets": 0, "octets": 0}
    successor = points()
    successor._points = {place: Point(cast(Any, None), "tc_ingress") for place in PLACES}
    successor.restore(found.remembered("points"))
    assert all(point.before == BEFORE for point in successor._points.values())  # to a Counter, 0 is as good as nothing


def test_baselines_of_an_older_agent() -> None:
    """Which had the counters by their names."""
    counters = {"rx_packets": 1, "rx_octets": 2, "tx_packets": 3, "tx_octets": 4}
    assert Baselines([(7, 0, counters), (7, 1, counters)]).state() == [[7, 0, (1, 2)], [7, 1, (3, 4)]]
