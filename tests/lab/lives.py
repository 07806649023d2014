"""An agent's lives in the laboratory: each may be cut off at any line of the agent's code, and the next one takes over.

What outlives them is held by the test: tables, journal, outboxes and the collectors' sockets. Time stands still unless
the test moves it, and only the test's own packets pass.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt

import xflowd
from kernel.running import Runner
from xflowd.collectors import CollectorSink
from xflowd.config import Collector, Sampling
from xflowd.config.schema import ExportProtocol
from xflowd.config.values import Endpoint
from xflowd.edge import journal, shared
from xflowd.edge.journal import Journal
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import Loaded, LoadOptions
from xflowd.metering.expiry import Timeouts
from xflowd.metering.instant import Instant
from xflowd.pipeline import Pipeline
from xflowd.wire.decoder import Decoder

SECOND = 10**9
_BOOT_NS = 1_700_000_000 * SECOND
_CRASHED = 9
_OUTBOX_OCTETS = 128 << 10
_RECEIVE_BUFFER = 4 << 20
_PUSHES = 1000
_PORTS = 65536
_SEQUENCE_AT = {5: slice(16, 20), 9: slice(12, 16), 10: slice(8, 12)}
TIMEOUTS = Timeouts(active_ns=60 * SECOND, idle_ns=10 * SECOND)

#: The modules that change what outlives a life, or decide when that is done.
_HOME = Path(xflowd.__file__).parent
_PLACES = ("pipeline", "collectors", "edge/journal", "edge/outbox", "edge/kernel", "edge/sending", "exporting/process")
_TRACED = {str(_HOME / f"{place}.py") for place in _PLACES}


class Piecewise(np.ndarray[Any, Any]):
    """An array in which a store to many elements is many stores, so that a life may end between any two of them."""

    def __setitem__(self, at: Any, value: Any) -> None:
        if not isinstance(at, np.ndarray):
            super().__setitem__(at, value)
            return
        numbers = np.flatnonzero(at) if at.dtype == np.bool_ else at
        plain = self.view(np.ndarray)
        values = np.broadcast_to(value, (len(numbers), *plain.shape[1:]))
        for number, each in zip(numbers.tolist(), values, strict=True):
            if plain.ndim == 1:
                plain[number] = each
                continue
            plain[number, :1] = each[:1]
            plain[number, 1:] = each[1:]


class PiecewiseKernel(Kernel):
    """A kernel's table where every store is seen by itself. Nobody else is running: grace periods need not be waited
    for, unless the test has others run."""

    waits = False

    def _set_up(self, fresh: bool) -> None:
        super()._set_up(fresh)
        if not self.waits:
            self.slots, self._words = self.slots.view(Piecewise), self._words.view(Piecewise)
            self._ring = self._ring.view(Piecewise)

    def wait_grace_period(self) -> None:
        """See above."""
        if self.waits:
            super().wait_grace_period()


@dataclass
class Received:
    """What one collector has got so far, without what came twice."""

    name: str
    may_begin_anew: bool = False  # after an agent that has come to its end
    may_skip: bool = False  # numbers of datagrams that were taken back
    decoder: Decoder = field(default_factory=Decoder)
    next_sequence: int = 0
    packets: Counter[int] = field(default_factory=Counter)  # by source port
    octets: int = 0
    flows: int = 0

    def take(self, datagrams: Sequence[bytes], crashes: int) -> None:
        """What has come since. Raises AssertionError where a sequence breaks or too much came twice."""
        distinct = list(dict.fromkeys(datagrams))
        twice = len(datagrams) - len(distinct)
        assert twice <= crashes, f"{self.name}: {twice} datagrams twice after {crashes} crashes"
        for datagram in distinct:
            self._take(datagram)
        assert not self.decoder.counters.malformed
        assert not self.decoder.counters.sets_without_template

    def _take(self, datagram: bytes) -> None:
        version = int.from_bytes(datagram[:2], "big")
        sequence = int.from_bytes(datagram[_SEQUENCE_AT[version]], "big")
        if self.may_begin_anew and sequence == 0:
            self.next_sequence = 0
        if self.may_skip:
            self.next_sequence = max(self.next_sequence, sequence)
        assert sequence == self.next_sequence, f"{self.name}: {sequence}, not {self.next_sequence}"
        records = self.decoder.decode(datagram, self.name)
        self.next_sequence += 1 if version == 9 else sum(len(each.array) for each in records)
        for each in records:
            if each.is_options:
                continue
            ports, packets = each.numbers("sourceTransportPort"), each.numbers("packetDeltaCount")
            for port, count in zip(ports.tolist(), packets.tolist(), strict=True):
                self.packets[port] += count
            self.octets += int(each.numbers("octetDeltaCount").sum())
            self.flows += len(each.array)


@dataclass
class Listening:
    """A collector's configuration, its socket, and what came there."""

    collector: Collector
    socket: socket.socket
    received: Received

    def read(self, crashes: int) -> None:
        """Take all that waits."""
        datagrams = []
        with contextlib.suppress(BlockingIOError):
            while True:
                datagrams.append(self.socket.recv(65535))
        self.received.take(datagrams, crashes)


