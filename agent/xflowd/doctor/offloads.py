"""What takes packets past the hooks, or joins them before: flow offload, switches, receive offloads."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

from xflowd.doctor.finding import Finding, bad, good, warning
from xflowd.doctor.situation import Situation
from xflowd.edge.network import Interface

_PATIENCE_SECONDS = 5
_WHERE = "offload"


def check(situation: Situation) -> Iterator[Finding]:
    """Of the host, then of each interface that is metered."""
    found = [*_openwrt(situation), *_flowtables(situation), *_connections(situation)]
    yield from found or [good(_WHERE, "no flow offload was found: packets pass the hooks")]
    for interface in situation.metered:
        findings = [*_features(situation, interface.name), *_switch(situation, interface)]
        yield from findings or [good(interface.name, "nothing takes packets past the hook")]


def _openwrt(situation: Situation) -> Iterator[Finding]:
    """`flow_offloading` and `flow_offloading_hw` of fw4's defaults, as /etc/config/firewall has them."""
    section, on = "", set()
    for words in situation.lines("/etc/config/firewall"):
        if words[:1] == ["config"] and len(words) > 1:
            section = words[1].strip("'\"")
        elif words[:1] == ["option"] and section == "defaults" and len(words) > 2 and words[2].strip("'\"") in _YES:
            on.add(words[1].strip("'\""))
    if "flow_offloading_hw" in on and "flow_offloading" in on:
        what = "hardware flow offload is on (firewall.@defaults[0].flow_offloading_hw): the switch forwards unseen"
        yield bad(_WHERE, what, _OPENWRT_MEND)
    elif "flow_offloading" in on:
        yield good(_WHERE, f"{_SOFTWARE} (firewall.@defaults[0].flow_offloading)")


_YES = ("1", "on", "true", "yes", "enabled")
_SOFTWARE = "software flow offload is on, behind the hooks of XDP and TC: packets are seen"
_OPENWRT_MEND = "uci set firewall.@defaults[0].flow_offloading_hw=0; uci commit firewall; service firewall restart"


def _flowtables(situation: Situation) -> Iterator[Finding]:
    """Of nftables, as `nft` tells them; where there is no nft, nobody has made one with it."""
    for table in _listed():
        where = f"{table.get('family')} {table.get('table')} {table.get('name')}"
        if "offload" in _flags(table):
            what = f"flowtable {where} has flags offload: the hardware forwards its flows unseen"
            yield bad(_WHERE, what, "take `flags offload` out of the flowtable, and load the ruleset again")
        else:
            yield good(_WHERE, f"flowtable {where}: {_SOFTWARE}")


def _flags(table: dict[str, Any]) -> list[str]:
    flags = table.get("flags", [])
    return [flags] if isinstance(flags, str) else list(flags)


def _listed() -> list[dict[str, Any]]:
    try:
        answer = subprocess.run(
            ["nft", "-j", "list", "flowtables"],
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        ).stdout
        rows = json.loads(answer)["nftables"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return []
    return [row["flowtable"] for row in rows if "flowtable" in row]


def _connections(situation: Situation) -> Iterator[Finding]:
    """Whoever has made a flowtable: connections that the hardware forwards say so."""
    path = situation.root / "proc/net/nf_conntrack"
    try:
        with path.open(errors="replace") as file:
            offloaded = sum("[HW_OFFLOAD]" in line for _, line in zip(range(_MOST_CONNECTIONS), file, strict=False))
    except OSError:
        return
    if offloaded:
        what = f"{offloaded:,} connections are forwarded by hardware, unseen (/proc/net/nf_conntrack)"
        yield bad(_WHERE, what, "switch hardware flow offload off: `flags offload` of a flowtable, or the driver's own")


_MOST_CONNECTIONS = 100_000


def _features(situation: Situation, name: str) -> Iterator[Finding]:
    """Of ethtool. An interface that does not say has none."""
    try:
        on = {feature for feature, is_on in situation.features(name).items() if is_on}
    except OSError as error:
        yield warning(name, f"its features cannot be asked for: {error.strerror or error}", "ask as root")
        return
    if "hw-tc-offload" in on:
        what = "hw-tc-offload is on: flows that a tc filter has put into the hardware are not seen"
        yield warning(name, what, f"ethtool -K {name} hw-tc-offload off, unless no filter uses it")
    if "rx-lro" in on:
        what = "LRO joins packets before they are counted, and XDP is refused"
        yield warning(name, what, f"ethtool -K {name} lro off")
    if "rx-gro-hw" in on:
        yield good(name, "GRO in hardware: a joined packet counts as those it was made of, by TC")


def _switch(situation: Situation, interface: Interface) -> Iterator[Finding]:
    """A port of a switch that forwards by itself; the conduit between switch and CPU."""
    name = interface.name
    if situation.of_interface(interface, "dsa/tagging") is not None:
        what = "it joins a switch to the CPU: frames carry the switch's tags, and are counted as not IP"
        yield warning(name, what, "meter the switch's ports or the bridge on them instead")
    switch = situation.of_interface(interface, "phys_switch_id")
    is_port = bool(switch and re.fullmatch(r"[0-9a-f]+", switch))
    if is_port and situation.of_interface(interface, "brport/port_no") is not None:
        what = "a port of a bridge that its switch forwards for: what goes from port to port is not seen"
        yield warning(name, what, "meter the router's side (wan, or the bridge): what is routed passes the CPU")
    elif is_port:
        yield good(name, f"a port of switch {switch}, and of no bridge: all packets reach the CPU")
