"""Proves that an agent can be killed between any two lines: not a packet is lost or counted twice, and nothing stays.

A life of the agent is cut off after the 1st, 2nd, 3rd ... line, and each time the next one takes over. What came of it
is seen from outside: by the collectors, and in the table. XFLOWD_CRASH_STRIDE=1 takes every line; else it is a sample.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kernel.frames import IPV6, UDP, dns, ethernet, ipv6, numbered, udp
from kernel.hammer import at_random
from kernel.running import cpus
from lab.lives import Life, World, left_in, world
from xflowd.config.schema import ExportProtocol
from xflowd.edge import journal
from xflowd.edge.loading import LoadOptions

STRIDE = int(os.environ.get("XFLOWD_CRASH_STRIDE", "0"))
CASES = 40  # of each life, where not every line is taken
MOST_LINES = 20_000
OPTIONS = LoadOptions(8, buckets=4, replayed_clock=True, programs=("read_clocks", "tc_ingress"))
ALL = (ExportProtocol.NETFLOW5, ExportProtocol.NETFLOW9, ExportProtocol.IPFIX)
SIX = 600  # the port of the IPv6 flow

FRAMES = {port: dns(port) for port in (11, 12, 13, 14)} | {SIX: numbered(ethernet(IPV6) + ipv6(UDP, udp(SIX, 53)), 1)}
PORTS = range(20, 60)  # while packets come all the time
CALLS, LEAST_CRASHES = 150_000, 5
MANY = {port: dns(port) for port in range(100, 112)}  # more flows than the table has slots

Lifetime = Callable[[World], None]


def usual(where: World) -> None:
    """Two flows end by idle timeout and two go on, of which one has just begun; then all are flushed."""
    life = Life(where)
    where.put({port: FRAMES[port] for port in (13, SIX)}, 15)
    life.pipeline.tick(where.now(16))
    where.put({11: FRAMES[11]}, 17)
    life.push(18)
    life.pipeline.tick(where.now(80))
    where.put(FRAMES, 81)
    life.pipeline.flush(where.now(82))
    life.push(83)


def overflowing(where: World) -> None:
    """The table is too small: packets overflow, room is made."""
    life = Life(where)
    where.put(MANY, 1)
    life.pipeline.tick(where.now(2))
    where.put(MANY, 3)
    life.pipeline.tick(where.now(4))
    life.push(5)


def reloading(where: World) -> None:
    """Another table comes into use and the old one is emptied into the collectors."""
    life = Life(where, where.tables[:1])
    life.switch(5)
    life.pipeline.tick(where.now(20))
    life.push(21)


LIVES: dict[str, Lifetime] = {"usual": usual, "overflowing": overflowing, "reloading": reloading}


@pytest.mark.parametrize("name", LIVES)
def test_killed_at_any_line(name: str) -> None:
    with world(OPTIONS, *ALL) as where:
        length = length_of(where, LIVES[name])
        for lines in range(1, length + 1, STRIDE or -(-length // CASES)):
            one_crash(where, LIVES[name], lines)


def test_killed_again_while_taking_over() -> None:
    draw = random.Random(4)
    with world(OPTIONS, *ALL) as where:
        length = length_of(where, usual)
        for _ in range(CASES if not STRIDE else 10 * CASES):
            before(where, usual)
            cut(where, usual, draw.randrange(1, length))
            where.put(FRAMES, 90)
            where.seconds += 100
            cut(where, usual, draw.randrange(1, length // 2))
            afterwards(where, usual, 2)


def length_of(where: World, lifetime: Lifetime) -> int:
    """Lines of a life that comes to its end."""
    assert not one_crash(where, lifetime, MOST_LINES)
    return where.lines


def one_crash(where: World, lifetime: Lifetime, lines: int) -> bool:
    """False: there are not so many lines."""
    before(where, lifetime)
    crashed = cut(where, lifetime, lines)
    afterwards(where, lifetime, 1)
    return crashed


def before(where: World, lifetime: Lifetime) -> None:
    """What the life finds."""
    where.seconds += 100
    where.put(FRAMES)
    if lifetime is reloading:
        where.new_table()
        where.put({port: FRAMES[port] for port in (12, SIX)}, 1)


def cut(where: World, lifetime: Lifetime, lines: int) -> bool:
    return where.cut_off(lambda: lifetime(where), lines)


def afterwards(where: World, lifetime: Lifetime, crashes: int) -> None:
    """The next agent takes over, packets come, and everything goes out: is it all that was put in?"""
    where.put(FRAMES, 90)
    where.seconds += 100
    life = Life(where)
    where.put(FRAMES, 1)
    life.pipeline.flush(where.now(2))
    life.push(3)
    for each in where.collectors:
        each.read(crashes)
    assert [len(sink.outbox) for sink in life.sinks] == [0] * len(life.sinks)
    assert [(sink.unsent, sink.dropped) for sink in life.sinks] == [(Counter(), Counter())] * len(life.sinks)
    compare(where, life)
    assert left_in(life.pipeline.kernel) == []
    life.close()
    where.forget_tables()


def compare(where: World, life: Life) -> None:
    put_in = Counter({port: int(where.put_in[port]) for port in (*FRAMES, *MANY, *PORTS)})
    overflowed = life.pipeline.outcomes()["PACKETS_OVERFLOW"]
    counters = life.pipeline.counters
    assert counters.packet_total_count == put_in.total()
    assert counters.octet_total_count == int(where.put_in[-1])
    assert counters.packets_by_place.total() == put_in.total()
    assert life.pipeline.outcomes()["PACKETS_SEEN"] == put_in.total()
    for each in where.collectors:
        received, is_v5 = each.received, each.collector.protocol is ExportProtocol.NETFLOW5
        tellable = put_in - Counter({SIX: put_in[SIX] if is_v5 else 0})
        if overflowed:  # which packets were those depends on where the life was cut off
            assert received.packets.total() == tellable.total(), received.name
            assert received.packets[0] <= overflowed
        else:
            assert received.packets == tellable, received.name


#: What comes after a tick that could not be committed.
SEQUELS: dict[str, Callable[[World, Life], None]] = {
    "the next tick": lambda where, life: life.pipeline.tick(where.now(21)),
    "another commit": lambda where, life: (life.journal.commit(), life.pipeline.tick(where.now(21)))[1],
    "a flush": lambda where, life: life.pipeline.flush(where.now(21)),
    "another table": lambda where, life: (where.new_table(), life.switch(21))[1],
    "a crash": lambda where, life: None,
}


@pytest.mark.parametrize("sequel", SEQUELS)
def test_journal_without_room(sequel: str) -> None:
    """A transaction that fails has not been: flows and packets of overflow go out later, and once."""
    with world(OPTIONS, *ALL) as where:
        for each in where.collectors:
            each.received.may_skip = True
        before(where, overflowing)
        where.put(MANY, 1)
        life, much = Life(where), ["x" * journal.OCTETS]
        life.journal.include("much", lambda: much[0])
        with pytest.raises(OSError, match="no room"):
            life.pipeline.tick(where.now(20))
        life.pipeline.fail()
        much[0] = ""
        SEQUELS[sequel](where, life)
        life.push(25)
        life.close()
        afterwards(where, usual, 0)


@pytest.mark.skipif(len(cpus()) < 2, reason="this machine has one CPU")
def test_killed_while_packets_come() -> None:
    """The same while two CPUs send all the time, and agents wait for them as they do."""
    draw, frames, crashes = random.Random(5), [dns(port) for port in PORTS], 0
    with world(replace(OPTIONS, max_flows=128), *ALL, waits=True) as where:
        length = length_of(where, restless)
        with at_random(where.tables[0].kernel, cpus()[:2], frames, CALLS) as hammer:
            while hammer.running:
                crashes += where.cut_off(lambda: restless(where), draw.randrange(1, length))
            hammer.join()
        where.put_in[PORTS.start : PORTS.stop] += hammer.sent.sum(axis=0)
        where.put_in[-1] += hammer.sent.sum() * np.uint64(len(frames[0]) - 14)
        assert crashes >= LEAST_CRASHES, "hardly any life was cut off"
        afterwards(where, restless, crashes)


def restless(where: World) -> None:
    """All flows end, again and again."""
    life = Life(where)
    for _ in range(3):
        life.pipeline.flush(where.now())
        life.push()
