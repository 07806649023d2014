"""Proves that the agent knows flow.h as the compiler does: its offsets, sizes and constants, in both byte orders."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from kernel.objectfile import STRUCTURES, enumeration, structure
from xflowd.edge.loading import LoadOptions
from xflowd.metering.flow import EGRESS, INGRESS
from xflowd.metering.table import SlotState

HEADERS = Path(__file__).resolve().parents[2] / "ebpf"
ENUMS = ["slot_state", "packet_outcome", "key_field", "detail"]


def compile_assertions(lines: list[str], target: str) -> str:
    """What clang says of these assertions; nothing where all of them hold."""
    triple = subprocess.run(["clang", "-print-target-triple"], capture_output=True, text=True, check=True).stdout
    headers = "/usr/include/" + triple.strip().replace("-pc-", "-")
    command = ["clang", "-target", target, "-fsyntax-only", "-x", "c", f"-I{HEADERS}", "-idirafter", headers, "-"]
    source = "\n".join(['#include "flow.h"', "#define OFFSET __builtin_offsetof", *lines, ""])
    return subprocess.run(command, input=source, capture_output=True, text=True, check=False).stderr


def fields(dtype: np.dtype[np.void]) -> dict[str, tuple[int, int]]:
    """Offset and size of each field."""
    assert dtype.fields is not None
    return {name: (offset, kind.itemsize) for name, (kind, offset, *_) in dtype.fields.items()}


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_record_type_is_the_compilers(name: str, target: str) -> None:
    dtype = structure(name)
    lines = [f'_Static_assert(sizeof(struct {name}) == {dtype.itemsize}, "");']
    for field, (offset, size) in fields(dtype).items():
        lines.append(f'_Static_assert(OFFSET(struct {name}, {field}) == {offset}, "");')
        lines.append(f'_Static_assert(sizeof(((struct {name} *)0)->{field}) == {size}, "");')
    assert compile_assertions(lines, target) == ""


@pytest.mark.parametrize("name", STRUCTURES)
def test_no_octet_is_without_a_name(name: str) -> None:
    """So that no field is forgotten here, and no pad in C is filled with what was in memory before."""
    named: set[int] = set()
    for offset, size in fields(structure(name)).values():
        named |= set(range(offset, offset + size))
    assert named == set(range(structure(name).itemsize))


@pytest.mark.parametrize("name", ENUMS)
def test_constants_are_the_compilers(name: str) -> None:
    lines = [f'_Static_assert({one} == {value}, "");' for one, value in enumeration(name).items()]
    assert lines
    assert compile_assertions(lines, "bpf") == ""


def test_assertions_can_fail() -> None:
    assert "error: static" in compile_assertions(['_Static_assert(SLOT_FREE == 1, "");'], "bpf")


def test_states_of_a_slot_are_the_agents() -> None:
    assert enumeration("slot_state") == {f"SLOT_{state.name}": state.value for state in SlotState}


def test_directions_are_the_agents() -> None:
    """No structure has a member of this enum, so that the object's BTF does not know it: the compiler does."""
    lines = [f'_Static_assert(FLOW_INGRESS == {INGRESS} && FLOW_EGRESS == {EGRESS}, "");']
    assert compile_assertions(lines, "bpf") == ""


def test_outcomes_fit_into_their_counters() -> None:
    outcomes = enumeration("packet_outcome")
    length = outcomes.pop("PACKET_OUTCOMES")
    assert structure("observation_point")["packets"].shape == (length,)
    assert sorted(outcomes.values()) == list(range(len(outcomes)))
    assert len(outcomes) <= length


def test_key_fields_of_the_agent_are_known() -> None:
    assert set(LoadOptions(1).key_fields) <= set(enumeration("key_field"))


def test_packet_of_a_known_ipv4_flow_touches_one_cache_line() -> None:
    slot = fields(structure("flow_slot"))
    assert structure("flow_slot").itemsize % 64 == 0
    for field in ("state", "end_seen", "owner", "own"):
        assert sum(slot[field]) <= 64
    assert slot["key"][0] + 24 <= 64
    assert fields(structure("flow_key"))["destination_ipv4_address"] == (20, 4)


@pytest.mark.parametrize(
    ("name", "field", "kind"),
    [
        ("flow_key", "source_transport_port", ">u2"),
        ("flow_key", "destination_transport_port", ">u2"),
        ("flow_key", "source_ipv4_address", ">u4"),
        ("flow_key", "destination_ipv4_address", ">u4"),
        ("flow_key", "vlan_id", "=u2"),
        ("flow_key", "interface", "=u4"),
        ("flow_count", "packet_delta_count", "=u8"),
        ("flow_slot", "flow_start_ns", "=u8"),
    ],
)
def test_byte_order_is_that_of_flow_h(name: str, field: str, kind: str) -> None:
    assert structure(name)[field] == np.dtype(kind)
