"""What the agent must not forget when it is killed: committed as a whole, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

_HEAD = np.dtype([("committed", np.uint64), ("reserved", np.uint8, 56)])
_PAGE = 640 << 10  # octets of each of the two pages: 4,096 overflow records, and 1,024 interfaces both ways
OCTETS = _HEAD.itemsize + 2 * _PAGE
_FORM = 1  # to be raised whenever a part remembers something else, or otherwise

#: What one part of the agent has to remember, as JSON can tell it.
State = dict[str, Any]


class Journal:
    """Two pages and the number of the last transaction, which says by its parity which of the two counts.

    A commit writes the other page and then that number, a single word: whoever is killed has either committed
    or not. The memory is shared and outlives the process; every part that has something to remember is asked
    for it at each commit.
    """

    def __init__(self, memory: memoryview) -> None:
        """`memory`: OCTETS long, zero at the very first."""
        self._head = np.ndarray((1,), _HEAD, memory)
        self._pages = [memory[_HEAD.itemsize + i * _PAGE :][:_PAGE] for i in range(2)]
        self._parts: dict[str, Callable[[], Any]] = {}
        #: Whether there is something that this version cannot read. It begins anew: what was just sent is sent again.
        self.is_strange = False
        self._remembered = self._read()

    @property
    def committed(self) -> int:
        """The number of the last transaction; 0: there was none."""
        return int(self._head["committed"][0])

    def remembered(self, part: str) -> Any:
        """What a part of the agent had committed last when this journal was opened; None if nothing."""
        return self._remembered.get(part)

    def include(self, part: str, state: Callable[[], Any]) -> None:
        """Ask `state` at each commit from now on."""
        self._parts[part] = state

    def commit(self) -> None:
        """Remember what every part says now. Raises OSError when that does not fit."""
        text = json.dumps(
            {"form": _FORM} | {part: state() for part, state in self._parts.items()}, separators=(",", ":")
        ).encode()
        transaction = self.committed + 1
        page = self._pages[transaction % 2]
        if len(text) + 4 > len(page):
            raise OSError(f"the journal has no room for {len(text)} octets")
        page[:4] = len(text).to_bytes(4, "little")
        page[4 : 4 + len(text)] = text
        self._head["committed"] = transaction

    def _read(self) -> State:
        if not self.committed:
            return {}
        page = self._pages[self.committed % 2]
        length = int.from_bytes(page[:4], "little")
        try:
            state = json.loads(bytes(page[4 : 4 + length]))
        except ValueError:
            state = None
        if isinstance(state, dict) and state.get("form") == _FORM:
            return state
        self.is_strange = True
        self._head["committed"] = 0
        return {}
