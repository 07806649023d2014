"""Proves that the flows of a running agent can be seen, filtered and ended on demand, and that none is lost by it."""

from __future__ import annotations

import json
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import traffic
from lab.agent import COMMAND, Agent, Collector, write_configuration
from lab.flow import ICMP, totals
from lab.namespaces import Namespace
from lab.process import wait_until
from lab.topology import LAN, LINKS, WAN, Network, router_network
from lab.wireshark import Tshark

PORT = 2055
A, B = LINKS["a"], LINKS["b"]
SIZES = {3000: 7, 3001: 5, 3002: 3, 3003: 1}  # packets by destination port
NOBODY = pwd.getpwnam("nobody")
#: As many datagrams of 100 octets to each port as it says.
SEND = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind(("", 4000))
for word in sys.argv[2:]:
    port, count = map(int, word.split("="))
    for _ in range(count):
        sender.sendto(bytes(100), (sys.argv[1], port))
"""
#: One datagram to each of so many ports.
SPRAY = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
for port in range(1, int(sys.argv[2]) + 1):
    sender.sendto(b"\\x0f\\xa0" + port.to_bytes(2, "big") + b"\\x00\\x08\\x00\\x00", (sys.argv[1], 0))
"""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with router_network(tmp_path, ipv6=False) as built:
        yield built


@pytest.fixture
def tshark(network: Network) -> Tshark:
    return Tshark(network.collector, PORT, listen=True)


def started(network: Network, **meter: str | int) -> Agent:
    """An agent whose flows end only when they are asked to."""
    collectors = [Collector("only", f"{LINKS['collector'].host4}:{PORT}", "ipfix", template_refresh=3600)]
    values: dict[str, str | int] = {"interfaces": "lan", "active_timeout": 600, "idle_timeout": 600, **meter}
    agent = Agent(network.router, "-c", write_configuration(network.directory / "xflowd.conf", collectors, **values),
                  metering=["lan"])  # fmt: skip
    wait_until(lambda: ask(network.router, "status", "--json"), "an answer")
    return agent


def ask(space: Namespace, *command: str) -> str:
    try:
        return space.run(*COMMAND, *command, timeout=30)
    except RuntimeError as error:
        if "no agent answers" in str(error):
            return ""
        raise


def send(network: Network) -> None:
    words = [f"{port}={count}" for port, count in SIZES.items()]
    network.a.run(sys.executable, "-c", SEND, B.host4, *words)


def live(space: Namespace, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ask(space, "flows", "--json", *arguments).splitlines()]


def ports(flows: list[dict[str, Any]]) -> list[int]:
    return [flow["destinationTransportPort"] for flow in flows]


def refused(space: Namespace, *command: str) -> str:
    with pytest.raises(RuntimeError) as raised:
        ask(space, *command)
    return str(raised.value)


