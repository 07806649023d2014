"""A collector as the pipeline sees it: an Exporting Process, and the socket that its datagrams leave by."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xflowd.config import Collector, Sampling
from xflowd.edge.sending import Destination, Flow
from xflowd.exporting.announcing import MeterStatistics, SamplingAnnouncement
from xflowd.exporting.process import ExportingProcess
from xflowd.metering.instant import Instant
from xflowd.metering.table import Records
from xflowd.notices import Notice, counted

_UDP, _ICMP, _ICMPV6 = 17, 1, 58


class CollectorSink:
    """One collector: what it is told, and what came of it. Nothing here stops for it, and no other one either."""

    def __init__(self, config: Collector, sampling: Sampling) -> None:
        self.config = config
        self.interfaces: Mapping[int, str] = {}
        self._notice = Notice()
        self.ignored_packets = 0
        self.unsent_flows = 0
        source = config.source
        self.destination = Destination(
            config.address.host,
            config.port,
            source.host if source else "",
            (source.port or 0) if source else 0,
        )
        self.process = ExportingProcess(
            config.protocol.name.lower(),
            observation_domain=config.observation_domain or host_domain(),
            max_payload=config.max_payload,
            template_refresh_ns=config.template_refresh * 10**9,
            sampling=announcement(sampling),
        )

    def take(self, ended: Records, now: Instant) -> None:
        """Send flows, and whatever else is due. While there is nowhere to send to, flows are counted and gone."""
        if not self.ready(now):
            self.unsent_flows += len(ended)
            return
        statistics = MeterStatistics(self.ignored_packets, self.unsent_flows)
        datagrams = self.process.export(ended, now, self.interfaces, statistics)
        self.destination.send(datagrams, now.monotonic_ns)

    def due(self, now: Instant) -> bool:
        """Whether templates go out even without flows."""
        return self.destination.ready(now.monotonic_ns) and self.process.refresh_due(now)

    def ready(self, now: Instant) -> bool:
        """Whether the collector's name has resolved and there is a socket to it."""
        return self.destination.ready(now.monotonic_ns)

    def wait(self, seconds: float) -> None:
        """Wait for the name to resolve, at most so long."""
        self.destination.wait(seconds)

    def resample(self, sampling: Sampling) -> None:
        """Packets are sampled otherwise from now on."""
        self.process.change_sampling(announcement(sampling))

    def own_traffic(self, ended: Records) -> npt.NDArray[np.bool_]:
        """Which flows are our datagrams to this collector, or its answers by ICMP."""
        flow = self.destination.flow()
        if flow is None:
            return np.zeros(len(ended), np.bool_)
        return _is_export(ended, flow) | _is_answer(ended, flow)

    def summary(self) -> str:
        """What this collector was sent, and what went wrong, in a line."""
        sent, exported = self.destination.counters, self.process.counters
        flows = counted(exported.exported_flow_record_total_count, "flow")
        parts = [f"{flows} in {counted(sent.sent_datagrams, 'datagram')} of {counted(sent.sent_octets, 'octet')}"]
        return f"collector {self.config.name}: {'; '.join([*parts, *self._faults()])}"

    def tell(self, now: Instant) -> None:
        """Log what goes wrong with this collector, when that has changed, once a minute at most."""
        faults = self._faults()
        if faults:
            self._notice.tell(f"collector {self.config.name}: {'; '.join(faults)}", now.monotonic_ns)

    def _faults(self) -> list[str]:
        sent, exported = self.destination.counters, self.process.counters
        parts = [
            f"{counted(count, 'flow')} not exportable: {why}" for why, count in exported.not_exportable_flows.items()
        ]
        if self.unsent_flows:
            parts.append(f"{counted(self.unsent_flows, 'flow')} dropped while it had no address")
        if sent.dropped_datagrams:
            parts.append(f"{counted(sent.dropped_datagrams, 'datagram')} dropped")
        return parts + [f"{why} ({counted(count, 'time')})" for why, count in sent.failures.items()]

    def close(self) -> None:
        """Drop the socket."""
        self.destination.close()


def announcement(sampling: Sampling) -> SamplingAnnouncement:
    """The configuration's sampling as collectors are told it."""
    return SamplingAnnouncement(sampling.mode.name.lower(), sampling.rate)


def host_domain() -> int:
    """An observation domain that stays the same on this host and is hardly another's; never 0."""
    try:
        identity = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        identity = b""
    return zlib.crc32(identity or uuid.getnode().to_bytes(8, "big")) or 1


def _is_export(ended: Records, flow: Flow) -> npt.NDArray[np.bool_]:
    source, source_port, destination, destination_port = flow
    mask: npt.NDArray[np.bool_] = (
        (ended["protocol_identifier"] == _UDP)
        & (ended["source_transport_port"] == source_port)
        & (ended["destination_transport_port"] == destination_port)
        & _is_address(ended["source_address"], source)
        & _is_address(ended["destination_address"], destination)
    )
    return mask


def _is_answer(ended: Records, flow: Flow) -> npt.NDArray[np.bool_]:
    source, _, destination, _ = flow
    mask: npt.NDArray[np.bool_] = (
        np.isin(ended["protocol_identifier"], (_ICMP, _ICMPV6))
        & _is_address(ended["source_address"], destination)
        & _is_address(ended["destination_address"], source)
    )
    return mask


def _is_address(column: npt.NDArray[np.uint8], address: bytes) -> npt.NDArray[np.bool_]:
    equal: npt.NDArray[np.bool_] = (column == np.frombuffer(address.ljust(16, b"\0"), np.uint8)).all(axis=1)
    return equal
