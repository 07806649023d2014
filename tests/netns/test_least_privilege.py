"""Proves that the agent does all it has to with the least rights, and takes over from itself, however it is started."""

from __future__ import annotations

import pwd
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import traffic
from lab.agent import COMMAND, Collector, write_configuration
from lab.flow import ICMP, Count, Key, totals
from lab.namespaces import Namespace
from lab.process import Process, wait_until
from lab.remains import held, remains, wait_until_clean
from lab.topology import LINKS, Network
from lab.wireshark import Tshark
from xflowd.edge.privileges import KEPT

PORT = 2055
A, B = LINKS["a"], LINKS["b"]
PING = Key(A.host4, B.host4, ICMP, 0, 0)
ROOT, NOBODY = pwd.getpwuid(0), pwd.getpwnam("nobody")
CONFIGURATION = Path("/run/xflowd.conf")
METERING = ("lan", "wan")

#: What init/xflowd.service makes of /sys/fs/bpf, of the account and of its capabilities.
AS_THE_UNIT = f"""
exec 9</sys/fs/bpf/xflowd
mount -t tmpfs -o mode=755 tmpfs /sys/fs/bpf
mkdir /sys/fs/bpf/xflowd
mount --no-canonicalize --bind /proc/self/fd/9 /sys/fs/bpf/xflowd
mount -o remount,bind,ro /sys/fs/bpf
exec 9<&-
rights=-all,+bpf,+net_admin,+perfmon
exec setpriv --reuid={NOBODY.pw_uid} --regid={NOBODY.pw_gid} --clear-groups --no-new-privs \
    --inh-caps=$rights --ambient-caps=$rights --bounding-set=$rights "$@"
"""


def by_root(space: Namespace) -> Process:
    return space.start(*COMMAND, "run", "-c", CONFIGURATION)


def by_the_unit(space: Namespace) -> Process:
    unshare = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", AS_THE_UNIT, "sh")
    return space.start(*unshare, *COMMAND, "run", "-c", CONFIGURATION)


@dataclass(frozen=True)
class Way:
    """One way of starting the agent, and whom it ends up as."""

    name: str
    start: Callable[[Namespace], Process]
    user: str  # [agent] user
    uid: int


WAYS = [
    Way("root", by_root, "", 0),
    Way("root with a user", by_root, "nobody", NOBODY.pw_uid),
    Way("the unit", by_the_unit, "", NOBODY.pw_uid),
]


@pytest.fixture
def router(network: Network) -> Namespace:
    """The router, with a /run of its own, as bare as after a boot, and /sys/fs/bpf as systemd mounts it."""
    runnable = ["setpriv", f"--reuid={NOBODY.pw_uid}", "--clear-groups", "test", "-x", COMMAND[0]]
    if subprocess.run(runnable, check=False, capture_output=True).returncode:
        pytest.skip(f"{NOBODY.pw_name} may not run {COMMAND[0]}")
    network.router.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    network.router.run("chmod", "0700", "/sys/fs/bpf")
    return network.router


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_agent_does_it_all_with_the_least_rights(network: Network, router: Namespace, way: Way) -> None:
    if way.uid:  # whoever is not root leaves an empty directory
        directories(router, NOBODY if way.start is by_the_unit else ROOT)
    before = remains(router)
    tshark = Tshark(network.collector, PORT, listen=True)
    configure(network, way)
    agent = started(way, router)
    during = held(router)
    count = traffic.ping(network.a, B.host4, 5)

    agent.kill()
    agent = started(way, router)
    count = add(count, traffic.ping(network.a, B.host4, 5))

    router.ip("link add hot0 type veth peer name cold0", "link set hot0 up")
    agent.wait_for_log(r"metering hot0\b")
    configure(network, way, max_flows=2048)  # a table and programs of their own
    agent.send(signal.SIGHUP)
    agent.wait_for_log("configuration read again")
    count = add(count, traffic.ping(network.a, B.host4, 5))
    router.ip("link del hot0")

    assert agent.stop() == 0
    tshark.stop()
    assert totals(tshark.flows())[PING] == count
    wait_until_clean(router, before, during)


@pytest.mark.parametrize("second", WAYS[:2], ids=lambda way: way.name)
@pytest.mark.parametrize("first", WAYS[:2], ids=lambda way: way.name)
def test_root_takes_over_from_anybody(network: Network, router: Namespace, first: Way, second: Way) -> None:
    if second.uid:
        directories(router, ROOT)
    before = remains(router)
    tshark = Tshark(network.collector, PORT, listen=True)
    configure(network, first)
    agent = started(first, router)
    during = held(router)
    count = traffic.ping(network.a, B.host4, 5)
    agent.kill()
    configure(network, second)
    agent = started(second, router)
    count = add(count, traffic.ping(network.a, B.host4, 5))
    assert agent.stop() == 0
    tshark.stop()
    assert totals(tshark.flows())[PING] == count
    wait_until_clean(router, before, during)


def directories(router: Namespace, owner: pwd.struct_passwd) -> None:
    """Those of pins and sockets, which outlive all agents."""
    owned = ("-o", str(owner.pw_uid), "-g", str(owner.pw_gid))
    router.run("install", "-d", "-m", "0750", *owned, "/sys/fs/bpf/xflowd", "/run/xflowd")


def configure(network: Network, way: Way, **meter: int) -> None:
    """Where whoever runs the agent may read it, also at SIGHUP."""
    collectors = [Collector("only", f"{LINKS['collector'].host4}:{PORT}", "ipfix")]
    fields: dict[str, str | int] = {"interfaces": "lan, wan, hot*", "active_timeout": 60, "idle_timeout": 60}
    path = write_configuration(network.directory / "xflowd.conf", collectors, **fields, **meter)
    path.write_text(f"{path.read_text()}\n[agent]\nuser = {way.user}\n")
    network.router.run("install", "-m", "0644", path, CONFIGURATION)


def started(way: Way, router: Namespace) -> Process:
    """The agent, when it meters and has given up what it does not need."""
    agent = way.start(router)
    for interface in METERING:
        agent.wait_for_log(rf"metering {interface}\b|taken over", timeout=60)
    wait_until(lambda: rights(agent) == expected(way), f"an agent with no rights but {expected(way)}")
    return agent


def rights(agent: Process) -> dict[str, list[int]]:
    """Of /proc/PID/status: who it is, and what it may do."""
    lines = Path(f"/proc/{agent.pid}/status").read_text().splitlines()
    found = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    masks = {name: [int(found[name][0], 16)] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")}
    return {"Uid": list(map(int, found["Uid"])), "NoNewPrivs": [int(found["NoNewPrivs"][0])], **masks}


def expected(way: Way) -> dict[str, list[int]]:
    kept = sum(1 << one for one in KEPT)
    masks = {"CapPrm": [kept], "CapEff": [kept], "CapInh": [0], "CapAmb": [0]}
    return {"Uid": [way.uid] * 4, "NoNewPrivs": [1], **masks}


def add(one: Count, other: Count) -> Count:
    return Count(one.packets + other.packets, one.octets + other.octets)
