"""Who may do what: the capabilities of whoever asks and of the agent, the control socket, and whether programs load."""

from __future__ import annotations

import grp
import stat
from collections.abc import Iterator
from dataclasses import replace

from xflowd.doctor.finding import Finding, bad, good, warning
from xflowd.doctor.situation import Situation

_NEEDED = {12: "CAP_NET_ADMIN", 38: "CAP_PERFMON", 39: "CAP_BPF"}
_SYS_ADMIN = 21  # stands for BPF and PERFMON
_FEW_FLOWS = 1024


def check(situation: Situation) -> Iterator[Finding]:
    """Who asks; the agent's rights where one runs; where none does, whether one could be started from here."""
    missing = _missing(situation, "self")
    if missing:
        mend = "ask as root, who sees programs and features as the agent does"
        yield warning("rights", f"this process lacks {', '.join(missing)}: not all can be tried", mend)
    else:
        yield good("rights", f"this process has {', '.join(_NEEDED.values())}: all can be tried")
    if situation.status:
        yield from _agent(situation, situation.status["pid"])
        if situation.socket:
            yield from _socket(situation)
    elif not missing:
        yield _loading(situation)


def _missing(situation: Situation, process: int | str) -> list[str]:
    """Capabilities that a process lacks; all, where the kernel does not say."""
    text = next((line[1] for line in situation.lines(f"/proc/{process}/status") if line[:1] == ["CapEff:"]), "0")
    held = int(text, 16)
    by_all = held >> _SYS_ADMIN & 1
    return [name for bit, name in _NEEDED.items() if not (held >> bit & 1 or (by_all and bit > _SYS_ADMIN))]


def _agent(situation: Situation, pid: int) -> Iterator[Finding]:
    if not situation.exists(f"/proc/{pid}/status"):
        yield warning(
            "rights", f"the agent is process {pid}, which is not seen from here", "ask from within its container"
        )
        return
    missing = _missing(situation, pid)
    if missing:
        mend = "start it by init/xflowd.service, or as root: interfaces that come later cannot be metered without"
        yield bad("rights", f"the agent lacks {', '.join(missing)}", mend)
        return
    status = {line[0]: line[1:] for line in situation.lines(f"/proc/{pid}/status") if line}
    held = int(status["CapEff:"][0], 16)
    more = bin(held).count("1") - len(_NEEDED)
    if more > 0:
        yield warning("rights", f"the agent has {more} capabilities more than it needs", "restart it: it gives them up")
    else:
        yield good("rights", f"the agent is user {status['Uid:'][0]} with {', '.join(_NEEDED.values())} and no others")


def _socket(situation: Situation) -> Iterator[Finding]:
    path = situation.socket
    assert path is not None
    try:
        found = path.stat()
    except OSError as error:
        yield warning("rights", f"{path}: {error.strerror}", "restart the agent")
        return
    group = _group(found.st_gid)
    if stat.S_IMODE(found.st_mode) & 0o007:
        yield warning("rights", f"everybody may ask the agent by {path}", f"chmod 0660 {path}")
    else:
        yield good("rights", f"{path} answers root, the agent's user and group {group}")


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _loading(situation: Situation) -> Finding:
    """The programs as they are configured go through the verifier, with a table of few flows, and are let go again."""
    from xflowd.edge.libbpf import LibbpfError  # noqa: PLC0415
    from xflowd.edge.loading import load  # noqa: PLC0415
    from xflowd.settings import load_options  # noqa: PLC0415

    options = load_options(situation.config, [])
    try:
        load(replace(options, max_flows=min(options.max_flows, _FEW_FLOWS))).close()
    except (LibbpfError, OSError) as error:
        what, _, mend = str(error).rpartition(": ")
        return bad("programs", what or str(error), mend if what else "see above")
    return good("programs", "the kernel takes the programs as they are configured (tried, and let go again)")
