"""Columns of Information Elements as texts, each a column at a time: flow by flow is too slow."""

from __future__ import annotations

import re
import socket
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]

_TIME = re.compile(r"(?:flowStart|flowEnd|observationTime|systemInitTime|collectionTime)(Seconds|Milliseconds)")
_NTP_TIME = re.compile(r"(?:flowStart|flowEnd|observationTime)(Microseconds|Nanoseconds)")
_NTP_UNIX_S = 2_208_988_800  # from 1900, where NTP counts from, to 1970
_END_OF_TIME_MS = 253_402_300_799_999  # the year 9999: what a hostile record says may lie far behind it


def is_octets(column: Column) -> bool:
    """True for addresses and the like: some octets a record, in network order."""
    return column.ndim == 2 and column.dtype == np.uint8


def time_unit_ms(name: str) -> int | None:
    """Milliseconds in the unit of an element that is a date and time (RFC 7012 3.1.15, 3.1.16), else None."""
    match = _TIME.fullmatch(name)
    if not match:
        return None
    return 1000 if match[1] == "Seconds" else 1


def ntp_unit(name: str) -> Literal["us", "ns"] | None:
    """The unit of an element that is a time of 64 bits as NTP has it (RFC 7012 3.1.17, 3.1.18), else None."""
    match = _NTP_TIME.fullmatch(name)
    if not match:
        return None
    return "us" if match[1] == "Microseconds" else "ns"


def of_ntp(column: Column, unit: Literal["us", "ns"]) -> list[str]:
    """ISO 8601 in UTC, to the micro- or nanosecond, without the Z: seconds since 1900, or 2036, and a fraction."""
    values = column.astype(np.uint64)
    seconds, fraction = (values >> np.uint64(32)).astype(np.int64), values & np.uint64(0xFFFF_FFFF)
    seconds += np.where(seconds < 1 << 31, 1 << 32, 0) - _NTP_UNIX_S
    of_second = {"us": 10**6, "ns": 10**9}[unit]
    parts = (fraction * np.uint64(of_second)) >> np.uint64(32)
    texts: list[str] = np.datetime_as_string(
        (seconds * of_second + parts.astype(np.int64)).astype(f"M8[{unit}]")
    ).tolist()
    return texts


def of_octets(name: str, column: Column) -> list[str]:
    """IPv4 and IPv6 addresses in their usual form, MAC addresses with colons, other octets in hexadecimal."""
    size = column.shape[1]
    octets = np.ascontiguousarray(column).tobytes()
    pieces = [octets[start : start + size] for start in range(0, len(octets), size or 1)]
    if size == 4 and "IPv4" in name:
        return [socket.inet_ntop(socket.AF_INET, piece) for piece in pieces]
    if size == 16 and "IPv6" in name:
        return [socket.inet_ntop(socket.AF_INET6, piece) for piece in pieces]
    return [piece.hex(":") if size == 6 else piece.hex() for piece in pieces]


def of_times(milliseconds: Column) -> list[str]:
    """ISO 8601 in UTC, to the millisecond, without the Z; past the year 9999, the last moment of it."""
    bounded = np.minimum(milliseconds.astype(np.uint64), np.uint64(_END_OF_TIME_MS))
    texts: list[str] = np.datetime_as_string(bounded.astype("M8[ms]"), unit="ms").tolist()
    return texts


def of_characters(column: Column) -> list[str]:
    """Strings as they came: octets in UTF-8, wrong ones replaced."""
    return [text.decode(errors="replace") if isinstance(text, bytes) else str(text) for text in column.tolist()]
