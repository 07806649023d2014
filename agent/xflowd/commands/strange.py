"""What was meant by a word that no command knows: an interface, or an option of softflowd(8)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from xflowd.config import ConfigError, Problem
from xflowd.config.problem import shown

_LEAVE = "leave it out"
#: softflowd's options that are none here → what does the same, as docs/coming-from.md has it.
SOFTFLOWD = {
    "-r": "a capture is read by xflowd replay FILE",
    "-a": f"a capture is always read on the clock of its packets: {_LEAVE}",
    "-l": f"each collector gets all flows: {_LEAVE}",
    "-m": "set max_flows = N in [meter] of a file, and name that by -c",
    "-T": "levels are those of -k: full, proto, ip, vlan, ether",
    "-6": f"IPv6 is always counted: {_LEAVE}",
    "-b": f"a record has one direction: {_LEAVE}",
    "-A": "times are in milliseconds; other elements are chosen by -e, see xflowd elements",
    "-P": f"datagrams go by UDP: {_LEAVE}",
    "-L": "set the hop limit by sysctl net.ipv4.ip_default_ttl",
    "-S": "set source = ADDRESS in [collector NAME] of a file, and name that by -c",
    "-x": "labels are told by -e default,mplsTopLabelStackSection",
    "-C": f"nothing is captured: {_LEAVE}",
    "-B": f"nothing is captured: {_LEAVE}",
    "-N": f"no interface is made promiscuous: {_LEAVE}",
    "-R": "PSAMP is not received; NetFlow and IPFIX are, by xflowd collect",
    "-p": f"systemd and procd know the process, there is no file of its number: {_LEAVE}",
    "-d": f"the agent always stays in the foreground: {_LEAVE}",
    "-D": f"without -n the flows are printed: {_LEAVE}",
}
_ALL_INTERFACES = "any"  # as libpcap calls them


def unknown(strange: Sequence[str], options: argparse.Namespace) -> str:
    """What nobody asked for, and what to do instead where that can be told."""
    mends = _mends(strange, options)
    return "; ".join([f"unrecognized arguments: {' '.join(map(shown, strange))}", *mends])


def _mends(strange: Sequence[str], options: argparse.Namespace) -> list[str]:
    """A word behind an option that is not known may be its value: an interface is only what stands before it."""
    if not strange[0].startswith("-"):
        return [f"name an interface by -i: -i {shown(strange[0])}"] if hasattr(options, "interface") else []
    if not hasattr(options, "collector"):  # neither `run` nor `replay`, which do what softflowd does
        return []
    letters = dict.fromkeys(word[:2] for word in strange if word[:2] in SOFTFLOWD)
    return [f"{letter} of softflowd: {SOFTFLOWD[letter]}" for letter in letters]


def require_names(interfaces: Sequence[str]) -> None:
    """Raises ConfigError for interfaces as softflowd names them: any, and NUMBER:NAME."""
    problems = []
    for text in interfaces:
        number, colon, name = text.rpartition(":")  # which no name has in it
        number = number if colon and number.isdecimal() else ""
        meant = "'*'" if (name if number else text) == _ALL_INTERFACES else shown(name) if number else ""
        if meant:
            why = "the number is always the system's own" if number else "no interface is called so"
            problems.append(Problem(f"-i {shown(text)}", why, f"use -i {meant}"))
    if problems:
        raise ConfigError(problems)
