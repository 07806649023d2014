"""PPP over Ethernet (RFC 2516) by the kernel alone: a session that is agreed on beforehand needs no daemon."""

from __future__ import annotations

import ctypes as c
import os
import socket
import struct
from contextlib import ExitStack
from fcntl import ioctl

from kernel.namespace import inside
from lab.namespaces import Namespace

SESSION = 7
_AF_PPPOX = 24
_PPPIOCGCHAN, _PPPIOCATTCHAN = 0x80047437, 0x40047438  # of <linux/ppp-ioctl.h>
_PPPIOCCONNECT, _PPPIOCNEWUNIT = 0x4004743A, 0xC004743E
_libc = c.CDLL(None, use_errno=True)


def has_ppp() -> bool:
    """Whether this kernel has PPP over Ethernet, loaded or built in."""
    try:
        socket.socket(_AF_PPPOX, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return os.path.exists("/dev/ppp")


def add_ppp(stack: ExitStack, space: Namespace, device: str, peer: str) -> str:
    """One end of a session with the station `peer` (a MAC address) behind `device`: the new interface's name.

    It goes when `stack` closes its descriptors.
    """
    with inside(space):
        session = stack.enter_context(socket.socket(_AF_PPPOX, socket.SOCK_STREAM))
        address = struct.pack(
            "=HI2s6s16s",
            _AF_PPPOX,
            0,
            SESSION.to_bytes(2, "big"),
            bytes.fromhex(peer.replace(":", "")),
            device.encode(),
        )
        if _libc.connect(session.fileno(), address, len(address)):
            raise OSError(c.get_errno(), f"PPPoE over {device}")
        channel, unit = _open(stack), _open(stack)
        _call(channel, _PPPIOCATTCHAN, _call(session.fileno(), _PPPIOCGCHAN, 0))
        number = _call(unit, _PPPIOCNEWUNIT, -1)
        _call(channel, _PPPIOCCONNECT, number)
    return f"ppp{number}"


def _open(stack: ExitStack) -> int:
    descriptor = os.open("/dev/ppp", os.O_RDWR | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def _call(descriptor: int, request: int, number: int) -> int:
    """A request that takes a number, gives one, or both."""
    result: int = struct.unpack("=i", ioctl(descriptor, request, struct.pack("=i", number)))[0]
    return result
