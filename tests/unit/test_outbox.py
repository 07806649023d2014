"""Proves that an outbox keeps every datagram that was committed, once and in order, wherever its owner is killed."""

from __future__ import annotations

import mmap
import os
import random
import signal
from collections.abc import Iterator

import pytest

from xflowd.edge.outbox import LEAST_OCTETS, Outbox, frame_octets


def memory(octets: int = LEAST_OCTETS) -> bytearray:
    return bytearray(octets)


def datagram(number: int, length: int) -> bytes:
    """Octets that tell where each of them belongs."""
    return (number.to_bytes(4, "big") * (length // 4 + 1))[:length]


def sent_all(outbox: Outbox) -> Iterator[bytes]:
    while (waiting := outbox.peek()) is not None:
        yield bytes(waiting)
        outbox.sent()


@pytest.mark.parametrize("lengths", [(1,), (4,), (3, 5, 1400), (1, 2, 3, 4, 5, 6, 7, 8), (65_000,), (1464,) * 40])
def test_what_goes_in_comes_out(lengths: tuple[int, ...]) -> None:
    outbox = Outbox(memory())
    put = [datagram(number, length) for number, length in enumerate(lengths)]
    assert all(map(outbox.put, put))
    outbox.commit()
    assert len(outbox) == len(put)
    assert outbox.octets == sum(map(frame_octets, lengths)) == outbox.capacity - outbox.room
    assert list(sent_all(outbox)) == put
    assert (len(outbox), outbox.octets, outbox.room) == (0, 0, outbox.capacity)
    assert (outbox.sent_datagrams, outbox.sent_octets) == (len(put), sum(lengths))


def test_a_datagram_waits_for_its_commit() -> None:
    outbox = Outbox(memory())
    outbox.put(b"one")
    assert (outbox.peek(), len(outbox), outbox.octets) == (None, 0, 0)
    outbox.commit()
    outbox.put(b"two")
    assert list(sent_all(outbox)) == [b"one"]
    outbox.rollback()
    outbox.commit()
    assert list(sent_all(outbox)) == []
    assert outbox.room == outbox.capacity


def test_what_does_not_fit_is_refused_and_the_rest_kept() -> None:
    outbox, put = Outbox(memory()), []
    while outbox.put(each := datagram(len(put), 1000)):
        put.append(each)
    assert outbox.room < frame_octets(1000)
    assert len(put) == outbox.capacity // frame_octets(1000)
    outbox.commit()
    assert list(sent_all(outbox)) == put
    assert outbox.put(bytes(outbox.capacity - 4))
    assert not outbox.put(b"x")


def test_every_place_of_the_turn() -> None:
    """Lengths that share no factor with the ring's put a frame across its end in every way there is."""
    outbox, seed = Outbox(memory()), random.Random(1)
    for number in range(2000):
        put = [datagram(number + at, seed.randint(1, 1500)) for at in range(3)]
        assert all(map(outbox.put, put))
        outbox.commit()
        assert list(sent_all(outbox)) == put
    assert outbox.read > 10 * outbox.capacity


def test_counters() -> None:
    outbox = Outbox(memory())
    for length in (10, 20, 30):
        outbox.put(bytes(length))
    outbox.commit()
    outbox.sent(flows=7)
    outbox.drop()
    outbox.sent(flows=5)
    assert (outbox.sent_datagrams, outbox.sent_octets, outbox.sent_flows, outbox.dropped_datagrams) == (2, 40, 12, 1)


def test_a_successor_goes_on() -> None:
    ring = memory()
    first = Outbox(ring)
    for number in range(5):
        first.put(datagram(number, 100))
    first.commit()
    first.sent(flows=3)
    journal = first.end
    first.put(b"garbage after a crash")
    second = Outbox(ring)
    assert second.restore(journal)
    assert (len(second), second.sent_datagrams, second.sent_flows) == (4, 1, 3)
    second.put(datagram(5, 100))
    second.commit()
    assert list(sent_all(second)) == [datagram(number, 100) for number in range(1, 6)]


@pytest.mark.parametrize(
    ("spoil", "written"),
    [
        (slice(0, 0), 104 + 4),  # not the end of a frame
        (slice(0, 0), 103),
        (slice(0, 0), -8),
        (slice(0, 0), 1 << 70),
        (slice(0, 0), LEAST_OCTETS + 8),
        (slice(0, 8), 208),  # another layout
        (slice(8, 16), 208),  # `read` is nonsense
        (slice(64, 68), 208),  # the first length
    ],
)
def test_a_journal_of_something_else_empties_it(spoil: slice, written: int) -> None:
    ring = memory()
    first = Outbox(ring)
    first.put(bytes(100))
    first.put(bytes(100))
    first.commit()
    ring[spoil] = b"\xff" * (spoil.stop - spoil.start)
    second = Outbox(ring)
    assert not second.restore(written)
    assert (len(second), second.peek(), second.room) == (0, None, second.capacity)
    second.put(b"goes on")
    second.commit()
    third = Outbox(ring)
    assert third.restore(second.written)
    assert list(sent_all(third)) == [b"goes on"]


def test_random_octets_are_no_outbox() -> None:
    seed = random.Random(2)
    for _ in range(50):
        ring = bytearray(seed.randbytes(LEAST_OCTETS))
        outbox = Outbox(ring)
        assert not outbox.restore(seed.randrange(1 << 64))
        assert (outbox.sent_datagrams, outbox.sent_octets, outbox.dropped_datagrams) == (0, 0, 0)
        outbox.put(b"x")
        outbox.commit()
        assert list(sent_all(outbox)) == [b"x"]


def test_too_little_memory() -> None:
    with pytest.raises(ValueError, match="65536 or more"):
        Outbox(memory(LEAST_OCTETS - 1))


def test_the_memory_can_be_unmapped_after_close() -> None:
    mapped = mmap.mmap(-1, LEAST_OCTETS)
    outbox = Outbox(memoryview(mapped))
    outbox.put(b"x")
    outbox.commit()
    assert outbox.peek() == b"x"
    outbox.close()
    mapped.close()


def test_every_moment_of_a_life_can_be_the_last() -> None:
    """At each step the memory is copied, as a kill would leave it, and a successor sends the rest of the copy."""
    ring, journal, sent, number = memory(), 0, [], 0
    outbox, seed = Outbox(ring), random.Random(3)

    def successor_has(repeated: int) -> None:
        successor = Outbox(bytearray(ring))
        assert successor.restore(journal)
        assert [*sent[: len(sent) - repeated], *sent_all(successor)] == committed

    committed: list[bytes] = []
    for _ in range(400):
        put = []
        for _ in range(seed.randint(0, 4)):
            put.append(datagram(number, seed.randint(1, 1500)))
            assert outbox.put(put[-1])
            successor_has(0)
            number += 1
        journal, committed = outbox.end, committed + put
        successor_has(0)
        outbox.commit()
        for _ in range(seed.randint(0, 5)):
            if (waiting := outbox.peek()) is not None:
                sent.append(bytes(waiting))
                successor_has(1)
                outbox.sent()
                successor_has(0)
        committed, sent = committed[len(sent) :], []


@pytest.mark.parametrize("round_", range(6))
def test_killed_anywhere_it_repeats_one_datagram_and_loses_none(round_: int) -> None:
    """A child puts, writes its journal and sends, until it is killed; what it has sent is a pipe that outlives it.

    Its journal is one word, written in one store. A successor sends what is left, and everything committed is there.
    """
    ring, journal = mmap.mmap(-1, LEAST_OCTETS), mmap.mmap(-1, 4096)
    reading, writing = os.pipe2(0)
    child = os.fork()
    if not child:
        _send_for_ever(Outbox(memoryview(ring)), memoryview(journal).cast("Q"), writing)
    os.close(writing)
    sent = [int.from_bytes(os.read(reading, 4), "big") for _ in range(500 + 137 * round_)]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while octets := os.read(reading, 4):
        sent.append(int.from_bytes(octets, "big"))
    os.close(reading)
    successor = Outbox(memoryview(ring))
    words = memoryview(journal).cast("Q")
    assert successor.restore(words[0])
    committed = words[0] // frame_octets(400)
    left = [int.from_bytes(each[:4], "big") for each in sent_all(successor)]
    repeated = len(set(sent) & set(left))
    assert repeated <= 1
    assert sorted(set(sent) | set(left)) == list(range(committed))
    assert len(sent) + len(left) == committed + repeated


def _send_for_ever(outbox: Outbox, journal: memoryview, pipe: int) -> None:
    number = 0
    while number < 1_000_000:
        while number % 20 or not outbox.end > outbox.written:
            outbox.put(datagram(number, 400))
            number += 1
        journal[0] = outbox.end
        outbox.commit()
        while (waiting := outbox.peek()) is not None:
            os.write(pipe, waiting[:4])
            outbox.sent()
    os._exit(1)