@dataclass
class Table:
    """A flow table, and its number among all that the journal has known."""

    number: int
    kernel: Kernel


class World:
    """What the lives share. Packets are put in by `put`, also by a life that is cut off later."""

    def __init__(self, options: LoadOptions, protocols: Sequence[ExportProtocol], *, waits: bool = False) -> None:
        PiecewiseKernel.waits = waits
        self.tables = [Table(1, PiecewiseKernel(options))]
        self.options, self.seconds = options, 100
        self.collectors = [_listening(protocol) for protocol in protocols]
        self.journal = _memory("journal", journal.OCTETS)
        self.outboxes = [_memory("outbox", _OUTBOX_OCTETS) for _ in protocols]
        memory = mmap.mmap(-1, 8 * (_PORTS + 1))
        #: Packets put in by source port, and octets at the end: shared with all lives.
        self.put_in: npt.NDArray[np.uint64] = np.ndarray(_PORTS + 1, np.uint64, memory)
        self._lines, self._last = mmap.mmap(-1, 8), mmap.mmap(-1, mmap.PAGESIZE)

    def close(self) -> None:
        for table in self.tables:
            table.kernel.close()
        for each in self.collectors:
            each.socket.close()

    def now(self, after: float = 0) -> Instant:
        """The time in this world, so many seconds on."""
        monotonic_ns = int((self.seconds + after) * SECOND)
        return Instant(monotonic_ns, _BOOT_NS + monotonic_ns)

    def put(self, frames: dict[int, bytes], after: float = 0) -> None:
        """A packet for each port into the newest table."""
        kernel = self.tables[-1].kernel
        kernel.set_replayed_clock(self.now(after).monotonic_ns)
        runner = Runner(kernel, "tc_ingress")
        for port, frame in frames.items():
            runner.run(frame)
            self.put_in[port] += np.uint64(1)
            self.put_in[-1] += np.uint64(len(frame) - 14)

    def new_table(self) -> None:
        """As a reload makes one: its programs run from now on, and not those of the old table."""
        self.tables.append(Table(self.tables[-1].number + 1, PiecewiseKernel(self.options)))

    def forget_tables(self) -> None:
        """All but the newest are empty and no longer in use."""
        for table in self.tables[:-1]:
            table.kernel.close()
        del self.tables[:-1]

    def cut_off(self, life: Callable[[], None], lines: int) -> bool:
        """Live, in a process of its own, for so many lines of the agent's code. False: it came to its end before."""
        child = os.fork()
        if not child:
            self._live(life, lines)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, _CRASHED), f"a life ended with {code}"
        return code == _CRASHED

    @property
    def lines(self) -> int:
        """How many lines the last life was."""
        return int.from_bytes(self._lines[:], "little")

    @property
    def last_line(self) -> str:
        """Where the last life was cut off."""
        return self._last[:].rstrip(b"\0").decode()

    def _live(self, life: Callable[[], None], most: int) -> None:
        """A child's all: it does not return."""
        lines, code = 0, 1

        def line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal lines
            lines += event == "line"
            if lines >= most:
                self._last[:80] = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}".encode().ljust(80, b"\0")
                os._exit(_CRASHED)
            return line

        def entered(frame: FrameType, _: str, __: Any) -> Any:
            ours = frame.f_code.co_filename in _TRACED or frame.f_code is Piecewise.__setitem__.__code__
            return line if ours else None

        try:
            sys.settrace(entered)
            life()
            sys.settrace(None)
            self._lines[:] = lines.to_bytes(8, "little")
            code = 0
        except BaseException:
            sys.settrace(None)
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)


