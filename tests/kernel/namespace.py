"""This thread in another network namespace: to attach programs, and for its test runs' devices."""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Iterator
from contextlib import contextmanager

from kernel.frames import DESTINATION_MAC
from lab.namespaces import NETNS_DIRECTORY, Namespace

_ADDRESS = ":".join(f"{octet:02x}" for octet in DESTINATION_MAC)
_CLONE_NEWNET = 0x40000000
_libc = c.CDLL(None, use_errno=True)


@contextmanager
def inside(space: Namespace) -> Iterator[None]:
    """Enter, and come back whatever happens."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(NETNS_DIRECTORY / space.name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(there)
        os.close(home)


def devices(space: Namespace, **indexes: int) -> None:
    """Ethernet devices of these names and indexes, up, each with nothing but silence at its other end.

    Their address is the one that the tests' frames go to.
    """
    for name, index in indexes.items():
        space.ip(
            f"link add {name} index {index} address {_ADDRESS} type veth peer name {name}-end",
            f"link set {name} up",
            f"link set {name}-end up",
        )


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(c.get_errno(), "setns")
