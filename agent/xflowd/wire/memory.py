"""What a collector remembers of its exporters: templates and sequence numbers, and never more than so many.

Over UDP anybody can send templates from any address: whatever is kept is limited, and the oldest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from xflowd.wire.sequence import Sequence
from xflowd.wire.template import Template

_MAXIMUM_STREAMS = 64  # observation domains of one exporter whose sequence is followed

Stream = tuple[int, int]  # version of the protocol, observation domain


@dataclass(slots=True)
class _Exporter:
    templates: OrderedDict[tuple[Stream, int], Template] = field(default_factory=OrderedDict)
    sequences: OrderedDict[Stream, Sequence] = field(default_factory=OrderedDict)


class CollectorMemory:
    """Templates and sequences by exporter. A template's number is good for one domain of one exporter."""

    def __init__(self, max_templates: int, max_templates_per_exporter: int) -> None:
        self._max_templates, self._max_per_exporter = max_templates, max_templates_per_exporter
        self._exporters: OrderedDict[Hashable, _Exporter] = OrderedDict()
        self._template_count = 0

    def __len__(self) -> int:
        """How many templates are kept."""
        return self._template_count

    def template(self, exporter: Hashable, stream: Stream, template_id: int) -> Template | None:
        """The template of this number, if it has come and has not been pushed out."""
        return self._exporter(exporter).templates.get((stream, template_id))

    def sequence(self, exporter: Hashable, stream: Stream) -> Sequence:
        """The numbering of a stream; a new one for a stream not heard of."""
        sequences = self._exporter(exporter).sequences
        sequence = sequences.setdefault(stream, Sequence())
        sequences.move_to_end(stream)
        if len(sequences) > _MAXIMUM_STREAMS:
            sequences.popitem(last=False)
        return sequence

    def learn(self, exporter: Hashable, stream: Stream, template: Template) -> None:
        """Keep a template in place of one of the same number; push out the oldest for it if need be."""
        templates = self._exporter(exporter).templates
        self.forget(exporter, stream, template.template_id)
        templates[(stream, template.template_id)] = template
        self._template_count += 1
        if len(templates) > self._max_per_exporter:
            templates.popitem(last=False)
            self._template_count -= 1
        while self._template_count > self._max_templates:
            self._push_out()

    def forget(self, exporter: Hashable, stream: Stream, template_id: int) -> None:
        """Drop one template, if it is there."""
        if self._exporter(exporter).templates.pop((stream, template_id), None) is not None:
            self._template_count -= 1

    def forget_all(self, exporter: Hashable, stream: Stream, *, options: bool) -> None:
        """Drop all templates, or all options templates, of a stream."""
        templates = self._exporter(exporter).templates
        gone = [key for key, each in templates.items() if key[0] == stream and each.is_options == options]
        for _, template_id in gone:
            self.forget(exporter, stream, template_id)

    def _exporter(self, exporter: Hashable) -> _Exporter:
        known = self._exporters.setdefault(exporter, _Exporter())
        self._exporters.move_to_end(exporter)
        if len(self._exporters) > self._max_templates:
            _, oldest = self._exporters.popitem(last=False)
            self._template_count -= len(oldest.templates)
        return known

    def _push_out(self) -> None:
        """The oldest template of the exporter silent for the longest; with its last one, the exporter."""
        name, silent = next(iter(self._exporters.items()))
        if silent.templates:
            silent.templates.popitem(last=False)
            self._template_count -= 1
        if not silent.templates:
            del self._exporters[name]
