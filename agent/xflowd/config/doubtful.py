"""What can be had, and is hardly what somebody wants: told at the start, and by `xflowd check`."""

from __future__ import annotations

from collections.abc import Iterator

from xflowd.config.elements import doubts, only_uptimes
from xflowd.config.flowkey import zeroed
from xflowd.config.schema import Config, ExportProtocol


def doubtful(config: Config) -> Iterator[str]:
    """A line for each doubt about a checked configuration: where, and what."""
    named = {collector.template for collector in (*config.collectors, *config.disabled)}
    if config.disabled and not config.collectors:
        yield "all collectors are disabled: flows are printed, not sent"
    for template in config.templates:
        if template.name not in named:
            yield f"[template {template.name}]: no collector names it"
        for doubt in doubts(template.elements):
            yield f"[template {template.name}] elements: {doubt}"
        for name in sorted(zeroed(config.meter.key).intersection(template.elements)):
            yield f"[template {template.name}] elements: {name} is 0 always: it is not part of key in [meter]"
    for collector in config.collectors:
        if collector.protocol is ExportProtocol.IPFIX and only_uptimes(collector.elements):
            yield f"[collector {collector.name}] template: nfdump 1.7.1 takes start for end where IPFIX has uptimes"
