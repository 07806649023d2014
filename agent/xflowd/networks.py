"""OpenWrt's logical networks as devices: asked for when they are needed, and again when they may have changed."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace

from xflowd.config import Config, Direction, Meter
from xflowd.config.problem import shown
from xflowd.observing import directions
from xflowd.settings import StartError

_SECOND_NS = 1_000_000_000
_DOWN_NS, _UP_NS = 5 * _SECOND_NS, 60 * _SECOND_NS  # a network that comes up need not change any interface


class Networks:
    """The device that each network has, or had last: what is down comes back as the same one, as a rule.

    Only the answer at the start and at SIGHUP is waited for, all others come by a thread.
    """

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._now: dict[str, str] = {}  # as the last answer has it
        self._question: _Question | None = None  # that nobody waits for
        self._next_ns = 0

    def ask(self, meter: Meter) -> None:
        """Ask, where the meter names networks, and wait for the answer: three seconds at most. Raises OSError."""
        if meter.network:
            self._question = None  # an older answer is of no use any more
            self._take(_asked())

    def hurry(self) -> None:
        """Interfaces have changed."""
        self._next_ns = 0

    def follow(self, meter: Meter, now_ns: int) -> bool:
        """Whether what resolved() makes of the meter has changed. Raises OSError where an answer was none.

        Asks again when it is time to. Call it now and then.
        """
        if not meter.network:
            return False
        if self._question is None:
            if now_ns >= self._next_ns:
                self._question, self._next_ns = _Question(), now_ns + _DOWN_NS
            return False
        if self._question.is_alive():
            return False
        before, question, self._question = self.resolved(meter), self._question, None
        self._take(question.answer())
        if self._next_ns and all(self._now.get(name) for name in meter.network):  # and nothing is in a hurry
            self._next_ns = now_ns + _UP_NS
        return self.resolved(meter) != before

    def resolved(self, meter: Meter) -> Meter:
        """The meter with the devices of its networks among its interfaces.

        `auto` goes by what is named, not by how many devices that means now.
        """
        if not meter.network:
            return meter
        found = (_literal(self._last[name]) for name in meter.network if name in self._last)
        interfaces = tuple(dict.fromkeys((*meter.interfaces, *found)))
        direction = meter.direction
        if direction is Direction.AUTO:
            ways = directions(direction, (*meter.interfaces, *meter.network))
            direction = Direction.BOTH if len(ways) > 1 else Direction.INGRESS
        return replace(meter, interfaces=interfaces, direction=direction)

    def doubts(self, names: Iterable[str]) -> Iterator[str]:
        """A line for each network that has no device now."""
        for name in names:
            if name not in self._now:
                known = ", ".join(map(shown, self._now)) or "none"
                yield f"netifd knows no network {shown(name)} now, but {known}: it is metered when it comes"
            elif not self._now[name]:
                yield f"network {shown(name)} is down: it is metered when it comes up"

    def _take(self, answer: dict[str, str]) -> None:
        self._now = answer
        self._last.update((name, device) for name, device in answer.items() if device)


def with_devices(config: Config, networks: Networks) -> Config:
    """The configuration with the devices that its networks have now. Raises StartError."""
    try:
        networks.ask(config.meter)
    except OSError as error:
        raise StartError(f"[meter] network: {error}") from None
    return replace(config, meter=networks.resolved(config.meter))


class _Question(threading.Thread):
    """Put as soon as it is made."""

    def __init__(self) -> None:
        super().__init__(name="ubus", daemon=True)
        self._answer: dict[str, str] | OSError = OSError("ubus was not asked")
        self.start()

    def run(self) -> None:
        try:
            self._answer = _asked()
        except OSError as error:
            self._answer = error

    def answer(self) -> dict[str, str]:
        """Once it is no longer alive; raises OSError where it failed."""
        if isinstance(self._answer, OSError):
            raise self._answer
        return self._answer


def _asked() -> dict[str, str]:
    from xflowd.edge import ubus  # noqa: PLC0415 - and with it subprocess, only where there are networks

    return ubus.devices()


def _literal(name: str) -> str:
    """Signs of a pattern that stand for themselves."""
    return re.sub(r"([*?[])", r"[\1]", name)
