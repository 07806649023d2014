"""Loading the programs, once for each test that wants them, and dropping them after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kernel.namespace import inside
from lab.namespaces import Namespace, namespaces
from xflowd.edge.kernel import Kernel
from xflowd.edge.loading import LoadOptions

Load = Callable[..., Kernel]


@pytest.fixture
def load() -> Iterator[Load]:
    """Load the programs with options of LoadOptions: 64 flows unless told."""
    loaded: list[Kernel] = []

    def load(**options: Any) -> Kernel:
        loaded.append(Kernel(LoadOptions(**{"max_flows": 64} | options)))
        return loaded[-1]

    yield load
    for kernel in loaded:
        kernel.close()


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[Namespace]:
    """A network namespace that this thread is in for the length of the test."""
    with namespaces(tmp_path, "k") as (space,), inside(space):
        yield space
