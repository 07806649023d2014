"""Proves that this kernel's verifier takes every program, in each form that the configuration gives them."""

from __future__ import annotations

import ctypes as c
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from kernel.objectfile import enumeration
from xflowd.edge import libbpf
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import DEFAULT_KEY, PROGRAMS, LoadOptions

_VERIFIED_AT = 216  # verified_insns in struct bpf_prog_info
_MOST = 1_000_000  # instructions that a verifier follows before it gives up
KEYS, DETAILS = tuple(enumeration("key_field")), tuple(enumeration("detail"))
SAMPLED: dict[str, Any] = {"sampling_rate": 1000, "sampling_random": True}
EVERYTHING: dict[str, Any] = {"key_fields": KEYS, "details": DETAILS, "tunnels_inner": True}


@dataclass(frozen=True)
class Form:
    """Options, which are constants to the verifier and lead it other ways, and the part of _MOST that it may take."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    part: float = 1 / 4  # room for what other kernels follow


FORMS = [
    Form("every packet"),
    Form("sampled, no key", SAMPLED | {"key_fields": ()}),
    Form("replayed", {"replayed_clock": True, "buckets": 1}),
    Form("one field of an extended key", {"key_fields": (*DEFAULT_KEY, "KEY_SOURCE_MAC")}),
    Form("all keys", {"key_fields": KEYS}),
    *(Form(name, {"details": (name,), "tunnels_inner": name == "DETAIL_TUNNEL"}) for name in DETAILS),
    Form("all details", {"details": DETAILS}, 1 / 2),
    Form("inner headers", {"tunnels_inner": True}),
    Form("everything", EVERYTHING, 1 / 2),  # which nobody has
    Form("everything, sampled", EVERYTHING | SAMPLED, 3 / 4),
]


class _ProgramInfo(c.Structure):
    """struct bpf_prog_info up to what the verifier says; 0 before Linux 5.16."""

    _fields_ = [("before", c.c_uint8 * _VERIFIED_AT), ("verified_insns", c.c_uint32), ("after", c.c_uint32)]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_program_is_taken(form: Form) -> None:
    with closing(Kernel(LoadOptions(65536, **form.options))) as kernel:
        told = {name: _instructions(kernel.program(name)) for name in PROGRAMS}
    print("\n".join(f"{name}: {count} instructions verified" for name, count in told.items()))
    assert max(told.values()) < _MOST * form.part, told


def _instructions(program: int) -> int:
    info = _ProgramInfo()
    size = c.c_uint32(c.sizeof(info))
    libbpf.call("bpf_obj_get_info_by_fd", program, c.byref(info), c.byref(size))
    return int(info.verified_insns)
