"""Proves that a collector is reached again after this host's own address has changed, as on a line with DHCP."""

from __future__ import annotations

import sys

from lab import traffic
from lab.agent import Agent, Collector, write_configuration
from lab.process import wait_until
from lab.topology import LINKS, Network

PORT = 2055
B, EXPORT = LINKS["b"], LINKS["collector"]
OTHER = "192.0.2.77"

#: Prints where each datagram comes from.
SENDERS = f"""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
    receiving.bind(("{EXPORT.host4}", {PORT}))
    while True:
        print("from", *receiving.recvfrom(65535)[1], flush=True)
"""


def test_another_source_address(network: Network) -> None:
    """The port stays the same, by which some collectors tell exporters apart."""
    receiver = network.collector.start(sys.executable, "-c", SENDERS)
    network.collector.wait_for_udp_port(PORT)
    collectors = [Collector("only", f"{EXPORT.host4}:{PORT}", "ipfix")]
    agent = Agent(network.router, "-c", write_configuration(network.directory / "xflowd.conf", collectors))
    traffic.ping(network.a, B.host4, 2)
    port = receiver.wait_for_log(f"from {EXPORT.router4}").split()[-1]
    network.router.ip(f"address del {EXPORT.router4}/24 dev exp", f"address add {OTHER}/24 dev exp")

    def reached() -> bool:
        traffic.ping(network.a, B.host4, 1)
        return f"from {OTHER} {port}" in receiver.log

    wait_until(reached, "a datagram from the new address", 20)
    assert agent.stop() == 0
    assert "collector only:" in agent.log