class Life:
    """One agent: takes over as the daemon does, then does what the test says."""

    def __init__(self, world: World, tables: Sequence[Table] | None = None) -> None:
        """`tables` there are, if not all."""
        self.world, now = world, world.now()
        self.journal = Journal(world.journal)
        states = self.journal.remembered("collectors") or {}
        self.sinks = [
            CollectorSink(each.collector, Sampling(), memory)
            for each, memory in zip(world.collectors, world.outboxes, strict=True)
        ]
        for sink in self.sinks:
            if sink.identity in states:
                sink.restore(states[sink.identity])
            sink.ready(now)
        self.journal.include("collectors", lambda: {sink.identity: sink.state() for sink in self.sinks})
        self._kernels: list[Kernel] = []
        self.pipeline = self._pipeline(now, world.tables if tables is None else tables)

    def push(self, after: float = 0) -> None:
        """Send all that waits."""
        for sink in self.sinks:
            for step in range(_PUSHES):
                if sink.push(self.world.now(after + step / 100)) is None:
                    break

    def switch(self, after: float = 0) -> None:
        """To the newest table, as a reload does."""
        self.pipeline.flush(self.world.now(after))
        self.pipeline.switch(self._kernel(self.world.tables[-1]), self.world.tables[-1].number)

    def close(self) -> None:
        for sink in self.sinks:
            sink.close()
        for kernel in self._kernels:
            kernel.close()

    def _pipeline(self, now: Instant, there: Sequence[Table]) -> Pipeline:
        """As Agent._empty() of the daemon, with the tables that Lasting.tables() would find."""
        remembered = self.journal.remembered("meter")
        first = remembered["table"] if remembered else 1
        tables = [table for table in there if table.number >= first]
        pipeline = Pipeline(self._kernel(tables[0]), TIMEOUTS, self.sinks, self.journal, table=tables[0].number)
        for _, after in pairwise(tables):
            pipeline.recover(now)
            pipeline.flush(now)
            pipeline.switch(self._kernel(after), after.number)
        pipeline.recover(now)
        return pipeline

    def _kernel(self, table: Table) -> Kernel:
        """The table as another process would find it: by descriptors alone."""
        loaded: Loaded = table.kernel.loaded
        maps = {name: os.dup(descriptor) for name, descriptor in loaded.maps.items()}
        programs = {name: os.dup(descriptor) for name, descriptor in loaded.programs.items()}
        self._kernels.append(PiecewiseKernel(replace(loaded, maps=maps, programs=programs)))
        return self._kernels[-1]


@contextmanager
def world(options: LoadOptions, *protocols: ExportProtocol, waits: bool = False) -> Iterator[World]:
    """A world for the length of a test."""
    made = World(options, protocols, waits=waits)
    try:
        yield made
    finally:
        made.close()


def left_in(kernel: Kernel) -> list[str]:
    """What is not as it has to be in a table that is empty."""
    control, size = kernel._control, len(kernel._ring)
    taken, tail = kernel._taken(), int(control["free_tail"][0])
    ring = [int(kernel._ring[place % size]) for place in range(taken, taken + (tail - taken) % 2**32)]
    faults = [] if sorted(ring) == list(range(len(kernel.slots))) else [f"the ring holds {sorted(ring)}"]
    if (numbers := np.flatnonzero(kernel._words.any(axis=1)).tolist()) or kernel.slots["state"].any():
        faults.append(f"slots {numbers} are in use: {kernel.slots['state'][numbers].tolist()}")
    for name, octets in (("index_ipv4", 24), ("index_ipv6", 48)):
        if left := len(list(kernel._elements(name, np.dtype(f"V{octets}"), np.dtype(np.uint32)))):  # type: ignore[arg-type]
            faults.append(f"{left} keys in {name}")
    return faults


def _memory(name: str, octets: int) -> memoryview:
    descriptor = shared.create(name, octets)
    try:
        return shared.mapped(descriptor)[0]
    finally:
        os.close(descriptor)


def _listening(protocol: ExportProtocol) -> Listening:
    receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving.setsockopt(socket.SOL_SOCKET, 33, _RECEIVE_BUFFER)  # SO_RCVBUFFORCE
    receiving.bind(("127.0.0.1", 0))
    receiving.setblocking(False)
    to, name = Endpoint("127.0.0.1", receiving.getsockname()[1]), protocol.name.lower()
    return Listening(Collector(name, to, protocol, max_payload=512, observation_domain=7), receiving, Received(name))
