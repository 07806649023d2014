"""Proves that the verifier takes every program with every option, with room to spare: older kernels take more steps."""

from __future__ import annotations

import ctypes as c

import pytest

from kernel.conftest import Load
from kernel.objectfile import enumeration
from xflowd.edge import libbpf
from xflowd.edge.loading import DEFAULT_KEY, PROGRAMS

LIMIT = 250_000  # of the kernel's 1,000,000
LIMIT_SAMPLED = 500_000  # with everything at once, which nobody has
KEYS, DETAILS = tuple(enumeration("key_field")), tuple(enumeration("detail"))
OPTIONS = {
    "default": {},
    "no key": {"key_fields": ()},
    "one field of an extended key": {"key_fields": (*DEFAULT_KEY, "KEY_SOURCE_MAC")},
    "all keys": {"key_fields": KEYS},
    "all details": {"details": DETAILS},
    "inner headers": {"tunnels_inner": True},
    "all": {"key_fields": KEYS, "details": DETAILS, "tunnels_inner": True},
} | {name: {"details": (name,)} for name in DETAILS}


class ProgramInfo(c.Structure):
    """The end of struct bpf_prog_info of <linux/bpf.h>: how many instructions the verifier has gone through."""

    _fields_ = [("before", c.c_uint8 * 216), ("verified_instructions", c.c_uint32), ("behind", c.c_uint32 * 3)]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_programs_are_verified_in_time(load: Load, options: dict[str, object]) -> None:
    kernel = load(**options)
    for name in PROGRAMS:
        steps = libbpf.information(ProgramInfo, kernel.program(name)).verified_instructions
        assert 0 < steps < LIMIT, name


def test_all_at_once_and_sampled(load: Load) -> None:
    kernel = load(key_fields=KEYS, details=DETAILS, tunnels_inner=True, sampling_rate=10, sampling_random=True)
    for name in PROGRAMS:
        assert libbpf.information(ProgramInfo, kernel.program(name)).verified_instructions < LIMIT_SAMPLED, name
