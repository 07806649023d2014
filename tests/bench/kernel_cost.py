"""What a packet costs in the kernel: a known flow, a new one, and one of many at random (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import ctypes as c
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xflowd.edge import libbpf
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import DEFAULT_KEY, LoadOptions

_HERE = Path(__file__).parent
_RUNS, _REPEAT = 5, 2_000_000
_DEFAULT = LoadOptions(max_flows=1024, programs=("read_clocks", "xdp_ingress"))
#: Name → what is other than the default.
OPTIONS: dict[str, dict[str, Any]] = {
    "key_ip": {"key_fields": ("KEY_SOURCE_ADDRESS", "KEY_DESTINATION_ADDRESS")},
    "key_ether": {"key_fields": (*DEFAULT_KEY, "KEY_SOURCE_MAC", "KEY_DESTINATION_MAC")},
    "tunnels_inner": {"tunnels_inner": True},
    "details_mpls": {"details": ("DETAIL_MPLS",)},
    "details_fragments": {"details": ("DETAIL_FRAGMENTS",)},
    "details_options": {"details": ("DETAIL_OPTIONS",)},
    "details_tcp": {"details": ("DETAIL_TCP",)},
    "details_tcp_counts": {"details": ("DETAIL_TCP_COUNTS",)},
}


def frame() -> bytes:
    """An IPv4 TCP segment with nothing special about it."""
    tcp = struct.pack("!HHIIBBHHH", 40000, 443, 1, 1, 0x50, 0x10, 512, 0, 0)
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    )
    return b"\2" * 6 + b"\4" * 6 + b"\x08\x00" + ip + tcp + bytes(6)


class Spread:
    """The object that makes many flows of one frame."""

    def __init__(self, build: Path, flow_mask: int, in_order: bool) -> None:
        path = build / "spread.bpf.o"
        if not path.exists():
            flags = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-idirafter/usr/include/{_multiarch()}"]
            subprocess.run(["clang", *flags, "-c", _HERE / "spread.bpf.c", "-o", path], check=True)
        self._object = libbpf.call("bpf_object__open_file", bytes(path), None)
        rodata = libbpf.call("bpf_object__find_map_by_name", self._object, b".rodata")
        size = c.c_size_t()
        values = (c.c_uint32 * 2).from_address(libbpf.call("bpf_map__initial_value", rodata, c.byref(size)))
        values[0], values[1] = flow_mask, in_order
        libbpf.call("bpf_object__load", self._object)

    def program(self, name: str) -> int:
        handle = libbpf.call("bpf_object__find_program_by_name", self._object, name.encode())
        return int(libbpf.call("bpf_program__fd", handle))

    def aim(self, program: int) -> None:
        """Hand the packets to this program from now on."""
        target = libbpf.call("bpf_map__fd", libbpf.call("bpf_object__find_map_by_name", self._object, b"target"))
        libbpf.call("bpf_map_update_elem", target, c.byref(c.c_uint32(0)), c.byref(c.c_uint32(program)), 0)

    def close(self) -> None:
        libbpf.close(self._object)


def measure(build: Path) -> dict[str, float]:
    """Nanoseconds a packet; `known` and `new` over an empty program, `random` in all. The least of several runs."""
    many = Spread(build, 0xFFFF, in_order=False)
    results = {"kernel_empty_ns": _least(many.program("nothing"))}
    kernel = Kernel(LoadOptions(max_flows=65_536, programs=("read_clocks", "xdp_ingress")))
    program = kernel.program("xdp_ingress")
    results["kernel_known_flow_ns"] = _least(program) - results["kernel_empty_ns"]
    known = np.zeros(1, np.uint32)
    kernel.detach(known)
    kernel.release(known)  # the table is of 65,536 flows
    results["kernel_random_65536_ns"] = _over(many, program) + results["kernel_empty_ns"]
    many.close()
    kernel.close()
    results["kernel_new_flow_ns"] = _new_flow(build)
    return results


def measure_options() -> dict[str, float]:
    """What each option adds to a packet of a known flow: nanoseconds over the default, in turns with it."""
    totals = {name: float("inf") for name in ("default", *OPTIONS)}
    kernels = {name: Kernel(replace(_DEFAULT, **OPTIONS.get(name, {}))) for name in totals}
    for _ in range(2 * _RUNS):
        for name, kernel in kernels.items():
            totals[name] = min(totals[name], _run(kernel.program("xdp_ingress"), _REPEAT // 2))
    for kernel in kernels.values():
        kernel.close()
    return {f"option_{name}_ns": totals[name] - totals["default"] for name in OPTIONS}


def _new_flow(build: Path) -> float:
    """Into an empty table, each packet a flow of its own."""
    count = 100_000
    best = float("inf")
    for _ in range(_RUNS):
        spread = Spread(build, 0xFFFFFFFF, in_order=True)
        kernel = Kernel(LoadOptions(max_flows=131_072, programs=("read_clocks", "xdp_ingress")))
        spread.aim(kernel.program("xdp_ingress"))
        metered = _run(spread.program("spread"), count)
        spread.aim(spread.program("nothing"))
        best = min(best, metered - _run(spread.program("spread"), count))
        kernel.close()
        spread.close()
    return best


def _over(spread: Spread, program: int) -> float:
    """The cost of `program` on packets of many flows, beyond what it costs to make them."""
    differences = []
    for _ in range(2 * _RUNS):  # the caches that this is about are shared with other machines
        spread.aim(program)
        _run(spread.program("spread"), _REPEAT)  # every flow is known after this
        metered = _run(spread.program("spread"), _REPEAT)
        spread.aim(spread.program("nothing"))
        differences.append(metered - _run(spread.program("spread"), _REPEAT))
    return min(differences)


def _least(program: int) -> float:
    return min(_run(program, _REPEAT) for _ in range(_RUNS))


def _run(program: int, repeat: int) -> float:
    data = frame()
    run = libbpf.TestRunOptions(sz=c.sizeof(libbpf.TestRunOptions), repeat=repeat)
    run.data_in, run.data_size_in = c.cast(data, c.c_void_p), len(data)
    libbpf.call("bpf_prog_test_run_opts", program, c.byref(run))
    return float(run.duration)


def _multiarch() -> str:
    triple = subprocess.run(["clang", "-print-target-triple"], check=True, capture_output=True, text=True).stdout
    return triple.strip().replace("-pc-", "-").replace("-unknown-", "-")
