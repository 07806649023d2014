"""The way to each collector: its name, route, source address, path MTU, and whether its host refuses."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from xflowd.config import Collector
from xflowd.doctor.finding import Finding, bad, good, warning
from xflowd.doctor.situation import Situation
from xflowd.edge import network
from xflowd.edge.network import Interface
from xflowd.edge.resolving import Address, Name
from xflowd.hooks import DIRECTION_NAMES
from xflowd.metering.flow import EGRESS
from xflowd.observing import directions

_NAME_SECONDS, _ANSWER_SECONDS = 5.0, 1.0
_HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}  # of IP and UDP
#: <linux/in.h>, <linux/in6.h>
_IP_MTU, _IPV6_MTU, _IP_RECVERR, _IPV6_RECVERR = 14, 24, 11, 25
#: Octets that no protocol begins with: a version of 0. Every collector throws such a datagram away (RFC 7011 3.1).
_PROBE = bytes(4)


@dataclass(slots=True)
class _Way:
    collector: Collector
    name: Name
    connected: socket.socket | None = None
    refused: str = ""


def check(situation: Situation) -> Iterator[Finding]:
    """All collectors at once: names have 5 s, what comes back of a probe has 1 s."""
    collectors = situation.config.collectors
    if not collectors:
        yield warning("collectors", "there is none: flows are printed", "add [collector NAME] with address = HOST:PORT")
        return
    ways = [_Way(one, Name(one.address.host, one.port)) for one in collectors]
    try:
        findings = {way.collector.name: list(_opened(way)) for way in _resolved(ways)}
        _probe([way for way in ways if way.connected])
        for way in ways:
            yield from findings[way.collector.name]
            if way.connected:
                yield _answer(way)
                yield from _observed(situation, way)
    finally:
        for way in ways:
            if way.connected:
                way.connected.close()
    yield _buffers(situation)


def _resolved(ways: Sequence[_Way]) -> Sequence[_Way]:
    for way in ways:
        way.name.look_up()
    until = time.monotonic() + _NAME_SECONDS
    for way in ways:
        way.name.wait(max(0.0, until - time.monotonic()))
    return ways


def _opened(way: _Way) -> Iterator[Finding]:
    """From the name to a socket that has a route, a source and an MTU."""
    one, found = way.collector, way.name.result()
    if isinstance(found, str) or not found:
        why = found or f"no answer within {_NAME_SECONDS:g} s"
        mend = "correct its address, or the name servers in /etc/resolv.conf; an address needs none"
        yield bad(one.name, f"{one.address.host} does not resolve: {why}", mend)
        return
    if not way.name.is_address:
        yield good(one.name, f"{one.address.host} is {', '.join(dict.fromkeys(each[1][0] for each in found))}")
    failure = _connect(way, found)
    if way.connected is None:
        yield _no_way(one, failure, found[-1])
        return
    source, mtu = way.connected.getsockname()[0], _mtu(way.connected)
    yield _fitting(one, source, mtu, _HEADERS[way.connected.family])


def _connect(way: _Way, addresses: Sequence[Address]) -> OSError:
    """As the agent does it: the first address that there is a route to, from the source that is given."""
    failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, address in addresses:
        made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            made.setsockopt(
                *((socket.IPPROTO_IPV6, _IPV6_RECVERR, 1) if family == socket.AF_INET6 else (0, _IP_RECVERR, 1))
            )
            if way.collector.source:
                made.bind((way.collector.source.host, 0))  # the port is the agent's
            made.connect(address)
        except OSError as error:
            made.close()
            failure = error
        else:
            way.connected = made
            break
    return failure


def _no_way(one: Collector, failure: OSError, tried: Address) -> Finding:
    """`failure` is that of the last address."""
    if one.source and failure.errno == errno.EADDRNOTAVAIL:
        what = f"source {one.source.host} is no address of this host"
        return bad(one.name, what, f"give one of `ip address` in [collector {one.name}], or none")
    if one.source and failure.errno == errno.EINVAL:
        what = f"no route to {one.address.host} from source {one.source.host}"
        return bad(one.name, what, "give another source, or none: the system chooses")
    what, address = f"no way to {one.address}: {failure.strerror}", tried[1][0]
    if failure.errno != errno.ENETUNREACH:  # a rule or a route that says no, or no address to send from
        return bad(one.name, what, f"see ip rule, and ip route get {address}; mend what it says")
    if tried[0] == socket.AF_INET6:
        return bad(one.name, what, f"add a route: ip -6 route add {address} via GATEWAY dev INTERFACE")
    return bad(one.name, what, f"add a route: ip route add {address} via GATEWAY")


def _mtu(connected: socket.socket) -> int:
    """Of the path, as far as the kernel knows it."""
    option = (socket.IPPROTO_IPV6, _IPV6_MTU) if connected.family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_MTU)
    return connected.getsockopt(*option)


def _fitting(one: Collector, source: str, mtu: int, headers: int) -> Finding:
    if one.max_payload + headers <= mtu:
        return good(one.name, f"sent from {source}; {one.max_payload} octets and headers fit the path's MTU of {mtu}")
    what = f"max_payload {one.max_payload} and {headers} octets of headers exceed the path's MTU of {mtu}"
    return bad(one.name, what, f"max_payload = {max(512, mtu - headers)} in [collector {one.name}]")


def _probe(ways: Sequence[_Way]) -> None:
    """A datagram to each that means nothing, and what the network says of it within a second."""
    until = time.monotonic() + _ANSWER_SECONDS
    with selectors.DefaultSelector() as waiting:
        for way in ways:
            assert way.connected is not None
            waiting.register(way.connected, selectors.EVENT_READ, way)
            try:
                way.connected.send(_PROBE)
            except OSError as error:
                _heard(waiting, way, error)
        while waiting.get_map() and (rest := until - time.monotonic()) > 0:
            for key, _ in waiting.select(rest):
                _heard(waiting, key.data, _error(key.data.connected))


def _heard(waiting: selectors.BaseSelector, way: _Way, error: OSError | None) -> None:
    assert way.connected is not None
    if error is not None:
        way.refused = error.strerror or str(error)
        waiting.unregister(way.connected)


def _error(connected: socket.socket) -> OSError | None:
    """What came back. A collector that answers, whatever it is, is there."""
    code = connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    with suppress(OSError):
        connected.recvmsg(1, 0, socket.MSG_ERRQUEUE)
    with suppress(OSError):
        connected.recv(1)
    return OSError(code, os.strerror(code)) if code else None


def _answer(way: _Way) -> Finding:
    one = way.collector
    if not way.refused:
        return good(one.name, f"nothing came back of a datagram to {one.address} within a second: UDP tells no more")
    if way.refused == os.strerror(errno.ECONNREFUSED):
        what = f"port unreachable: nobody listens at {one.address}"
        return bad(one.name, what, f"start the collector, or correct its port, or let its firewall pass {one.port}/udp")
    return bad(one.name, f"{one.address}: {way.refused}", "see ip route get, ip neighbour, and the collector's link")


def _observed(situation: Situation, way: _Way) -> Iterator[Finding]:
    """Export that leaves by an interface whose egress is metered is traffic like all other."""
    assert way.connected is not None
    if not situation.config.meter.interfaces and not situation.status:
        return
    try:
        leaving = network.leaves_by(way.connected)
    except OSError:  # the route has gone since: the probe is told so
        return
    for interface in situation.metered:
        if interface.index == leaving and _is_metered_out(situation, interface):
            what = f"its datagrams leave by {interface.name}, which is metered: they are in the flows"
            yield good(way.collector.name, what)


def _is_metered_out(situation: Situation, interface: Interface) -> bool:
    if situation.status:
        points = situation.status["interfaces"]
        return any((one["index"], one["direction"]) == (interface.index, DIRECTION_NAMES[EGRESS]) for one in points)
    meter = situation.config.meter
    return EGRESS in directions(meter.direction, meter.interfaces)


def _buffers(situation: Situation) -> Finding:
    """The agent asks for 4 MB, and with CAP_NET_ADMIN gets them whatever the limit is."""
    limit = int(situation.read("/proc/sys/net/core/wmem_max") or 0)
    return good(
        "collectors", f"the socket's buffer is 4 MB with CAP_NET_ADMIN; others get {2 * limit >> 10:,} KB (wmem_max)"
    )
