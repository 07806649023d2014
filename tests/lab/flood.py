"""A flood: so many new flows a second, each of one packet, straight into a metering program.

The packets come by BPF_PROG_TEST_RUN: a program of our own numbers each one's source address and tail-calls the program
under test. No wire carries a million packets a second on the machines that these tests run on. They come by TC as a
rule: for a repeated test run of XDP the kernel switches its dispatcher, and waits for grace periods each time.

As a command, this file floods a running agent.
"""

from __future__ import annotations

import ctypes as c
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from xflowd.edge import libbpf

_SOURCE = Path(__file__).with_name("flood.bpf.c")
_SLICE_SECONDS = 0.02
_UDP = 17
_IFINDEX = 40  # where it is in struct __sk_buff
_INFO_NAME = 64  # where the name is in struct bpf_prog_info


def frame(octets: int = 60) -> bytes:
    """An IPv4 UDP packet in an Ethernet frame; its source address is the flood's to write."""
    udp = struct.pack(">HHHH", 40000, 53, octets - 34, 0)
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, octets - 14, 1, 0, 64, _UDP, 0, 0, 0xC6336401)
    return (bytes.fromhex("020000000a01020000000a020800") + ip + udp).ljust(octets, b"\0")


class Flood:
    """The generator, loaded and aimed at a program. Each run of run() goes on where the last one ended."""

    def __init__(self, built: Path, program: int, *, kind: str = "tc", first: int = 0, interface: int = 0) -> None:
        """`built` comes from build(); `program` is the descriptor of a TC or, with `kind` "xdp", an XDP program.

        `first` is the first source address, as a number: floods of several processes begin far from each other.
        `interface` is the one that packets come in by, of this thread's namespace; 0 is `lo`, the only one of XDP.
        """
        self._object = libbpf.call("bpf_object__open_file", bytes(built), None, what=str(built))
        try:
            self._load(kind)
            self._aim(program)
            self._begin(first)
        except BaseException:
            self.close()
            raise
        self._frame = frame()
        self._options = libbpf.TestRunOptions(sz=c.sizeof(libbpf.TestRunOptions))
        if interface:
            self._context = bytes(_IFINDEX) + struct.pack("=I", interface)
            self._options.ctx_in, self._options.ctx_size_in = _address(self._context), len(self._context)
        self.sent = 0

    def __enter__(self) -> Flood:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the generator, and with it its hold on the program it was aimed at."""
        libbpf.close(self._object)

    def run(self, packets: int) -> None:
        """So many packets at once, each a flow of its own."""
        options = self._options
        options.data_in, options.data_size_in = _address(self._frame), len(self._frame)
        options.data_size_out, options.repeat = 0, packets
        libbpf.call("bpf_prog_test_run_opts", self._program, c.byref(options), what="flood")
        assert options.retval in (2, 2**32 - 1), f"the program under test was not called: verdict {options.retval}"
        self.sent += packets

    def run_paced(self, rate: int, seconds: float) -> float:
        """`rate` packets a second, in slices. A machine that does not keep up sends them all the same, later.

        Returns the seconds it took.
        """
        begin, total, sent = time.monotonic(), round(rate * seconds), 0
        while sent < total:
            due = min(total, round((time.monotonic() - begin + _SLICE_SECONDS) * rate))
            if due > sent:
                self.run(due - sent)
                sent = due
            time.sleep(max(0.0, begin + sent / rate - time.monotonic()))
        return time.monotonic() - begin

    def _load(self, kind: str) -> None:
        for name in ("flood_xdp", "flood_tc"):
            program = libbpf.call("bpf_object__find_program_by_name", self._object, name.encode())
            libbpf.call("bpf_program__set_autoload", program, name == f"flood_{kind}")
        libbpf.call("bpf_object__load", self._object, what="loading the flood")
        chosen = libbpf.call("bpf_object__find_program_by_name", self._object, f"flood_{kind}".encode())
        self._program = int(libbpf.call("bpf_program__fd", chosen))

    def _aim(self, program: int) -> None:
        libbpf.call("bpf_map_update_elem", self._map("target"), c.byref(c.c_uint32(0)), c.byref(c.c_uint32(program)), 0)

    def _begin(self, first: int) -> None:
        libbpf.call("bpf_map_update_elem", self._map(".bss"), c.byref(c.c_uint32(0)), c.byref(c.c_uint32(first)), 0)

    def _map(self, name: str) -> int:
        found = libbpf.call("bpf_object__find_map_by_name", self._object, name.encode(), what=name)
        return int(libbpf.call("bpf_map__fd", found))


def build(directory: Path) -> Path:
    """Compile the generator into a directory. Returns the object's path."""
    triple = subprocess.run(["clang", "-print-target-triple"], check=True, capture_output=True, text=True).stdout
    headers = triple.strip().replace("-pc-", "-").replace("-unknown-", "-")
    flags = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-idirafter/usr/include/{headers}"]
    path = directory / "flood.bpf.o"
    subprocess.run(["clang", *flags, "-c", _SOURCE, "-o", path], check=True)
    return path


def _address(octets: bytes) -> c.c_void_p:
    return c.cast(c.c_char_p(octets), c.c_void_p)


def program_of(pid: int, name: str) -> int:
    """A descriptor of a BPF program that another process has open. Raises LookupError if it has none of this name."""
    library = c.CDLL(libbpf.LIBRARY)
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        found = re.search(r"^prog_id:\s*(\d+)$", entry.read_text(), re.MULTILINE)
        if found is None:
            continue
        program = library.bpf_prog_get_fd_by_id(int(found.group(1)))
        if _name(program) == name:
            return int(program)
        os.close(program)
    raise LookupError(f"process {pid} has no BPF program {name}")


def _name(program: int) -> str:
    info, size = c.create_string_buffer(256), c.c_uint32(256)
    libbpf.call("bpf_obj_get_info_by_fd", program, c.byref(info), c.byref(size), what="a program's name")
    return info.raw[_INFO_NAME:][:16].split(b"\0")[0].decode()


@dataclass(frozen=True)
class Order:
    """A flood of an agent by a process of its own, on one CPU. Each CPU has its own source addresses."""

    built: Path
    agent: int  # process
    interface: str
    rate: int
    seconds: float
    cpu: int

    def command(self) -> list[str]:
        """To be run in the agent's network namespace. sent() reads what it prints."""
        return [sys.executable, str(Path(__file__).resolve()), *map(str, vars(self).values())]

    def carry_out(self) -> None:
        """Flood, and print as JSON what was sent."""
        os.sched_setaffinity(0, {self.cpu})
        program = program_of(self.agent, "tc_ingress")
        first, interface = self.cpu << 28, socket.if_nametoindex(self.interface)
        with Flood(self.built, program, first=first, interface=interface) as flood:
            took = flood.run_paced(self.rate, self.seconds)
            print(json.dumps({"packets": flood.sent, "seconds": took}))


def sent(log: str) -> int:
    """Packets that a flood says it has sent."""
    return int(json.loads(log)["packets"])


if __name__ == "__main__":
    _built, _agent, _interface, _rate, _seconds, _cpu = sys.argv[1:]
    Order(Path(_built), int(_agent), _interface, int(_rate), float(_seconds), int(_cpu)).carry_out()
