"""Proves that flows which are ended on demand are exported once and to the packet, wherever the agent is killed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kernel.test_crash_points import ALL, FRAMES, MOST_LINES, OPTIONS, SIX, STRIDE, afterwards, before, one_crash
from lab.lives import Life, World, world
from xflowd.metering.filtering import parse
from xflowd.metering.flow import FlowEndReason
from xflowd.metering.selecting import Look, every

CASES = 40
FORCED = FlowEndReason.FORCED_END


def chosen(where: World, life: Life, text: str) -> np.ndarray:
    """The slots of the flows that a filter means."""
    kernel, now_ns = life.pipeline.kernel, where.now(10).monotonic_ns
    return every(Look(kernel.slots, kernel.slots_used(), parse(text), now_ns), now_ns)


def flushing(where: World) -> None:
    """Two of the flows are ended, then packets come, then templates are asked for, then the rest is ended."""
    life = Life(where)
    assert life.pipeline.flush_chosen(chosen(where, life, "src portrange 12-13"), where.now(10)) == 2
    where.put(FRAMES, 11)
    for sink in life.sinks:
        sink.announce()
    assert life.pipeline.flush_chosen(np.zeros(0, np.uint32), where.now(12)) == 0
    life.push(13)
    life.pipeline.flush_chosen(chosen(where, life, "any"), where.now(14))
    life.push(15)


def test_killed_at_any_line_of_a_flush() -> None:
    with world(OPTIONS, *ALL) as where:
        assert not one_crash(where, flushing, MOST_LINES)
        length = where.lines
        for lines in range(1, length + 1, STRIDE or -(-length // CASES)):
            one_crash(where, flushing, lines)


@pytest.mark.parametrize(
    ("text", "ended"),
    [("ip6", 1), ("ip", 4), ("src port 11", 1), ("not src port 11 and ip", 3), ("tcp", 0), (f"src port {SIX}", 1)],
)
def test_what_a_filter_means_ends_and_the_rest_goes_on(text: str, ended: int) -> None:
    with world(OPTIONS, *ALL) as where:
        before(where, flushing)
        life = Life(where)
        numbers = chosen(where, life, text)
        assert life.pipeline.flush_chosen(numbers, where.now(10)) == ended
        assert life.pipeline.counters.flows[FORCED] == ended
        assert life.pipeline.flush_chosen(numbers, where.now(10)) == 0, "they are no more"
        assert life.pipeline.in_table().total() == len(FRAMES) - ended
        life.push(11)
        life.close()
        afterwards(where, flushing, 0)


class OutOfMemory:
    """Knows nothing of flows the first time that it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def fill(self, _flows: np.ndarray) -> None:
        self.asked += 1
        if self.asked == 1:
            raise MemoryError


def some_of_them(where: World, life: Life) -> None:
    life.pipeline.flush_chosen(chosen(where, life, "src port 11"), where.now(10))


def those_of_an_interface(where: World, life: Life) -> None:
    life.pipeline.flush_places(set(life.pipeline.in_table()), where.now(10))


@pytest.mark.parametrize(("flush", "ended"), [(some_of_them, 1), (those_of_an_interface, 5)])
def test_a_flush_that_does_not_come_to_its_end_is_finished_by_the_next(
    flush: Callable[[World, Life], None], ended: int
) -> None:
    """The agent goes on after any fault of an answer, and of following interfaces: no slot must stay EXPIRING."""
    with world(OPTIONS, *ALL) as where:
        before(where, flushing)
        life = Life(where)
        life.pipeline._lookups = (OutOfMemory(),)
        with pytest.raises(MemoryError):
            flush(where, life)
        assert life.pipeline.counters.flows[FORCED] == 0
        life.pipeline.flush_chosen(np.zeros(0, np.uint32), where.now(10))
        assert life.pipeline.counters.flows[FORCED] == ended
        assert np.count_nonzero(life.pipeline.kernel.slots["state"]) == 5 - ended
        life.push(11)
        life.close()
        afterwards(where, flushing, 0)


def test_templates_are_sent_at_once_where_there_are_any() -> None:
    with world(OPTIONS, *ALL) as where:
        life = Life(where)
        there = [len(sink.outbox) for sink in life.sinks]  # those of the start
        life.pipeline.flush_chosen(np.zeros(0, np.uint32), where.now(1))
        assert [len(sink.outbox) for sink in life.sinks] == there, "they are not due"
        for sink in life.sinks:
            sink.announce()
        life.pipeline.flush_chosen(np.zeros(0, np.uint32), where.now(1))
        more = [len(sink.outbox) - before for sink, before in zip(life.sinks, there, strict=True)]
        assert more == [int(sink.has_templates) for sink in life.sinks] == [0, 1, 1]
        life.push(2)
        before(where, flushing)
        life.close()
        afterwards(where, flushing, 0)
