"""Proves which flows end when, and for which reason: timelines of a table, with the clock as an argument."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from kernel.objectfile import structure
from xflowd.metering.expiry import QUIET_AFTER_END_NS, Scan, Timeouts, at_most, everything, make_room, scan
from xflowd.metering.flow import FlowEndReason
from xflowd.metering.table import Records, SlotState

SECOND = 10**9
TIMEOUTS = Timeouts(active_ns=60 * SECOND, idle_ns=15 * SECOND)
IDLE, ACTIVE, END, FORCED, LACK = FlowEndReason
NEVER = 0


@dataclass(frozen=True)
class Slot:
    """A flow's slot; times in seconds. `others` is the last packet that another CPU counted, 0 for none."""

    start: float = 0
    own: float = 0
    others: float = 0
    end_seen: bool = False
    state: SlotState = SlotState.LIVE
    packets: int = 1


def table(*rows: Slot) -> Records:
    slots = np.zeros(len(rows), structure("flow_slot"))
    for slot, row in zip(slots, rows, strict=True):
        slot["state"], slot["end_seen"] = row.state, row.end_seen
        slot["flow_start_ns"] = round(row.start * SECOND)
        slot["own"]["flow_end_ns"] = round(row.own * SECOND)
        slot["own"]["packet_delta_count"] = row.packets
        slot["others"]["flow_end_ns"] = round(row.others * SECOND)
    return slots


def reasons(found: Scan) -> dict[int, int]:
    assert found.numbers.dtype == np.uint32
    assert len(set(found.numbers.tolist())) == len(found.numbers)
    return dict(zip(found.numbers.tolist(), found.reasons.tolist(), strict=True))


TIMELINE = [  # the slot, seconds now, reason
    ("a packet just now", Slot(100, 100), 100, NEVER),
    ("quiet, not for long enough", Slot(100, 100), 114.999999999, NEVER),
    ("quiet for the idle timeout", Slot(100, 100), 115, IDLE),
    ("quiet for much longer", Slot(100, 100), 100_000, IDLE),
    ("other CPUs' packets keep it", Slot(100, 100, others=110), 115, NEVER),
    ("other CPUs are quiet too", Slot(100, 100, others=110), 125, IDLE),
    ("the owner keeps it", Slot(100, 110, others=100), 115, NEVER),
    ("busy, not for long enough", Slot(100, 159), 159.999999999, NEVER),
    ("busy for the active timeout", Slot(100, 160), 160, ACTIVE),
    ("busy on other CPUs only", Slot(100, 100, others=160), 160, ACTIVE),
    ("both timeouts at once: idle tells more", Slot(100, 145), 160, IDLE),
    ("end seen, packets may follow", Slot(100, 101, end_seen=True), 101.999999999, NEVER),
    ("end seen, and quiet", Slot(100, 101, end_seen=True), 102, END),
    ("end seen, another CPU has the last packet", Slot(100, 101, others=101.5, end_seen=True), 102.4, NEVER),
    ("end seen, all CPUs quiet", Slot(100, 101, others=101.5, end_seen=True), 102.5, END),
    ("end seen, but found late: still the end", Slot(100, 101, end_seen=True), 116, END),
    ("end seen, and the active timeout", Slot(100, 159, end_seen=True), 160, END),
    ("end seen, busy for the active timeout", Slot(100, 160, end_seen=True), 160, ACTIVE),
    ("counted ahead of the agent's clock", Slot(100.1, 100.2), 100, NEVER),
    ("free", Slot(state=SlotState.FREE), 1000, NEVER),
    ("being handed over", Slot(100, 100, state=SlotState.EXPIRING), 1000, NEVER),
    ("lost the race", Slot(100, 100, state=SlotState.DISCARDED), 1000, NEVER),
    ("host younger than the timeouts", Slot(1, 2), 10, NEVER),
    ("host just booted", Slot(0, 0), 0, NEVER),
    ("host younger than the active timeout", Slot(1, 2), 17, IDLE),
    ("host younger than a second", Slot(0.1, 0.2, end_seen=True), 0.9, NEVER),
    ("end seen on a young host", Slot(1, 2, end_seen=True), 3, END),
]


@pytest.mark.parametrize(("row", "now", "reason"), [row[1:] for row in TIMELINE], ids=[row[0] for row in TIMELINE])
def test_reason(row: Slot, now: float, reason: int) -> None:
    found = scan(table(Slot(state=SlotState.FREE), row), round(now * SECOND), TIMEOUTS)
    assert reasons(found) == ({1: reason} if reason else {})


