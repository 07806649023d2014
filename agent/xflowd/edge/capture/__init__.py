"""Packets out of capture files, pcap and pcapng. A file can be a pipe: it is never in memory as a whole."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

from xflowd.edge.capture.link import NoFrame, ethernet_frame
from xflowd.edge.capture.octets import CapturedPacket, CaptureError, Octets
from xflowd.edge.capture.pcap import MAGICS, pcap_packets
from xflowd.edge.capture.pcapng import SECTION_HEADER, pcapng_packets

__all__ = ["CaptureError", "CapturedPacket", "NoFrame", "ethernet_frame", "packets"]

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip -c"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"),
    b"\xfd7zX": ("xz", "xz -dc"),
    b"BZh": ("bzip2", "bzip2 -dc"),
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -dc"),
}


def packets(path: str | os.PathLike[str]) -> Iterator[CapturedPacket]:
    """The packets of a capture file, in its order; "-" is standard input.

    Raises CaptureError for a file that is no capture, and after the last whole packet where one goes wrong.
    """
    name = os.fspath(path)
    with _opened(name) as stream:
        octets = Octets(stream, name)
        yield from _format_of(octets)


def _format_of(octets: Octets) -> Iterator[CapturedPacket]:
    octets.need(4, "the first four octets")
    magic = octets.buffer[:4]
    if magic == SECTION_HEADER:
        return pcapng_packets(octets)
    if magic in MAGICS:
        return pcap_packets(octets)
    for start, (name, command) in _COMPRESSED.items():
        if magic.startswith(start):
            raise octets.fault(f"is compressed with {name}", f"pipe it in: {command} FILE | xflowd replay -")
    raise octets.fault("is neither pcap nor pcapng", "convert it: editcap -F pcapng FILE NEW")


def _opened(name: str) -> io.FileIO:
    """Without Python's buffer: what a pipe has is delivered when it is there."""
    try:
        return io.FileIO(0, closefd=False) if name == "-" else io.FileIO(name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CaptureError(name, 0, f"cannot be opened ({reason})", "check the path and its permissions") from error
