"""Proves that this kernel's verifier takes every program, in each form that the configuration gives them."""

from __future__ import annotations

import ctypes as c
from contextlib import closing
from typing import Any

import pytest

from xflowd.edge import libbpf
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import PROGRAMS, LoadOptions

_VERIFIED_AT = 216  # verified_insns in struct bpf_prog_info
_MOST_INSTRUCTIONS = 1_000_000 // 4  # the kernel gives up at a million: room for what other kernels follow

#: What is constant to the verifier leads it other ways.
FORMS: dict[str, dict[str, Any]] = {
    "every packet": {},
    "sampled": {"sampling_rate": 1000, "sampling_random": True, "key_fields": ()},
    "replayed": {"replayed_clock": True, "buckets": 1},
}


class _ProgramInfo(c.Structure):
    """struct bpf_prog_info up to what the verifier says; 0 before Linux 5.16."""

    _fields_ = [("before", c.c_uint8 * _VERIFIED_AT), ("verified_insns", c.c_uint32), ("after", c.c_uint32)]


@pytest.mark.parametrize("form", FORMS)
def test_every_program_is_taken(form: str) -> None:
    with closing(Kernel(LoadOptions(65536, **FORMS[form]))) as kernel:
        told = {name: _instructions(kernel.program(name)) for name in PROGRAMS}
    print("\n".join(f"{name}: {count} instructions verified" for name, count in told.items()))
    assert max(told.values()) < _MOST_INSTRUCTIONS, told


def _instructions(program: int) -> int:
    info = _ProgramInfo()
    size = c.c_uint32(c.sizeof(info))
    libbpf.call("bpf_obj_get_info_by_fd", program, c.byref(info), c.byref(size))
    return int(info.verified_insns)
