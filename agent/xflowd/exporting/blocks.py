"""Flows moved as blocks of octets: numpy copies a structured array field by field, 25 times as slow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def picked(records: Array, which: Array) -> Array:
    """A new array of those records that a mask, or a list of places, chooses."""
    chosen: Array = _blocks(records)[which].view(records.dtype)
    return chosen


def copied(records: Array) -> Array:
    """A new array of all of them."""
    every: Array = _blocks(records).copy().view(records.dtype)
    return every


def _blocks(records: Array) -> Array:
    return records.view(np.dtype((np.void, records.itemsize)))
