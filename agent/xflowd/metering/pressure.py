"""What the meter does when its table runs full: which idle timeout is in force, how many flows end early, when to look
again. RFC 5470 5.1.1 leaves all three to the device.

Three steps, each for what the one before it cannot do:

1. A flow's idle timeout costs slots: new flows a second, times the timeout. Below the low-water mark (a sixteenth of
   the slots free, or what new flows take in a tenth of a second, up to a quarter) the timeout is halved, once a second
   at most, down to a second. Where three fifths of the table are free it goes up again by a half, after as long as the
   present one has had to show what it makes of the table. A load that stays the same is then between two fifths and
   the low-water mark, whatever step it came by, and meets neither again.
2. What is still missing then is freed by ending the oldest flows for lack of resources; at once where packets have
   overflowed, or would before the lower timeout shows. So many slots are to be free as new flows take in a fifth of a
   second, an eighth of the table at least, twice as many each time packets have overflowed, and never more than half.
3. The next look comes before the free slots are used up at the rate of now, and at once after an overflow; only the
   agent never takes more than half of a CPU, and after each look there is a pause in which it can answer.
"""

from __future__ import annotations

LOOK_NS = 1_000_000_000  # from one look to the next while there is room, unless told otherwise
LEAST_IDLE_NS = 1_000_000_000  # no idle timeout is lowered further, and a shorter one not at all
_LOOKS_A_TIMEOUT = 8  # where it is lowered: each look that comes late is a longer timeout in effect
_LEAST_PAUSE_NS = 10_000_000
_STEP_NS = 1_000_000_000  # from one step down to the next: a burst of less than a second costs one
_REMEMBERED_NS = 2_000_000_000  # the highest rate fades in this time: flows come in bursts
_SOON_NS = 100_000_000  # by then a look that follows at once has given back the slots of what it has found
_AHEAD_NS = 200_000_000  # room is made for the new flows of so long
_LONG_LOOK_NS = 250_000_000  # after a longer look the next one ends fewer flows
_LOW_WATER, _MOST_LOW, _LEAST_ROOM, _MOST_ROOM = 16, 4, 8, 2  # slots, divided by these
_FIRST_MOST, _LEAST_MOST, _LEAST_PART = 8192, 1024, 64  # flows a look; of a large table this part at least


class Pressure:
    """Between two looks at the table: call look() with what one has found, then looked() when all of it is done."""

    def __init__(self, idle_ns: int, look_ns: int = LOOK_NS) -> None:
        """`idle_ns` is the configured idle timeout; while there is room, the table is looked at every `look_ns`."""
        self._configured_ns = self._idle_ns = idle_ns
        self._look_ns = look_ns
        self._stepped_ns = -_STEP_NS  # when the timeout in force was changed, or could not be lowered any more
        self._looked_ns: int | None = None
        self._slots = self._free = self._ended = self._overflow = 0
        self._overflowed = self._more = self._stepped_down = False
        self._rate = 0.0  # slots taken in a nanosecond
        self._room = 0  # what was to be free after the last look that had to make room
        #: So many flows may end at one look, whatever their reason: the others wait for the next one, soon after.
        self.most = _FIRST_MOST

    @property
    def idle_ns(self) -> int:
        """The idle timeout in force."""
        return self._idle_ns

    @property
    def lowered(self) -> bool:
        """Whether it is shorter than the configured one."""
        return self._idle_ns < self._configured_ns

    def configure(self, idle_ns: int, look_ns: int = LOOK_NS) -> None:
        """What is configured is another from now on."""
        self._look_ns = look_ns
        if not self.lowered or idle_ns < self._idle_ns:
            self._idle_ns = idle_ns
        self._configured_ns = idle_ns

    def look(self, slots: int, free: int, ending: int, overflow_packets: int, now_ns: int) -> int:
        """How many flows have to end for lack of resources, of a table of `slots` with so many of them `free`.

        `ending` slots come free anyway now; `overflow_packets` is the kernel's total. Also steps the idle timeout,
        for the next scan.
        """
        self._measure(slots, free, overflow_packets, now_ns)
        self._more = ending > self.most
        ending = min(ending, self.most)
        low = max(slots // _LOW_WATER, min(slots // _MOST_LOW, round(self._rate * _SOON_NS)))
        short = free + ending < low or self._overflowed
        self._step(short, slots - free - ending, now_ns)
        can_wait = self._stepped_down and not self._overflowed and free + ending > self._rate * _SOON_NS
        wanted = self._wanted_free(short and not can_wait)
        room = min(max(0, wanted - free - ending), self.most - ending)
        self._ended, self._free = ending + room, free + ending + room
        return room

    def looked(self, began_ns: int, ended_ns: int, cpu_ns: int) -> int:
        """When to look again, in nanoseconds of the monotonic clock, after a look from `began_ns` to `ended_ns`.

        `cpu_ns` is what it took of a CPU: less, for it waits for grace periods.
        """
        took_ns = ended_ns - began_ns
        if 2 * self._ended > self.most:
            times = min(2.0, _LONG_LOOK_NS / max(1, took_ns))
            self.most = max(_LEAST_MOST, self._slots // _LEAST_PART, int(self.most * times))
        due_ns = began_ns + min(self._look_ns, self._idle_ns // _LOOKS_A_TIMEOUT if self.lowered else self._look_ns)
        if self._overflowed or self._more or self._stepped_down:
            due_ns = ended_ns
        elif self._rate > 0:
            due_ns = min(due_ns, began_ns + round(self._free / (2 * self._rate)))  # the next one takes as long again
        return max(due_ns, ended_ns + _LEAST_PAUSE_NS, began_ns + 2 * cpu_ns)

    def _measure(self, slots: int, free: int, overflow_packets: int, now_ns: int) -> None:
        """What happened since the last look; the first one begins with what was. Another table counts from 0 again."""
        self._overflowed = self._looked_ns is not None and overflow_packets not in (0, self._overflow)
        self._overflow = overflow_packets
        if self._looked_ns is None or slots != self._slots:
            self._rate = 0.0
        else:
            since_ns = max(1, now_ns - self._looked_ns)
            kept = self._rate * max(0.0, 1 - since_ns / _REMEMBERED_NS)
            self._rate = max(kept, (self._free - free) / since_ns)
        self._slots, self._looked_ns = slots, now_ns

    def _wanted_free(self, short: bool) -> int:
        """So many slots are to be free after this look. A table of fewer than 16 makes room after an overflow only."""
        if not short:
            self._room = 0
            return 0
        coming = round(self._rate * _AHEAD_NS)
        wanted = max(1, self._slots // _LEAST_ROOM, coming, 2 * self._room if self._overflowed else 0)
        self._room = min(wanted, max(1, self._slots // _MOST_ROOM))
        return self._room

    def _step(self, short: bool, live: int, now_ns: int) -> None:
        """Set the idle timeout for the next scan."""
        since_ns, before_ns = now_ns - self._stepped_ns, self._idle_ns
        if short and since_ns >= _STEP_NS and not self._more:
            self._idle_ns, self._stepped_ns = max(min(LEAST_IDLE_NS, before_ns), before_ns // 2), now_ns
        elif self.lowered and not short and since_ns >= before_ns and 5 * live <= 2 * self._slots:
            self._idle_ns, self._stepped_ns = min(self._configured_ns, before_ns * 3 // 2), now_ns
        self._stepped_down = self._idle_ns < before_ns
