"""What a decoded message gives: its header in common terms, and its records as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xflowd.wire.template import Template

NS_PER_S = 1_000_000_000


class MalformedMessage(Exception):
    """Octets that are no message, or no set or template in one. `reason` is short and fixed: a counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """The header, whichever the protocol. Times are Unix nanoseconds.

    `boot_unix_ns` is where the exporter's sysUptime is zero, and `uptime_ms` its value in the header; None in
    IPFIX, which has no such clock. `sampling_mode` and `sampling_interval` are v5's alone, else None.
    """

    version: int
    export_unix_ns: int
    sequence_number: int
    observation_domain: int  # v9: the source ID, v5: engine type * 256 + engine ID
    uptime_ms: int | None = None
    sampling_mode: int | None = None
    sampling_interval: int | None = None

    @property
    def boot_unix_ns(self) -> int | None:
        """The wall time at which sysUptime was zero, if it has not been round since (49.7 days)."""
        return None if self.uptime_ms is None else self.export_unix_ns - self.uptime_ms * 1_000_000


@dataclass(frozen=True, slots=True)
class Records:
    """The data records of one set. `array` has a row for each and `template.dtype` for its columns.

    It may be a view of the datagram, and read-only.
    """

    header: MessageHeader
    template: Template
    array: np.ndarray[Any, np.dtype[np.void]]

    def numbers(self, name: str) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """A column as native unsigned 64-bit numbers, whatever its width on the wire up to 8 octets.

        Raises LookupError where there is no such column, ValueError where it is wider or no number.
        """
        if name not in (self.array.dtype.names or ()):
            raise LookupError(f"no column {name}")
        column = self.array[name]
        if column.dtype.kind == "u" and column.ndim == 1:
            return column.astype(np.uint64)
        if column.dtype != np.uint8 or column.shape[1] > 8:
            raise ValueError(f"column {name} is no number of at most 8 octets")
        wide = np.zeros((len(column), 8), np.uint8)
        wide[:, 8 - column.shape[1] :] = column
        return wide.view(">u8")[:, 0].astype(np.uint64)

    @property
    def is_options(self) -> bool:
        """True for records that tell about the exporter, not about flows."""
        return self.template.is_options

    @property
    def observation_domain(self) -> int:
        """The domain that the records belong to."""
        return self.header.observation_domain
