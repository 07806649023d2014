"""Proves that collectors of a sampled export, told its rate, come to the true totals within four sigma."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lab import traffic
from lab.agent import Agent, Collector, write_configuration
from lab.flow import Count, total
from lab.nfdump import Nfcapd
from lab.pmacct import Nfacctd
from lab.topology import LINKS, Network

RATE = 10
LOOPS = 55  # of 299 packets: the period of the capture and that of the sampling have no common factor
NFCAPD, NFACCTD = 2055, 2056


@pytest.mark.parametrize(
    ("protocol", "mode"),
    [
        ("netflow5", "systematic"),
        ("netflow9", "systematic"),
        ("netflow9", "random"),
        ("ipfix", "systematic"),
        ("ipfix", "random"),
    ],
)
def test_collectors_multiply_by_the_announced_rate(network: Network, captures: Path, protocol: str, mode: str) -> None:
    capture = captures / "bittorrent.pcap"
    nfcapd = Nfcapd(network.collector, NFCAPD)
    nfacctd = Nfacctd(network.collector, NFACCTD, renormalize=True)
    host = LINKS["collector"].host4
    ports = {"nfcapd": NFCAPD, "nfacctd": NFACCTD}
    collectors = [Collector(name, f"{host}:{port}", protocol) for name, port in ports.items()]
    path = network.directory / "xflowd.conf"
    agent = Agent(network.router, "-c", write_configuration(path, collectors, sampling=(mode, RATE)))
    traffic.play(network.a, capture, packets_per_second=20_000, loops=LOOPS)
    assert agent.stop() == 0
    network.collector.wait_until_read(NFCAPD, NFACCTD)
    nfcapd.stop()
    nfacctd.stop()

    sizes = [octets for _, octets in traffic.capture_packets(capture)] * LOOPS
    truth = Count(len(sizes), sum(sizes))
    tolerance = Count(_four_sigma([1] * len(sizes)), _four_sigma(sizes))
    for reader, flows in (("nfdump", nfcapd.flows()), ("pmacct", nfacctd.flows())):
        got = total(flows)
        assert abs(got.packets - truth.packets) <= tolerance.packets, f"{reader}: {got}, sent {truth}"
        assert abs(got.octets - truth.octets) <= tolerance.octets, f"{reader}: {got}, sent {truth}"


def _four_sigma(sizes: list[int]) -> int:
    """Of the estimated sum, when each packet is taken with probability 1 / RATE and counts RATE times.

    One in RATE by count varies less, as long as its period and the traffic's have nothing in common.
    """
    return math.ceil(4 * math.sqrt((RATE - 1) * sum(size * size for size in sizes)))
