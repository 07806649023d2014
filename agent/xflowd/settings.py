"""The configuration as the parts of the agent need it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from xflowd.config import Config, Sampling, SamplingMode, Tunnels, matching
from xflowd.edge import network
from xflowd.edge.loading import LoadOptions
from xflowd.exporting.catalogue import details
from xflowd.metering.expiry import Timeouts
from xflowd.observing import buckets


class StartError(Exception):
    """The agent cannot start; the message says what, where, and how to mend it."""


def timeouts(config: Config) -> Timeouts:
    """The configuration's timeouts, in nanoseconds."""
    meter = config.meter
    return Timeouts(meter.active_timeout * 10**9, meter.idle_timeout * 10**9, meter.scan_interval * 10**9)


def metered(config: Config, present: Iterable[network.Interface]) -> list[int]:
    """The indexes of the interfaces that the configuration means, of those that are there."""
    here = list(present)
    names = set(matching(config.meter.interfaces, (one.name for one in here)))
    return [one.index for one in here if one.name in names]


def load_options(config: Config, indexes: list[int]) -> LoadOptions:
    """What of the configuration is fixed when the programs are loaded; `indexes` are of the interfaces to meter."""
    sampled = config.sampling.mode is not SamplingMode.NONE
    chosen = details(config.elements).union(*(details(collector.elements) for collector in config.collectors))
    return LoadOptions(
        max_flows=config.meter.max_flows,
        key_fields=tuple(f"KEY_{field.name}" for field in config.meter.key),
        details=tuple(sorted(chosen)),
        tunnels_inner=config.meter.tunnels is Tunnels.INNER,
        sampling_rate=config.sampling.rate if sampled else 1,
        sampling_random=config.sampling.mode is SamplingMode.RANDOM,
        buckets=buckets(indexes),
    )


def sampling(options: LoadOptions) -> Sampling:
    """The way back: how the packets were sampled that programs with these options have counted."""
    if options.sampling_rate == 1:
        return Sampling()
    mode = SamplingMode.RANDOM if options.sampling_random else SamplingMode.SYSTEMATIC
    return Sampling(mode, options.sampling_rate)


def with_default_interface(config: Config) -> Config:
    """Where neither interface nor network is named, the interface of the default route is meant."""
    if config.meter.interfaces or config.meter.network:
        return config
    name = network.default_route_interface()
    if name is None:
        raise StartError("no interface is named and there is no default route: name one with -i or in [meter]")
    return replace(config, meter=replace(config.meter, interfaces=(name,)))
