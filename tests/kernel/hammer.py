"""Packets from several CPUs at once: processes of their own, so that nothing holds them up.

They come by TC: for a repeated test run of XDP the kernel switches its dispatcher, and waits for grace periods.
"""

from __future__ import annotations

import mmap
import multiprocessing as mp
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from kernel.running import Runner
from xflowd.edge.kernel import Kernel

_LONGEST_SECONDS = 60
_forked = mp.get_context("fork")  # the children have the programs and the tables as they are here

Counts = npt.NDArray[np.uint64]


class Hammer:
    """One process for each CPU, and what they have sent: shared memory, packets by [CPU, frame]."""

    def __init__(self, cpus: Sequence[int], frames: int) -> None:
        memory = mmap.mmap(-1, 8 * len(cpus) * frames + mmap.PAGESIZE)
        self.sent: Counts = np.ndarray((len(cpus), frames), np.uint64, memory)
        self.processes: list[mp.process.BaseProcess] = []

    @property
    def running(self) -> bool:
        """Whether packets are still coming."""
        return any(process.is_alive() for process in self.processes)

    def join(self) -> None:
        """Wait for the end of all of them; a process that failed fails the test."""
        for process in self.processes:
            process.join(_LONGEST_SECONDS)
            assert process.exitcode == 0, f"a process that sends packets ended with {process.exitcode}"


@contextmanager
def at_random(kernel: Kernel, cpus: Sequence[int], frames: Sequence[bytes], calls: int) -> Iterator[Hammer]:
    """On each CPU, `calls` frames picked at random, each one to thirty times in a row."""

    def send(row: int) -> None:
        runner, draw = Runner(kernel, "tc_ingress"), random.Random(row)
        for _ in range(calls):
            frame, times = draw.randrange(len(frames)), draw.randint(1, 30)
            runner.run(frames[frame], times)
            hammer.sent[row, frame] += times

    hammer = Hammer(cpus, len(frames))
    with _processes(hammer, cpus, send):
        yield hammer


@contextmanager
def in_step(
    kernel: Kernel, cpus: Sequence[int], frames: Sequence[bytes], others: Sequence[bytes] | None = None
) -> Iterator[Hammer]:
    """Each frame once on each CPU, at the same moment as near as can be; `others` are for all CPUs but the first."""

    def send(row: int) -> None:
        runner = Runner(kernel, "tc_ingress")
        for number, frame in enumerate(others if others and row else frames):
            ready[row] = number + 1
            while ready.min() <= number:
                pass
            runner.run(frame)
            hammer.sent[row, number] += 1

    ready: Counts = np.ndarray(len(cpus), np.uint64, mmap.mmap(-1, mmap.PAGESIZE))
    hammer = Hammer(cpus, len(frames))
    with _processes(hammer, cpus, send):
        yield hammer


@contextmanager
def _processes(hammer: Hammer, cpus: Sequence[int], send: Callable[[int], None]) -> Iterator[None]:
    def child(row: int, cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        send(row)

    try:
        for row, cpu in enumerate(cpus):
            process = _forked.Process(target=child, args=(row, cpu), daemon=True)
            process.start()
            hammer.processes.append(process)
        yield
    finally:
        for started in hammer.processes:
            started.kill()
            started.join()
