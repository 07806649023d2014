"""Names that stand for numbers in a filter: protocols, services, units. Without numpy: the command reads it too."""

from __future__ import annotations

import re

#: protocolIdentifier (IANA protocol numbers) by the names in use.
PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "udp": 17, "dccp": 33, "ipv6-in-ip": 41, "rsvp": 46, "gre": 47,
    "esp": 50, "ah": 51, "icmp6": 58, "icmpv6": 58, "eigrp": 88, "ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115,
    "sctp": 132, "udplite": 136, "mpls-in-ip": 137,
}  # fmt: skip

#: Ports by their names in the IANA registry of services, and by what they are called besides. A host's own
#: /etc/services is not asked: a filter means the same everywhere.
PORTS = {
    "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "dns": 53, "bootps": 67,
    "bootpc": 68, "dhcp": 67, "tftp": 69, "http": 80, "kerberos": 88, "pop3": 110, "sunrpc": 111, "ntp": 123,
    "netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "imap": 143, "snmp": 161, "snmptrap": 162, "bgp": 179,
    "ldap": 389, "https": 443, "microsoft-ds": 445, "submissions": 465, "isakmp": 500, "syslog": 514,
    "dhcpv6-client": 546, "dhcpv6-server": 547, "submission": 587, "ldaps": 636, "domain-s": 853, "imaps": 993,
    "pop3s": 995, "openvpn": 1194, "ms-sql-s": 1433, "l2f": 1701, "radius": 1812, "radius-acct": 1813, "nfs": 2049,
    "netflow": 2055, "mysql": 3306, "ms-wbt-server": 3389, "rdp": 3389, "stun": 3478, "ipsec-nat-t": 4500,
    "ipfix": 4739, "vxlan": 4789, "sip": 5060, "sips": 5061, "mdns": 5353, "postgresql": 5432, "wireguard": 51820,
}  # fmt: skip

TCP_FLAGS = {letter: 1 << bit for bit, letter in enumerate("FSRPAUEC")}

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_LARGEST = 2**63 - 1
_DIGITS = r"(\d{1,19}(?:\.\d{1,19})?)"  # as many as _LARGEST has: a float of hundreds is infinite
_NUMBER = re.compile(rf"{_DIGITS}([a-z]?)", re.IGNORECASE)
_TIME = re.compile(rf"{_DIGITS}(ms|min|[smhd]?)", re.IGNORECASE)


def count(text: str) -> int | None:
    """`100`, `1.5M`: k, M, G and T are powers of 1000. None if it is none."""
    found = _NUMBER.fullmatch(text)
    if not found or found[2].lower() not in _UNITS:
        return None
    value = round(float(found[1]) * _UNITS[found[2].lower()]) if found[2] or "." in found[1] else int(found[1])
    return value if value <= _LARGEST else None


def nanoseconds(text: str) -> int | None:
    """`90`, `90s`, `1m30s`, `500ms`, `2h`: seconds where no unit is. None if it is none."""
    total, at = 0.0, 0
    while at < len(text):
        found = _TIME.match(text, at)
        if not found or (not found[2] and found.end() < len(text)):
            return None
        total += float(found[1]) * _SECONDS[found[2].lower() or "s"]
        at = found.end()
    return round(total * 10**9) if text and total * 10**9 <= _LARGEST else None


def protocol(text: str) -> int | None:
    """A name of PROTOCOLS, or 0 to 255."""
    return PROTOCOLS.get(text.lower(), _number(text, 255))


def port(text: str) -> int | None:
    """A name of PORTS, or 0 to 65535."""
    return PORTS.get(text.lower(), _number(text, 65535))


def octet(text: str) -> int | None:
    """0 to 255, also as 0xb8."""
    try:
        value = int(text, 0)
    except ValueError:
        return None
    return value if 0 <= value <= 255 else None


def vlan(text: str) -> int | None:
    """0 to 4095."""
    return _number(text, 4095)


def flags(text: str) -> int | None:
    """Letters of TCP flags: `S`, `SA`, `UAPRSF`."""
    letters = text.upper()
    return sum(TCP_FLAGS[letter] for letter in set(letters)) if letters and set(letters) <= set(TCP_FLAGS) else None


def _number(text: str, largest: int) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= largest else None
