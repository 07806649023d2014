"""Which flows have ended (RFC 5470 5.1.1, flow expiration): by columns, never flow by flow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xflowd.metering.flow import FlowEndReason
from xflowd.metering.pressure import LOOK_NS
from xflowd.metering.table import Records, SlotState

#: After a FIN or RST the other side's last packets may still come: a flow has ended when none came for this long.
QUIET_AFTER_END_NS = 1_000_000_000
_CHUNK = 16384  # slots whose columns fit into a core's second-level cache
_MANY_PACKETS_NS = 1_000_000_000  # a flow of more than one packet counts as younger by this, when room is made

Numbers = npt.NDArray[np.uint32]
Reasons = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Nanoseconds: a flow without packets for `idle_ns` has ended; one older than `active_ns` is cut.

    So much later at most as it is from one look at the table to the next: `look_ns`, while there is room.
    """

    active_ns: int
    idle_ns: int
    look_ns: int = LOOK_NS


@dataclass(frozen=True, slots=True)
class Scan:
    """What one look at the table found. `numbers` and `reasons` belong together."""

    numbers: Numbers
    reasons: Reasons
    discarded: Numbers
    live: int
    free: int


def scan(slots: Records, now_ns: int, timeouts: Timeouts, used: int | None = None) -> Scan:
    """Find the slots whose flow has ended, in one pass. `slots` may change meanwhile: see Kernel.detach().

    Only the first `used` slots are looked at, where the rest is known to be free.
    """
    used = len(slots) if used is None else used
    found = [_scan_chunk(slots[at : min(at + _CHUNK, used)], at, now_ns, timeouts) for at in range(0, used, _CHUNK)]
    found.append(_scan_chunk(slots[:0], 0, now_ns, timeouts))  # an unused table is a list of nothing, too
    return Scan(
        np.concatenate([part.numbers for part in found]),
        np.concatenate([part.reasons for part in found]),
        np.concatenate([part.discarded for part in found]),
        sum(part.live for part in found),
        sum(part.free for part in found) + len(slots) - used,
    )


def everything(slots: Records, reason: FlowEndReason = FlowEndReason.FORCED_END) -> Scan:
    """Every flow there is, ended for the same reason: shutdown, or a flush."""
    state = slots["state"]
    numbers = _numbers(state == SlotState.LIVE)
    discarded = _numbers(state == SlotState.DISCARDED)
    free = len(slots) - len(numbers) - len(discarded)
    return Scan(numbers, np.full(len(numbers), reason, np.uint8), discarded, len(numbers), free)


def at_most(found: Scan, most: int) -> Scan:
    """The first `most` of the flows that were found; the rest will be found again."""
    return replace(found, numbers=found.numbers[:most], reasons=found.reasons[:most])


def make_room(slots: Records, found: Scan, room: int) -> Scan:
    """Add up to `room` flows that have to end for lack of resources: those whose last packet is the longest ago.

    A flow that has had a second packet is given a second more: floods are made of flows of one packet.
    """
    if room <= 0:
        return found
    oldest = _oldest(slots, found.numbers, room)
    reasons = np.full(len(oldest), FlowEndReason.LACK_OF_RESOURCES, np.uint8)
    return replace(
        found, numbers=np.concatenate([found.numbers, oldest]), reasons=np.concatenate([found.reasons, reasons])
    )


def _oldest(slots: Records, ending: Numbers, wanted: int) -> Numbers:
    """The live flows whose turn it is, apart from those that are `ending` anyway.

    Times are read twice, see _scan_chunk(): a flow that has had a packet meanwhile stays.
    """
    live = slots["state"] == SlotState.LIVE
    live[ending] = False
    candidates = _numbers(live)
    if wanted >= len(candidates):
        return candidates
    turn = _turn_ns(slots, candidates)
    limit = np.partition(turn, wanted - 1)[wanted - 1]
    before = candidates[turn < limit]
    chosen = np.concatenate([before, candidates[turn == limit][: wanted - len(before)]])
    sure: Numbers = chosen[_turn_ns(slots, chosen) <= limit]
    return sure


def _scan_chunk(slots: Records, at: int, now_ns: int, timeouts: Timeouts) -> Scan:
    """What seems to have ended is looked at twice. A 32-bit CPU writes a time in two halves: read between the two it is
    four seconds too old, or ahead. A slot may be seen LIVE before its times are, too. The second time all is there.
    """
    state = slots["state"]
    live = np.flatnonzero(state == SlotState.LIVE)
    discarded = _numbers(state == SlotState.DISCARDED) + np.uint32(at)
    free = int(np.count_nonzero(state == SlotState.FREE))
    ended = live[_reasons(slots, live, now_ns, timeouts) != 0]
    reasons = _reasons(slots, ended, now_ns, timeouts)
    sure = reasons != 0
    return Scan((ended[sure] + at).astype(np.uint32), reasons[sure], discarded, len(live), free)


def _reasons(slots: Records, live: npt.NDArray[np.intp], now_ns: int, timeouts: Timeouts) -> Reasons:
    """flowEndReason of each live slot, 0 where the flow goes on. The more telling reason wins: end, idle, active."""
    reasons = np.zeros(len(live), np.uint8)
    reasons[_at_or_before(slots["flow_start_ns"][live], now_ns - timeouts.active_ns)] = FlowEndReason.ACTIVE_TIMEOUT
    own_last = slots["own"]["flow_end_ns"][live]
    quiet = np.flatnonzero(_at_or_before(own_last, now_ns - min(timeouts.idle_ns, QUIET_AFTER_END_NS)))
    last = np.maximum(own_last[quiet], slots["others"]["flow_end_ns"][live[quiet]])
    reasons[quiet[_at_or_before(last, now_ns - timeouts.idle_ns)]] = FlowEndReason.IDLE_TIMEOUT
    end_seen = slots["end_seen"][live[quiet]] != 0
    reasons[quiet[end_seen & _at_or_before(last, now_ns - QUIET_AFTER_END_NS)]] = FlowEndReason.END_OF_FLOW
    return reasons


def _at_or_before(times: npt.NDArray[np.uint64], limit_ns: int) -> npt.NDArray[np.bool_]:
    """A host that runs for less than a timeout has a limit before its clock's zero: nothing is that old."""
    if limit_ns < 0:
        return np.zeros(len(times), np.bool_)
    old: npt.NDArray[np.bool_] = times <= np.uint64(limit_ns)
    return old


def _turn_ns(slots: Records, chosen: Numbers) -> npt.NDArray[np.uint64]:
    """The last packet's time, later by a second where it was not the first one."""
    own, others = slots["own"], slots["others"]["flow_end_ns"][chosen]
    many = (own["packet_delta_count"][chosen] > 1) | (others > 0)
    turn: npt.NDArray[np.uint64] = np.maximum(own["flow_end_ns"][chosen], others)
    turn[many] += np.uint64(_MANY_PACKETS_NS)
    return turn


def _numbers(mask: npt.NDArray[np.bool_]) -> Numbers:
    return np.flatnonzero(mask).astype(np.uint32)
