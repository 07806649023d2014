"""The eBPF object as a file: its layout without loading it, for tests that need no kernel."""

from __future__ import annotations

import os
from functools import cache

import numpy as np

from xflowd.edge import libbpf
from xflowd.edge.layout import Layout, types_of
from xflowd.edge.loading import OBJECT

#: Those of flow.h that the agent reads or writes.
STRUCTURES = [
    "flow_key",
    "flow_count",
    "flow_slot",
    "flow_detail",
    "observation_point",
    "overflow_key",
    "overflow_record",
    "meter_config",
    "meter_control",
]


@cache
def structure(name: str) -> np.dtype[np.void]:
    """The record type of `struct name` in flow.h."""
    handle = libbpf.call("bpf_object__open_file", os.fsencode(OBJECT), None, what=str(OBJECT))
    try:
        return Layout(types_of(handle)).structure(name)
    finally:
        libbpf.close(handle)


@cache
def enumeration(name: str) -> dict[str, int]:
    """The names and values of `enum name` in flow.h."""
    handle = libbpf.call("bpf_object__open_file", os.fsencode(OBJECT), None, what=str(OBJECT))
    try:
        return {one.name: one.value for one in Layout(types_of(handle)).enumeration(name)}
    finally:
        libbpf.close(handle)
