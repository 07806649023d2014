"""A collector that keeps up with a flood: it adds up the flows of IPFIX messages, whole datagrams at a time.

As a command (`counting.py ADDRESS PORT`) it runs until SIGTERM, and then prints what it got as JSON. It knows nothing
of xflowd: where the counters are, it learns from the templates (RFC 7011 3.4.1).
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator

import numpy as np

_RECEIVE_BUFFER = 256 << 20
_AT_ONCE = 2000  # datagrams
_TEMPLATE, _OPTIONS_TEMPLATE, _FIRST_DATA = 2, 3, 256  # set IDs
_ENTERPRISE, _VARIABLE = 0x8000, 0xFFFF
#: Elements of IANA's registry.
_PACKETS, _SOURCE_PORT, _SOURCE_IPV4, _END_REASON = 2, 7, 8, 136
_COLUMNS = {_PACKETS: "packets", _SOURCE_PORT: "port", _SOURCE_IPV4: "address", _END_REASON: "reason"}


class Counts:
    """Flows and packets by flowEndReason; of records that the sequence numbers say are missing, how many."""

    def __init__(self) -> None:
        self.flows: Counter[int] = Counter()
        self.packets: Counter[int] = Counter()
        self.nameless_flows = self.nameless_packets = 0  # without address and port: overflow
        self.missing = 0
        self.datagrams = 0
        self._templates: dict[int, np.dtype[np.void]] = {}
        self._options: dict[int, int] = {}  # octets of a record
        self._next: int | None = None
        self._waiting: dict[int, list[bytes]] = {}

    def take(self, message: bytes) -> None:
        """One datagram."""
        version, length, _, sequence, _ = struct.unpack_from(">HHIII", message)
        assert (version, length) == (10, len(message))
        self.datagrams += 1
        if self._next is not None:
            self.missing += (sequence - self._next) % 2**32
        self._next = (sequence + sum(self._records(*one) for one in _sets(message))) % 2**32
        if self.datagrams % _AT_ONCE == 0:
            self.settle()

    def settle(self) -> None:
        """Add up what has come."""
        for template, bodies in self._waiting.items():
            flows = np.frombuffer(b"".join(bodies), self._templates[template])
            packets = flows["packets"].astype(np.int64)
            for reason in np.unique(flows["reason"]).tolist():
                self.flows[reason] += int((flows["reason"] == reason).sum())
                self.packets[reason] += int(packets[flows["reason"] == reason].sum())
            nameless = (flows["port"] == 0) & (flows["address"] == 0)
            self.nameless_flows += int(nameless.sum())
            self.nameless_packets += int(packets[nameless].sum())
        self._waiting.clear()

    def _records(self, number: int, body: bytes) -> int:
        """Take a set. Returns its data records."""
        if number == _TEMPLATE:
            for template, _, fields in _templates(body, 4):
                self._templates[template] = _layout(fields)
        elif number == _OPTIONS_TEMPLATE:
            for template, _, fields in _templates(body, 6):
                self._options[template] = sum(size for _, size in fields)
        elif number in self._options:
            return len(body) // self._options[number]
        elif number >= _FIRST_DATA:
            size = self._templates[number].itemsize
            self._waiting.setdefault(number, []).append(body[: len(body) // size * size])
            return len(body) // size
        return 0


def _sets(message: bytes) -> Iterator[tuple[int, bytes]]:
    at = 16
    while at < len(message):
        number, length = struct.unpack_from(">HH", message, at)
        yield number, message[at + 4 : at + length]
        at += length


def _templates(body: bytes, header: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Template, number of fields, fields as pairs of element and octets."""
    at = 0
    while at + header <= len(body):
        template, count = struct.unpack_from(">HH", body, at)
        at += header
        fields = []
        for _ in range(count):
            element, size = struct.unpack_from(">HH", body, at)
            assert size != _VARIABLE or header > 4, "no flow has a variable length here"
            at += 8 if element & _ENTERPRISE else 4
            fields.append((element, size))
        yield template, count, fields


def _layout(fields: list[tuple[int, int]]) -> np.dtype[np.void]:
    """The columns that are counted, where they are; the IPv6 template's address stands for no address."""
    columns, at = {}, 0
    for element, size in fields:
        if element in _COLUMNS:
            columns[_COLUMNS[element]] = (f">u{size}", at)
        at += size
    columns.setdefault("address", (">u1", 0))
    names = list(columns)
    formats, offsets = zip(*columns.values(), strict=True)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at})


def main(address: str, port: str) -> int:
    """Count until SIGTERM, and until nothing is left in the socket."""
    counts, stopping = Counts(), []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, 33, _RECEIVE_BUFFER)  # SO_RCVBUFFORCE
        listening.bind((address, int(port)))
        listening.settimeout(0.2)
        while True:
            try:
                counts.take(listening.recv(65536))
            except TimeoutError:
                if stopping:
                    break
    counts.settle()
    print(json.dumps({name: value for name, value in vars(counts).items() if not name.startswith("_")}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
