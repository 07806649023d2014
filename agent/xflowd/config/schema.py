"""Every section and key there is, with its default and its range: the one place that knows them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from xflowd.config.elements import ElementNames, Elements, SectionName
from xflowd.config.flowkey import LEVELS, FlowKey, KeyFields
from xflowd.config.values import (
    Address,
    Choice,
    Duration,
    Endpoint,
    FilePath,
    InterfaceNames,
    Kind,
    NetworkNames,
    Number,
    Switch,
    UserName,
)

NETFLOW5_MAXIMUM_RATE = 16_383  # the sampling interval of a version 5 header has 14 bits
NOWHERE = Endpoint("")  # stands for an address that is missing or wrong, in a Config that is never handed out

Direction = enum.Enum("Direction", ["AUTO", "INGRESS", "EGRESS", "BOTH"])
Hook = enum.Enum("Hook", ["AUTO", "XDP", "TC"])
Tunnels = enum.Enum("Tunnels", ["OUTER", "INNER"])
SamplingMode = enum.Enum("SamplingMode", ["NONE", "SYSTEMATIC", "RANDOM"])
Log = enum.Enum("Log", ["STDERR", "SYSLOG"])


class ExportProtocol(enum.IntEnum):
    """What is spoken to a collector; the value is the version number that starts each message."""

    NETFLOW5 = 5
    NETFLOW9 = 9
    IPFIX = 10

    @property
    def default_port(self) -> int:
        """4739 is registered for IPFIX (RFC 7011 10.3.4); 2055 is what NetFlow collectors listen on."""
        return 4739 if self is ExportProtocol.IPFIX else 2055


_VERSIONS = tuple((str(protocol.value), protocol.name.lower()) for protocol in ExportProtocol)


@dataclass(frozen=True, slots=True)
class Meter:
    """The Metering Process. Times are seconds. No interfaces and no network: the one of the default route.

    `network` are OpenWrt's names, which stand for devices that only netifd knows.
    """

    interfaces: Annotated[tuple[str, ...], InterfaceNames()] = ()
    network: Annotated[tuple[str, ...], NetworkNames()] = ()
    direction: Annotated[Direction, Choice(Direction)] = Direction.AUTO
    hook: Annotated[Hook, Choice(Hook)] = Hook.AUTO
    key: Annotated[FlowKey, KeyFields()] = LEVELS["vlan"]
    tunnels: Annotated[Tunnels, Choice(Tunnels)] = Tunnels.OUTER
    max_flows: Annotated[int, Number(1, 4_194_304)] = 65_536
    active_timeout: Annotated[int, Duration(1, 86_400)] = 60
    idle_timeout: Annotated[int, Duration(1, 86_400)] = 15
    scan_interval: Annotated[int, Duration(1, 10)] = 1
    as_table: Annotated[str, FilePath()] = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """One packet in `rate` is metered: the first of each so many, or any of them (RFC 5475 5.1, 5.2.1)."""

    mode: Annotated[SamplingMode, Choice(SamplingMode)] = SamplingMode.NONE
    rate: Annotated[int, Number(1, 1_000_000)] = 1


@dataclass(frozen=True, slots=True)
class Template:
    """What a flow's record holds, by elements in their order: for collectors that name it."""

    name: str
    elements: Annotated[Elements, ElementNames()] = ()


@dataclass(frozen=True, slots=True)
class Collector:
    """One Collecting Process. Times are seconds. No observation domain: one derived from the host.

    `max_payload` is in octets of UDP payload: 512 hold every template, the sampler and an IPv6 record. `queue` is the
    octets of memory for what waits to be sent. `elements` are those of the template that is named; none: the
    protocol's own.
    """

    name: str
    address: Annotated[Endpoint, Address()] = NOWHERE
    protocol: Annotated[ExportProtocol, Choice(ExportProtocol, _VERSIONS)] = ExportProtocol.IPFIX
    source: Annotated[Endpoint | None, Address(local=True)] = None
    template_refresh: Annotated[int, Duration(1, 3_600)] = 60
    max_payload: Annotated[int, Number(512, 65_507)] = 1_400
    observation_domain: Annotated[int | None, Number(1, 2**32 - 1, optional=True)] = None
    queue: Annotated[int, Number(131_072, 268_435_456)] = 1_048_576
    template: Annotated[str, SectionName()] = ""
    enabled: Annotated[bool, Switch()] = True
    elements: Elements = ()

    @property
    def port(self) -> int:
        """The port to send to: the one that is given, or the protocol's own."""
        return self.protocol.default_port if self.address.port is None else self.address.port


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent itself. No user: it stays who it is, without the rights that it does not need.

    One that is not `enabled` ends as soon as it starts.
    """

    enabled: Annotated[bool, Switch()] = True
    user: Annotated[str, UserName()] = ""
    nice: Annotated[int, Number(0, 19)] = 0
    log: Annotated[Log, Choice(Log)] = Log.STDERR


@dataclass(frozen=True, slots=True)
class Metrics:
    """The endpoint that Prometheus scrapes. No address: there is none, and it costs nothing."""

    listen: Annotated[Endpoint | None, Address(local=True)] = None


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that has passed every check. `elements` are those of the command line, for all records.

    `collectors` are those that are enabled, `disabled` the others: nobody but a check needs them.
    """

    meter: Meter = Meter()
    sampling: Sampling = Sampling()
    collectors: tuple[Collector, ...] = ()
    agent: Agent = Agent()
    templates: tuple[Template, ...] = ()
    elements: Elements = ()
    metrics: Metrics = Metrics()
    disabled: tuple[Collector, ...] = ()


#: Section type → what its keys make. A section of a type in NAMED has a name, and there can be many of them.
SECTIONS: dict[str, type[Any]] = {
    "meter": Meter,
    "sampling": Sampling,
    "template": Template,
    "collector": Collector,
    "agent": Agent,
    "metrics": Metrics,
}
NAMED = {"template", "collector"}
#: Section type and what UCI may call one item of a list there, as in `list interface 'wan'` → the key of the list.
ITEMS = {("meter", "interface"): "interfaces", ("template", "element"): "elements"}
#: Keys without which a section is nothing, and what to write for them.
REQUIRED = {"collector": ("address", "HOST:PORT"), "template": ("elements", "default, minimumTTL, maximumTTL")}


def keys(section_type: str) -> dict[str, Kind]:
    """The keys of a type of section, in canonical order, and how the values of each are read and written."""
    hints = get_type_hints(SECTIONS[section_type], include_extras=True)
    return {key: hint.__metadata__[0] for key, hint in hints.items() if hasattr(hint, "__metadata__")}
