"""Which route the kernel would take for each of many packets: RTM_GETROUTE (rtnetlink(7)), many at a time.

What `ip route get fibmatch` asks, without a process or even a Python object a packet.
"""

from __future__ import annotations

import ctypes as c
import errno
import os
import socket
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.metering.prefixes import LONGEST
from xflowd.metering.table import Records

#: <linux/netlink.h>, <linux/rtnetlink.h>
_NLM_F_REQUEST, _RTM_NEWROUTE, _RTM_GETROUTE, _RTM_F_FIB_MATCH = 1, 24, 26, 0x2000
_ATTRIBUTES = {
    "destination": 1,
    "source": 2,
    "interface": 3,
    "protocol": 27,
    "source_port": 28,
    "destination_port": 29,
}
_IGNORED = 0  # the type of an attribute that is not there
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_ROUTED_BY_PORT = {4: (1, 6, 17), 6: (6, 17, 58)}  # all other protocols are refused
_AT_ONCE = 128  # their answers fit into a receive buffer of the usual size
_HEADER_OCTETS = 28  # of an answer: all that is read of it


def _message(octets: int) -> np.dtype[Any]:
    """A request for the route of one packet, with addresses of so many octets."""
    values = {
        "destination": np.dtype((np.uint8, octets)),
        "source": np.dtype((np.uint8, octets)),
        "interface": np.dtype(np.uint32),
        "protocol": np.dtype(np.uint8),
        "source_port": np.dtype(">u2"),
        "destination_port": np.dtype(">u2"),
    }
    columns: list[tuple[Any, ...]] = [
        *(("octets", np.uint32), ("type", np.uint16), ("flags", np.uint16), ("sequence", np.uint32)),
        *(("port", np.uint32), ("family", np.uint8), ("destination_length", np.uint8), ("source_length", np.uint8)),
        *(("service", np.uint8), ("unused", np.uint8, 4), ("route_flags", np.uint32)),
    ]
    for name, value in values.items():
        columns += [(f"{name}_octets", np.uint16), (f"{name}_type", np.uint16), (name, value)]
        if value.itemsize % 4:
            columns.append((f"{name}_padding", np.uint8, 4 - value.itemsize % 4))
    return np.dtype(columns)


_MESSAGES = {4: _message(4), 6: _message(16)}


class _Vector(c.Structure):
    """struct iovec"""

    _fields_ = [("base", c.c_void_p), ("octets", c.c_size_t)]


class _Header(c.Structure):
    """struct msghdr, as the kernel has it"""

    _fields_ = [
        ("name", c.c_void_p),
        ("name_octets", c.c_uint32),
        ("vectors", c.POINTER(_Vector)),
        ("vector_count", c.c_size_t),
        ("control", c.c_void_p),
        ("control_octets", c.c_size_t),
        ("flags", c.c_int),
    ]


class _Received(c.Structure):
    """struct mmsghdr"""

    _fields_ = [("header", _Header), ("octets", c.c_uint32)]


_libc = c.CDLL(None, use_errno=True)


class RouteAnswers:
    """A netlink socket, and room for answers."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._answers = np.zeros((_AT_ONCE, _HEADER_OCTETS), np.uint8)
        first = self._answers.ctypes.data
        self._vectors = [_Vector(first + number * _HEADER_OCTETS, _HEADER_OCTETS) for number in range(_AT_ONCE)]
        self._messages = (_Received * _AT_ONCE)(
            *(_Received(_Header(vectors=c.pointer(vector), vector_count=1)) for vector in self._vectors)
        )

    def close(self) -> None:
        """Ask no more."""
        self._socket.close()

    def lengths(self, questions: Records) -> npt.NDArray[np.int16]:
        """The prefix length of the route of each (of QUESTION), -1 where the kernel has none. Raises OSError."""
        found = np.full(len(questions), -1, np.int16)
        for version in (4, 6):
            rows = np.flatnonzero(questions["ip_version"] == version)
            requests = _requests(questions[rows], version)
            for at in range(0, len(rows), _AT_ONCE):
                found[rows[at : at + _AT_ONCE]] = self._asked(requests[at : at + _AT_ONCE])
        return found

    def _asked(self, requests: Records) -> npt.NDArray[np.int16]:
        self._socket.send(requests.tobytes())
        # The kernel has answered when send() returns. A shorter answer is one of an error.
        count = _libc.recvmmsg(self._socket.fileno(), self._messages, _AT_ONCE, socket.MSG_DONTWAIT, None)
        if count != len(requests):
            number = c.get_errno() if count < 0 else errno.ENOBUFS
            self._drain()
            raise OSError(number, f"asking for routes: {os.strerror(number)}")
        answers = self._answers[:count]
        types, sequence = answers[:, 4:6].copy().view(np.uint16)[:, 0], answers[:, 8:12].copy().view(np.uint32)[:, 0]
        found = np.full(count, -1, np.int16)
        known = types == _RTM_NEWROUTE
        found[sequence[known]] = answers[known, 17]
        return found

    def _drain(self) -> None:
        """Answers that were not waited for must not be taken for those of the next questions."""
        while _libc.recvmmsg(self._socket.fileno(), self._messages, _AT_ONCE, socket.MSG_DONTWAIT, None) > 0:
            pass


def _requests(questions: Records, version: int) -> Records:
    message = _MESSAGES[version]
    requests = np.zeros(len(questions), message)
    requests["octets"], requests["type"], requests["flags"] = message.itemsize, _RTM_GETROUTE, _NLM_F_REQUEST
    requests["sequence"] = np.arange(len(questions)) % _AT_ONCE
    requests["family"], requests["route_flags"] = _FAMILIES[version], _RTM_F_FIB_MATCH
    requests["destination_length"] = LONGEST[version]
    requests["service"] = questions["ip_class_of_service"]
    width = message["source"].itemsize
    requests["source"], requests["destination"] = (
        questions[f"{end}_address"][:, :width] for end in ("source", "destination")
    )
    requests["source_length"] = np.where(requests["source"].any(axis=1), LONGEST[version], 0)
    requests["interface"], requests["protocol"] = questions["interface"], questions["protocol_identifier"]
    for end in ("source", "destination"):
        requests[f"{end}_port"] = questions[f"{end}_transport_port"]
    by_port = np.isin(questions["protocol_identifier"], _ROUTED_BY_PORT[version])
    for name, number in _ATTRIBUTES.items():
        requests[f"{name}_octets"] = 4 + message[name].itemsize
        requests[f"{name}_type"] = number
        if name not in ("source", "destination"):
            given = requests[name] != 0
            requests[f"{name}_type"] = np.where(given & by_port if name != "interface" else given, number, _IGNORED)
    return requests
