"""Prefix lengths, as the host's routes have them: from its tables, or from the kernel where tables cannot say."""

from __future__ import annotations

import logging
import threading
import time

import numpy as np
import numpy.typing as npt

from xflowd.edge import network, routing
from xflowd.edge.answers import RouteAnswers
from xflowd.edge.routing import PolicyError
from xflowd.metering import questions
from xflowd.metering.prefixes import RoutingTables
from xflowd.metering.table import Records
from xflowd.notices import Notice, counted

log = logging.getLogger(__name__)

_PAUSE_NS = 1_000_000_000
_SHARE = 20  # reading takes one part in so many of the time, however often routes change
_MOST_ASKED = 10_000  # a second: 3 to 5 microseconds each


class Routes:
    """The routes as they were read last, in a thread of their own where the agent is at work already."""

    def __init__(self) -> None:
        """Reads the routes; where that fails, it is told, and tried again."""
        self._watch = network.Watch(network.ROUTES)
        self._answers = RouteAnswers()
        self._known: RoutingTables | PolicyError = RoutingTables()
        self._fault = ""
        self._reader: threading.Thread | None = None
        self._next_ns, self._stale = 0, False
        self._room, self._unasked = _MOST_ASKED, 0
        self._notice, self._overload = Notice(), Notice()
        self._read()

    @property
    def unasked(self) -> int:
        """Flows without a prefix length or two, because the kernel is asked no more in a second."""
        return self._unasked

    def close(self) -> None:
        """Follow routes no more."""
        self._watch.close()
        self._answers.close()

    def follow(self, now_ns: int) -> None:
        """To be called once a second: read the routes again if they have changed, and say what is amiss."""
        self._room = _MOST_ASKED
        self._stale |= self._watch.changed()
        self._notice.tell(self._fault and f"prefix lengths stay as they were: {self._fault}", now_ns)
        if self._unasked:
            text = (
                f"{counted(self._unasked, 'flow')} without prefix lengths: more than the kernel is asked of in a second"
            )
            self._overload.tell(text, now_ns)
        if not self._stale or now_ns < self._next_ns or (self._reader and self._reader.is_alive()):
            return
        self._stale = False
        self._reader = threading.Thread(target=self._read, name="routes", daemon=True)
        self._reader.start()

    def fill(self, flows: Records) -> None:
        """Set sourcePrefixLength and destinationPrefixLength of flows (of FLOW); 0 where nothing is known."""
        policy = self._known
        if isinstance(policy, RoutingTables):
            policy.fill(flows)
            return
        try:
            lengths, missed = self._asked(questions.there(flows, by_port=policy.by_port))
            flows["destination_prefix_length"] = lengths.clip(0)
            way_back = questions.back(flows, by_port=policy.by_port)
            lengths, missed_back = self._asked(way_back)
            missed |= missed_back
            refused = np.flatnonzero(lengths < 0)
            lengths[refused], missed_plain = self._asked(questions.plain(way_back[refused]))
            missed[refused] |= missed_plain
            flows["source_prefix_length"] = lengths.clip(0)
            self._unasked += int(np.count_nonzero(missed))
        except OSError as error:
            self._fault, self._stale = str(error), True

    def _asked(self, asked: Records) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
        """What the kernel answers, -1 where it has no route; and which questions were too many for this second: 0."""
        distinct, which = questions.distinct(asked)
        lengths = np.zeros(len(distinct), np.int16)
        room = max(0, self._room)
        self._room -= len(distinct)
        lengths[:room] = self._answers.lengths(distinct[:room])
        lengths[~distinct["destination_address"].any(axis=1)] = 0  # to the kernel, none is this host
        return lengths[which], which >= room

    def _read(self) -> None:
        began_ns = time.monotonic_ns()
        try:
            self._known, self._fault = routing.tables(), ""
        except PolicyError as policy:
            if isinstance(self._known, RoutingTables):
                log.info("prefix lengths are asked of the kernel, flow by flow: %s", policy)
            self._known, self._fault = policy, ""
        except OSError as error:
            self._fault, self._stale = str(error), True
        now_ns = time.monotonic_ns()
        self._next_ns = now_ns + max(_PAUSE_NS, _SHARE * (now_ns - began_ns))
