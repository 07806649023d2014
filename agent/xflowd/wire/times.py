"""Flow times as Unix nanoseconds, out of whichever elements an exporter tells them by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.wire.message import Records

Times = npt.NDArray[np.int64]

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_NTP_UNIX_S = 2_208_988_800  # from 1900, where NTP counts from, to 1970
_ERA_S = 1 << 32  # NTP seconds start again at 0 in 2036 (RFC 4330 section 3)
_HALF = 1 << 31


def flow_times(records: Records) -> tuple[Times, Times] | None:
    """First and last packet of each flow, Unix nanoseconds; None where the records do not tell both.

    From 150 to 157; else from 22 and 21 by the clock in the header, or by 160 in the record.
    """
    start, end = _times(records, "flowStart"), _times(records, "flowEnd")
    return None if start is None or end is None else (start, end)


def _times(records: Records, which: str) -> Times | None:
    names = records.array.dtype.names or ()
    for unit, to_unix_ns in _UNITS.items():
        name = which + unit
        if name in names and records.array.dtype[name].kind == "u" and records.array[name].ndim == 1:
            return to_unix_ns(records, records.array[name].astype(np.int64))
    return None


def _from_ntp(records: Records, values: Times) -> Times:
    """32 bits of seconds since 1900, 32 bits of a fraction of one (RFC 7011 sections 6.1.9 and 6.1.10)."""
    seconds = values >> 32 & 0xFFFF_FFFF
    seconds = np.where(seconds < _HALF, seconds + _ERA_S, seconds) - _NTP_UNIX_S
    fraction = (values & 0xFFFF_FFFF).astype(np.uint64) * np.uint64(_NS_PER_S) >> np.uint64(32)
    times: Times = seconds * _NS_PER_S + fraction.astype(np.int64)
    return times


def _from_milliseconds(records: Records, values: Times) -> Times:
    return values * _NS_PER_MS


def _from_seconds(records: Records, values: Times) -> Times:
    return values * _NS_PER_S


def _from_uptime(records: Records, values: Times) -> Times | None:
    header = records.header
    if header.uptime_ms is not None:
        # How long before the header, on a clock of 32 bits: true also where it went round in between.
        age_ms = (header.uptime_ms - values + _HALF) % (2 * _HALF) - _HALF
        return header.export_unix_ns - age_ms * _NS_PER_MS
    if "systemInitTimeMilliseconds" not in (records.array.dtype.names or ()):
        return None
    boot_ms = records.numbers("systemInitTimeMilliseconds").astype(np.int64)
    return (boot_ms + values) * _NS_PER_MS


_UNITS: dict[str, Callable[[Records, Any], Times | None]] = {
    "Nanoseconds": _from_ntp,
    "Microseconds": _from_ntp,
    "Milliseconds": _from_milliseconds,
    "Seconds": _from_seconds,
    "SysUpTime": _from_uptime,
}
