"""scripts/demo: two hosts and a router, real traffic, nfcapd as collector, and two accounts side by side."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from lab import traffic
from lab.agent import Agent, Collector, write_configuration
from lab.flow import Count, Flow, total
from lab.namespaces import sweep
from lab.nfdump import Nfcapd
from lab.topology import LAN, LINKS, WAN, Network, router_network

PORT = 2055
A, B = LINKS["a"], LINKS["b"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("-v", "--protocol", default="ipfix", choices=("ipfix", "netflow9", "netflow5"))
    protocol: str = parser.parse_args().protocol
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sweep()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="xflowd-demo-") as directory,
            router_network(Path(directory), ipv6=protocol != "netflow5") as network,
        ):
            return _show(network, protocol)
    except KeyboardInterrupt:
        print("demo: interrupted; the laboratory is gone")
        return 130


def _show(network: Network, protocol: str) -> int:
    print(f"demo: xflowd on a router between {A.host4} and {B.host4}, exporting {protocol} to nfcapd")
    nfcapd = Nfcapd(network.collector, PORT)
    collector = Collector("demo", f"{LINKS['collector'].host4}:{PORT}", protocol)
    agent = Agent(network.router, "-c", write_configuration(network.directory / "xflowd.conf", [collector]))
    before = network.settled()
    _send(network, with_ipv6=protocol != "netflow5")
    after = network.settled()
    agent.stop()
    network.collector.wait_until_read(PORT)
    nfcapd.stop()
    print(f"\nWhat nfdump shows of the export:\n{nfcapd.table()}")
    sent = {
        index: Count(after[index].packets - before[index].packets, after[index].octets - before[index].octets)
        for index in after
    }
    return _compare(sent, nfcapd.flows())


def _send(network: Network, *, with_ipv6: bool) -> None:
    """By TCP, UDP and ICMP; each line says what the sender itself counted."""
    _tell("TCP  a → b, iperf3", traffic.tcp(network.a, network.b, B.host4, 20_000_000), "sum_sent")
    _tell("TCP  b → a, iperf3", traffic.tcp(network.b, network.a, A.host4, 5_000_000), "sum_sent")
    _tell("UDP  a → b, iperf3", traffic.udp(network.a, network.b, B.host4, datagrams=5000), "sum")
    if with_ipv6:
        _tell("TCP  a → b, iperf3, IPv6", traffic.tcp(network.a, network.b, B.host6, 5_000_000), "sum_sent")
    count = traffic.ping(network.a, B.host4, 10)
    print(f"demo: {'ICMP a ⇄ b, ping':26} {count.packets:>8} packets each way, {count.octets} octets of IP")
    print("demo: below are packets of IP: headers, acknowledgements and what TCP sends again are counted too")


def _tell(what: str, report: dict[str, Any], side: str) -> None:
    print(f"demo: {what:26} {report['end'][side]['bytes']:>12,} octets of payload")


def _compare(sent: dict[int, Count], flows: list[Flow]) -> int:
    print(f"\n{'sent by':12}{'':10}{'IP counters':>16}{'nfdump':>16}{'difference':>12}")
    agreed = True
    for name, index in (("host a", LAN), ("host b", WAN)):
        got = total(flow for flow in flows if flow.ingress_interface == index)
        for unit, there, here in zip(("packets", "octets"), sent[index], got, strict=True):
            agreed = agreed and there == here
            print(f"{name:12}{unit:10}{there:>16,}{here:>16,}{here - there:>12,}")
    print("\ndemo: " + ("they agree, to the packet and to the octet" if agreed else "THEY DO NOT AGREE"))
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
