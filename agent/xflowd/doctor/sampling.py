"""What collectors will make of the sampling rate, and of numbers that tell exporters apart."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from xflowd.config import Collector, ExportProtocol, SamplingMode
from xflowd.doctor.finding import Finding, good, warning
from xflowd.doctor.situation import Situation
from xflowd.exporting.catalogue import DEFAULT_WORD

_INTERVAL = "samplingInterval"
_SLOW_REFRESH = 60


def check(situation: Situation) -> Iterator[Finding]:
    """Of each collector: the rate, its templates, its observation domain."""
    sockets = situation.socket.parent.glob("net-*.sock") if situation.socket else ()
    agents = sum(_is_alive(path) for path in sockets)
    for collector in situation.config.collectors:
        yield _rate(situation, collector)
        yield from _templates(collector)
        if collector.observation_domain is None and collector.protocol is not ExportProtocol.NETFLOW5:
            yield from _domain(situation, collector, agents)


def _is_alive(path: Path) -> bool:
    """Whether somebody listens there: an agent that was killed has left its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except BlockingIOError:  # so many ask that one has to wait
            return True
        except OSError:
            return False
        return True


def _rate(situation: Situation, collector: Collector) -> Finding:
    """RFC 7011, Cisco's v5 header: where each protocol has it; docs/collectors.md: who reads it where."""
    rate, mode = situation.sampling.rate, situation.sampling.mode
    if mode is SamplingMode.NONE:
        return good(collector.name, "every packet is counted; the rate it is told is 1")
    told = f"one packet in {rate:,} is counted"
    if collector.protocol is ExportProtocol.NETFLOW5:
        told += ": the 14 bits of each v5 header say so, but not by which method"
    else:
        told += ": a sampler record before the first flow says so, and each record"
    if collector.elements and not {_INTERVAL, DEFAULT_WORD} & set(collector.elements):
        what = f"{told.removesuffix(', and each record')}; no record has {_INTERVAL}: OpenNMS and Logstash read 1"
        where = f"[template {collector.template}]" if collector.template else "its elements"
        return warning(collector.name, what, f"add {_INTERVAL} to {where}")
    return good(collector.name, f"{told}. nfdump multiplies by itself, pmacct with nfacctd_renormalize, tshark never")


def _domain(situation: Situation, collector: Collector, agents: int) -> Iterator[Finding]:
    """What is derived from the host has to be this host's alone, and the same after each start."""
    key = f"observation_domain in [collector {collector.name}]"
    if agents > 1:
        what = f"{agents} agents on this host export under the same observation domain, that of the host"
        yield warning(collector.name, what, f"give {key} of each, another one for each agent")
    if not situation.read("/etc/machine-id") and _is_random(uuid.getnode()):
        what = "neither /etc/machine-id nor a MAC address: the observation domain is another one after each start"
        yield warning(collector.name, what, f"systemd-machine-id-setup, or give {key}")


def _is_random(node: int) -> bool:
    """Where Python finds no MAC address, it makes one up, as that of a group (RFC 9562 6.10)."""
    return bool(node >> 40 & 1)


def _templates(collector: Collector) -> Iterator[Finding]:
    if collector.protocol is ExportProtocol.NETFLOW5:
        yield good(collector.name, "netflow5 needs no templates; it has no IPv6, VLANs and MAC addresses")
    elif collector.template_refresh > _SLOW_REFRESH:
        what = f"a collector that starts later shows nothing for {collector.template_refresh} s (template_refresh)"
        yield warning(collector.name, what, f"template_refresh = {_SLOW_REFRESH}, or below")
