"""The times of a message: every header carries the clock that its own records are told by."""

from __future__ import annotations

from dataclasses import dataclass

from xflowd.metering.instant import Instant

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
MS_PER_S = 1_000
NS_PER_S = 1_000_000_000
_ERA_S = 1 << 32
_ERA_NS = _ERA_S * NS_PER_S
_FOLD = 1 << 30  # ms, 12.4 days: half of where sysUptime is folded back


@dataclass(frozen=True, slots=True)
class MessageClock:
    """How monotonic times become those of one message, and the time in its header.

    `monotonic_zero_unix_ns`: the wall time at which the monotonic clock would have been zero, had it never stood
    still. `uptime_zero_unix_ms`: the wall time at which sysUptime is zero in this message, that of the boot for the
    first 24.8 days. `unix_ns`: the header's time, exactly. `unix_seconds`: the same for a header that has no more
    than seconds. Both start again at 0 in 2106, as 32 bits of seconds do (RFC 7011 section 6.1.7): a clock that was
    set to nonsense costs no flow. `uptime_ms` and `uptime_ms_at_seconds` are sysUptime at each of the two instants,
    so that the boot time comes out exactly.
    """

    monotonic_zero_unix_ns: int
    uptime_zero_unix_ms: int
    unix_ns: int
    unix_seconds: int
    uptime_ms: int
    uptime_ms_at_seconds: int


def message_clock(now: Instant, last_end_ns: int) -> MessageClock:
    """The clock of messages sent `now`, of which no record ends after `last_end_ns` (monotonic).

    The header is never before the end of a record, nor before the boot: seconds are rounded up for that.
    """
    monotonic_zero_ns = now.monotonic_zero_unix_ns
    zero_ms = now.boot_unix_ns // NS_PER_MS + uptime_fold_ms(now.uptime_ns // NS_PER_MS)
    last_ms = max((monotonic_zero_ns + last_end_ns) // NS_PER_MS, zero_ms)
    exact_ns = max(now.unix_ns, last_ms * NS_PER_MS)
    seconds = max(now.unix_ns // NS_PER_S, -(-last_ms // MS_PER_S))
    return MessageClock(
        monotonic_zero_ns,
        zero_ms,
        unix_ns=exact_ns % _ERA_NS,
        unix_seconds=seconds % _ERA_S,
        uptime_ms=exact_ns // NS_PER_MS - zero_ms,
        uptime_ms_at_seconds=seconds * MS_PER_S - zero_ms,
    )


def uptime_fold_ms(uptime_ms: int) -> int:
    """What to take off an uptime so that it fits 32 bits with room for the flows before it.

    Below 2^31 ms nothing; from then on the uptime is folded back to between 2^30 and 2^31. It depends on the
    clock alone, so it is the same after a restart, and is never seen to wrap within a message.
    """
    if uptime_ms < 2 * _FOLD:
        return 0
    return (uptime_ms // _FOLD - 1) * _FOLD
