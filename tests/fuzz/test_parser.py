"""Proves that the kernel's parser reads spoilt packets as the RFCs have it, and that a fault in it would be found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fuzz import building, fuzzing
from fuzz.expected import Packets
from fuzz.loaded import RUNS, Loaded, banks
from fuzz.seeds import Seed, bank, of_captures

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
CASES = 400_000
MOST_SECONDS = 30.0
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root")


@dataclass(frozen=True)
class Fault:
    """A change of the parser, and what the fuzzer must say of it."""

    name: str
    right: str
    wrong: str
    said: str
    file: str = "parse.bpf.h"


FAULTS = [
    Fault("reads behind the frame", "(void *)(header + 1) > packet->cursor.end", "(void *)header > packet->cursor.end",
          "AddressSanitizer"),
    Fault("header length in octets", "header_length = (ip->version_length & 0x0f) * 4",
          "header_length = (ip->version_length & 0x0f) * 5",
          "difference"),
    Fault("fragments of a high offset", "IPV4_FRAGMENT_OFFSET 0x1fff", "IPV4_FRAGMENT_OFFSET 0x0fff",
          "fragment_offset: the parser"),
    Fault("authentication header", "AUTHENTICATION] = { 0xff, 2,", "AUTHENTICATION] = { 0xff, 1,", "difference"),
    Fault("a label more", "MPLS_LABELS 10", "MPLS_LABELS 11", "difference", "link.bpf.h"),
    Fault("another PPP", "PPP_IPV6 = 0x0057", "PPP_IPV6 = 0x0059", "difference", "link.bpf.h"),
    Fault("fragments in a tunnel", "IPV4_FRAGMENT 0x3fff", "IPV4_FRAGMENT 0x1fff", "difference", "inner.bpf.h"),
    Fault("another port", "PORT_GENEVE = 6081", "PORT_GENEVE = 6080", "difference", "inner.bpf.h"),
    Fault("reads behind GTP-U", "more = take(&descent->cursor, 4)", "more = take(&descent->cursor, 0)",
          "AddressSanitizer", "inner.bpf.h"),
    Fault("an extension header more", "IPV6_EXTENSION_HEADERS 8", "IPV6_EXTENSION_HEADERS 9", "difference"),
    Fault("options in the padding", "header_stop < stop ? header_stop : stop", "header_stop",
          "tcp_options: the parser", "details.bpf.h"),
    Fault("an option's number without its class", "type & IPV4_OPTION_RESERVED_CLASS", "0", "ipv4_options: the parser",
          "details.bpf.h"),
    Fault("reads details behind the frame", "(void *)(tcp + 1) > end", "(void *)tcp > end", "AddressSanitizer",
          "details.bpf.h"),
]  # fmt: skip


@pytest.fixture(scope="module")
def seeds() -> list[Seed]:
    return bank() + of_captures(sorted(CAPTURES.glob("*.pcap*")))


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where clang cannot build it the message says what to install."""
    try:
        return building.fuzzer(tmp_path_factory.mktemp("fuzzer"))
    except building.BuildError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return building.library(tmp_path_factory.mktemp("loaded"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, seeds: list[Seed]) -> Path:
    return fuzzing.write_seeds(seeds, tmp_path_factory.mktemp("corpus") / "seeds")


@pytest.fixture
def corpus(tmp_path: Path, written: Path) -> Path:
    """The one corpus, in a directory of the test's own, where what is found comes to lie beside it."""
    (tmp_path / "seeds").symlink_to(written, target_is_directory=True)
    return tmp_path / "seeds"


@pytest.fixture(scope="module", params=RUNS)
def loaded(request: pytest.FixtureRequest, library: Path) -> Iterator[Loaded]:
    program, inside, details = request.param
    with closing(Loaded(library, program, inside=inside, details=details)) as loaded:
        yield loaded


def test_parser_and_reference_read_alike(fuzzer: Path, tmp_path: Path, corpus: Path) -> None:
    """And every edge of both is reached but for that of a VLAN tag behind the second, which nothing pushes.

    The seeds do that, without the luck of a mutation. The compiler makes up to five edges of what is not reached, with
    what it knows not to be together in a tunnel.
    """
    reached, edges = fuzzing.coverage(building.edge_counter(tmp_path), [corpus])
    assert reached >= edges - 5
    fuzzed = fuzzing.fuzz(fuzzer, corpus, CASES, MOST_SECONDS, seed=1)
    assert not fuzzed.fault, fuzzed.fault
    assert fuzzed.cases > CASES / 4


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_is_found(tmp_path: Path, corpus: Path, fault: Fault) -> None:
    spoilt = shutil.copytree(building.EBPF, tmp_path / "ebpf", ignore=shutil.ignore_patterns("*.o"))
    source = (spoilt / fault.file).read_text()
    assert source.count(fault.right) == 1, "the parser has changed: so must this fault"
    (spoilt / fault.file).write_text(source.replace(fault.right, fault.wrong))
    fuzzed = fuzzing.fuzz(building.fuzzer(tmp_path, spoilt), corpus, CASES, MOST_SECONDS, seed=1)
    assert fault.said in fuzzed.fault


def alone_in_its_flow(packets: Packets) -> int:
    """A packet that no other can hide in the counters of their flow: one with a source address of its own."""
    _, first, counts = np.unique(packets["meaning"]["source"], axis=0, return_index=True, return_counts=True)
    lonely = np.sort(first[(counts == 1) & (packets["meaning"]["outcome"][first] == 0)])
    return int(lonely[len(lonely) // 2])


@needs_root
def test_table_is_what_the_reference_says(loaded: Loaded, seeds: list[Seed]) -> None:
    of_seeds = banks(seeds)[loaded.bare]
    for seed in range(4):
        fault = loaded.difference(*loaded.spoil(of_seeds, seed))
        assert not fault, fault


@needs_root
@pytest.mark.parametrize("loaded", [("tc_ingress", False, True)], indirect=True)
@pytest.mark.parametrize("column", [
    "octets", "ttl", "source_port", "tcp_flags", "vlan_id", "outcome", "mpls_label_stack_depth", "fragment_offset",
    "tcp_options", "tcp_ack_total_count", "gtpu_teid", "outer_ip_version",
])  # fmt: skip
def test_wrong_packet_is_found_among_many(loaded: Loaded, seeds: list[Seed], column: str) -> None:
    """The reference's answer for one packet is falsified: that packet, alone, is what the difference shows."""
    rows, packets = loaded.spoil(banks(seeds)[loaded.bare], seed=1)
    victim = alone_in_its_flow(packets)
    packets["meaning"][column][victim] ^= 4
    packet = rows[victim, : packets["length"][victim]].tobytes().hex()
    assert f"packet {packet}" in loaded.difference(rows, packets)
