"""Proves that a real agent's metrics add up, are those of its status, outlive it, and follow its configuration."""

from __future__ import annotations

import json
import os
import pwd
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab import traffic
from lab.agent import COMMAND, Agent, Collector, write_configuration
from lab.namespaces import Namespace
from lab.process import Process, wait_until
from lab.topology import LINKS, Network
from xflowd.metrics import METRICS

PORT = 2055
B = LINKS["b"]
GET = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=5) as answer:
    sys.stdout.write(answer.read().decode())
"""
#: Metrics that a sound agent has nothing to say by.
SILENT = {"xflowd_interface_refused", "xflowd_control_faults_total", "xflowd_scrape_faults_total"}
Samples = dict[tuple[str, ...], float]


def configuration(network: Network, listen: str, *, user: str = "", **meter: str | int) -> Path:
    collectors = [Collector("only", f"{LINKS['collector'].host4}:{PORT}", "ipfix")]
    path = write_configuration(network.directory / "xflowd.conf", collectors, **meter)
    path.write_text(f"{path.read_text()}\n[metrics]\nlisten = {listen}\n[agent]\nuser = {user}\n")
    network.directory.chmod(0o755)
    return path


def get(space: Namespace, address: str) -> str:
    return space.run(sys.executable, "-c", GET, f"http://{address}/metrics", timeout=10)


def answers(space: Namespace, address: str) -> bool:
    try:
        return bool(get(space, address))
    except RuntimeError as error:
        if "Connection refused" in str(error):
            return False
        raise


def read(text: str) -> Iterator[tuple[tuple[str, ...], float]]:
    """Name and label values → figure."""
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            yield (one.name, *(one.labels[label] for label in METRICS[one.name].labels)), one.value


def scraped(space: Namespace, address: str) -> Samples:
    return dict(read(get(space, address)))


def total(found: Samples, name: str) -> int:
    return int(sum(value for key, value in found.items() if key[0] == name))


def settled(space: Namespace, address: str, packets: int) -> Samples:
    """What is scraped when all packets are seen and none is on its way."""

    def quiet() -> Samples | None:
        found = scraped(space, address)
        is_quiet = not total(found, "xflowd_unplaced_packets") and total(found, "xflowd_seen_packets_total") >= packets
        return found if is_quiet else None

    return wait_until(quiet, "a scrape with nothing on its way")


def test_the_equation_holds_and_the_figures_are_the_status(network: Network) -> None:
    address = "127.0.0.1:9995"
    running = Agent(network.router, "-c", configuration(network, "127.0.0.1", active_timeout=60, idle_timeout=2))
    traffic.ping(network.a, B.host4, 20)
    found = settled(network.router, address, 40)
    assert {key[0] for key in found} == METRICS.keys() - SILENT
    places = ("exported_packets_total", "ignored_packets_total", "table_packets", "overflow_waiting_packets")
    seen = total(found, "xflowd_seen_packets_total")
    assert sum(total(found, f"xflowd_{place}") for place in places) == seen
    assert total(found, "xflowd_packets_total") == seen == total(found, "xflowd_interface_kernel_packets_total")

    after = wait_until(
        lambda: one if not total(one := settled(network.router, address, 40), "xflowd_table_flows") else None,
        "all ended",
    )
    document = json.loads(network.router.run(*COMMAND, "status", "--json", timeout=10))
    assert total(after, "xflowd_exported_packets_total") == document["totals"]["exported"]
    for point in document["interfaces"]:
        key = (point["name"], point["direction"])
        by_outcome = {name: after[("xflowd_packets_total", *key, name)] for name in ("in_flows", "not_ip", "lost")}
        assert by_outcome == {"in_flows": point["in_flows"], "not_ip": point["packets"]["not_ip"], "lost": 0}
        assert after[("xflowd_interface_info", *key, point["hook"], str(point["index"]))] == 1
    for reason, count in document["flows"]["ended"].items():
        assert after["xflowd_flows_ended_total", reason] == count
    assert running.stop() == 0
    assert not answers(network.router, address)


def test_counters_go_on_through_a_kill_and_the_address_is_free(network: Network) -> None:
    address = "[::1]:9996"
    path = configuration(network, address, active_timeout=60, idle_timeout=60)
    first = Agent(network.router, "-c", path)
    traffic.ping(network.a, B.host4, 10)
    before = settled(network.router, address, 20)
    first.crash()
    assert not answers(network.router, address)
    second = Agent(network.router, "-c", path, metering=())
    wait_until(lambda: answers(network.router, address), "the next agent's metrics")
    traffic.ping(network.a, B.host4, 10)
    after = settled(network.router, address, 40)
    went_back = {
        key: (before[key], after[key])
        for key in before.keys() & after.keys()
        if METRICS[key[0]].kind == "counter" and after[key] < before[key]
    }
    anew = {"process_cpu_seconds_total", "xflowd_scrapes_total", "xflowd_control_requests_total"}
    assert not {key: value for key, value in went_back.items() if key[0] not in anew | {INTERRUPTIONS}}
    assert second.stop() == 0


INTERRUPTIONS = "xflowd_collector_interruptions_total"


def test_a_reload_moves_it_and_one_that_cannot_be_changes_nothing(network: Network) -> None:
    running = Agent(network.router, "-c", configuration(network, "127.0.0.1:9995"))
    assert answers(network.router, "127.0.0.1:9995")
    steps = [
        # what is configured, where it is answered afterwards, where not any more
        ("0.0.0.0:9995", "192.0.2.1:9995", ""),  # overlaps with the one before
        ("127.0.0.1:9997", "127.0.0.1:9997", "127.0.0.1:9995"),
        ("", "", "127.0.0.1:9997"),
        ("127.0.0.1:9998", "127.0.0.1:9998", ""),
    ]
    for count, (listen, there, gone) in enumerate(steps, start=1):
        configuration(network, listen)
        reload(running, count, "configuration read again$")
        assert not there or answers(network.router, there)
        assert not gone or not answers(network.router, gone)
    for count, listen in enumerate(("127.0.0.1:995", "192.0.2.77:9998"), start=1):  # no right to it; not here
        configuration(network, listen, max_flows=1024)
        reload(running, count, r"going on as before: \[metrics\] listen")
        assert answers(network.router, "127.0.0.1:9998")
    assert running.stop() == 0


def pythonpath(network: Network) -> str:
    """For env(1): modules of the test before all others."""
    return f"PYTHONPATH={network.directory}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


def reload(running: Agent, count: int, line: str) -> None:
    running.hang_up()
    wait_until(lambda: Counter(told(running, line))[True] >= count, f"{count} times {line!r}")


def told(running: Agent, line: str) -> Iterator[bool]:
    return (bool(re.search(line, one)) for one in running.log.splitlines())


def test_a_port_of_root_is_taken_before_rights_are_given_up(network: Network) -> None:
    running = Agent(network.router, "-c", configuration(network, "127.0.0.1:995", user="nobody"))
    found = wait_until(lambda: scraped(network.router, "127.0.0.1:995"), "a scrape")
    assert found["xflowd_interface_info", "lan", "ingress", "TC", str(LINKS["a"].index)] == 1
    assert running.stop() == 0


def test_under_the_units_rights_it_answers_but_takes_no_port_of_roots(network: Network) -> None:
    """As init/xflowd.service starts it: an account, three capabilities, no more rights to come."""
    kept = "-all,+bpf,+net_admin,+perfmon"
    account = pwd.getpwnam("nobody")
    ids = (f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--no-new-privs")
    rights = ("setpriv", *ids, f"--inh-caps={kept}", f"--ambient-caps={kept}", f"--bounding-set={kept}")
    owner = ("-o", str(account.pw_uid), "-g", str(account.pw_gid))
    network.router.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    network.router.run("install", "-d", "-m", "0750", *owner, "/sys/fs/bpf/xflowd", "/run/xflowd")
    path = Path("/run/xflowd.conf")

    def run(listen: str) -> Process:
        network.router.run("install", "-m", "0644", configuration(network, listen), path)
        return network.router.start(*rights, *COMMAND, "run", "-c", path)

    running = run("127.0.0.1:9995")
    running.wait_for_log("metering wan")
    assert wait_until(lambda: answers(network.router, "127.0.0.1:9995"), "metrics")
    assert running.stop() == 0
    refused = run("127.0.0.1:995")
    refused.wait_for_log(r"\[metrics\] listen = 127.0.0.1:995: Permission denied: give a port of 1024 or above")
    assert refused.wait() == 2


@pytest.mark.parametrize(
    ("listen", "module", "line"),
    [
        ("192.0.2.77:9995", "", r"\[metrics\] listen = 192.0.2.77:9995: Cannot assign requested address: give an "),
        ("127.0.0.1:9995", "raise ImportError\n", r"package prometheus_client is missing: \S+ -m pip install "),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_attached(
    network: Network, listen: str, module: str, line: str
) -> None:
    if module:
        (network.directory / "prometheus_client.py").write_text(module)
    path = configuration(network, listen)
    with pytest.raises(RuntimeError, match=line) as caught:
        network.router.run("env", pythonpath(network), *COMMAND, "run", "-c", path)
    assert "exited with 2" in str(caught.value)
    assert "metering" not in str(caught.value)


def test_without_an_address_nothing_is_loaded_and_nobody_listens(network: Network) -> None:
    (network.directory / "prometheus_client.py").write_text("raise SystemExit('loaded')\n")
    running = network.router.start("env", pythonpath(network), *COMMAND, "run", "-c", configuration(network, ""))
    running.wait_for_log("metering wan")
    traffic.ping(network.a, B.host4, 3)
    assert wait_until(lambda: "xflowd" in network.router.run(*COMMAND, "status"), "an answer")
    listening = network.router.run("sh", "-c", "cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A ' || true")
    assert listening.strip() == "0"
    assert running.stop() == 0


def test_clients_that_misbehave_hinder_neither_metering_nor_a_scrape(network: Network) -> None:
    running = Agent(network.router, "-c", configuration(network, "127.0.0.1:9995", active_timeout=60, idle_timeout=60))
    abuse = "import socket,time\nkept=[socket.create_connection(('127.0.0.1',9995),5) for _ in range(60)]\n"
    abuse += "[one.send((b'', b'rubbish\\r\\n\\r\\n', b'GET')[i % 3]) for i, one in enumerate(kept)]\n"
    network.router.start(sys.executable, "-c", f"{abuse}print('abused', flush=True)\ntime.sleep(30)").wait_for_log(
        "abused"
    )
    count = traffic.ping(network.a, B.host4, 20)
    found = settled(network.router, "127.0.0.1:9995", 2 * count.packets)
    assert total(found, "xflowd_scrape_faults_total") > 0
    assert running.stop() == 0
