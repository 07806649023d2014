"""The parser, the reference and what compares them, built for this host by clang, in a directory of the caller's."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
EBPF = HERE.parents[1] / "ebpf"

_WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter")
_OTHERS = ("target", "reference", "options", "differences")  # than the parser
_SANITIZERS = "address,undefined"
_MISSING = (
    "clang cannot build for libFuzzer: the sanitizers' libraries of this clang are missing."
    " Run scripts/setup --test, or install libclang-rt-dev (or libclang-rt-VERSION-dev of this clang's version)"
)


class BuildError(Exception):
    """clang refused; the message says why, and how to mend it where the host lacks something."""


def fuzzer(directory: Path, ebpf: Path = EBPF) -> Path:
    """libFuzzer's executable, with ASan and UBSan; `ebpf` is where parse.bpf.h and flow.h are."""
    options = ("-g", "-O1", "-fno-sanitize-recover=all", f"-fsanitize=fuzzer-no-link,{_SANITIZERS}")
    objects = [_object(directory, name, ebpf, options) for name in ("parsed", *_OTHERS)]
    return _linked(directory / "fuzzer", objects, f"-fsanitize=fuzzer,{_SANITIZERS}")


def edge_counter(directory: Path) -> Path:
    """The same without sanitizers, where only the parser's edges are counted: for what a corpus reaches of it."""
    counted = _object(directory, "parsed", EBPF, ("-O1", "-fsanitize=fuzzer-no-link"), "counted")
    others = [_object(directory, name, EBPF, ("-O1",), "plain") for name in _OTHERS]
    return _linked(directory / "edge_counter", [counted, *others], "-fsanitize=fuzzer")


def library(directory: Path) -> Path:
    """The shared library of loaded.c, for Python."""
    built = directory / "loaded.so"
    sources = [str(HERE / name) for name in ("loaded.c", "reference.c", "options.c")]
    _clang(["-O2", *_WARNINGS, "-fPIC", "-shared", f"-I{EBPF}", *sources, "-o", str(built)])
    return built


def _object(directory: Path, name: str, ebpf: Path, options: Sequence[str], kind: str = "checked") -> str:
    built = str(directory / f"{name}.{kind}.o")
    includes = (f"-I{HERE / 'host'}", f"-I{ebpf}")
    _clang([*options, *_WARNINGS, *includes, "-c", str(HERE / f"{name}.c"), "-o", built])
    return built


def _linked(built: Path, objects: Sequence[str], sanitizers: str) -> Path:
    _clang([sanitizers, *objects, "-o", str(built)])
    return built


def _clang(arguments: Sequence[str]) -> None:
    try:
        result = subprocess.run(["clang", *arguments], capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        raise BuildError("clang is not installed: run scripts/setup --test") from None
    if result.returncode == 0:
        return
    raise BuildError(f"{_MISSING}\n{result.stderr}" if "libclang_rt" in result.stderr else result.stderr)
