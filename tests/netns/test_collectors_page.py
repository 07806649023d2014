"""Proves that the settings which docs/collectors.md gives for nfdump, pmacct and RabbitMQ bring every packet there."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import traffic
from lab.agent import Agent
from lab.flow import Count
from lab.namespaces import Namespace
from lab.process import Process, wait_until
from lab.topology import LINKS, Network, router_network

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "collectors.md").read_text()
SECTIONS = dict(re.findall(r"^##+ (.*?)\n(.*?)(?=^##+ |\Z)", PAGE, re.MULTILINE | re.DOTALL))
OCTETS = 400_000  # of the TCP connection that is metered


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with router_network(tmp_path_factory.mktemp("page")) as standing:
        yield standing


def metered(network: Network, section: str) -> Count:
    """Run the agent with the settings of that part of the page; what the hosts have sent meanwhile."""
    path = network.directory / f"{section}.conf"
    path.write_text(blocks(section, "ini")[0])
    before = network.settled()
    agent = Agent(network.router, "-c", path)
    traffic.ping(network.a, LINKS["b"].host4, 20)
    traffic.ping(network.b, LINKS["a"].host6, 10)
    traffic.tcp(network.a, network.b, LINKS["b"].host4, OCTETS)
    after = network.settled()
    assert agent.stop() == 0
    sent = [(after[link], before[link]) for link in after]
    return Count(sum(a.packets - b.packets for a, b in sent), sum(a.octets - b.octets for a, b in sent))


def test_nfdump(network: Network) -> None:
    store = network.directory / "nfdump"
    make_and_start, look = (text.replace("/var/cache/nfdump", str(store)) for text in blocks("nfdump", "sh"))
    make, start = make_and_start.splitlines()
    collector = network.collector
    collector.run(*make.split())
    nfcapd = collector.start(*start.split())
    collector.wait_for_udp_port(2055)
    sent = metered(network, "nfdump")
    collector.wait_until_read(2055)
    nfcapd.stop()
    records = json.loads(collector.run("nfdump", "-R", store, "-N", "-o", "json"))
    assert Count(sum(each["in_packets"] for each in records), sum(each["in_bytes"] for each in records)) == sent
    for command in look.splitlines():
        assert LINKS["a"].host4 in collector.run(*command.split())
    (shown,) = re.findall(r"`-o '(fmt:[^']*)'`", SECTIONS["nfdump"])
    table = collector.run("nfdump", "-R", store, "-q", "-o", shown)
    assert LINKS["a"].host_mac in table
    file = next(store.rglob("nfcapd.2*"))
    assert "Sequence failures: 0" in collector.run("nfdump", "-E", file)


def test_pmacct(network: Network) -> None:
    written = network.directory / "flows.json"
    ours = {"/var/lib/pmacct/flows.json": str(written), "print_refresh_time[flows]: 60": "print_refresh_time[flows]: 1"}
    nfacctd = start_nfacctd(network, "pmacct", "pmacct", ours)
    sent = metered(network, "pmacct")
    wait_until(lambda: total(whole_lines(written)) == sent, "all of them, by themselves")
    nfacctd.stop(signal.SIGINT)
    records = [json.loads(line) for line in written.read_text().splitlines()]
    assert total(records) == sent
    assert {each["sampling_rate"] for each in records} == {1}
    complaints = [line for line in nfacctd.log.splitlines() if line.startswith(("WARN", "ERROR"))]
    assert complaints == []


def test_pmacct_into_rabbitmq(network: Network) -> None:
    missing = [name for name in ("rabbitmq-server", "amqp-consume") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {missing}: a broker is 60 MB; apt-get install rabbitmq-server amqp-tools to have it tried")
    rabbitmq = start_rabbitmq(network.collector)
    taken = network.collector.start(*blocks("Into RabbitMQ", "sh")[0].split())
    rabbitmq.wait_for_log("granted access")
    nfacctd = start_nfacctd(network, "Into RabbitMQ", "pmacct-amqp", {})
    sent = metered(network, "pmacct")
    network.collector.wait_until_read(4739)
    nfacctd.stop(signal.SIGINT)
    records = wait_until(lambda: complete(taken, sent), "all records out of the queue")
    assert total(records) == sent
    taken.stop()
    rabbitmq.stop()


def start_nfacctd(network: Network, section: str, language: str, paths: dict[str, str]) -> Process:
    text = blocks(section, language)[0]
    for path, ours in paths.items():
        text = text.replace(path, ours)
    configuration = network.directory / f"nfacctd-{language}.conf"
    configuration.write_text(text)
    nfacctd = network.collector.start("nfacctd", "-f", configuration)
    network.collector.wait_for_udp_port(4739)
    nfacctd.wait_for_log("cache entries")
    return nfacctd


def start_rabbitmq(space: Namespace) -> Process:
    """A broker that keeps to its namespace and to the test's directory."""
    home = space.directory / "rabbitmq"
    home.mkdir()
    settings = {
        "HOME": home,
        "RABBITMQ_BASE": home,
        "RABBITMQ_MNESIA_BASE": home / "mnesia",
        "RABBITMQ_LOG_BASE": home / "log",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": home / "pid",
        "RABBITMQ_ENABLED_PLUGINS_FILE": home / "plugins",
        "RABBITMQ_NODENAME": "rabbit@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
    }
    server = "/usr/lib/rabbitmq/bin/rabbitmq-server"
    rabbitmq = space.start("env", *(f"{name}={value}" for name, value in settings.items()), server)
    rabbitmq.wait_for_log("Server startup complete", timeout=60)
    return rabbitmq


def complete(consumer: Process, sent: Count) -> list[dict[str, object]] | None:
    """The messages, an object each, when there are as many packets in them as were sent."""
    decoder, text, records = json.JSONDecoder(), consumer.log.strip(), []
    while text:
        try:
            record, end = decoder.raw_decode(text)
        except json.JSONDecodeError:  # the last one is not written yet
            return None
        records.append(record)
        text = text[end:].lstrip()
    return records if total(records).packets >= sent.packets else None


def whole_lines(path: Path) -> list[dict[str, object]]:
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def total(records: list[dict[str, object]]) -> Count:
    return Count(sum(int(str(each["packets"])) for each in records), sum(int(str(each["bytes"])) for each in records))
