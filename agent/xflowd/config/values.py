"""The kinds of value a key can have: each reads what a user writes, and writes it back in canonical form."""

from __future__ import annotations

import difflib
import enum
import fnmatch
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from xflowd.config.problem import nearest, quoted

INTERFACE_NAME_OCTETS = 15  # IFNAMSIZ of linux/if.h, less the closing NUL
_GLOB_OCTETS = 64  # [0-9] stands for one character of a name
_MOST_INTERFACES = 1024
_MOST_COMPARED = 120  # characters of a word that is like no name
_HOST_NAME_OCTETS = 253  # RFC 1035 section 2.3.4, less the first length and the root
_PATH_OCTETS = 4095  # PATH_MAX of linux/limits.h, less the closing NUL
_DURATION = re.compile(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?", re.ASCII)
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_NETWORK_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)  # of netifd: a section's name, or a protocol's own
_MOST_NETWORKS = 64
#: The words of config_get_bool, by which OpenWrt's scripts read UCI.
_YES = ("1", "on", "true", "yes", "enabled")
_NO = ("0", "off", "false", "no", "disabled")
_USER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", re.ASCII)
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::(.*))?")


class UnacceptableError(ValueError):
    """A text that is no value of its kind: what is wrong with it, how to mend it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.what, self.mend = what, mend


class Kind(Protocol):
    """`parse` raises UnacceptableError; `parse(render(value)) == value` for every value of the kind."""

    def parse(self, text: str) -> Any: ...

    def render(self, value: Any) -> str: ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a transport. `host` is a name, or an address without brackets; the port may be left open."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words. `also` has other spellings and what they stand for."""

    words: type[enum.Enum]
    also: tuple[tuple[str, str], ...] = ()

    def parse(self, text: str) -> enum.Enum:
        known = {member.name.lower(): member for member in self.words}
        word = dict(self.also).get(text, text).lower()
        if word not in known:
            raise UnacceptableError(f"{quoted(text)} is not known", f"allowed are {', '.join(known)}")
        return known[word]

    def render(self, value: enum.Enum) -> str:
        return value.name.lower()


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number in a range, both ends allowed. With `optional`, no text means that none is given."""

    low: int
    high: int
    optional: bool = False

    def parse(self, text: str) -> int | None:
        if not text and self.optional:
            return None
        return within(text, self.low, self.high)

    def render(self, value: int | None) -> str:
        return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Duration:
    """Whole seconds in a range, written 90, 90s, 1m30s or 1h."""

    low: int
    high: int

    def parse(self, text: str) -> int:
        match = _DURATION.fullmatch(text)
        if not match or not text:
            raise UnacceptableError(f"{quoted(text)} is not a time", "write it as 90, 90s, 1m30s or 1h")
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        total = hours * 3600 + minutes * 60 + seconds
        if not self.low <= total <= self.high:
            mend = f"allowed are {self.low} to {self.high} seconds"
            raise UnacceptableError(f"{quoted(text)} is out of range", mend)
        return total

    def render(self, value: int) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class InterfaceNames:
    """Interface names and globs, parted by commas or blanks; each is kept once."""

    def parse(self, text: str) -> tuple[str, ...]:
        patterns = tuple(dict.fromkeys(text.replace(",", " ").split()))
        for pattern in patterns:
            _check_interface(pattern)
        if len(patterns) > _MOST_INTERFACES:
            raise UnacceptableError(f"{len(patterns):,} names are too many", f"write globs, {_MOST_INTERFACES} at most")
        return patterns

    def render(self, value: tuple[str, ...]) -> str:
        return ", ".join(value)


@dataclass(frozen=True, slots=True)
class NetworkNames:
    """Names of OpenWrt's logical networks, parted by commas or blanks; each is kept once."""

    def parse(self, text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(text.replace(",", " ").split()))
        for name in names:
            if not _NETWORK_NAME.fullmatch(name):
                mend = "write names as in /etc/config/network: wan, lan"
                raise UnacceptableError(f"{quoted(name)} cannot name a network", mend)
        if len(names) > _MOST_NETWORKS:
            raise UnacceptableError(f"{len(names):,} networks are too many", f"name {_MOST_NETWORKS} at most")
        return names

    def render(self, value: tuple[str, ...]) -> str:
        return ", ".join(value)


@dataclass(frozen=True, slots=True)
class Switch:
    """Yes or no, in the words that OpenWrt's scripts know."""

    def parse(self, text: str) -> bool:
        word = text.lower()
        if word not in _YES + _NO:
            mend = f"allowed are {', '.join(_YES)} and {', '.join(_NO)}"
            raise UnacceptableError(f"{quoted(text)} is neither yes nor no", mend)
        return word in _YES

    def render(self, value: bool) -> str:
        return "1" if value else "0"


@dataclass(frozen=True, slots=True)
class UserName:
    """The name of an account, or none. Whether there is such an account is asked at the start."""

    def parse(self, text: str) -> str:
        if text and not _USER_NAME.fullmatch(text):
            raise UnacceptableError(f"{quoted(text)} cannot name an account", "write a user's name, say xflowd")
        return text

    def render(self, value: str) -> str:
        return value


