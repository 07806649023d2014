"""Proves what a flow's rate is between two looks, whatever has become of the flow in between."""

from __future__ import annotations

from typing import Any

import pytest

from xflowd.watching.figures import cut, seconds, short
from xflowd.watching.rates import Rate, rates, sample

SECOND = 10**9


def flow(name: str, octets: int, packets: int, age: float, **elements: Any) -> dict[str, Any]:
    told = {"sourceIPv4Address": "192.0.2.1", "sourceTransportPort": 1, "flowDirection": 0, **elements}
    return {"id": name, "octetDeltaCount": octets, "packetDeltaCount": packets, "age_seconds": age, **told}


BEFORE = sample(100 * SECOND, [flow("1-a", 1000, 10, 30)])


@pytest.mark.parametrize(
    ("at", "now", "rate"),
    [
        (102, flow("1-a", 3000, 20, 32), Rate(8000, 5)),  # it goes on
        (102, flow("1-a", 1000, 10, 32), Rate(0, 0)),  # it rests
        (102, flow("2-b", 1000, 10, 0.5, sourceTransportPort=2), Rate(4000, 5)),  # it began meanwhile
        (102, flow("2-b", 1000, 10, 0.5), Rate(16000, 20)),  # an active timeout has cut it: all of it is of 0.5 s
        (102, flow("2-b", 1000, 10, 0.0), Rate(80000, 100)),  # just so; a packet alone is no rate
        (102, flow("2-b", 1000, 10, 20, sourceTransportPort=2), Rate(400, 0.5)),  # it was not among those shown
        (100, flow("1-a", 1000, 10, 30), Rate(8000 / 30, 1 / 3)),  # the same look: over its life
        (99, flow("1-a", 1000, 10, 30), Rate(8000 / 30, 1 / 3)),  # another host, whose clock is behind
    ],
)
def test_a_rate(at: int, now: dict[str, Any], rate: Rate) -> None:
    assert rates(BEFORE, at * SECOND, [now]) == [rate]


@pytest.mark.parametrize(("age", "rate"), [(0.0, Rate(8000, 10)), (0.5, Rate(8000, 10)), (10, Rate(800, 1))])
def test_at_the_first_look_it_is_that_of_the_whole_life(age: float, rate: Rate) -> None:
    assert rates(None, 0, [flow("1-a", 1000, 10, age)]) == [rate]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (99_999, "99999"), (100_000, "100k"), (999_499, "999k"), (999_500, "1.00M"), (1_234_567, "1.23M"),
     (12_345_678, "12.3M"), (1e18, "1.00E"), (1e30, "huge"), (0.4, "0"), (99_999.6, "100k"),
     (10**15 - 1, "1.00P")],
)  # fmt: skip
def test_figures_fit_five_characters(value: float, text: str) -> None:
    assert short(value) == text
    assert len(text) <= 5


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0"), (9.94, "9.9"), (10.9, "10"), (599, "599"), (600, "10m"), (3600, "60m"), (36000, "10h"),
     (86400 * 9, "216h"), (86400 * 10, "10d"), (86400 * 999, "999d"), (86400 * 1000, "old")],
)  # fmt: skip
def test_times_fit_four_characters(value: float, text: str) -> None:
    assert seconds(value) == text
    assert len(text) <= 4


@pytest.mark.parametrize("width", range(1, 60))
@pytest.mark.parametrize("text", ["[2001:db8:1234:5678:9abc:def0:1234:5678]:65535", "255.255.255.255:65535", "x", ""])
def test_what_is_cut_fits_and_keeps_its_port(text: str, width: int) -> None:
    assert len(cut(text, width)) == min(width, len(text))
    if width >= 14:
        assert cut(text, width).endswith(text[-6:])
