"""Observation Points (RFC 5470): which interfaces are metered, in which direction, at which hook."""

from __future__ import annotations

import contextlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from xflowd import hooks
from xflowd.config import Direction, Meter, is_pattern, matching
from xflowd.config.problem import shown
from xflowd.edge import attach, libbpf
from xflowd.edge.kernel import Kernel
from xflowd.edge.libbpf import LibbpfError
from xflowd.edge.network import Interface
from xflowd.edge.pins import Pins
from xflowd.hooks import AttachError, GoneError
from xflowd.logs import CHANGE
from xflowd.metering.flow import EGRESS, INGRESS, Place

log = logging.getLogger(__name__)

_FEWEST_BUCKETS, _MOST_BUCKETS = 64, 4096
DIRECTION_NAMES = hooks.DIRECTION_NAMES
_PIN_NAME = re.compile(r"(\d+)-([01])-(\w+)")  # see _pin_name()
_LINKS = "links"  # the directory of their pins


@dataclass(slots=True)
class Point:
    """A program that runs at an interface in one direction, and what was counted before it in the same counters.

    `before` is taken off the kernel's counters: they may have been another interface's. It is negative where this
    point has counted in a table that is gone.
    """

    attachment: attach.Attachment
    program: str
    before: Counter[str] = field(default_factory=Counter)


def directions(wanted: Direction, patterns: tuple[str, ...]) -> tuple[int, ...]:
    """One interface that is named is metered both ways; of several, ingress alone counts a forwarded packet once."""
    if wanted is Direction.AUTO:
        one = len(patterns) == 1 and not is_pattern(patterns[0])
        wanted = Direction.BOTH if one else Direction.INGRESS
    return {Direction.INGRESS: (INGRESS,), Direction.EGRESS: (EGRESS,), Direction.BOTH: (INGRESS, EGRESS)}[wanted]


def buckets(indexes: Iterable[int]) -> int:
    """The least power of two that gives each interface counters of its own, within reason."""
    known = set(indexes)
    size = _FEWEST_BUCKETS
    while size < _MOST_BUCKETS and len({index % size for index in known}) < len(known):
        size *= 2
    return size


