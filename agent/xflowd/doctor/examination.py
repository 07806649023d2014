"""`xflowd doctor` from its arguments to its exit code: what there is to know first, then each kind of check."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from xflowd.config import (
    Collector,
    Config,
    ConfigError,
    Direction,
    Endpoint,
    ExportProtocol,
    Hook,
    Meter,
    Metrics,
    doubtful,
    load,
)
from xflowd.doctor import accounts, clock, endpoint, interfaces, kernel, offloads, programs, rights, sampling, ways
from xflowd.doctor.finding import Finding, Grade, bad, good, warning
from xflowd.doctor.situation import Situation, sampled
from xflowd.doctor.telling import Group, as_json, render
from xflowd.edge import network
from xflowd.edge.asking import ControlError, ask
from xflowd.lacking import lacking
from xflowd.networks import Networks
from xflowd.settings import StartError, with_default_interface
from xflowd.status import CollectorReport, Status
from xflowd.watching.answers import understood

CHECKS: dict[str, Callable[[Situation], Iterator[Finding]]] = {
    "agent": accounts.check,
    "kernel": kernel.check,
    "rights": rights.check,
    "interfaces": interfaces.check,
    "other programs": programs.check,
    "offloads": offloads.check,
    "ways to collectors": ways.check,
    "sampling and templates": sampling.check,
    "clock": clock.check,
    "metrics": endpoint.check,
}


def run(file: str, path: Path, to_json: bool) -> int:
    """Examine, print, and say by the exit code whether anything is bad. `path` is of the control socket."""
    groups = list(examine(file, path))
    text = as_json(groups) if to_json else render(groups)
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding))
    return int(any(finding.grade is Grade.BAD for _, findings in groups for finding in findings))


def examine(file: str, path: Path) -> Iterator[Group]:
    """Each group of findings. What one check cannot do is a finding, and the others go on."""
    findings, situation = _situation(file, path)
    yield "configuration", findings
    for title, check in CHECKS.items():
        yield title, list(_checked(check, situation, title))


def _checked(check: Callable[[Situation], Iterator[Finding]], situation: Situation, title: str) -> Iterator[Finding]:
    try:
        yield from check(situation)
    except OSError as error:
        yield bad(title, f"cannot be examined: {error}", "ask as root, in the agent's network namespace")
    except Exception as error:  # one that no check has thought of: it must not hide what the others find
        what = f"cannot be examined: {type(error).__name__}: {error}"
        yield bad(title, what, "a fault of xflowd doctor: report it; what the other checks say holds")


def _situation(file: str, path: Path) -> tuple[list[Finding], Situation]:
    (status, silence), present = _asked(path), network.interfaces()
    config, findings = _configured(file, status)
    situation = Situation(
        config=config,
        present=present,
        features=features,
        status=status,
        unix_seconds=time.time(),
        file=file,
        socket=path,
        silence=silence,
        synchronised=clock.synchronised,
    )
    return findings, situation


def _asked(path: Path) -> tuple[Status | None, str]:
    """What the agent says of itself, or why there is nothing."""
    try:
        status: Status = ask(path, "status")
        with understood(path):
            _running(status)
        return status, ""
    except ControlError as error:
        return None, str(error)


def _configured(file: str, status: Status | None) -> tuple[Config, list[Finding]]:
    """The file's, with the default interface; what the agent says where there is no file; else nothing at all."""
    if not _is_there(file):
        if status:
            return _running(status), [good("configuration", f"there is no {file}: this is what the agent says it does")]
        mend = "make one (docs/configuration.md, xflowd.conf(5)), or name one with -c, or start an agent"
        return Config(), [bad("configuration", f"there is no {file}, and no agent answers", mend)]
    try:
        config = load(file)
    except ConfigError as error:
        faults = [bad("configuration", f"{one.where}: {one.what}", one.mend) for one in error.problems]
        return _running(status) if status else Config(), faults
    findings = [good("configuration", f"{file} has no faults")]
    if not config.agent.enabled:
        what = "enabled = 0 in [agent]: an agent that is started ends at once"
        findings.append(warning("configuration", what, "enabled = 1 in [agent], where flows are wanted"))
    findings += [
        bad("configuration", f"{one.where}: {one.what}", one.mend)
        for one in lacking(config)
        if not one.where.startswith("[metrics]")  # which has a check of its own
    ]
    findings += [
        warning("configuration", doubt, "see docs/configuration.md, and xflowd check") for doubt in doubtful(config)
    ]
    try:
        return _with_devices(with_default_interface(config), findings), findings
    except (StartError, OSError) as error:
        what, _, mend = str(error).rpartition(": ")
        return config, [*findings, bad("configuration", what or str(error), mend or "see above")]


def _is_there(file: str) -> bool:
    """False only where that is sure: a file in a directory where one may not look has another mend."""
    try:
        os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


def _with_devices(config: Config, findings: list[Finding]) -> Config:
    """OpenWrt's networks as the devices that they have now. Raises OSError where netifd does not answer."""
    networks = Networks()
    networks.ask(config.meter)
    for doubt in networks.doubts(config.meter.network):
        findings.append(warning("configuration", doubt, "see ubus call network.interface dump, and ifup"))
    return replace(config, meter=networks.resolved(config.meter))


def _running(status: Status) -> Config:
    """As much of a configuration as a running agent tells."""
    names, chosen = dict.fromkeys(point["name"] for point in status["interfaces"]), status["chosen"]
    meter = Meter(
        interfaces=tuple(names),
        direction=Direction[chosen["direction"].upper()],
        hook=Hook[chosen["hook"].upper()],
        max_flows=status["flows"]["slots"],
        active_timeout=round(status["timeouts"]["active"]),
        idle_timeout=round(status["timeouts"]["idle"]),
    )
    listen = _endpoint(chosen["metrics_listen"])
    return Config(meter, sampled(status), tuple(map(_collector, status["collectors"])), metrics=Metrics(listen))


def _collector(one: CollectorReport) -> Collector:
    address = _endpoint(one["address"])
    assert address
    made = Collector(
        one["name"],
        address,
        ExportProtocol[one["protocol"].upper()],
        source=_endpoint(one["source"]),
        max_payload=one["max_payload"],
        observation_domain=one["observation_domain"] if one["observation_domain_chosen"] else None,
        elements=tuple(one["elements"] or ()),
    )
    return replace(made, template_refresh=one["template_refresh"]) if one["template_refresh"] else made


def _endpoint(text: str | None) -> Endpoint | None:
    """`HOST:PORT`, `[IPv6]:PORT`, or without the port, as Endpoint writes it."""
    if text is None:
        return None
    host, colon, port = text.rpartition(":")
    has_port = bool(colon) and not text.endswith("]")
    return Endpoint((host if has_port else text).strip("[]"), int(port) if has_port else None)


def features(name: str) -> Mapping[str, bool]:
    """The features of ethtool by name. Raises OSError, also where the library that asks is not there."""
    try:
        from pyroute2.ethtool.ethtool import Ethtool  # noqa: PLC0415
        from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415
    except ImportError:
        raise OSError("pyroute2 is not installed") from None
    with Ethtool() as ethtool:
        try:
            found = ethtool.get_features(name).features
        except NetlinkError as error:
            raise OSError(error.code, f"ethtool: {error}") from None
        return {feature: bool(found[feature].enable) for feature in found}
