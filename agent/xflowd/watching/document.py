"""The documents that `flows`, `flush`, `templates` and `timeouts` are answered with, and what a request may hold."""

from __future__ import annotations

from typing import Any, TypedDict

MOST_FLOWS = 1000  # in one answer: some 700 octets each

#: What each request may hold beside `ask`, and of which type. Whatever is misspelt must not be left out: a `flush`
#: without its filter ends every flow.
REQUESTS: dict[str, dict[str, type]] = {
    "status": {},
    "flows": {
        "filter": str,
        "idle_below_seconds": float,
        "sort": str,
        "smallest": bool,
        "limit": int,
        "after": int,
    },
    "timeouts": {"filter": str},
    "flush": {"filter": str, "begun_by_ns": int},
    "templates": {"name": str},
}

#: A flow: Information Elements by IANA's names, as `xflowd run --format json` prints them, and beside them `id`,
#: `age_seconds`, `idle_seconds`, `ends_in_seconds`.
LiveFlow = dict[str, Any]


class Flows(TypedDict):
    """Live flows: the first by some order, or a page in the order of the table."""

    monotonic_ns: int  # of the host, when the figures were taken
    sampling_interval: int
    packets_seen: int  # by all interfaces, since the first agent
    live: int | None  # flows in the table; None for a page
    matching: int | None  # flows that the filter means; None for a page
    next: int | None  # of a page: where the next one begins; None if it is the last
    interfaces: dict[str, str]  # names by index, of those in `flows`
    flows: list[LiveFlow]


class Flushed(TypedDict):
    """What one request could end, and what it could not yet."""

    ended: int
    left: int  # flows that are meant too: ask again
    begun_by_ns: int  # to be sent with the next request: flows that begin later are not meant


class Announced(TypedDict):
    """One collector, whose templates were to be sent."""

    name: str
    protocol: str
    sent: bool
    reason: str | None  # why not


class Ending(TypedDict):
    """Flows that end within this time if no packet comes any more."""

    seconds: float
    flows: int


class CollectorTimes(TypedDict):
    """Seconds."""

    name: str
    template_refresh: float | None  # None: the protocol has no templates
    templates_sent_seconds_ago: float | None


class TimeoutsInForce(TypedDict):
    """Seconds, all of them."""

    active: float
    idle: float
    idle_in_force: float  # lower than `idle` while the table is nearly full
    quiet_after_end: float  # after a FIN or RST
    flows: int
    ending: list[Ending]
    collectors: list[CollectorTimes]
