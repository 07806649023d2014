"""What a running agent has counted: coverage, losses, the table, and how its collectors fare."""

from __future__ import annotations

from collections.abc import Iterator

from xflowd.doctor import differing
from xflowd.doctor.finding import ANEW, Finding, bad, good, warning
from xflowd.doctor.situation import Situation
from xflowd.notices import counted
from xflowd.status import CollectorReport, Point, Status

_LEAST_PERCENT = 99.0
_FEW_PACKETS = 100  # of which a percentage says nothing
_FULL = 10  # the table is nearly full with less than one part in so many free
_QUEUE_FULL, _TOO_LONG = "queue full", "longer than the path allows"
_SOFTNET_DROPPED, _HEXADECIMAL = 1, 16  # column of /proc/net/softnet_stat


def check(situation: Situation) -> Iterator[Finding]:
    """The agent's own figures, then what the host has dropped before it could count."""
    status = situation.status
    if status is None:
        what, _, mend = situation.silence.rpartition(": ")
        yield warning("agent", f"{what or _SILENT}; what follows is what one would do", mend or _START)
    else:
        yield good("agent", f"xflowd {status['version']} answers, process {status['pid']}, since {status['since']}")
        for point in status["interfaces"]:
            yield _coverage(point)
        yield from _table(status)
        for collector in status["collectors"]:
            yield from _collector(collector)
        yield from differing.check(situation, status)
    yield from _host(situation)


_SILENT, _START = "no agent answers in this network namespace", "systemctl start xflowd, or xflowd run"


def _coverage(point: Point) -> Finding:
    where, percent, kernel = point["name"], point["coverage_percent"], point["kernel"]
    if percent is None or kernel is None or kernel["packets"] < _FEW_PACKETS:
        return good(where, f"{point['direction']}: too few packets to tell how many of them are seen")
    what = f"{point['direction']}: {percent:g} % of {kernel['packets']:,} packets of the interface were seen"
    if percent >= _LEAST_PERCENT:
        return good(where, what)
    mend = f"see the findings on offloads and other programs; or packets came while no program was there: {ANEW}"
    return bad(where, what, mend)


def _table(status: Status) -> Iterator[Finding]:
    flows, totals, timeouts = status["flows"], status["totals"], status["timeouts"]
    overflow = sum(point["packets"]["overflow"] for point in status["interfaces"])
    lost = totals["not_metered"]["lost"]
    if lost:
        yield bad("table", f"{lost:,} packets were lost: table and overflow records were full", _RAISE)
    if overflow:
        yield warning("table", f"{overflow:,} packets had no flow of their own: the table was full", _RAISE)
    if timeouts["idle_in_force"] < timeouts["idle"]:
        what = (
            f"flows end after {timeouts['idle_in_force']:g} s of silence, not {timeouts['idle']:g}: it is nearly full"
        )
        yield warning("table", what, _RAISE)
    told = f"{flows['live']:,} flows, room for {flows['free']:,} of {flows['slots']:,}"
    if flows["free"] < flows["slots"] // _FULL:
        yield warning("table", told, _RAISE)
    else:
        yield good("table", told)


_RAISE = "raise max_flows in [meter], or lower idle_timeout"


def _collector(one: CollectorReport) -> Iterator[Finding]:
    name, dropped, not_sent = one["name"], one["datagrams_dropped"], one["flows_not_sent"]
    if one["trouble"]:
        yield bad(name, f"sending does not work now: {one['trouble']}", "see the findings on the way there")
    if not_sent.get(_QUEUE_FULL) or dropped.get(_QUEUE_FULL):
        flows, datagrams = not_sent.get(_QUEUE_FULL, 0), dropped.get(_QUEUE_FULL, 0)
        what = f"its queue was full: {counted(flows, 'flow')} and {counted(datagrams, 'datagram')} were lost"
        yield bad(name, what, f"raise queue in [collector {name}], and see why sending takes so long")
    if dropped.get(_TOO_LONG):
        mend = f"lower max_payload in [collector {name}]"
        yield bad(name, f"{dropped[_TOO_LONG]:,} datagrams were lost: longer than the path allows", mend)
    if not_sent.get("ipv6"):
        mend = f"protocol = netflow9 or ipfix in [collector {name}]"
        yield warning(name, f"{not_sent['ipv6']:,} flows of IPv6 were not sent: netflow5 has none", mend)
    refresh, age = one["template_refresh"], one["templates_sent_seconds_ago"]
    if refresh and age is not None and age > 2 * refresh:
        yield warning(name, f"templates were sent {age:g} s ago", "see what hinders sending in xflowd status")
    sent = f"{counted(one['flows_exported'], 'flow')} in {counted(one['datagrams_sent'], 'datagram')}"
    yield good(name, f"{sent} sent, {one['waiting_datagrams']:,} wait")


def _host(situation: Situation) -> Iterator[Finding]:
    """Dropped before any hook, by CPUs that did not keep up or devices without room; after it, by the return path."""
    rows = [line for line in situation.lines("/proc/net/softnet_stat") if len(line) > _SOFTNET_DROPPED]
    if dropped := sum(int(line[_SOFTNET_DROPPED], _HEXADECIMAL) for line in rows):
        what = f"{dropped:,} packets were dropped before they were counted: the CPUs' backlog was full"
        yield warning("host", what, "sysctl net.core.netdev_max_backlog=10000, or spread interrupts over more CPUs")
    for interface in situation.metered:
        missed = int(situation.of_interface(interface, "statistics/rx_missed_errors") or 0)
        if missed:
            what = f"the device has dropped {missed:,} packets for lack of room, before anybody counted them"
            yield warning(interface.name, what, f"ethtool -G {interface.name} rx 4096")
    if refused := _return_path(situation):
        what = f"{refused:,} packets that came in were dropped by rp_filter: they are in flows all the same"
        yield warning(
            "host", what, "set rp_filter to 2 where routes are asymmetric: sysctl net.ipv4.conf.all.rp_filter"
        )


def _return_path(situation: Situation) -> int:
    """IPReversePathFilter of /proc/net/netstat: a line of names, then one of values."""
    rows = [line for line in situation.lines("/proc/net/netstat") if line[:1] == ["TcpExt:"]]
    return next((int(value) for name, value in zip(*rows[:2], strict=False) if name == "IPReversePathFilter"), 0)
