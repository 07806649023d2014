"""Every capture through the kernel program: packets and octets of each five-tuple are those that tshark reads.

test_capture_fields.py looks at inner headers, and at all other fields.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lab.dissected import Key, dissect
from xflowd.config import Config
from xflowd.edge.capture import packets
from xflowd.metering.instant import Instant
from xflowd.metering.table import Records
from xflowd.replay import Replay

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
FILES = sorted(path for path in CAPTURES.glob("*.pcap*")) if CAPTURES.is_dir() else []

Totals = dict[Key, tuple[int, int]]


class Kept:
    """A sink that keeps all it is given."""

    portion = 8192

    def __init__(self) -> None:
        self.flows: list[Records] = []

    def take(self, ended: Records, now: Instant) -> None:
        assert (ended["flow_start_ns"] <= ended["flow_end_ns"]).all()
        assert (ended["flow_end_ns"] <= now.monotonic_ns).all()
        self.flows.append(ended)

    def commit(self) -> None:
        """Nothing is pending."""

    def rollback(self) -> None:
        raise AssertionError("no transaction of these fails")

    def due(self, now: Instant) -> bool:
        return False


@pytest.mark.skipif(not FILES, reason="the captures are not beside the project")
def test_the_captures_are_all_here() -> None:
    assert len(FILES) == 46


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_totals_are_those_of_tshark(path: Path) -> None:
    replay, flows = _replayed(path)
    expected, not_ip = _tshark(path)
    assert _totals(flows) == expected
    outcomes = {name: int(count.sum()) for name, count in replay.kernel.outcomes().items()}
    assert outcomes["PACKETS_NOT_IP"] + sum(replay.skipped.values()) == not_ip
    assert outcomes["PACKETS_SEEN"] == replay.read - sum(replay.skipped.values())
    assert outcomes["PACKETS_SEEN"] == int(flows["packet_delta_count"].sum()) + outcomes["PACKETS_NOT_IP"]
    replay.kernel.close()


@pytest.mark.skipif(not FILES, reason="the captures are not beside the project")
def test_the_same_file_gives_the_same_flows() -> None:
    path = CAPTURES / "viber.pcap"
    (first, flows), (second, again) = _replayed(path), _replayed(path)
    np.testing.assert_array_equal(flows, again)
    first.kernel.close()
    second.kernel.close()


def _replayed(path: Path, config: Config | None = None) -> tuple[Replay, Records]:
    kept = Kept()
    replay = Replay(config or Config(), [kept])
    for packet in packets(str(path)):
        replay.feed(packet)
    replay.finish()
    return replay, np.concatenate(kept.flows)


def _totals(flows: Records) -> Totals:
    sums: Counter[tuple[Key, str]] = Counter()
    for flow in flows:
        octets = 4 if flow["ip_version"] == 4 else 16
        ends = [
            str(ipaddress.ip_address(flow[f"{end}_address"][:octets].tobytes())) for end in ("source", "destination")
        ]
        ports = [int(flow[f"{end}_transport_port"]) for end in ("source", "destination")]
        key = (ends[0], ends[1], int(flow["protocol_identifier"]), ports[0], ports[1], int(flow["icmp_type_code"]))
        sums[key, "packets"] += int(flow["packet_delta_count"])
        sums[key, "octets"] += int(flow["octet_delta_count"])
    return {key: (sums[key, "packets"], sums[key, "octets"]) for key, _ in sums}


def _tshark(path: Path) -> tuple[Totals, int]:
    """By the outermost IP header of each packet; and how many packets have none to be reached."""
    totals: Totals = {}
    not_ip = 0
    for packet in dissect(path):
        if packet is None:
            not_ip += 1
            continue
        before = totals.get(packet.key, (0, 0))
        totals[packet.key] = (before[0] + 1, before[1] + packet.octets)
    return totals, not_ip
