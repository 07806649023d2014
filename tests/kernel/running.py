"""BPF_PROG_TEST_RUN with everything that it takes and gives: contexts in, frames out, on a CPU of choice."""

from __future__ import annotations

import ctypes as c
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from xflowd.edge import libbpf
from xflowd.edge.kernel import Kernel
from xflowd.metering.expiry import Numbers
from xflowd.metering.table import Records, SlotState, flows

XDP_PASS = 2
TC_ACT_UNSPEC = 2**32 - 1  # -1 as an unsigned word
#: The hooks' programs, and the flowDirection of each.
DIRECTIONS = {
    "xdp_ingress": 0,
    "tc_ingress": 0,
    "tc_egress": 1,
    "tc_ingress_network": 0,
    "tc_egress_network": 1,
}
_MOST_OCTETS = 1 << 16
_ONE_PAGE = 3500  # octets of a frame, beside the head room and what an skb keeps behind it


class SocketBuffer(c.Structure):
    """struct __sk_buff of <linux/bpf.h>, of which a test run takes the fields named here, and a few more."""

    _fields_ = [
        ("a", c.c_uint32 * 9),  # len ... priority
        ("ingress_ifindex", c.c_uint32),
        ("ifindex", c.c_uint32),
        ("b", c.c_uint32 * 25),  # tc_index ... data_meta
        ("c", c.c_uint64 * 2),  # flow_keys, tstamp
        ("d", c.c_uint32),  # wire_len
        ("gso_segs", c.c_uint32),
        ("e", c.c_uint64),  # sk
        ("gso_size", c.c_uint32),
        ("f", c.c_uint32),  # tstamp_type
        ("g", c.c_uint64),  # hwtstamp
    ]


@dataclass(frozen=True)
class Run:
    """What a run gave: the verdict, and the frame as the program left it."""

    verdict: int
    frame: bytes


def run(kernel: Kernel, program: str, frame: bytes, context: SocketBuffer | None = None) -> Run:
    """Run a program. The kernel refuses some frames, see can_run(): LibbpfError."""
    out = c.create_string_buffer(_MOST_OCTETS)
    options = libbpf.TestRunOptions(sz=c.sizeof(libbpf.TestRunOptions), repeat=1)
    options.data_in, options.data_size_in = _address(frame), len(frame)
    options.data_out, options.data_size_out = c.cast(out, c.c_void_p), len(out)
    if context is not None:
        options.ctx_in, options.ctx_size_in = c.cast(c.byref(context), c.c_void_p), c.sizeof(context)
    what = f"{program} on {len(frame)} octets"
    libbpf.call("bpf_prog_test_run_opts", kernel.program(program), c.byref(options), what=what)
    return Run(options.retval, out.raw[: options.data_size_out])


def release() -> tuple[int, ...]:
    """Of the running kernel: (6, 18)."""
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))


#: A test run is told where a packet that goes out has come in.
needs_other_interface = pytest.mark.skipif(release() < (5, 11), reason="test runs take no ingress_ifindex before 5.11")


def can_run(program: str, frame: bytes) -> bool:
    """Whether a test run takes the frame. TC wants a whole IP header behind an IP type, and a frame
    that leaves room in its page; so does XDP before Linux 5.18."""
    if program == "xdp_ingress":
        return len(frame) >= 14 and (release() >= (5, 18) or len(frame) <= _ONE_PAGE)
    least = {b"\x08\x00": 34, b"\x86\xdd": 54}.get(frame[12:14], 15)
    return least <= len(frame) <= _ONE_PAGE


class Runner:
    """A way to run one program again and again for the price of one system call: nothing is allocated."""

    def __init__(self, kernel: Kernel, program: str) -> None:
        self._program = kernel.program(program)
        self._options = libbpf.TestRunOptions(sz=c.sizeof(libbpf.TestRunOptions))
        self._by = c.byref(self._options)

    def run(self, frame: bytes, repeat: int = 1) -> None:
        """Run it on a frame, and forget the rest."""
        options = self._options
        options.data_in, options.data_size_in, options.repeat = _address(frame), len(frame), repeat
        options.data_size_out = 0  # libbpf has written the last frame's here
        libbpf.call("bpf_prog_test_run_opts", self._program, self._by)


def _address(frame: bytes) -> c.c_void_p:
    return c.cast(c.c_char_p(frame), c.c_void_p)


@contextmanager
def on_cpu(number: int) -> Iterator[None]:
    """This thread on that CPU alone, and afterwards where it was."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpus() -> list[int]:
    """The CPUs that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def outcomes(kernel: Kernel) -> dict[str, int]:
    """Packets by outcome over all interfaces and directions, without those that are 0."""
    return {name: int(table.sum()) for name, table in kernel.outcomes().items() if table.any()}


def numbers_of(kernel: Kernel, state: SlotState) -> Numbers:
    """The slots that are in a state."""
    return np.flatnonzero(kernel.slots["state"] == state).astype(np.uint32)


def live_flows(kernel: Kernel) -> Records:
    """The flows in the table, as records, where no program is running. No flow has a reason yet."""
    slots = kernel.records(numbers_of(kernel, SlotState.LIVE))
    return flows(slots, np.zeros(len(slots), np.uint8))


def by_port(kernel: Kernel) -> dict[int, int]:
    """Packets in the table by source port."""
    found = live_flows(kernel)
    ports, packets = found["source_transport_port"], found["packet_delta_count"]
    return dict(zip(ports.tolist(), packets.tolist(), strict=True))


def only(found: Records) -> Any:
    """The one record that there is."""
    assert len(found) == 1
    return found[0]
