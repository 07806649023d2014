"""Flows as a table for people: as many columns as the terminal has room for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TextIO

from xflowd.edge.terminal import cells
from xflowd.edge.terminal.output import Output, can_show

_IPV4_ENDPOINT, _IPV6_ENDPOINT = 21, 47  # 255.255.255.255:65535; the same with eight groups in brackets
_CLOCK, _DATE_AND_CLOCK = 8, 23  # 12:00:00; 2024-05-01 12:00:00.123
_DURATION, _PROTOCOL, _COUNT, _FLAGS, _REASON, _INTERFACES = 6, 6, 5, 8, 9, 13


@dataclass(frozen=True, slots=True)
class Layout:
    """What there is room for. At 80 columns: start, duration, protocol, endpoints, packets and octets."""

    endpoint: int
    with_date: bool
    with_flags: bool
    with_reason: bool
    with_interfaces: bool

    @property
    def both_endpoints(self) -> int:
        return 2 * self.endpoint + 3  # an arrow and two blanks between them

    @property
    def before_endpoints(self) -> int:
        start = _DATE_AND_CLOCK if self.with_date else _CLOCK
        return start + 1 + _DURATION + 1 + _PROTOCOL + 1


def layout(width: int, interfaces: int = _INTERFACES) -> Layout:
    """The layout for `width` columns, 80 or more: a part is there if all before it fit too."""
    least = _CLOCK + _DURATION + _PROTOCOL + 2 * _IPV4_ENDPOINT + 3 + 2 * _COUNT + 5
    flags = least + 1 + _FLAGS
    reason = flags + 1 + _REASON
    all_parts = reason + 1 + interfaces
    date = all_parts + _DATE_AND_CLOCK - _CLOCK
    wide = date + 2 * (_IPV6_ENDPOINT - _IPV4_ENDPOINT)
    endpoint = _IPV6_ENDPOINT if width >= wide else _IPV4_ENDPOINT
    return Layout(endpoint, width >= date, width >= flags, width >= reason, width >= all_parts)


class Table:
    """Writes record arrays to a stream of `width` columns, with a header again after each `height` lines.

    With a height of 0 there is one header. `names` has interface names by ifIndex. Times are UTC.
    """

    def __init__(self, stream: TextIO, width: int, height: int = 0, names: Mapping[int, str] | None = None) -> None:
        self._output = Output(stream)
        self._arrow = "→" if can_show(stream, "→") else ">"
        self._names = {index: _printable(name, stream) for index, name in (names or {}).items()}
        longest = max(map(len, self._names.values()), default=0)
        self._layout = layout(width, max(_INTERFACES, 2 * longest + 1))
        self._page = max(height - 2, 1) if height else None  # room for the header and the cursor
        self.with_types = True  # whether ICMP's types and codes are known
        self.with_protocol = True  # whether that is
        self._left = 0  # lines until the next header

    @property
    def closed(self) -> bool:
        """True once nobody reads any more."""
        return self._output.closed

    def write(self, array: cells.Records) -> None:
        """Write one row for each record, or two lines where long addresses need them."""
        self._output.write("".join(self._lines(array)))

    def _lines(self, array: cells.Records) -> Iterator[str]:
        for row in self._rows(array):
            if self._left <= 0:
                yield self._header()
                self._left = self._page or 1
            self._left -= row.count("\n") if self._page else 0
            yield row

    def _header(self) -> str:
        place = self._layout
        start = f"{'start (UTC)':{_DATE_AND_CLOCK}}" if place.with_date else f"{'UTC':{_CLOCK}}"
        before = f"{start} {'time s':>{_DURATION}} {'proto':{_PROTOCOL}} "
        between = f"{'source':{place.endpoint}} {self._arrow} {'destination':{place.endpoint}}"
        after = f" {'pkts':>{_COUNT}} {'octet':>{_COUNT}}"
        after += f" {'flags':{_FLAGS}}" if place.with_flags else ""
        after += f" {'ended by':{_REASON}}" if place.with_reason else ""
        after += f" in{self._arrow}out" if place.with_interfaces else ""
        return f"{before}{between}{after}".rstrip() + "\n"

    def _rows(self, array: cells.Records) -> Iterator[str]:
        before = _joined(self._before(array))
        after = _joined(self._after(array))
        for left, source, destination, right in zip(
            before, *cells.endpoints(array, self.with_types), after, strict=True
        ):
            yield f"{left} {self._between(source, destination)} {right}".rstrip() + "\n"

    def _before(self, array: cells.Records) -> list[cells.Cells]:
        if self._layout.with_date:
            starts = [f"{text.replace('T', ' '):{_DATE_AND_CLOCK}}" for text in cells.starts(array)]
        else:
            starts = [f"{text[11:19] or text:{_CLOCK}}" for text in cells.starts(array)]
        durations = [f"{text:>{_DURATION}}" for text in cells.durations(array)]
        protocols = cells.protocols(array) if self.with_protocol else [""] * len(array)
        return [starts, durations, [f"{text:{_PROTOCOL}}" for text in protocols]]

    def _after(self, array: cells.Records) -> list[cells.Cells]:
        place = self._layout
        columns = [[f"{text:>{_COUNT}}" for text in count(array)] for count in (cells.packets, cells.octets)]
        optional: list[tuple[bool, int, Callable[[cells.Records], cells.Cells]]] = [
            (place.with_flags, _FLAGS, cells.flags),
            (place.with_reason, _REASON, cells.reasons),
        ]
        columns += [[f"{text:{size}}" for text in make(array)] for shown, size, make in optional if shown]
        if place.with_interfaces:
            columns.append(cells.interfaces(array, self._names, self._arrow))
        return columns

    def _between(self, source: str, destination: str) -> str:
        """Both endpoints: on one line while they fit into their columns together, else on two.

        A second line that is too long begins further left, so that what comes after stays in its column.
        """
        size, both = self._layout.endpoint, self._layout.both_endpoints
        text = f"{source:{size}} {self._arrow} {destination}"
        if len(text) > both:
            text = f"{source} {self._arrow} {destination}"
        if len(text) > both:
            text = f"{self._arrow} {destination}"
            indent = self._layout.before_endpoints - max(0, len(text) - both)
            return f"{source}\n{'':{indent}}{text:{both}}"
        return f"{text:{both}}"


def _joined(columns: list[cells.Cells]) -> list[str]:
    return list(map(" ".join, zip(*columns, strict=True)))


def _printable(name: str, stream: TextIO) -> str:
    """A name that cannot move the cursor, in characters that the stream can show."""
    clean = "".join(sign if sign.isprintable() else "?" for sign in name)
    return clean if can_show(stream, clean) else clean.encode("ascii", "replace").decode()
