"""Datagrams on their way to one collector, in memory that outlives the agent: a ring of frames behind a few words.

What is put in becomes valid by a transaction that is not kept here: whoever keeps the journal writes down `end`,
then calls commit(). How far the ring was sent stands in the memory itself and moves with each datagram.
"""

from __future__ import annotations

import struct

#: Words of the header, 64 bits each in the host's byte order: this memory never leaves the host. Each has one writer
#: and is moved by one store. `_READ` is moved last: a kill before that sends, and counts, one datagram again.
_LAYOUT, _READ, _SENT_DATAGRAMS, _SENT_OCTETS, _SENT_FLOWS, _DROPPED_DATAGRAMS = range(6)
_TOTALS = (_SENT_DATAGRAMS, _SENT_OCTETS, _SENT_FLOWS, _DROPPED_DATAGRAMS)
_HEADER_OCTETS = 64
_THIS_LAYOUT = 0x7866_6F78_0000_0001
_LENGTH = struct.Struct("=I")  # before each datagram; frames are aligned to it, so that it is never cut in two
LEAST_OCTETS = 64 << 10
_POSITIONS = 1 << 64


class Outbox:
    """A queue over writable memory. Positions are octets since the first frame ever put; they only grow.

    `memory` is all zeroes, or that of a predecessor, to be taken over with restore(). Raises ValueError if it has
    less than LEAST_OCTETS.
    """

    def __init__(self, memory: bytearray | memoryview) -> None:
        octets = memoryview(memory).cast("B")
        if len(octets) < LEAST_OCTETS:
            raise ValueError(f"an outbox of {len(octets)} octets: use {LEAST_OCTETS} or more")
        self._words = octets[:_HEADER_OCTETS].cast("Q")
        self._ring = octets[_HEADER_OCTETS : len(octets) // _LENGTH.size * _LENGTH.size]
        self._is_known = self._words[_LAYOUT] in (_THIS_LAYOUT, 0)
        if self._words[_LAYOUT] != _THIS_LAYOUT:
            self._empty(0)
        self.written = self.end = self._words[_READ]
        self._waiting = self._uncommitted = 0

    def __len__(self) -> int:
        """Datagrams that wait to be sent: those committed."""
        return self._waiting

    @property
    def capacity(self) -> int:
        """Octets that are free when it is empty."""
        return len(self._ring)

    @property
    def room(self) -> int:
        """Octets that are free, of which a datagram takes `frame_octets`."""
        return len(self._ring) - (self.end - self._words[_READ])

    @property
    def octets(self) -> int:
        """Octets that wait to be sent, with what their frames take."""
        return self.written - self.read

    @property
    def read(self) -> int:
        """The position up to which everything was sent or dropped."""
        return self._words[_READ]

    @property
    def sent_datagrams(self) -> int:
        return self._words[_SENT_DATAGRAMS]

    @property
    def sent_octets(self) -> int:
        return self._words[_SENT_OCTETS]

    @property
    def sent_flows(self) -> int:
        return self._words[_SENT_FLOWS]

    @property
    def dropped_datagrams(self) -> int:
        return self._words[_DROPPED_DATAGRAMS]

    @property
    def totals(self) -> tuple[int, ...]:
        """All that it counts, for one that takes its place: see count_on()."""
        return tuple(self._words[word] for word in _TOTALS)

    def count_on(self, totals: tuple[int, ...]) -> None:
        """Go on counting where an outbox of another size has ended."""
        for word, total in zip(_TOTALS, totals, strict=True):
            self._words[word] = total

    def put(self, datagram: bytes | memoryview) -> bool:
        """Append a datagram of one octet at least. It is not sent before commit(). False: there is no room."""
        size = frame_octets(len(datagram))
        if size > self.room:
            return False
        _LENGTH.pack_into(self._ring, self.end % len(self._ring), len(datagram))
        start = (self.end + _LENGTH.size) % len(self._ring)
        before_turn = min(len(datagram), len(self._ring) - start)
        self._ring[start : start + before_turn] = datagram[:before_turn]
        self._ring[: len(datagram) - before_turn] = datagram[before_turn:]
        self.end += size
        self._uncommitted += 1
        return True

    def commit(self) -> None:
        """What was put may be sent from now on: a journal has `end`."""
        self.written = self.end
        self._waiting, self._uncommitted = self._waiting + self._uncommitted, 0

    def rollback(self) -> None:
        """What was put since the last commit was never put."""
        self.end, self._uncommitted = self.written, 0

    def peek(self) -> memoryview | None:
        """The next datagram to send, to be used before anything else is called; None if nothing waits."""
        if not self._waiting:
            return None
        start = (self.read + _LENGTH.size) % len(self._ring)
        length = self._length(self.read)
        before_turn = self._ring[start : start + length]
        if len(before_turn) == length:
            return before_turn
        return memoryview(bytes(before_turn) + bytes(self._ring[: length - len(before_turn)]))

    def sent(self, flows: int = 0) -> None:
        """The datagram of peek(), with so many flow records, was sent."""
        words, length = self._words, self._length(self.read)
        words[_SENT_DATAGRAMS] += 1
        words[_SENT_OCTETS] += length
        words[_SENT_FLOWS] += flows
        self._next(length)

    def drop(self) -> None:
        """The datagram of peek() will never be sent."""
        self._words[_DROPPED_DATAGRAMS] += 1
        self._next(self._length(self.read))

    def restore(self, written: int) -> bool:
        """Go on where a predecessor was killed whose last journal had `written`: what lies beyond was never valid.

        False: this memory does not fit together with that journal. What is in it is lost, and the outbox is empty.
        """
        waiting = self._frames(written) if self._is_known else None
        if waiting is None:
            self._empty(written if 0 <= written < _POSITIONS else 0)
        self.written = self.end = self.read if waiting is None else written
        self._waiting, self._uncommitted = waiting or 0, 0
        return waiting is not None

    def close(self) -> None:
        """Let go of the memory, so that it can be unmapped."""
        self._words.release()
        self._ring.release()

    def _frames(self, written: int) -> int | None:
        """How many frames lead from `read` to just `written`; None if they do not."""
        position, count = self.read, 0
        if not 0 <= written - position <= len(self._ring) or position % _LENGTH.size:
            return None
        while position < written:
            length = self._length(position)
            position, count = position + frame_octets(length), count + 1
            if not length:
                return None
        return count if position == written else None

    def _empty(self, position: int) -> None:
        """Nothing in it. What was counted stays, if it was this layout that it was counted in."""
        position -= position % _LENGTH.size
        if not self._is_known:
            self._words[_LAYOUT] = 0
            for word in _TOTALS:
                self._words[word] = 0
        self._words[_READ] = position
        self._words[_LAYOUT] = _THIS_LAYOUT

    def _length(self, position: int) -> int:
        length: int = _LENGTH.unpack_from(self._ring, position % len(self._ring))[0]
        return length

    def _next(self, length: int) -> None:
        self._words[_READ] += frame_octets(length)
        self._waiting -= 1


def frame_octets(length: int) -> int:
    """What a datagram of so many octets takes of the room."""
    return _LENGTH.size + -(-length // _LENGTH.size) * _LENGTH.size
