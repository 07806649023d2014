"""What a collector remembers of its exporters: templates and sequence numbers, and never more than so many.

Over UDP anybody can send templates from any address: whatever is kept is limited, and the oldest goes first.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from xflowd.wire.sequence import Sequence
from xflowd.wire.template import Template

_MAXIMUM_FIELDS = 1 << 17  # of all templates: some 540 octets each, so 70 MB at most
_MAXIMUM_STREAMS = 1 << 14  # observation domains whose sequence is followed, of all exporters: 5 MB
_MAXIMUM_STREAMS_PER_EXPORTER = 64

Stream = tuple[int, int]  # version of the protocol, observation domain


@dataclass(slots=True)
class _Exporter:
    templates: OrderedDict[tuple[Stream, int], Template] = field(default_factory=OrderedDict)
    sequences: OrderedDict[Stream, Sequence] = field(default_factory=OrderedDict)


class CollectorMemory:
    """Templates and sequences by exporter. A template's number is good for one domain of one exporter.

    What has to go although nobody withdrew it is counted in `pushed_out`, by what it is.
    """

    def __init__(self, max_templates: int, max_templates_per_exporter: int, pushed_out: Counter[str]) -> None:
        self._max_templates, self._max_per_exporter = max_templates, max_templates_per_exporter
        self._pushed_out = pushed_out
        self._exporters: OrderedDict[Hashable, _Exporter] = OrderedDict()  # the one silent for the longest first
        self._template_count = self._field_count = self._stream_count = 0

    def __len__(self) -> int:
        """How many templates are kept."""
        return self._template_count

    def template(self, exporter: Hashable, stream: Stream, template_id: int) -> Template | None:
        """The template of this number, if it has come and has not been pushed out."""
        return self._exporter(exporter).templates.get((stream, template_id))

    def sequence(self, exporter: Hashable, stream: Stream) -> Sequence:
        """The numbering of a stream; a new one for a stream not heard of."""
        sequences = self._exporter(exporter).sequences
        if stream not in sequences:
            self._make_room_for_stream(sequences)
            sequences[stream] = Sequence()
            self._stream_count += 1
        sequences.move_to_end(stream)
        return sequences[stream]

    def learn(self, exporter: Hashable, stream: Stream, template: Template) -> None:
        """Keep a template in place of one of the same number; push out the oldest for it if need be."""
        templates = self._exporter(exporter).templates
        self.forget(exporter, stream, template.template_id)
        templates[(stream, template.template_id)] = template
        self._template_count += 1
        self._field_count += len(template.all_fields)
        if len(templates) > self._max_per_exporter:
            self._push_out_template(templates)
        while self._template_count > self._max_templates or self._field_count > _MAXIMUM_FIELDS:
            self._push_out()

    def forget(self, exporter: Hashable, stream: Stream, template_id: int) -> None:
        """Drop one template, if it is there."""
        gone = self._exporter(exporter).templates.pop((stream, template_id), None)
        if gone is not None:
            self._template_count -= 1
            self._field_count -= len(gone.all_fields)

    def forget_all(self, exporter: Hashable, stream: Stream, *, options: bool) -> None:
        """Drop all templates, or all options templates, of a stream."""
        templates = self._exporter(exporter).templates
        gone = [key for key, each in templates.items() if key[0] == stream and each.is_options == options]
        for _, template_id in gone:
            self.forget(exporter, stream, template_id)

    def _exporter(self, exporter: Hashable) -> _Exporter:
        known = self._exporters.get(exporter)
        if known is None:
            if len(self._exporters) >= self._max_templates:
                self._push_out_exporter()
            known = self._exporters[exporter] = _Exporter()
        self._exporters.move_to_end(exporter)
        return known

    def _make_room_for_stream(self, sequences: OrderedDict[Stream, Sequence]) -> None:
        """The exporter's oldest stream goes, or all of the exporter that is silent for the longest."""
        if len(sequences) >= _MAXIMUM_STREAMS_PER_EXPORTER:
            sequences.popitem(last=False)
            self._stream_count -= 1
            self._pushed_out["observation domains"] += 1
        elif self._stream_count >= _MAXIMUM_STREAMS:
            self._push_out_exporter()

    def _push_out(self) -> None:
        """The oldest template of the exporter silent for the longest; with its last one, the exporter."""
        silent = next(iter(self._exporters.values()))
        if silent.templates:
            self._push_out_template(silent.templates)
        if not silent.templates:
            self._push_out_exporter()

    def _push_out_template(self, templates: OrderedDict[tuple[Stream, int], Template]) -> None:
        _, gone = templates.popitem(last=False)
        self._template_count -= 1
        self._field_count -= len(gone.all_fields)
        self._pushed_out["templates"] += 1

    def _push_out_exporter(self) -> None:
        """The one silent for the longest, with all that is known of it."""
        _, silent = self._exporters.popitem(last=False)
        self._pushed_out["exporters"] += 1
        self._stream_count -= len(silent.sequences)
        while silent.templates:
            self._push_out_template(silent.templates)
