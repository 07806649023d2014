"""Proves that each layer imports what it may: the pure ones nothing of the host, and nobody the layer above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "agent" / "xflowd"
PURE = ("wire", "metering", "exporting")
HOST = {
    "socket",
    "time",
    "os",
    "ctypes",
    "threading",
    "asyncio",
    "logging",
    "random",
    "subprocess",
    "selectors",
    "mmap",
}
#: Package → the packages of xflowd that it may know, beside itself. The modules at the top know them all.
MAY_KNOW = {
    "wire": set(),
    "metering": set(),
    "exporting": {"wire", "metering"},
    "edge": {"metering"},
    "config": {"wire", "exporting"},  # names of elements are values of keys
    "watching": {"wire", "exporting", "metering", "edge", "printing", "notices", "daemon", "collectors"},
}
ABOVE = {"commands", "doctor"}  # hands over to modules at the top
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""


@pytest.mark.parametrize("module", [name for name in MODULES if name.split("/")[0] in PURE])
def test_pure_module_knows_nothing_of_the_host(module: str) -> None:
    assert {name.split(".")[0] for name in imports(ROOT / module)}.isdisjoint(HOST)


@pytest.mark.parametrize("module", [name for name in MODULES if name.split("/")[0] in MAY_KNOW])
def test_package_knows_only_what_lies_below(module: str) -> None:
    package = module.split("/", maxsplit=1)[0]
    known = {name.split(".")[1] for name in imports(ROOT / module) if name.startswith("xflowd.")}
    assert known <= MAY_KNOW[package] | {package}


def test_every_package_has_its_rule() -> None:
    assert {name.split("/")[0] for name in MODULES if "/" in name} == set(MAY_KNOW) | ABOVE