@dataclass(frozen=True, slots=True)
class FilePath:
    """The path of a file, from / on, or none. Whether there is such a file is asked when it is read."""

    def parse(self, text: str) -> str:
        if text and not text.startswith("/"):
            raise UnacceptableError(f"{quoted(text)} is no whole path", "write it from / on")
        if not text.isprintable() or len(text.encode(errors="replace")) > _PATH_OCTETS:
            raise UnacceptableError(f"{quoted(text)} cannot be a path", "write one of letters, digits and signs")
        return text

    def render(self, value: str) -> str:
        return value


@dataclass(frozen=True, slots=True)
class Address:
    """HOST, HOST:PORT or [IPv6]:PORT. A `local` one may be missing, and have port 0 for any port."""

    local: bool = False

    def parse(self, text: str) -> Endpoint | None:
        if not text and self.local:
            return None
        if not text:
            raise UnacceptableError("is empty", "write HOST:PORT")
        host, port = _host_and_port(text)
        return Endpoint(self._host(host, text), self._port(port))

    def render(self, value: Endpoint | None) -> str:
        return "" if value is None else str(value)

    def _host(self, host: str, text: str) -> str:
        if is_ip_address(host):
            _check_zone(host, text)
            return host
        if self.local:
            raise UnacceptableError(f"{quoted(text)} is no IP address", "write ADDRESS:PORT, of this host")
        if len(host) > _HOST_NAME_OCTETS or not _HOST_NAME.fullmatch(host) or re.fullmatch(r"[\d.]+", host):
            what = f"{quoted(text)} is neither an address nor a name"
            raise UnacceptableError(what, "write HOST:PORT or [IPv6]:PORT")
        return host

    def _port(self, text: str | None) -> int | None:
        if text is None:
            return None
        port = within(text, 0 if self.local else 1, 65535, name="port ")
        return port or None  # a local port of 0 is any port, as none is


def is_ip_address(host: str) -> bool:
    """True for an IPv4 or IPv6 address, with its zone if it has one; False for a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def within(text: str, low: int, high: int, name: str = "") -> int:
    """The whole number that `text` is; raises UnacceptableError if it is none, or not in low..high."""
    mend = f"allowed are {low} to {high}"
    if not text:
        raise UnacceptableError(f"{name}is empty", mend)
    if not text.isascii() or not text.isdigit():
        raise UnacceptableError(f"{name}{quoted(text)} is not a whole number", mend)
    if len(text) > len(str(high)) + 20 or not low <= int(text) <= high:
        raise UnacceptableError(f"{name}{quoted(text)} is out of range", mend)
    return int(text)


def listed(text: str) -> list[str]:
    """The words of a list, parted by commas or blanks; raises UnacceptableError where one is there twice."""
    words = text.replace(",", " ").split()
    seen: set[str] = set()
    for word in words:
        if word in seen:
            raise UnacceptableError(f"{quoted(word)} is named twice", "keep one of the two")
        seen.add(word)
    return words


def nearest_name(word: str, known: Iterable[str]) -> str:
    """How to mend a name that is misspelt; nothing where no other is like it. Case is not looked at."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word[:_MOST_COMPARED].lower(), by_lower, n=1)
    return f"did you mean {by_lower[close[0]]}?" if close else ""


def split_setting(text: str, known: tuple[str, ...]) -> tuple[str, str]:
    """'active=60' → ('active', '60'); raises UnacceptableError if the name is not one of `known`."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        mend = f"write {' or '.join(f'{word}=SECONDS' for word in known)}"
        raise UnacceptableError(f"{quoted(text)} has no '='", mend)
    if name not in known:
        raise UnacceptableError(f"unknown name {quoted(name)}", nearest(name, known))
    return name, value


def _check_interface(pattern: str) -> None:
    is_glob = any(sign in pattern for sign in "*?[")
    if not re.fullmatch(r"[!-~]+", pattern) or re.search("[/'\"]", pattern):
        raise UnacceptableError(f"{quoted(pattern)} cannot name an interface", "write names or globs: wan, wg*")
    longest = _GLOB_OCTETS if is_glob else INTERFACE_NAME_OCTETS
    if len(pattern) > longest:
        limit = f"a {'glob' if is_glob else 'name'} has {longest} characters at most"
        raise UnacceptableError(f"{quoted(pattern)} is too long", limit)
    try:
        re.compile(fnmatch.translate(pattern))
    except re.error:  # [z-a], for Pythons that do not leave it out
        raise UnacceptableError(f"{quoted(pattern)} is no glob", "write names or globs: wan, wg*") from None


def _check_zone(address: str, text: str) -> None:
    """fe80::1%wan: behind the sign stands an interface."""
    _, sign, zone = address.partition("%")
    if sign and not re.fullmatch(rf"[!-$&-.0-~]{{1,{INTERFACE_NAME_OCTETS}}}", zone):
        raise UnacceptableError(f"{quoted(text)} has a zone that names no interface", "write [fe80::1%wan]:PORT")


def _host_and_port(text: str) -> tuple[str, str | None]:
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed:
        return bracketed[1], bracketed[2]
    if text.count(":") > 1:
        # Where the port begins in 2001:db8::1:2055 nobody can tell.
        raise UnacceptableError(f"{quoted(text)} has an IPv6 address without brackets", "write [IPv6]:PORT")
    host, colon, port = text.partition(":")
    return host, port if colon else None
