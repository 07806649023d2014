"""What every test shares: the captures, and a laboratory that is swept before and torn down after."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.namespaces import sweep
from lab.topology import Network, router_network

HERE = Path(__file__).resolve().parent
CAPTURES = HERE.parents[1] / "shared" / "captures"


def pytest_configure() -> None:
    """A SIGTERM ends the run as a Ctrl-C does: with its namespaces torn down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.unsetenv("COLUMNS")  # readline, which pytest loads, sets it behind Python's back, for all who are started


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.path.is_relative_to(HERE / "netns"):
            item.add_marker(pytest.mark.skip(reason="namespaces and eBPF need root"))


@pytest.fixture(scope="session", autouse=True)
def _no_leftovers() -> None:
    """Delete what a killed run of these tests left."""
    if os.geteuid() == 0:
        sweep()


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The root logger and what is done with faults are everybody's: a command that ran in a test is over with it."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers, sys.excepthook = handlers, hook
    root.setLevel(level)


@pytest.fixture(scope="session")
def captures() -> Path:
    """The directory of packet captures, kept beside the project and not in it."""
    if not CAPTURES.is_dir():
        pytest.skip(f"no captures in {CAPTURES}")
    return CAPTURES


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """The router network of `lab.topology`, IPv4 and IPv6."""
    with router_network(tmp_path) as standing:
        yield standing
