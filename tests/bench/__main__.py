"""`scripts/bench`: every figure that xflowd claims, beside its peer's, measured in one run."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import agent_cost
import flood_cost
import kernel_cost
import live
from kernel_cost import OPTIONS

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"

#: Name in the JSON → what it is, its unit, and what is to be reached: at most, or at least where it says so.
ROWS: tuple[tuple[str, str, str, str], ...] = (
    ("kernel_empty_ns", "an empty XDP program", "ns", ""),
    ("kernel_known_flow_ns", "a packet of a known flow, over an empty program", "ns", "<= 30"),
    ("kernel_random_65536_ns", "one of 65,536 flows at random, in all", "ns", "<= 110"),
    ("kernel_new_flow_ns", "the first packet of a flow, over an empty program", "ns", ""),
    *(
        (f"option_{name}_ns", f"a known flow with {name.replace('_', ' ')}, over the default", "ns", "")
        for name in OPTIONS
    ),
    ("live_nobody_pps", "tcpreplay over veth, nobody there", "packets/s", ""),
    ("live_pps", "tcpreplay over veth, past xflowd", "packets/s", ""),
    ("live_lost_packets", "of these lost by xflowd", "packets", "<= 0"),
    ("live_cpu_ns_per_packet", "CPU of the agent", "ns/packet", "<= softflowd / 10"),
    ("live_path_ns_per_packet", "longer on the packet's way", "ns/packet", ""),
    ("live_hook_path_ns_per_packet", "of which a TC program that does nothing", "ns/packet", ""),
    ("softflowd_pps", "tcpreplay over veth, past softflowd", "packets/s", ""),
    ("softflowd_lost_packets", "of these lost by softflowd", "packets", ""),
    ("softflowd_cpu_ns_per_packet", "CPU of softflowd", "ns/packet", ""),
    ("softflowd_path_ns_per_packet", "longer on the packet's way", "ns/packet", ""),
    ("scan_1048576_ms", "one scan of 1,048,576 slots", "ms", "<= 50"),
    ("export_records_per_second", "IPFIX records encoded and sent, one core", "records/s", ">= 2000000"),
    ("flood_kept_up_flows_per_second", "new flows a second before packets overflow, 65,536 slots", "flows/s", ""),
    ("flood_exported_flows_per_second", "flows exported while a million a second come", "flows/s", ""),
    ("flood_overflow_percent", "packets without a flow of their own meanwhile", "%", ""),
    ("flood_cpu_percent", "CPU of the agent meanwhile, of one", "%", "<= 55"),
    ("rss_8192_flows_mb", "resident memory with 8,192 flows", "MB", "<= 64"),
    ("start_ms", "from the command to the first packet counted", "ms", "<= 500"),
    ("take_over_ms", "from the command to a killed agent's 57,344 flows being its own", "ms", "<= 1000"),
    ("replay_ns_per_packet", "xflowd replay", "ns/packet", ""),
    ("softflowd_replay_ns_per_packet", "softflowd -r, the same file", "ns/packet", ""),
)


def main() -> int:
    """Measure, print the table, and write the JSON; 1 where a figure does not reach what it should."""
    parser = argparse.ArgumentParser("scripts/bench", description=__doc__)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there as one object")
    parser.add_argument("--no-live", action="store_true", help="leave out what needs namespaces and traffic")
    options = parser.parse_args()
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for step in steps(Path(name), live_too=not options.no_live):
            results |= step()
    for row in ROWS:
        if row[0] in results:
            print(_line(row, results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return int(not all(_reached(row, results) for row in ROWS if row[0] in results))


def steps(directory: Path, live_too: bool) -> list[Callable[[], dict[str, float]]]:
    """What is measured, in this order: the quiet things first."""
    quiet: list[Callable[[], dict[str, float]]] = [
        lambda: kernel_cost.measure(directory),
        kernel_cost.measure_options,
        lambda: {"scan_1048576_ms": agent_cost.scan_ms()},
        lambda: {"export_records_per_second": agent_cost.export_records_per_second()},
    ]
    traffic: list[Callable[[], dict[str, float]]] = [
        lambda: agent_cost.start_and_memory(directory),
        lambda: agent_cost.take_over_ms(directory),
        lambda: flood_cost.measure(directory),
        lambda: live.measure(directory),
        lambda: live.replay(directory),
    ]
    return quiet + traffic if live_too else quiet


def _line(row: tuple[str, str, str, str], results: dict[str, float]) -> str:
    name, what, unit, goal = row
    value = f"{results[name]:,.1f}" if results[name] < 1000 else f"{results[name]:,.0f}"
    mark = "" if not goal else f"  {'reached' if _reached(row, results) else 'MISSED'}: {goal}"
    return f"{what:<56} {value:>12} {unit:<10}{mark}"


def _reached(row: tuple[str, str, str, str], results: dict[str, float]) -> bool:
    name, _, _, goal = row
    if not goal:
        return True
    sign, _, limit = goal.partition(" ")
    bound = results["softflowd_cpu_ns_per_packet"] / 10 if limit.startswith("softflowd") else float(limit)
    return results[name] <= bound if sign == "<=" else results[name] >= bound


if __name__ == "__main__":
    sys.exit(main())
