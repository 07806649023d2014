"""An answer that is not as this version knows it: told in a line, and no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xflowd.edge.asking import ControlError


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Around what reads the answer of the agent at `path`. Raises ControlError where something is not there."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ControlError(f"{path}: an agent of another version answers: restart it") from None
