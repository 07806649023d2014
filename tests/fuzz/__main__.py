"""`scripts/fuzz`: the parser of the kernel's programs, in the host's compiler and in the kernel, on spoilt packets.

With --decoder: instead, spoilt messages and captures, through what `collect` and `replay` read them with.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from fuzz import building, decoder, fuzzing
from fuzz.loaded import BATCH, RUNS, Bank, Loaded, banks
from fuzz.seeds import Seed, bank, of_captures
from xflowd.edge.loading import LoadError

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
_OF_THE_TIME = 0.7  # that fuzzing on the host may take
_DECODED = 200_000


def main() -> int:
    """Fuzz, and say how it went; 1 where there is a difference."""
    options = _options()
    if options.decoder is not None:
        return _decoded(options)
    seeds = bank() + of_captures(sorted(CAPTURES.glob("*.pcap*")))
    print(f"seeds: {len(seeds)} packets; --seed {options.seed} repeats this run")
    deadline = time.monotonic() + options.seconds
    try:
        with tempfile.TemporaryDirectory() as name:
            fault = _on_host(Path(name), seeds, options) or _in_kernel(Path(name), seeds, options, deadline)
    except (building.BuildError, LoadError) as error:
        sys.exit(f"fuzz: {error}")
    print(fault or "verdict: no difference")
    return int(bool(fault))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("scripts/fuzz", description=__doc__)
    parser.add_argument("--cases", metavar="N", type=int, default=10_000_000, help="on the host (10 million)")
    parser.add_argument("--loaded", metavar="N", type=int, default=1_000_000, help="in the kernel (1 million)")
    parser.add_argument("--seconds", metavar="S", type=float, default=300, help="end after them in any case (300)")
    parser.add_argument("--seed", metavar="N", type=int, default=time.time_ns() % 2**20, help="of the mutations (any)")
    parser.add_argument("--decoder", metavar="N", type=int, nargs="?", const=_DECODED, help=f"instead ({_DECODED:,})")
    return parser.parse_args()


def _decoded(options: argparse.Namespace) -> int:
    """Messages and captures, half of the cases each; 1 where something did not hold."""
    files, count = sorted(CAPTURES.glob("*.pcap*")), max(1, options.decoder // 2)
    print(f"--seed {options.seed} repeats this run")
    outcomes = {"messages": decoder.fuzz_messages(count, options.seed, decoder.payloads(files))}
    if files:
        outcomes["captures"] = decoder.fuzz_captures(count, options.seed, decoder.captures(files))
    for name, outcome in outcomes.items():
        reasons = len(outcome.refused)
        print(f"{name}: {outcome.cases:,} cases, {outcome.rate:,.0f} a second, faults of {reasons} kinds told")
    faults = [outcome.fault for outcome in outcomes.values() if outcome.fault]
    print("\n".join(faults) or "verdict: everything held")
    return int(bool(faults))


def _on_host(directory: Path, seeds: list[Seed], options: argparse.Namespace) -> str:
    corpus = fuzzing.write_seeds(seeds, directory / "seeds")
    seconds = options.seconds * _OF_THE_TIME
    fuzzed = fuzzing.fuzz(building.fuzzer(directory), corpus, options.cases, seconds, options.seed)
    print(f"host: {fuzzed.cases:,} cases, {fuzzed.rate:,.0f} a second, with ASan and UBSan")
    if fuzzed.fault:
        return fuzzed.fault
    corpora = [corpus, *fuzzing.found_beside(corpus)]
    reached, edges = fuzzing.coverage(building.edge_counter(directory), corpora)
    print(f"coverage: {reached} of the parser's {edges} edges")
    return ""


def _in_kernel(directory: Path, seeds: list[Seed], options: argparse.Namespace, deadline: float) -> str:
    library, of_seeds = building.library(directory), banks(seeds + fuzzing.read_found(directory / "seeds"))
    batches = -(-options.loaded // len(RUNS) // BATCH)
    for left, (program, inside, details) in zip(range(len(RUNS), 0, -1), RUNS, strict=True):
        began = time.monotonic()
        until = began + max(0.0, deadline - began) / left
        with closing(Loaded(library, program, inside=inside, details=details)) as loaded:
            done, fault = _batches(loaded, of_seeds[loaded.bare], options.seed, batches, until)
        rate = done * BATCH / (time.monotonic() - began)
        name = program + ", inner headers" * inside + ", details" * details
        print(f"{name}: {done * BATCH:,} packets, {rate:,.0f} a second")
        if fault:
            return fault
    return ""


def _batches(loaded: Loaded, of_seeds: Bank, seed: int, most: int, until: float) -> tuple[int, str]:
    """How many were run before the time was over, and what was wrong with the last."""
    for number in range(most):
        fault = loaded.difference(*loaded.spoil(of_seeds, seed + number))
        if fault or time.monotonic() > until:
            return number + 1, fault
    return most, ""


if __name__ == "__main__":
    sys.exit(main())
