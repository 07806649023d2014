"""softflowd's configuration, of OpenWrt or Debian, read as one of xflowd, and what of it could not be carried over.

What the options mean is said by softflowd(8), and by the package's init script: each is an option of the command line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from xflowd.config.entries import Entry, Section
from xflowd.config.file import is_uci, read_text
from xflowd.config.problem import ConfigError, Problem, nearest, quoted, shown
from xflowd.config.schema import NETFLOW5_MAXIMUM_RATE, keys
from xflowd.config.softflowdoptions import ELSEWHERE, VARIABLES, Variables, is_assignments, read_assignments
from xflowd.config.uci import read_uci
from xflowd.config.values import Duration, Number, Switch, UnacceptableError

_PROTOCOLS = {"": "netflow5", "5": "netflow5", "9": "netflow9", "10": "ipfix"}
_LEVELS = {"": "full", "port": "full"}  # softflowd has two words for one thing
_FLOWS = 8192  # where max_flows is not given
_IDLE = {"tcp": 3600, "udp": 300, "icmp": 300, "general": 3600}  # where they are not given
_NEVER = 604_800  # maxlife=0 switches the limit off: a week is as good
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_TIME = re.compile(r"(?:\d{1,9}[smhdw]?)+", re.ASCII)
_ENDED = "xflowd ends a flow by itself, soon after its FIN or RST"
_TIMEOUTS_ELSEWHERE = {"tcp.rst": _ENDED, "tcp.fin": _ENDED, "expint": "xflowd looks for ended flows every second"}

#: Options that mean nothing to xflowd, and why.
_ELSEWHERE = {
    "pcap_file": "captures are for `xflowd replay FILE`",
    "pid_file": "xflowd stays in the foreground: procd or systemd knows its process",
    "control_socket": "`xflowd status` finds the agent by itself",
    "hoplimit": "datagrams leave with the system's own: net.ipv4.ip_default_ttl",
    "filter": "xflowd counts every packet: filter at the collector",
    "exporter_ip": "collectors know a router by the address it sends from: set source in the collector's section",
    "send_interface": "datagrams go the way the routes say: set source in the collector's section",
}
_ALL = "*"
_INGRESS_ALONE = (
    "packets are counted where they come in: one that is forwarded once, one that this host sends not at all; "
    "set direction to both in [meter] to count what goes out too"
)
_ONE_METER = (
    "here each collector gets the flows of all interfaces: let it tell them apart, by ingressInterface and "
    "egressInterface"
)
_NAME_IT = "name its file, say /etc/config/softflowd or /etc/softflowd/default.conf"
_RATE_IS_TOLD = "the collector is told that it is one packet in {}, and multiplies: do not multiply there yourself"


def read_softflowd(file: str) -> tuple[list[Section], list[Problem]]:
    """The sections of OpenWrt's file, or the one that Debian's file of variables stands for, and what cannot be read.

    Raises ConfigError where nothing can be.
    """
    text = read_text(file)
    if is_uci(text):
        return read_uci(text, file)
    return read_assignments(text, file) if is_assignments(text) else ([], [])


def from_softflowd(sections: Iterable[Section], file: str, user: str = "") -> tuple[list[Section], list[str]]:
    """The sections of xflowd that say the same as those of softflowd, and a line for whatever is different.

    The former still have to be checked; their lines are those of softflowd's file. Several sections, which are a
    process each, become one meter. `user` is the account that the agent becomes; none where its service says
    that. Raises ConfigError where no section is softflowd's.
    """
    listed = list(sections)
    found = [section for section in listed if section.type == "softflowd"]
    if not found:
        raise ConfigError([Problem(file, "has no section of softflowd", _NAME_IT)])
    carried = _Carried()
    for section in listed:
        if section.type != "softflowd":
            carried.say(section, "left out: it is not softflowd's")
    for section in _taken(found, carried):
        carried.carry(section)
    made = list(carried.sections(found[0], user))
    return made, [text for _, text in sorted(carried.remarks, key=lambda remark: remark[0])]


def _taken(found: list[Section], carried: _Carried) -> list[Section]:
    """Those that are enabled; all, for an agent that is not, where none is."""
    enabled = [section for section in found if _is_enabled(section)]
    carried.is_enabled = bool(enabled)
    if not enabled:
        carried.say(found[0], "not enabled, and so the agent is not either: see enabled in [agent]")
        return found
    for section in found:
        if not _is_enabled(section):
            carried.say(section, "left out: it is not enabled")
    return enabled


def _is_enabled(section: Section) -> bool:
    text = next((entry.value for entry in section.entries if entry.key == "enabled"), "0")
    try:
        return Switch().parse(text)
    except UnacceptableError:
        return False  # as in the package's init script


class _Carried:
    """What has been carried over so far, and what there is to say."""

    def __init__(self) -> None:
        self.remarks: list[tuple[int, str]] = []  # each with the line that it is about
        self.is_enabled = False
        self._kept: dict[str, Entry] = {}  # by key, of those of which there is one for all sections
        self._interfaces: dict[str, int] = {}  # and the line of each
        self._flows: list[tuple[int, Entry]] = []  # of each section, as it says or by default
        self._collectors: dict[tuple[str, str], Entry] = {}  # by address and protocol
        self._sent_to: list[tuple[str, ...]] = []  # of each section, its own addresses and protocol

    def say(self, section: Section, text: str, entry: Entry | None = None) -> None:
        """Note what is different, or left out."""
        where, line = (section.where_is(entry), entry.line) if entry else (section.where, section.line)
        self.remarks.append((line, f"{where}: {text}"))

    def carry(self, section: Section) -> None:
        """Take over one section, which was a process of its own."""
        entries = {entry.key: entry for entry in section.entries}
        for key, entry in entries.items():
            reason = _ELSEWHERE.get(key) or ELSEWHERE.get(key)
            if reason:
                self.say(section, f"left out: {reason}", entry)
            elif key not in _KNOWN:
                known = VARIABLES if isinstance(section, Variables) else _KNOWN
                self.say(section, f"left out: no option of softflowd's; {nearest(key.strip('$'), known)}", entry)
        for key, take in _OPTIONS.items():
            # What is not given has softflowd's default, which need not be what the next section says.
            take(self, section, entries.get(key) or Entry(key, "", section.file, section.line))

    def sections(self, first: Section, user: str) -> Iterator[Section]:
        """What has been carried over, as sections of xflowd."""
        file, line = first.file, first.line
        yield Section("meter", "", file, line, tuple(self._meter(first)))
        rate = self._rate(first)
        if rate:
            yield Section("sampling", "", file, rate.line, (replace(rate, key="mode", value="systematic"), rate))
        for number, ((address, protocol), entry) in enumerate(self._collectors.items(), start=1):
            pair = (replace(entry, key="address", value=address), replace(entry, key="protocol", value=protocol))
            yield Section("collector", f"collector{number}", file, entry.line, pair)
        if self._collectors and len(set(self._sent_to)) > 1:
            self.say(first, f"sections have collectors of their own: {_ONE_METER}")
        if not self._collectors:
            self.say(first, "no collector is named: flows are printed until there is one")
        agent = (Entry("enabled", "1" if self.is_enabled else "0", file, line), Entry("user", user, file, line))
        yield Section("agent", "", file, line, agent if user else agent[:1])

    def _meter(self, first: Section) -> Iterator[Entry]:
        """All interfaces have one table, one key and one pair of timeouts."""
        if self._interfaces:
            items = tuple(self._interfaces.items())
            yield Entry("interfaces", ", ".join(self._interfaces), first.file, items[0][1], items)
        if len(self._interfaces) > 1 or _ALL in self._interfaces:
            which = "every interface" if _ALL in self._interfaces else "several interfaces"
            self.say(first, f"{which}: {_INGRESS_ALONE}")
        yield from (self._kept[key] for key in ("key", "active_timeout", "idle_timeout") if key in self._kept)
        if "active_timeout" not in self._kept:
            self.say(
                first, "maxlife is not given, which is a week: flows that go on are told every 60 s, as by default"
            )
        if "idle_timeout" not in self._kept:
            self.say(first, "idle flows have no timeout here, which is 5 minutes to an hour: 15 s, as by default")
        if any(entry.value for _, entry in self._flows):
            yield self._sum(first)

    def _sum(self, first: Section) -> Entry:
        flows, entry = sum(number for number, _ in self._flows), self._flows[0][1]
        if len(self._flows) > 1:
            self.say(first, f"there is one table for all interfaces: {flows} flows, the sum of them", entry)
        return replace(entry, value=self._within(first, entry, "max_flows", flows))

    def _rate(self, first: Section) -> Entry | None:
        entry = self._kept.get("rate")
        if entry is None or entry.value == "1":
            return None
        given = replace(entry, key="sampling_rate")
        if int(entry.value) > NETFLOW5_MAXIMUM_RATE and any(to == "netflow5" for _, to in self._collectors):
            self.say(first, f"netflow5 can tell {NETFLOW5_MAXIMUM_RATE} at most, which is taken", given)
            entry = replace(entry, value=str(NETFLOW5_MAXIMUM_RATE))
        self.say(first, _RATE_IS_TOLD.format(entry.value), given)
        return entry

    def _keep(self, section: Section, entry: Entry, key: str, value: str) -> None:
        """The first one counts, where sections do not agree."""
        known = self._kept.setdefault(key, replace(entry, key=key, value=value))
        if known.value != value:
            text = f"{value} is not {known.value}, as in line {known.line}"
            self.say(section, f"{text}: there is one {key} for all, and it is {known.value}", entry)

    def _within(self, section: Section, entry: Entry, key: str, number: int) -> str:
        kind = keys("meter")[key]
        assert isinstance(kind, (Number, Duration))
        taken = min(max(number, kind.low), kind.high)
        if taken != number:
            self.say(section, f"{number} is out of range: {taken} is taken, of {kind.low} to {kind.high}", entry)
        return str(taken)

    def interface(self, section: Section, entry: Entry) -> None:
        """`[index:]name`, or any."""
        name = re.sub(r"^\d+:", "", entry.value)
        if name != entry.value:
            self.say(section, "left out the index: xflowd tells the kernel's own", entry)
        if name:
            self._interfaces.setdefault(_ALL if name == "any" else name, entry.line)
        else:
            self.say(section, "there is no interface: that of the default route is metered")

    def max_flows(self, section: Section, entry: Entry) -> None:
        """The size of one process's table."""
        is_number = entry.value.isascii() and entry.value.isdigit()
        if entry.value and not is_number:
            self.say(section, f"left out: {quoted(entry.value)} is not a whole number", entry)
            entry = replace(entry, value="")
        self._flows.append((int(entry.value[:12]) if is_number else _FLOWS, entry))

    def host_port(self, section: Section, entry: Entry) -> None:
        """One collector, or several behind commas; what it is sent is export_version's to say."""
        version = next((one for one in section.entries if one.key == "export_version"), replace(entry, value=""))
        protocol, own = self._protocol(section, version), []
        for text in entry.value.replace(",", " ").split():
            try:
                address = keys("collector")["address"].parse(text)
            except UnacceptableError as error:
                self.say(section, f"left out: {error.what}; {error.mend}", entry)
                continue
            self._collectors.setdefault((str(address), protocol), entry)
            own.append(f"{address} {protocol}")
        self._sent_to.append(tuple(sorted(own)))

    def _protocol(self, section: Section, entry: Entry) -> str:
        if entry.value in _PROTOCOLS:
            return _PROTOCOLS[entry.value]
        taken = "netflow5" if entry.value == "1" else "ipfix"
        self.say(section, f"{quoted(entry.value)} is not spoken by xflowd: {taken} is taken", entry)
        return taken

    def tracking_level(self, section: Section, entry: Entry) -> None:
        """What tells flows apart: xflowd has softflowd's words."""
        word = _LEVELS.get(entry.value, entry.value)
        if word not in ("ip", "proto", "full", "vlan", "ether"):
            self.say(section, f"{quoted(entry.value)} is no level: full is taken", entry)
            word = "full"
        self._keep(section, entry, "key", word)

    def track_ipv6(self, section: Section, entry: Entry) -> None:
        """Of netflow5, which cannot tell of IPv6: whether to count it all the same."""
        if entry.value:
            self.say(section, "left out: xflowd always counts IPv6; netflow5 cannot tell it, the others do", entry)

    def bidirectional(self, section: Section, entry: Entry) -> None:
        """Both ways of a connection in one record."""
        if entry.value not in ("", "0"):
            self.say(section, "left out: each way is a flow of its own", entry)

    def sampling_rate(self, section: Section, entry: Entry) -> None:
        """One packet in so many; 0 and 1 are all."""
        try:
            rate = Number(0, 1_000_000).parse(entry.value or "0") or 1
        except UnacceptableError as error:
            self.say(section, f"left out: {error.what}; {error.mend}", entry)
            return
        self._keep(section, entry, "rate", str(rate))

    def timeout(self, section: Section, entry: Entry) -> None:
        """`name=time,name=time`, the time in seconds or like 1h30m."""
        times: dict[str, int] = {}
        for part in entry.value.replace(",", " ").split():
            name, _, text = part.lower().partition("=")
            if name in _TIMEOUTS_ELSEWHERE:
                self.say(section, f"{shown(part)} left out: {_TIMEOUTS_ELSEWHERE[name]}", entry)
            elif name not in (*_IDLE, "maxlife") or not _TIME.fullmatch(text):
                self.say(section, f"{quoted(part)} left out: it is none of softflowd's timeouts with its time", entry)
            else:
                times[name] = _seconds(text)
        self._keep_times(section, entry, times)

    def _keep_times(self, section: Section, entry: Entry, times: dict[str, int]) -> None:
        if "maxlife" in times:
            active = self._within(section, entry, "active_timeout", times.pop("maxlife") or _NEVER)
            self._keep(section, entry, "active_timeout", active)
        if not times:
            return
        in_force = _IDLE | times
        shortest = min(in_force.values())
        if any(seconds != shortest for seconds in in_force.values()):
            given, others = _listed(times), _listed({key: _IDLE[key] for key in _IDLE if key not in times})
            told = f"{given}{', and by default ' if others else ''}{others}"
            self.say(section, f"{told}: there is one idle timeout for all, the shortest, {shortest}", entry)
        self._keep(section, entry, "idle_timeout", self._within(section, entry, "idle_timeout", shortest))


def _listed(times: dict[str, int]) -> str:
    return ", ".join(f"{name}={seconds}" for name, seconds in times.items())


def _seconds(text: str) -> int:
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdw]?)", text))


_OPTIONS: dict[str, Callable[[_Carried, Section, Entry], None]] = {
    "interface": _Carried.interface,
    "timeout": _Carried.timeout,
    "tracking_level": _Carried.tracking_level,
    "max_flows": _Carried.max_flows,
    "sampling_rate": _Carried.sampling_rate,
    "host_port": _Carried.host_port,
    "track_ipv6": _Carried.track_ipv6,
    "bidirectional": _Carried.bidirectional,
}
_KNOWN = ("enabled", "export_version", *_OPTIONS, *_ELSEWHERE)
