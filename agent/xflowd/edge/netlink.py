"""rtnetlink(7), as far as the agent asks it: messages, their attributes, and errors as OSError.

What a library for all of netlink would take of memory and of start is more than all else but numpy: see
docs/decisions/runtime-dependencies.md.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

#: <linux/netlink.h>, <linux/rtnetlink.h>
RTM_NEWLINK, RTM_GETLINK, RTM_NEWROUTE, RTM_GETROUTE, RTM_NEWRULE, RTM_GETRULE = 16, 18, 24, 26, 32, 34
_NLM_F_REQUEST, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLA_TYPE_MASK = 0x3FFF  # without the flags for nested attributes and byte order

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVED = 1 << 18
_PATIENCE_SECONDS = 10.0  # the kernel answers at once; but nothing may wait for ever
_ATTEMPTS = 5  # at a list that changes while it is read


@dataclass(frozen=True, slots=True)
class Message:
    """The fixed part of an answer, and its attributes by number."""

    fixed: tuple[int, ...]
    attributes: dict[int, bytes]


def dump(
    kind: int,
    answer: int,
    fixed: struct.Struct,
    family: int = socket.AF_UNSPEC,
    wanted: Callable[[tuple[int, ...]], bool] = lambda _: True,
) -> list[Message]:
    """All there are of a family that are `wanted`, by their fixed part. There may be a million others.

    `fixed` is the structure that question and answer begin with, whose first field is the family. Raises OSError;
    InterruptedError if they change faster than they can be read.
    """
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(InterruptedError):
            return _dump(kind, answer, fixed, family, wanted)
    return _dump(kind, answer, fixed, family, wanted)


def _dump(
    kind: int, answer: int, fixed: struct.Struct, family: int, wanted: Callable[[tuple[int, ...]], bool]
) -> list[Message]:
    return [
        _message(block, at, fixed)
        for block in dump_blocks(kind, _question(fixed, family))
        for at in messages(block, answer)
        if wanted(fixed.unpack_from(block, at + HEADER.size))
    ]


def ask(
    kind: int, answer: int, fixed: struct.Struct, *values: int, attributes: Mapping[int, bytes] | None = None
) -> Message:
    """The one that `values` of the fixed part, and `attributes` by number, name.

    Raises OSError, with ENODEV where there is no such interface.
    """
    with _open() as netlink:
        behind = b"".join(_attribute(number, octets) for number, octets in (attributes or {}).items())
        _send(netlink, kind, _NLM_F_REQUEST, _question(fixed, *values) + behind)
        block = netlink.recv(_RECEIVED)
    _raise_error(block)
    return next(_message(block, at, fixed) for at in messages(block, answer))


def dump_blocks(kind: int, question: bytes) -> Iterator[bytes]:
    """The answer as it is received: blocks of messages. Raises InterruptedError where it is not of one moment."""
    with _open() as netlink:
        _send(netlink, kind, _NLM_F_REQUEST | _NLM_F_DUMP, question)
        while True:
            block = netlink.recv(_RECEIVED)
            _raise_error(block)
            if HEADER.unpack_from(block)[2] & _NLM_F_DUMP_INTR:
                raise InterruptedError(errno.EINTR, "netlink: what was asked for changed while it was read")
            yield block
            if any(True for _ in messages(block, _NLMSG_DONE)):  # which may share a block with the last answers
                return


def messages(block: bytes, wanted: int) -> Iterator[int]:
    """Where the messages of a type begin."""
    at, end = 0, len(block)
    while at + HEADER.size <= end:
        length, kind = struct.unpack_from("=IH", block, at)
        if length < HEADER.size:
            return
        if kind == wanted:
            yield at
        at += length + 3 & ~3


def attributes(octets: bytes) -> dict[int, bytes]:
    """Attributes by number: of a message, or of an attribute that has some inside. Of two the later counts."""
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(octets):
        length, number = _ATTRIBUTE.unpack_from(octets, at)
        if length < _ATTRIBUTE.size:
            break
        found[number & _NLA_TYPE_MASK] = octets[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
    return found


def _question(fixed: struct.Struct, *values: int) -> bytes:
    fields = len(fixed.unpack(bytes(fixed.size)))
    return fixed.pack(*values, *[0] * (fields - len(values)))


def _attribute(number: int, octets: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(octets), number) + octets + bytes(-len(octets) % 4)


def _open() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    netlink.settimeout(_PATIENCE_SECONDS)
    netlink.bind((0, 0))
    return netlink


def _send(netlink: socket.socket, kind: int, flags: int, question: bytes) -> None:
    netlink.send(HEADER.pack(HEADER.size + len(question), kind, flags, 1, 0) + question)


def _raise_error(block: bytes) -> None:
    if HEADER.unpack_from(block)[1] == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", block, HEADER.size)[0]
        raise OSError(number, f"netlink: {os.strerror(number)}")


def _message(block: bytes, at: int, fixed: struct.Struct) -> Message:
    length = struct.unpack_from("=I", block, at)[0]
    body = at + HEADER.size
    return Message(fixed.unpack_from(block, body), attributes(block[body + fixed.size : at + length]))