def test_flows_are_shown_sorted_and_filtered(network: Network) -> None:
    agent, router = started(network), network.router
    send(network)
    traffic.ping(network.a, B.host4, 10)
    flows = {flow["destinationTransportPort"]: flow for flow in live(router, "udp")}
    assert {port: flow["packetDeltaCount"] for port, flow in flows.items()} == SIZES
    assert {flow["octetDeltaCount"] // flow["packetDeltaCount"] for flow in flows.values()} == {128}
    one = flows[3000]
    assert (one["sourceIPv4Address"], one["destinationIPv4Address"]) == (A.host4, B.host4)
    assert (one["ingressInterface"], one["egressInterface"], one["flowDirection"]) == (LAN, WAN, 0)
    assert one["flowStartMilliseconds"] <= one["flowEndMilliseconds"]
    assert 0 <= one["idle_seconds"] <= one["age_seconds"] < 30
    assert 570 < one["ends_in_seconds"] < 600

    assert ports(live(router, "udp", "--sort", "packets")) == [3000, 3001, 3002, 3003]
    assert ports(live(router, "udp", "--sort", "octets", "--reverse", "--limit", "2")) == [3003, 3002]
    assert ports(live(router, "--sort", "packets", "packets > 3 and dst portrange 3001-3003")) == [3001]
    assert [flow["protocolIdentifier"] for flow in live(router, "icmp and in interface lan")] == [ICMP]
    assert live(router, "out interface lan") == []
    assert len(live(router, "--all")) == len(live(router, "--limit", "1000")) == 5

    text = ask(router, "flows", "udp", "--limit", "3")
    assert re.search(rf"^UDP +{A.host4}:4000 +→ {B.host4}:3000 +7 +896 .*lan→wan$", text, re.MULTILINE)
    assert text.endswith("\n3 of 4 flows, 5 in the table\n")
    assert agent.stop() == 0


@pytest.mark.parametrize(
    ("command", "told", "code"),
    [
        (("flows", "port", "htps"), "filter, character 6: 'htps': no port", 2),
        (("top", "tcp", "udp"), "filter, character 5: 'udp': expected and", 2),
        (("flush", "interface", "nowhere"), "interface nowhere: there is none of this name", 2),
        (("flows", "ip6", "198.51.100.2"), "an address of IPv4: write ip before it", 2),
        (("templates", "office"), "there is no collector office: use one of only", 2),
        (("flows", "--limit", "1001"), "use 1 to 1000", 2),
        (("top",), "have to be a terminal", 1),
    ],
)
def test_what_is_wrong_is_told_in_a_line(network: Network, command: tuple[str, ...], told: str, code: int) -> None:
    agent = started(network)
    message = refused(network.router, *command)
    assert told in message
    assert f"exited with {code}:" in message
    assert agent.running
    assert agent.stop() == 0


#: Requests as a program may send them, and what is wrong with each.
REQUESTS = [
    ({"ask": "flows", "sort": "octets", "limit": 0}, "limit: use 1 to 1000"),
    ({"ask": "flows", "sort": "octets", "limit": 1001}, "limit: use 1 to 1000"),
    ({"ask": "flows", "limit": True}, "limit: a whole number is expected"),
    ({"ask": "flows", "smallest": "no"}, "smallest: true or false is expected"),
    ({"ask": "flows", "idle_below_seconds": 0}, "idle_below_seconds: use more than 0"),
    ({"ask": "flows", "idle_below_seconds": float("nan")}, "idle_below_seconds: use more than 0"),
    ({"ask": "flush", "fliter": "port 1"}, "flush: unknown key fliter: did you mean filter?"),
    ({"ask": "flows", "after": -2}, "after: use -1 to 4294967295"),
    ({"ask": "flows", "after": "0"}, "after: a whole number is expected"),
    ({"ask": "flows", "sort": "size"}, "sort: 'size' is none of octets, packets"),
    ({"ask": "flows", "sort": ["octets"]}, "sort: a text is expected"),
    ({"ask": "flows", "filter": {"tcp": 1}}, "filter: a text is expected"),
    ({"ask": "flows", "filter": "("}, "filter, at its end"),
    ({"ask": "flows", "filter": "(" * 1000}, "too deep"),
    ({"ask": "flush", "begun_by_ns": -1}, "begun_by_ns: a monotonic time"),
    ({"ask": "flush", "begun_by_ns": 2**63}, "begun_by_ns: a monotonic time"),
    ({"ask": "templates", "name": 5}, "name: a text is expected"),
    ({"ask": "timeouts", "filter": None}, "filter: a text is expected"),
    ({"ask": "flows", "after": 2**32 - 1}, ""),
    ({"ask": "flows", "sort": "rate", "idle_below_seconds": 2}, ""),
    ({"ask": "flush", "begun_by_ns": 0}, ""),
]
RAW = """
import json, sys
from xflowd.edge import asking, instance
for request in json.loads(sys.argv[1]):
    try:
        asking.ask(instance.control_socket(), request.pop("ask"), request)
        print()
    except OSError as error:
        print(error)
"""


def test_any_request_is_answered_or_refused(network: Network) -> None:
    agent = started(network)
    send(network)
    answers = network.router.run(sys.executable, "-c", RAW, json.dumps([one for one, _ in REQUESTS])).split("\n")
    for (request, told), got in zip(REQUESTS, answers, strict=False):
        assert told in got if told else got == "", request
    assert len(live(network.router, "udp")) == len(SIZES), "they are all there still"
    assert agent.stop() == 0


def test_what_is_flushed_is_exported_at_once_and_to_the_packet(network: Network, tshark: Tshark) -> None:
    agent, router = started(network), network.router
    send(network)
    assert ask(router, "flush", "dst port 3001 or dst port 3002") == "2 flows ended\n"
    wait_until(lambda: exported(router) == 2, "two flows sent")
    assert sorted(ports(live(router, "udp"))) == [3000, 3003]
    send(network)
    assert {flow["destinationTransportPort"]: flow["packetDeltaCount"] for flow in live(router, "udp")} == {
        3000: 14, 3001: 5, 3002: 3, 3003: 2,
    }  # fmt: skip
    assert ask(router, "flush") == "4 flows ended\n"
    assert ask(router, "flush") == "0 flows ended\n"
    status = json.loads(ask(router, "status", "--json"))
    assert status["flows"]["ended"]["forced_end"] == 6
    assert status["totals"]["difference"] == 0
    assert agent.stop() == 0
    tshark.stop()
    reasons = {record.get("cflow.flow_end_reason") for record in tshark.records() if "cflow.packets" in record}
    assert reasons == {"4"}
    flows = tshark.flows()
    sums = {key.destination_transport_port: count.packets for key, count in totals(flows).items()}
    assert sums == {port: 2 * count for port, count in SIZES.items()}


def exported(space: Namespace) -> int:
    return int(json.loads(ask(space, "status", "--json"))["collectors"][0]["flows_exported"])


def test_a_flush_of_many_loses_none_at_a_small_queue(network: Network, tshark: Tshark) -> None:
    """3,000 flows end in portions that the queue has room for: some 1,000 at once."""
    agent, router = started(network, max_flows=65536), network.router
    path = network.directory / "xflowd.conf"
    path.write_text(path.read_text() + "\nqueue = 131072\n")
    agent.hang_up()
    agent.wait_for_log("configuration read again")
    count = 3_000
    network.a.run(sys.executable, "-c", SPRAY, B.host4, str(count), timeout=60)
    wait_until(lambda: json.loads(ask(router, "status", "--json"))["flows"]["live"] >= count, "all flows")
    assert len(live(router, "--all", "udp")) == count
    assert ask(router, "flush", "udp") == f"{count:,} flows ended\n"
    assert live(router, "--all", "udp") == []
    wait_until(lambda: exported(router) == count, "all flows sent")
    only = json.loads(ask(router, "status", "--json"))["collectors"][0]
    assert (only["flows_not_sent"], only["datagrams_dropped"]) == ({}, {})
    assert agent.stop() == 0
    tshark.stop()
    flows = tshark.flows()
    assert (len(flows), len(totals(flows))) == (count, count), "each once"


def test_flows_stay_in_the_table_where_no_collector_can_be_reached(network: Network) -> None:
    """What its queue holds is taken, and not one flow more."""
    path, router = network.directory / "xflowd.conf", network.router
    values = {"interfaces": "lan", "active_timeout": 600, "idle_timeout": 600, "max_flows": 8192}
    write_configuration(path, [Collector("far", "203.0.113.99:2055", "netflow9")], **values)
    path.write_text(path.read_text() + "\nqueue = 131072\n")
    router.ip("route add unreachable 203.0.113.99")
    agent = Agent(router, "-c", path, metering=["lan"])
    wait_until(lambda: trouble(router), "trouble")
    network.a.run(sys.executable, "-c", SPRAY, B.host4, "3000")
    wait_until(lambda: json.loads(ask(router, "status", "--json"))["flows"]["live"] >= 3000, "all flows")
    found = re.search(r"exited with 1: xflowd: ([\d,]+) flows ended, ([\d,]+) stay", refused(router, "flush", "udp"))
    assert found
    ended, left = (int(text.replace(",", "")) for text in found.groups())
    assert ended + left == 3000
    assert 500 < ended < 2000
    assert len(live(router, "--all", "udp")) == left
    assert json.loads(ask(router, "status", "--json"))["collectors"][0]["flows_not_sent"] == {}
    agent.crash()


def trouble(space: Namespace) -> bool:
    text = ask(space, "status", "--json")
    return bool(text and json.loads(text)["collectors"][0]["trouble"])


def test_templates_are_sent_when_they_are_asked_for(network: Network, tshark: Tshark) -> None:
    agent, router = started(network), network.router
    before = json.loads(ask(router, "status", "--json"))["collectors"][0]["datagrams_sent"]
    assert ask(router, "templates") == "collector only, ipfix: templates sent\n"
    assert ask(router, "templates", "only") == "collector only, ipfix: templates sent\n"
    wait_until(
        lambda: json.loads(ask(router, "status", "--json"))["collectors"][0]["datagrams_sent"] == before + 2, "both"
    )
    assert agent.stop() == 0
    tshark.stop()


def test_timeouts_say_what_ends_when(network: Network) -> None:
    agent, router = started(network, idle_timeout=60), network.router
    send(network)
    document = json.loads(ask(router, "timeouts", "--json", "udp"))
    assert (document["active"], document["idle"], document["idle_in_force"]) == (600, 60, 60)
    assert document["flows"] == 4
    assert {one["seconds"]: one["flows"] for one in document["ending"]} == {1: 0, 5: 0, 15: 0, 60: 4, 300: 4, 1800: 4}
    assert [one["template_refresh"] for one in document["collectors"]] == [3600]
    assert "idle timeout         60 s\n" in ask(router, "timeouts")
    assert agent.stop() == 0


def test_the_group_may_look_and_not_steer(network: Network) -> None:
    """Whoever is in the socket's group: the mode lets it ask, the agent does not let it steer."""
    agent, router = started(network), network.router
    send(network)
    script = "from xflowd.edge import instance; print(instance.control_socket())"
    path = router.run(sys.executable, "-c", script).strip()
    router.run("chgrp", str(NOBODY.pw_gid), path)
    group = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]
    if subprocess.run([*group, "test", "-x", COMMAND[0]], check=False).returncode:
        pytest.skip(f"{NOBODY.pw_name} may not run {COMMAND[0]}")
    assert len(router.run(*group, *COMMAND, "flows", "--json", "udp").splitlines()) == len(SIZES)
    for command in ("flush", "templates"):
        with pytest.raises(RuntimeError, match=f"{command}: not permitted: be root, or the agent's user"):
            router.run(*group, *COMMAND, command)
    assert len(live(router, "udp")) == len(SIZES)
    assert agent.stop() == 0


def test_who_reads_only_the_beginning_is_no_fault(network: Network) -> None:
    agent, router = started(network), network.router
    send(network)
    command = " ".join(map(str, COMMAND))
    assert router.run("sh", "-c", f"{command} flows --all --json 2>&1 | head -c 10") == '{"sourceIP'
    assert agent.stop() == 0
