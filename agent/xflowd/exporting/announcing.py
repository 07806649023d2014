"""What a collector is told beside the flows: templates, the sampling, the interfaces, and how it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xflowd.exporting.protocols import Protocol
from xflowd.wire.template import Template

Array = npt.NDArray[Any]
SAMPLER_NAME = b"xflowd"
#: samplerMode of each mode; not sampled is one of one, which is systematic.
_MODES = {"none": 1, "systematic": 1, "random": 2}


@dataclass(frozen=True, slots=True)
class SamplingAnnouncement:
    """How packets are chosen: `mode` "none", "systematic" or "random"; one of `rate` packets, 1 for none.

    Raises ValueError for any other mode, a rate below 1, and a rate above 1 that nothing samples at.
    """

    mode: str
    rate: int

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ValueError(f"sampling mode {self.mode!r}: use one of {', '.join(_MODES)}")
        if not 1 <= self.rate < 1 << 32:
            raise ValueError(f"sampling rate {self.rate}: use 1 (every packet) to 4294967295")
        if self.mode == "none" and self.rate != 1:
            raise ValueError(f"sampling rate {self.rate} with mode none: use rate 1, or mode systematic or random")


@dataclass(frozen=True, slots=True)
class MeterStatistics:
    """Totals of the Metering Process since its start: packets in no flow, flows lost before the export."""

    ignored_packet_total_count: int = 0
    not_sent_flow_total_count: int = 0


def template_sets(protocol: Protocol) -> tuple[bytes, int]:
    """All templates and options templates as sets, and how many they are; nothing for a protocol without.

    Each options template has a set of its own: some collectors read only the first of a set.
    """
    if protocol.wire is None or protocol.announced is None:
        return b"", 0
    announced, wire = protocol.announced, protocol.wire
    octets = [wire.template_set(list(announced.flows.values()))]
    octets += [wire.options_template_set(template) for template in announced.options]
    return b"".join(octets), 2 + len(announced.options)


def sampler_records(template: Template, domain: int, sampling: SamplingAnnouncement) -> Array:
    """The sampler options: one record. At a rate of 1 too: some collectors drop flows without it."""
    return _options(
        template,
        domain,
        1,
        {
            "samplingInterval": sampling.rate,
            "samplerRandomInterval": sampling.rate,
            "samplerMode": _MODES[sampling.mode],
            "samplerName": SAMPLER_NAME,
        },
    )


def interface_records(template: Template, domain: int, interfaces: Mapping[int, str]) -> Array:
    """The interface options: a record for each ifIndex → name."""
    octets = template.dtype["interfaceDescription"].itemsize
    return _options(
        template,
        domain,
        len(interfaces),
        {
            "ingressInterface": list(interfaces),
            "interfaceDescription": [_cut(name, octets) for name in interfaces.values()],
        },
    )


def statistics_records(template: Template, domain: int, totals: Mapping[str, int]) -> Array:
    """The statistics options: one record, of those totals (by IANA name) that the template has."""
    values = {name: totals[name] for name in template.names if name in totals}
    return _options(template, domain, 1, values)


def _options(template: Template, domain: int, count: int, values: Mapping[str, Any]) -> Array:
    """Records whose scope is the whole exporter: the observation domain, in v9 the source ID."""
    records = np.zeros(count, template.dtype)
    records[template.names[0]] = domain
    for name, value in values.items():
        records[name] = value
    return records


def _cut(name: str, octets: int) -> bytes:
    """UTF-8 of at most so many octets, cut between characters."""
    return name.encode()[:octets].decode(errors="ignore").encode()
