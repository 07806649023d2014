"""libFuzzer on the parser: as many processes as there are CPUs, ended at the first difference."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fuzz.seeds import MOST_OCTETS, Seed, changed_inputs, seed_of

POLL_SECONDS = 0.05
_CASES = re.compile(r"stat::number_of_executed_units: (\d+)")
_REACHED = re.compile(r"cov: (\d+) ")
_EDGES = re.compile(r"\((\d+) inline 8-bit counters\)")
#: From here on the log says what is wrong, in the words of differences.c or of a sanitizer.
_FAULT = re.compile(r"^(difference: |.*runtime error: |==\d+== ?ERROR: )", re.MULTILINE)
_STACK = re.compile(r"^(==\d+== ERROR: libFuzzer|MS: |SUMMARY: )", re.MULTILINE)


@dataclass(frozen=True)
class Fuzzed:
    """What came of it: `fault` is empty where every case was read alike, and no octet read that is not there."""

    cases: int
    seconds: float
    fault: str

    @property
    def rate(self) -> float:
        """Cases a second."""
        return self.cases / max(self.seconds, 0.001)


def write_seeds(seeds: Iterable[Seed], directory: Path) -> Path:
    """The seeds and changed_inputs() as a corpus, one file an input."""
    directory.mkdir()
    inputs = dict.fromkeys(chain((variant for seed in seeds for variant in seed.variants()), changed_inputs()))
    for number, content in enumerate(inputs):
        (directory / f"seed{number:05}").write_bytes(content)
    return directory


def fuzz(fuzzer: Path, corpus: Path, cases: int, seconds: float, seed: int) -> Fuzzed:
    """Run it on mutations of `corpus` until so many cases or seconds are over.

    Directories of the inputs that it finds worth keeping, and its logs, come to lie beside the corpus.
    """
    workers = len(os.sched_getaffinity(0))
    began = time.monotonic()
    logs = [corpus.parent / f"worker{number}.log" for number in range(workers)]
    with ExitStack() as stack:
        running = []
        for number, log in enumerate(logs):
            found = corpus.parent / f"found{number}"
            found.mkdir(exist_ok=True)
            command = _command(fuzzer, -(-cases // workers), seconds, seed + number, [found, corpus])
            running.append(subprocess.Popen(command, stderr=stack.enter_context(log.open("wb"))))
            stack.callback(_end, running[-1])
        _wait(running, seconds + 30)
        failed = [log for process, log in zip(running, logs, strict=True) if process.poll()]
    total = sum(int(number) for log in logs for number in _CASES.findall(_text(log)))
    # Those that had to be ended may have been in the middle of a word.
    fault = next(filter(None, (_fault(_text(log)) for log in failed or logs)), "")
    return Fuzzed(total, time.monotonic() - began, fault)


def coverage(counter: Path, corpora: Iterable[Path]) -> tuple[int, int]:
    """Edges of the parser that the corpora reach, and how many it has; `counter` is building.edge_counter()."""
    command = [str(counter), "-runs=0", f"-artifact_prefix={counter.parent}/", *map(str, corpora)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stderr
    edges = _EDGES.search(text)
    assert edges, text
    return max(map(int, _REACHED.findall(text)), default=0), int(edges[1])


def found_beside(corpus: Path) -> list[Path]:
    """The directories of inputs that fuzz() found."""
    return sorted(corpus.parent.glob("found*"))


def read_found(corpus: Path) -> list[Seed]:
    """The packets that fuzz() found, each of which reaches something that the seeds do not."""
    files = sorted(file for directory in found_beside(corpus) for file in directory.iterdir())
    return [seed for seed in (seed_of(file.read_bytes()) for file in files) if seed]


def _command(fuzzer: Path, cases: int, seconds: float, seed: int, corpora: list[Path]) -> list[str]:
    options = {
        "runs": cases,
        "max_total_time": max(1, round(seconds)),
        "seed": seed + 1,  # 0 means any
        "max_len": MOST_OCTETS + 8,
        "len_control": 0,
        "detect_leaks": 0,
        "print_final_stats": 1,
        "artifact_prefix": f"{corpora[0].parent}/",
    }
    return [str(fuzzer), *(f"-{name}={value}" for name, value in options.items()), *map(str, corpora)]


def _wait(running: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Until all have ended, or one has found something."""
    deadline = time.monotonic() + seconds
    while any(process.poll() is None for process in running):
        if any(process.poll() for process in running) or time.monotonic() > deadline:
            return
        time.sleep(POLL_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def _text(log: Path) -> str:
    return log.read_text(errors="replace")


def _fault(log: str) -> str:
    """What is wrong, without the stack of libFuzzer; empty where nothing is."""
    begin = _FAULT.search(log)
    if not begin:
        return "" if "\nDone " in log else f"the fuzzer ended early:\n{log[-2000:]}"
    end = _STACK.search(log, begin.end())
    return log[begin.start() : end.start() if end else begin.start() + 3000].rstrip()
