"""Octets of a file or pipe in big blocks, and what is told of a fault in them."""

from __future__ import annotations

import io
from typing import NamedTuple

BLOCK_OCTETS = 1 << 20
MAXIMUM_PACKET = 262_144  # what libpcap captures at most of a packet of any network


class CapturedPacket(NamedTuple):
    """One packet as it was captured. `time_ns` counts from 1970, UTC; `link_type` is one of tcpdump.org.

    `interface` counts from 0, over all sections of a file. `original_length` is the packet's on the wire, in
    octets: `data` is shorter where the capture cut it off.
    """

    time_ns: int
    interface: int
    link_type: int
    data: bytes
    original_length: int


class CaptureError(Exception):
    """A capture that cannot be read on: at which octet of it, what is wrong, and how to mend it."""

    def __init__(self, path: str, offset: int, what: str, mend: str) -> None:
        super().__init__(f"{path}: octet {offset}: {what}; {mend}")
        self.path, self.offset, self.what, self.mend = path, offset, what, mend


class Octets:
    """What of a stream is in memory, and how far it has been read. Never more than a block and one packet.

    `buffer[position:]` is what comes next: whoever takes octets from it moves `position`.
    """

    def __init__(self, stream: io.RawIOBase, path: str) -> None:
        self._stream, self._path = stream, path
        self._start = 0  # where in the stream the buffer begins
        self.buffer = b""
        self.position = 0

    @property
    def offset(self) -> int:
        """How many octets of the stream have been taken."""
        return self._start + self.position

    def has(self, count: int) -> bool:
        """True if `count` octets can be taken; False if the stream ends before that many."""
        missing = count - (len(self.buffer) - self.position)
        if missing <= 0:
            return True
        self._start += self.position
        parts = [self.buffer[self.position :]]
        while missing > 0:
            part = self._read()
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        self.buffer, self.position = b"".join(parts), 0
        return missing <= 0

    def need(self, count: int, within: str) -> None:
        """Make `count` octets ready to be taken; raise CaptureError where the stream ends within them."""
        if not self.has(count):
            raise self.fault(f"the file ends within {within}", "it is cut off there: capture or copy it again")

    def skip(self, count: int, within: str) -> None:
        """Take `count` octets without keeping them."""
        while count > 0:
            self.need(1, within)
            step = min(count, len(self.buffer) - self.position)
            self.position += step
            count -= step

    def fault(self, what: str, mend: str) -> CaptureError:
        """The error to raise for what stands at `offset`."""
        return CaptureError(self._path, self.offset, what, mend)

    def _read(self) -> bytes:
        try:
            return self._stream.read(BLOCK_OCTETS) or b""
        except OSError as error:
            fault = self.fault(f"cannot be read ({error.strerror})", "check the device or share it is on")
            raise fault from error
