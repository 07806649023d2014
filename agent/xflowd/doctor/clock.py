"""Whether the times of flows can be believed."""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Iterator
from datetime import datetime, timezone

from xflowd.doctor.finding import Finding, bad, good, warning
from xflowd.doctor.situation import Situation

_STA_UNSYNC = 0x0040  # <linux/timex.h>
_STATUS_OFFSET = c.sizeof(c.c_long) * 5  # of struct timex: modes (padded), offset, freq, maxerror, esterror
_TIMEX_OCTETS = 512  # more than it has on any processor
_EARLIEST, _LATEST = 1_735_689_600, 4_102_444_800  # 2025, before which this program was not there; 2100


def check(situation: Situation) -> Iterator[Finding]:
    """The year, and what the kernel knows of a daemon that keeps the clock."""
    today = datetime.fromtimestamp(situation.unix_seconds, timezone.utc)
    told = f"{today:%Y-%m-%d %H:%M:%S} UTC"
    if not _EARLIEST <= situation.unix_seconds < _LATEST:
        yield bad("clock", f"it is {told}, which cannot be", "set the clock, or start an NTP client")
        return
    synchronised = situation.synchronised()
    if synchronised:
        yield good("clock", f"{told}, synchronised")
    elif synchronised is None:
        yield warning("clock", f"{told}; the kernel does not say whether it is synchronised", "see chronyc tracking")
    else:
        mend = "start an NTP client (chrony, systemd-timesyncd, OpenWrt's sysntpd): collectors place flows by it"
        yield warning("clock", f"{told}, and nobody keeps it right", mend)


def synchronised() -> bool | None:
    """Whether an NTP client keeps the kernel's clock (adjtimex(2)); None where the kernel does not say."""
    libc = c.CDLL(None, use_errno=True)
    buffer = c.create_string_buffer(_TIMEX_OCTETS)
    if os.uname().sysname != "Linux" or libc.adjtimex(buffer) < 0:
        return None
    return not c.c_int.from_buffer(buffer, _STATUS_OFFSET).value & _STA_UNSYNC
