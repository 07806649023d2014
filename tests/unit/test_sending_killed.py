"""Proves that kill -9 at any moment loses no flow and sends at most one datagram twice: processes that are killed."""

from __future__ import annotations

import mmap
import os
import random
import signal
import socket
import struct
import time
from collections import Counter

import pytest
from wire_helpers import NOW, after, many

from xflowd.collectors import CollectorSink
from xflowd.config import Collector, Sampling
from xflowd.config.values import Endpoint
from xflowd.edge import journal
from xflowd.edge.journal import Journal

LIVES = 12
MOST_UNREAD = 30  # datagrams that the receiver's buffer is trusted with
_FLOW_SET, _FLOW_OCTETS, _OCTETS_AT = 1004, 92, 28


class Shared:
    """What outlives a process: the outbox, the journal, and how many datagrams the receiver has read."""

    def __init__(self) -> None:
        self.outbox = memoryview(mmap.mmap(-1, 1 << 18))
        self.journal = memoryview(mmap.mmap(-1, journal.OCTETS))[: journal.OCTETS]
        self.received = memoryview(mmap.mmap(-1, 4096)).cast("Q")


@pytest.mark.parametrize("seed", range(3))
def test_no_flow_is_lost_and_one_datagram_a_life_comes_twice(seed: int) -> None:
    shared, moments = Shared(), random.Random(seed)
    datagrams: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
        receiving.bind(("127.0.0.1", 0))
        receiving.settimeout(10)
        port = receiving.getsockname()[1]
        for _ in range(LIVES):
            child = os.fork()
            if not child:
                _live(shared, port)
            try:
                for _ in range(moments.randint(1, 40)):
                    datagrams.append(receiving.recv(65535))
                    shared.received[0] += 1
                time.sleep(moments.random() / 200)
            finally:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        given = _last_life(shared, port)
        receiving.setblocking(False)
        while True:
            try:
                datagrams.append(receiving.recv(65535))
            except BlockingIOError:
                break
    distinct = list(dict.fromkeys(datagrams))
    assert len(datagrams) - len(distinct) <= LIVES
    assert given > 100
    assert sum((_flows(each) for each in distinct), Counter()) == Counter(range(1000, 1000 + given))
    _assert_sequence(distinct)


def _live(shared: Shared, port: int) -> None:
    """Take flows, each with a number of its own, and send them, until killed."""
    try:
        to, kept, given = _take_over(shared, port)
        for second in range(100_000):
            given = _take(to, kept, given, second)
            for step in range(1000):
                while to.outbox.sent_datagrams > shared.received[0] + MOST_UNREAD:
                    time.sleep(0.0005)
                if to.push(after(second + step / 100)) is None:
                    break
    finally:
        os._exit(1)


def _last_life(shared: Shared, port: int) -> int:
    """Send what is left. Returns how many flows were ever given."""
    to, _, given = _take_over(shared, port)
    for step in range(1000):
        if to.push(after(step / 100)) is None:
            break
    assert len(to.outbox) == 0
    assert to.unsent == to.dropped == {}
    assert to.outbox.sent_flows >= given[0]
    to.close()
    return given[0]


def _take_over(shared: Shared, port: int) -> tuple[CollectorSink, Journal, list[int]]:
    """As the agent does it. `given` stands for the slots of the table: what is in the journal is given back."""
    to = CollectorSink(Collector("main", Endpoint("127.0.0.1", port), observation_domain=7), Sampling(), shared.outbox)
    kept = Journal(shared.journal)
    given = [kept.remembered("given") or 0]
    if kept.committed:
        to.restore(kept.remembered("collector"))
    kept.include("collector", to.state)
    kept.include("given", lambda: given[0])
    to.ready(NOW)
    return to, kept, given


def _take(to: CollectorSink, kept: Journal, given: list[int], second: int) -> list[int]:
    """One transaction of the next 70 flows."""
    flows = many(70)
    flows["octet_delta_count"] += given[0]
    to.take(flows, after(second))
    given[0] += len(flows)
    kept.commit()
    to.commit()
    return given


def _sets(message: bytes) -> list[tuple[int, bytes]]:
    at, found = 16, []
    while at < len(message):
        set_id, length = struct.unpack_from(">HH", message, at)
        found.append((set_id, message[at + 4 : at + length]))
        at += length
    return found


def _flows(message: bytes) -> Counter[int]:
    """octetDeltaCount of every flow."""
    return Counter(
        struct.unpack_from(">Q", content, at + _OCTETS_AT)[0]
        for set_id, content in _sets(message)
        if set_id == _FLOW_SET
        for at in range(0, len(content), _FLOW_OCTETS)
    )


def _assert_sequence(messages: list[bytes]) -> None:
    """Over all lives one sequence without a gap (RFC 7011 3.1)."""
    size, expected = {1004: 92, 1010: 24, 1011: 40, 1012: 44}, 0
    for message in messages:
        assert struct.unpack_from(">I", message, 8)[0] == expected
        expected += sum(len(content) // size[set_id] for set_id, content in _sets(message) if set_id >= 256)
