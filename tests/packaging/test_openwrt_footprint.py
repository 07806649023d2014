"""Proves that a running agent has loaded nothing that its configuration does not need, and bounds its memory."""

from __future__ import annotations

import os
import re

import pytest
from openwrt_footprint import memory, start

from lab.topology import Network

#: Of which nothing may be loaded by an agent that meters an interface and exports NetFlow v5.
NOT_NEEDED = (
    "asyncio",
    "email",
    "http",
    "json.tool",
    "multiprocessing",
    "numpy.f2py",
    "numpy.random",
    "numpy.testing",
    "prometheus_client",
    "psutil",
    "pyroute2",
    "sqlite3",
    "ssl",
    "unittest",
    "xflowd.collect",
    "xflowd.config.softflowd",
    "xflowd.config.writing",
    "xflowd.doctor",
    "xflowd.edge.capture",
    "xflowd.edge.terminal",
    "xflowd.listing",
    "xflowd.replay",
    "xflowd.showing",
    "xflowd.watching",
    "xflowd.wire.decoder",
)
MOST_MEGABYTES = (
    52  # resident, of which half is shared with whatever else runs Python; 66 before imports were looked at
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and eBPF need root")


def imported(log: str) -> set[str]:
    """Modules, by the lines of `python -X importtime`."""
    return set(re.findall(r"^import time:\s+\d+ \|\s+\d+ \| +(\S+)$", log, re.MULTILINE))


def test_a_running_agent_has_loaded_what_it_needs_and_no_more(network: Network) -> None:
    process, _ = start(network, "PYTHONPROFILEIMPORTTIME=1")
    used, before_it_ended = memory(process), imported(process.log)
    assert process.stop() == 0
    loaded = imported(process.log)
    assert "xflowd.daemon" in loaded
    in_vain = {name for name in loaded for other in NOT_NEEDED if f"{name}.".startswith(f"{other}.")}
    assert not {name for name in in_vain if name.split(".")[0] != "psutil"}  # which tells at the end what was used
    assert "psutil" not in before_it_ended
    assert used["Rss"] < MOST_MEGABYTES
