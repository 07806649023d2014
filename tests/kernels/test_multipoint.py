"""Proves that a tunnel's device whose packets begin with outer headers is refused, with what to meter instead."""

from __future__ import annotations

from contextlib import suppress

import pytest

from kernel.namespace import inside
from lab.namespaces import Namespace, namespaces
from xflowd import hooks
from xflowd.config import Meter
from xflowd.edge import network
from xflowd.edge.network import Link
from xflowd.metering.flow import INGRESS

#: How a device is made, and what its packets begin with.
DEVICES = [
    ("type gre remote 192.0.2.2 local 192.0.2.1", Link.NONE),
    ("type gre local 192.0.2.1 key 1", Link.TUNNEL),
    ("type gre remote 239.0.0.1 local 192.0.2.1 key 2", Link.TUNNEL),
    ("type gre external", Link.NONE),
    ("type ip6gre remote 2001:db8::2 local 2001:db8::1", Link.NONE),
    ("type ip6gre local 2001:db8::1 key 1", Link.TUNNEL),
    ("type ipip local 192.0.2.1", Link.NONE),
]


@pytest.mark.parametrize(("made", "link"), DEVICES, ids=str)
def test_what_a_tunnels_packets_begin_with(tmp_path_factory: pytest.TempPathFactory, made: str, link: Link) -> None:
    with namespaces(tmp_path_factory.mktemp("m"), "m") as (space,), inside(space):
        if not _has(space, made):
            pytest.skip(f"this kernel has no {made.split()[1]}")
        (device,) = (interface for interface in network.interfaces() if interface.name == "many")
        assert device.link is link
        if link is Link.NONE:
            assert hooks.programs(Meter(), device, INGRESS) == ("tc_ingress_network",)
            return
        with pytest.raises(hooks.AttachError, match="with tunnels = inner"):
            hooks.programs(Meter(), device, INGRESS)


def _has(space: Namespace, made: str) -> bool:
    with suppress(RuntimeError):
        space.ip(f"link add many {made}")
        return True
    return False