class ObservationPoints:
    """The programs attached now, and to which interface and direction. Their links are pinned, where there are pins."""

    def __init__(self, pins: Pins | None = None) -> None:
        self._pins = pins
        self._points: dict[Place, Point] = {}
        self.names: dict[int, str] = {}  # of the metered interfaces, by index
        self.refused: dict[tuple[str, int], str] = {}
        self._left: set[Place] = set()  # metered no more, and not forgotten yet
        if pins:
            pins.make(_LINKS)

    def adopt(self, kernel: Kernel, earlier: Iterable[Kernel], present: Iterable[Interface]) -> None:
        """Take over what an agent before this one has attached, and run `kernel`'s programs there from now on."""
        for name in self._pins.names(_LINKS) if self._pins else ():
            self._adopt_link(name, kernel)
        if not attach.has_tcx():
            self._adopt_filters(kernel, [kernel, *earlier], present)

    def follow(
        self, meter: Meter, kernel: Kernel, present: list[Interface], forget: Callable[[set[Place]], None] | None = None
    ) -> set[Place]:
        """Let go of what is gone or matches no more, attach to what matches and is not metered yet. Returns the latter.

        In between, `forget` is told which places are metered no more: an interface that was made anew may have the
        index of one that is gone. Where it raises, it is told of them again the next time. An interface that refuses
        is remembered in `refused`, by name and direction, with the reason.
        """
        names = set(matching(meter.interfaces, (interface.name for interface in present)))
        wanted = [interface for interface in present if interface.name in names]
        ways = directions(meter.direction, meter.interfaces)
        places = {(interface.index, way): interface for interface in wanted for way in ways}
        self._let_go(places, {interface.index for interface in present})
        if self._left and forget is not None:
            forget(set(self._left))
        self._left.clear()
        self._rename(wanted)
        before, self.refused = self.refused, {}
        come = {place for place, interface in places.items() if self._follow_one(meter, kernel, interface, place)}
        for (name, direction), reason in self.refused.items():
            if before.get((name, direction)) != reason:
                log.warning("cannot meter %s %s: %s", shown(name), DIRECTION_NAMES[direction], reason)
        return come

    def replace(self, kernel: Kernel) -> None:
        """Run another load of the programs from here on; no packet is missed."""
        for place, point in list(self._points.items()):
            try:
                point.attachment.replace(kernel.program(point.program))
            except LibbpfError as error:  # follow() sees to it
                if hooks.is_there(point.attachment, *place):
                    log.warning("%s", error)
                log.info("%s", self._detach(place), extra=CHANGE)

    def carry_over(self, old: Kernel) -> None:
        """Take along what was counted in a table that is no longer in use; the one after it began at zero."""
        for place, counted in self.outcomes(old).items():
            self._points[place].before = Counter({name: -count for name, count in counted.items()})

    def outcomes(self, kernel: Kernel) -> dict[Place, Counter[str]]:
        """Packets by enum packet_outcome of flow.h, since metering began at each place."""
        now = kernel.outcomes()
        result = {}
        for place, point in self._points.items():
            counted = _bucket(now, kernel, place)
            counted.subtract(point.before)
            result[place] = counted
        return result

    def hooks(self) -> dict[Place, str]:
        """By what each place is metered."""
        return {place: point.attachment.hook for place, point in self._points.items()}

    def state(self) -> list[Any]:
        """What a successor has to know: see restore(). Without zeros, of which a host of many interfaces has many."""
        return [[*place, {name: n for name, n in point.before.items() if n}] for place, point in self._points.items()]

    def restore(self, state: list[Any]) -> None:
        """Go on counting where an agent before this one has begun, at the places adopted."""
        for index, direction, before in state:
            if (index, direction) in self._points:
                self._points[index, direction].before = Counter(before)
            else:  # gone while no agent was there to see it
                self._left.add((index, direction))

    def close(self) -> None:
        """Take every program off."""
        for place in list(self._points):
            self._detach(place)

    def __len__(self) -> int:
        return len(self._points)

    def __contains__(self, place: Place) -> bool:
        return place in self._points

    def places(self) -> set[Place]:
        """All that are metered now."""
        return set(self._points)

    def _let_go(self, places: Collection[Place], present: Collection[int]) -> None:
        for place, point in list(self._points.items()):
            is_there = place[0] in present and hooks.is_there(point.attachment, *place)
            if place not in places or not is_there:
                log.info("%s%s", self._detach(place), "" if is_there else ": it is gone", extra=CHANGE)

    def _rename(self, wanted: list[Interface]) -> None:
        names = {interface.index: interface.name for interface in wanted}
        metered = {index for index, _ in self._points}
        for index, name in self.names.items():
            if index in metered and names[index] != name:
                log.info("%s is called %s now", shown(name), shown(names[index]))
        self.names = names

    def _follow_one(self, meter: Meter, kernel: Kernel, interface: Interface, place: Place) -> bool:
        """Whether metering begins there."""
        point = self._points.get(place)
        try:
            programs = hooks.programs(meter, interface, place[1])
            if point is None:
                self._attach(meter, kernel, interface, place, programs)
            elif point.program not in programs:  # it takes VLAN tags off by now, or VLANs are in the key
                self._detach(place)
                self._attach(meter, kernel, interface, place, programs)
                self._points[place].before = point.before
                self._left.discard(place)
        except GoneError as error:
            log.debug("%s", error)
        except (OSError, AttachError) as error:
            self.refused[interface.name, place[1]] = str(error)
        return point is None and place in self._points

    def _attach(
        self, meter: Meter, kernel: Kernel, interface: Interface, place: Place, programs: tuple[str, ...]
    ) -> None:
        before = _bucket(kernel.outcomes(), kernel, place)  # nothing counts there yet, from now on it may
        program, attachment = hooks.attached(meter, kernel, interface, place[1], programs)
        try:
            self._pin(place, program, attachment)
        except OSError:
            attachment.close()
            raise
        self._points[place] = Point(attachment, program, before)
        where = shown(interface.name), DIRECTION_NAMES[place[1]]
        log.info("metering %s %s by %s", *where, attachment.hook, extra=CHANGE)

    def _detach(self, place: Place) -> str:
        """Returns what is to be said of it."""
        point = self._points.pop(place)
        self._left.add(place)
        if self._pins:
            self._pins.unpin(_pin_name(place, point.program))
        point.attachment.close()
        name = self.names.get(place[0], f"interface {place[0]}")
        return f"no longer metering {shown(name)} {DIRECTION_NAMES[place[1]]}"

    def _pin(self, place: Place, program: str, attachment: attach.Attachment) -> None:
        """A filter of clsact stays without a pin."""
        if self._pins and isinstance(attachment, attach.Link):
            self._pins.unpin(_pin_name(place, program))
            self._pins.pin(attachment.descriptor, _pin_name(place, program))

    def _adopt_link(self, name: str, kernel: Kernel) -> None:
        assert self._pins
        found = _PIN_NAME.fullmatch(name)
        if found is None:
            self._pins.unpin(f"{_LINKS}/{name}")
            return
        place, program = (int(found[1]), int(found[2])), found[3]
        hook = attach.XDP if program.startswith("xdp") else attach.TC
        link = attach.adopt_link(self._pins.get(f"{_LINKS}/{name}"), hook)
        if link is None or program not in kernel.loaded.programs or place in self._points:
            self._pins.unpin(f"{_LINKS}/{name}")
            if link is not None:
                link.close()
            return
        self._points[place] = Point(link, program)
        try:
            link.replace(kernel.program(program))
        except LibbpfError:  # its interface went at this moment
            self._detach(place)

    def _adopt_filters(self, kernel: Kernel, tables: list[Kernel], present: Iterable[Interface]) -> None:
        """Filters of clsact have no pins: they are known by the programs that they run."""
        programs = {
            libbpf.information(libbpf.ProgramInfo, descriptor).id: name
            for table in tables
            for name, descriptor in table.loaded.programs.items()
        }
        for interface in present:
            for direction in DIRECTION_NAMES:
                with contextlib.suppress(OSError):  # no clsact there
                    for program, found in attach.adopt_filters(interface.index, direction, programs):
                        self._adopt_filter((interface.index, direction), found, programs[program], kernel)

    def _adopt_filter(self, place: Place, found: attach.Filter, program: str, kernel: Kernel) -> None:
        if place in self._points:  # one that its agent had no time to take off
            found.close()
            return
        found.replace(kernel.program(program))
        self._points[place] = Point(found, program)


def _bucket(outcomes: dict[str, Any], kernel: Kernel, place: Place) -> Counter[str]:
    """The counters that a place shares with no other one, but for hosts of very many interfaces."""
    index, direction = place
    return Counter({name: int(counts[direction, index % kernel.options.buckets]) for name, counts in outcomes.items()})


def _pin_name(place: Place, program: str) -> str:
    return f"{_LINKS}/{place[0]}-{place[1]}-{program}"
