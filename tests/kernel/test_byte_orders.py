"""Proves that the object is right in both byte orders, wherever it is built: its file, its types, what it reads.

No machine of the other order is at hand. What the parser makes of a frame is therefore asked of the compiler: given
the octets, it computes the outcome for the target's byte order and leaves nothing of the function but the number.
"""

from __future__ import annotations

import ctypes as c
import os
import re
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from kernel.frames import DOT1AD, DOT1Q, IPV4, IPV6, TCP, ethernet, fragment, ipv4, ipv6, tcp
from kernel.objectfile import structure
from xflowd.edge.layout import Layout

SOURCES = Path(__file__).resolve().parents[2] / "ebpf"
ORDERS = {"el": "little", "eb": "big"}
ELF_DATA = {"el": 1, "eb": 2}
EM_BPF = 247
STRUCTURES = ["flow_slot", "observation_point", "overflow_key", "overflow_record", "meter_config", "meter_control"]

each_order = pytest.mark.parametrize("order", ORDERS)

#: Frames, and expressions in C that tell what was read of them. A port is the two octets that stand in the frame.
TAGS = ((DOT1AD, 0xE123), (DOT1Q, 0x0456))
SEGMENT = tcp(0x1234, 0x5678, flags=0x112, options=bytes(8))
FRAMES: dict[str, tuple[bytes, dict[str, int | bytes]]] = {
    "IPv4 with options and two tags": (
        ethernet(IPV4, *TAGS) + ipv4(TCP, SEGMENT, options=bytes(4), tos=0xB9, ttl=63),
        {
            "outcome": 0,
            "packet.octets": 52,
            "packet.headers_length": 52,
            "packet.ttl": 63,
            "packet.class_of_service": 0xB9,
            "packet.tcp_flags": 0x12,
            "packet.fragment": 0,
            "key.ip_version": 4,
            "key.vlan_id": 0x123,
            "key.dot1q_customer_vlan_id": 0x456,
            "key.protocol_identifier": TCP,
            "key.source_transport_port": b"\x12\x34",
            "key.destination_transport_port": b"\x56\x78",
        },
    ),
    "a later fragment": (
        ethernet(IPV4) + ipv4(TCP, SEGMENT, fragment=0x0001),
        {"outcome": 0, "packet.fragment": 1, "key.source_transport_port": 0},
    ),
    "a first fragment": (
        ethernet(IPV4) + ipv4(TCP, SEGMENT, fragment=0x2000),
        {"packet.fragment": 0, "key.source_transport_port": b"\x12\x34"},
    ),
    "IPv4 of another version": (ethernet(IPV4) + ipv4(TCP, SEGMENT, version=5), {"outcome": 4}),
    "IPv4 with a header too short": (ethernet(IPV4) + ipv4(TCP, SEGMENT, header_words=4), {"outcome": 4}),
    "IPv6": (
        ethernet(IPV6) + ipv6(TCP, SEGMENT, fragment(0, True), traffic_class=0xB9, label=0x12345, hop_limit=3),
        {
            "outcome": 0,
            "packet.octets": 76,
            "packet.ttl": 3,
            "packet.class_of_service": 0xB9,
            "packet.flow_label": 0x12345,
            "key.ip_version": 6,
        },
    ),
    "IPv6 of another version": (ethernet(IPV6) + ipv6(TCP, SEGMENT, version=5), {"outcome": 4}),
}
READ = [(name, what) for name, (_, expected) in FRAMES.items() for what in expected]