def test_idle_timeout_shorter_than_the_wait_for_last_packets() -> None:
    half = Timeouts(60 * SECOND, QUIET_AFTER_END_NS // 2)
    slots = table(Slot(100, 100), Slot(100, 100, end_seen=True))
    assert reasons(scan(slots, round(100.5 * SECOND), half)) == {0: IDLE, 1: IDLE}
    assert reasons(scan(slots, 101 * SECOND, half)) == {0: IDLE, 1: END}


def test_life_of_a_flow_that_is_cut() -> None:
    """An active flow is reported every minute; what it counts afterwards is a new flow with its own start."""
    slot, ended = table(Slot(0, 0)), []
    for now in range(1, 200):
        if now <= 150:
            slot["own"]["flow_end_ns"] = now * SECOND
        found = scan(slot, now * SECOND, TIMEOUTS)
        if len(found.numbers) and slot["state"][0] == SlotState.LIVE:
            ended.append((now, int(found.reasons[0])))
            slot = table(Slot(now, now) if now < 150 else Slot(state=SlotState.FREE))
    assert ended == [(60, ACTIVE), (120, ACTIVE), (165, IDLE)]


def test_scan_counts_what_it_sees() -> None:
    states = [SlotState.LIVE] * 3 + [SlotState.FREE] * 4 + [SlotState.DISCARDED] * 2 + [SlotState.EXPIRING]
    found = scan(table(*(Slot(100, 100, state=state) for state in states)), 200 * SECOND, TIMEOUTS)
    assert (found.live, found.free) == (3, 4)
    assert reasons(found) == {0: IDLE, 1: IDLE, 2: IDLE}
    assert found.discarded.tolist() == [7, 8]


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 50000])
def test_every_slot_of_a_large_table_is_found(size: int) -> None:
    """The scan goes by chunks; numbers are those of the whole table."""
    slots = np.zeros(size, structure("flow_slot"))
    numbers = sorted({0, size // 2, size - 1, min(size - 1, 16383), min(size - 1, 16384)})
    slots["state"][numbers] = SlotState.LIVE
    found = scan(slots, 1000 * SECOND, TIMEOUTS)
    assert found.numbers.tolist() == numbers
    assert (found.live, found.free) == (len(numbers), size - len(numbers))
    slots["state"][numbers] = SlotState.DISCARDED
    assert scan(slots, 1000 * SECOND, TIMEOUTS).discarded.tolist() == numbers


@pytest.mark.parametrize("used", [0, 1, 16384, 20000, 32768, 40000])
def test_slots_that_were_never_used_are_not_looked_at(used: int) -> None:
    slots = np.zeros(40000, structure("flow_slot"))
    slots["state"] = SlotState.LIVE
    found = scan(slots, 1000 * SECOND, TIMEOUTS, used)
    assert found.numbers.tolist() == list(range(used))
    assert (found.live, found.free) == (used, 40000 - used)


def test_everything_ends_for_one_reason() -> None:
    rows = [Slot(i, i, state=SlotState(i % 4)) for i in range(12)]
    found = everything(table(*rows))
    assert reasons(found) == dict.fromkeys((1, 5, 9), FORCED)
    assert found.discarded.tolist() == [3, 7, 11]
    assert found.live == 3
    assert reasons(everything(table(*rows), LACK)) == dict.fromkeys((1, 5, 9), LACK)


def test_at_most() -> None:
    rows = [Slot(1, 1), Slot(99, 99), Slot(2, 2), Slot(state=SlotState.DISCARDED), Slot(3, 3)]
    found = scan(table(*rows), 100 * SECOND, TIMEOUTS)
    assert reasons(at_most(found, 3)) == reasons(found) == dict.fromkeys((0, 2, 4), IDLE)
    assert reasons(at_most(found, 2)) == dict.fromkeys((0, 2), IDLE)
    assert at_most(found, 0).discarded.tolist() == [3]


# Times that a 32-bit CPU is just writing


class Memory(np.ndarray):
    """Slots of which one column is read half written, once: a program writes the other half just then."""

    torn: dict[str, Records]

    def __getitem__(self, index: object) -> object:
        if isinstance(index, str):
            return self.torn.pop(index, np.asarray(super().__getitem__(index)))
        chunk = super().__getitem__(index)
        if isinstance(chunk, Memory):
            chunk.torn = self.torn
        return chunk


def torn(slots: Records, column: str, seconds: float) -> Memory:
    """`slots`, whose `column` is first read with a time of so many seconds in the first slot."""
    memory, half = slots.view(Memory), slots[column].copy()
    (half if half.dtype == np.uint64 else half["flow_end_ns"])[0] = round(seconds * SECOND)
    memory.torn = {column: half}
    return memory


HIGH_WORD = 2**32 / SECOND  # seconds, 4.29


@pytest.mark.parametrize("column", ["own", "flow_start_ns"])
@pytest.mark.parametrize("wrong", [-HIGH_WORD, HIGH_WORD, -100])
@pytest.mark.parametrize("row", [Slot(100, 100), Slot(100, 100, end_seen=True)])
def test_half_written_time_ends_no_flow(column: str, wrong: float, row: Slot) -> None:
    """Neither one that is too old, of a slot whose times are not all there yet either, nor one that is ahead."""
    short = Timeouts(4 * SECOND, 2 * SECOND)
    memory = torn(table(row), column, 100 + wrong)
    assert reasons(scan(memory, 100 * SECOND, short)) == {}
    assert not memory.torn, "the column was not read"
    assert len(reasons(scan(memory, 104 * SECOND, short))) == 1


def test_half_written_time_makes_no_flow_the_oldest() -> None:
    rows = [Slot(100, 100), *(Slot(98, 98 + i / 100) for i in range(99))]
    memory = torn(table(*rows), "own", 100 - HIGH_WORD)
    assert reasons(make_room(memory, nothing(table(*rows)), 10)) == dict.fromkeys(range(1, 10), LACK)
    assert not memory.torn


# Room for new flows. The table is 160 slots.


def filled(free: int, ended: int = 0, discarded: int = 0) -> Records:
    """Flows of which the last packet was at 100 + number seconds; the first `ended` of them at second 1."""
    rows = [Slot(1, 1) for _ in range(ended)]
    rows += [Slot(state=SlotState.DISCARDED) for _ in range(discarded)]
    rows += [Slot(100, 100 + number) for number in range(len(rows), 160 - free)]
    return table(*rows, *(Slot(state=SlotState.FREE) for _ in range(free)))


@pytest.mark.parametrize(
    ("free", "ended", "discarded", "room"),
    [(0, 0, 0, 0), (0, 0, 0, 1), (9, 0, 0, 11), (0, 0, 0, 20), (0, 9, 0, 11), (0, 5, 4, 11), (40, 0, 0, 80)],
)
def test_room_is_made_by_the_oldest(free: int, ended: int, discarded: int, room: int) -> None:
    """Beside those that end anyway."""
    slots, timeouts = filled(free, ended, discarded), Timeouts(500 * SECOND, 250 * SECOND)
    found = scan(slots, 300 * SECOND, timeouts)
    assert reasons(found) == dict.fromkeys(range(ended), IDLE)
    result = make_room(slots, found, room)
    begin = ended + discarded
    expected = dict.fromkeys(range(ended), int(IDLE)) | dict.fromkeys(range(begin, begin + room), int(LACK))
    assert reasons(result) == expected
    assert (result.live, result.free) == (found.live, found.free)
    assert result.discarded.tolist() == found.discarded.tolist()


def nothing(slots: Records) -> Scan:
    """A scan that has found all flows going on."""
    return scan(slots, 300 * SECOND, Timeouts(10**6 * SECOND, 10**6 * SECOND))


def test_oldest_is_by_the_last_packet_of_any_cpu() -> None:
    slots = filled(9)
    slots["others"]["flow_end_ns"][:10] = 1000 * SECOND
    assert reasons(make_room(slots, nothing(slots), 11)) == dict.fromkeys(range(10, 21), LACK)


OLDEST = [  # slots in the order in which they make room
    ("by the last packet", [Slot(1, 1), Slot(2, 2), Slot(3, 3)]),
    ("not by the first", [Slot(3, 3), Slot(2, 4), Slot(1, 5)]),
    ("one packet before many of a second earlier", [Slot(2, 2), Slot(0, 1.5, packets=2), Slot(2.6, 2.6)]),
    ("many before one of a second later", [Slot(0, 1.5, packets=100), Slot(2.6, 2.6), Slot(0, 1.7, packets=2)]),
    ("packets on another CPU are more than one", [Slot(2, 2), Slot(1, 1, others=1.5), Slot(2.6, 2.6)]),
]


@pytest.mark.parametrize("rows", [row[1] for row in OLDEST], ids=[row[0] for row in OLDEST])
def test_order_of_the_oldest(rows: list[Slot]) -> None:
    slots = table(*rows, *(Slot(200, 200) for _ in range(10)))
    for room in (1, 2, 3):
        assert reasons(make_room(slots, nothing(slots), room)) == dict.fromkeys(range(room), LACK)


@pytest.mark.parametrize("room", [1, 50, 99, 100, 101, 1000])
def test_flows_of_the_same_tick(room: int) -> None:
    """The clock is a coarse one: of flows that are as old, as many as are wanted, and never more than there are."""
    slots = table(*(Slot(50, 50) for _ in range(100)), *(Slot(0, 0, state=SlotState.FREE) for _ in range(60)))
    found = reasons(make_room(slots, nothing(slots), room))
    assert len(found) == min(room, 100)
    assert set(found.values()) == {LACK}
    assert max(found) < 100


def test_no_room_can_be_made_of_slots_in_other_hands() -> None:
    slots = table(*(Slot(1, 1, state=SlotState.EXPIRING) for _ in range(159)), Slot(299, 299))
    assert reasons(make_room(slots, nothing(slots), 20)) == {159: LACK}


@pytest.mark.parametrize("size", [1, 7, 16, 17])
def test_small_tables(size: int) -> None:
    slots = table(*(Slot(299, 299) for _ in range(size)))
    for room in range(size + 2):
        assert len(make_room(slots, nothing(slots), room).numbers) == min(room, size)
