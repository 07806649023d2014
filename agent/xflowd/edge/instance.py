"""What tells one agent from another: the network namespace it runs in, of which each has one agent."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

RUN_DIRECTORY = Path("/run/xflowd")
_SO_NETNS_COOKIE = 71  # <asm-generic/socket.h>, a u64; since Linux 5.14


def name() -> str:
    """`net-` and the namespace's cookie, which no other has until the next boot; before Linux 5.14 its inode."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as any_socket:
        try:
            cookie = int.from_bytes(any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError:
            cookie = os.stat("/proc/self/ns/net").st_ino
    return f"net-{cookie}"


def control_socket() -> Path:
    """Where the agent of this network namespace answers."""
    return RUN_DIRECTORY / f"{name()}.sock"