PROBE = """
int probe_{number}(void)
{{
	__u8 frame[] = {{ {octets} }};
	struct packet packet = {{ .cursor = {{ frame, frame + sizeof(frame) }}, .segments = 1 }};
	struct flow_key key = {{}};
	enum packet_outcome outcome = parse_ethernet(&packet, &key, 0);

	return {what};
}}
"""


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The object in each byte order, built by its Makefile in a directory of its own."""
    directory = tmp_path_factory.mktemp("objects")
    paths = {order: directory / f"{order}.o" for order in ORDERS}
    for order, path in paths.items():
        settings = [f"ENDIAN={order}", f"BUILD={directory}", f"OBJECT={path}"]
        subprocess.run(["make", "--silent", "-C", SOURCES, *settings], check=True, capture_output=True)
    return paths


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[tuple[str, str], int]]:
    """What the parser reads of each frame, by byte order."""
    return {order: _read(tmp_path_factory.mktemp("probes"), order) for order in ORDERS}


@each_order
@pytest.mark.parametrize(("frame", "what"), READ)
def test_headers_are_read_alike(
    read: dict[str, dict[tuple[str, str], int]], order: str, frame: str, what: str
) -> None:
    expected = FRAMES[frame][1][what]
    if isinstance(expected, bytes):  # big or little: mypy knows no Literal in a table
        expected = struct.unpack((">" if ORDERS[order] == "big" else "<") + "H", expected)[0]
    assert read[order][frame, what] == expected


@each_order
def test_file_is_of_its_byte_order(objects: dict[str, Path], order: str) -> None:
    image = objects[order].read_bytes()
    assert (image[:5], image[5]) == (b"\x7fELF\x02", ELF_DATA[order])
    assert int.from_bytes(image[18:20], _order(order)) == EM_BPF


def test_files_hold_the_same(objects: dict[str, Path]) -> None:
    """Programs are not empty, maps and variables have the same sizes, and a table of octets and __be16 is the same."""
    little, big = (_sections(objects[order], order) for order in ("el", "eb"))
    assert little.keys() == big.keys()
    for name in ("tc", ".maps", ".rodata.config", ".data.control", ".rodata"):
        assert len(little[name]) > 0
    for name in (".maps", ".rodata.config", ".data.control"):
        assert len(little[name]) == len(big[name])
    assert little[".rodata"] == big[".rodata"]


@each_order
@pytest.mark.parametrize("name", STRUCTURES)
def test_types_are_the_same(objects: dict[str, Path], order: str, name: str) -> None:
    """The agent takes offsets and sizes from the object that it loads: an object of either order tells the same."""
    library = c.CDLL("libbpf.so.1")
    library.btf__parse.restype = c.c_void_p
    library.btf__free.argtypes = [c.c_void_p]
    handle = library.btf__parse(os.fsencode(objects[order]), None)
    assert handle
    try:
        assert Layout(handle).structure(name) == structure(name)
    finally:
        library.btf__free(handle)


def _order(order: str) -> str:
    return ORDERS[order]


def _sections(path: Path, order: str) -> Mapping[str, bytes]:
    """Name -> content of the sections of a 64-bit ELF file."""
    image, sign = path.read_bytes(), ">" if ORDERS[order] == "big" else "<"
    start, = struct.unpack_from(f"{sign}Q", image, 0x28)
    count, names = struct.unpack_from(f"{sign}HH", image, 0x3C)
    rows = [struct.unpack_from(f"{sign}IIQQQQ", image, start + 64 * i) for i in range(count)]
    text = image[rows[names][4] :]
    return {
        text[name : text.index(b"\0", name)].decode(): image[offset : offset + size]
        for name, _, _, _, offset, size in rows
    }


def _read(directory: Path, order: str) -> dict[tuple[str, str], int]:
    """Compile a function for each thing to be read. The number that is left of it is set just before it returns."""
    probes = [
        PROBE.format(number=i, octets=", ".join(map(str, FRAMES[frame][0])), what=what)
        for i, (frame, what) in enumerate(READ)
    ]
    source, output = directory / "probes.c", directory / "probes.s"
    source.write_text('#include "parse.bpf.h"\n' + "".join(probes))
    settings = [f"ENDIAN={order}", "--eval", f"probe: ; @echo $(CLANG) $(CFLAGS) -I{SOURCES}"]
    command = subprocess.run(
        ["make", "--silent", "-C", SOURCES, *settings, "probe"], check=True, capture_output=True, text=True
    ).stdout.split()
    subprocess.run([*command, "-g0", "-S", source, "-o", output], check=True)
    functions = re.split(r"^probe_\d+:.*$", output.read_text(), flags=re.MULTILINE)[1:]
    return {key: _returned(function) for key, function in zip(READ, functions, strict=True)}


def _returned(function: str) -> int:
    found = re.search(r"[rw]0 = (-?\d+)\n\s*exit", function)
    assert found, f"the compiler has not computed this:\n{function}"
    return int(found.group(1))
