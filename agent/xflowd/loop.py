"""What happens when: the agent's one loop, over its descriptors and the times at which something is due."""

from __future__ import annotations

import selectors
import time
from typing import TYPE_CHECKING

from xflowd.edge.signals import Signals

if TYPE_CHECKING:
    from xflowd.daemon import Agent

_SECOND_NS = 1_000_000_000
_SETTLE_NS = 200_000_000  # changes of interfaces come in bursts
_REST = 5  # times as long as looking at interfaces took, a second at most


class Loop:
    """When each thing is due next, in nanoseconds of the monotonic clock; None: nothing waits for it."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._look_ns = time.monotonic_ns()
        self._second_ns = self._look_ns + _SECOND_NS
        self._push_ns: int | None = None
        self._follow_ns: int | None = None
        self._rested_ns = self._look_ns  # from when on interfaces may be looked at again

    def seconds_to_wait(self) -> float:
        """Until the first of them is due."""
        due = (self._look_ns, self._second_ns, self._push_ns, self._follow_ns, self._agent.supervisor.due_ns)
        return max(0, min(one for one in due if one is not None) - time.monotonic_ns()) / 1e9

    def follow_soon(self) -> None:
        """Interfaces have changed, and more may be about to."""
        if self._follow_ns is None:
            self._follow_ns = max(time.monotonic_ns() + _SETTLE_NS, self._rested_ns)

    def push(self) -> None:
        """Send some of what waits, at once: what was asked for may have ended flows."""
        self._push_ns = self._agent.push()

    def do_what_is_due(self) -> None:
        """Each of them once at most."""
        agent = self._agent
        if _is_due(self._follow_ns):
            self._follow()
        if _is_due(self._second_ns):
            agent.each_second()
            self._second_ns = max(self._second_ns + _SECOND_NS, time.monotonic_ns())
            self._push_ns = agent.push()  # sockets are looked after even when nothing waits
        if _is_due(self._look_ns):
            self._look_ns = agent.look()
            self._push_ns = agent.push()
        elif _is_due(self._push_ns):
            self._push_ns = agent.push()

    def _follow(self) -> None:
        """Where there are many interfaces, this takes long: what changes all the time must not take all the time."""
        began_ns = time.monotonic_ns()
        done, now_ns = self._agent.follow_interfaces(), time.monotonic_ns()
        self._rested_ns = now_ns + min(_REST * (now_ns - began_ns), _SECOND_NS)
        self._follow_ns = None if done else now_ns + _SECOND_NS


def run(agent: Agent, signals: Signals) -> None:
    """Until a signal says to stop, or nobody reads any more what is printed."""
    loop = Loop(agent)
    with selectors.DefaultSelector() as selector:
        for source in (agent.watch, signals, agent.control, agent.exposition.server):
            selector.register(source, selectors.EVENT_READ)
        while not signals.stop and not agent.unheard:
            ready = {key.fileobj for key, _ in selector.select(loop.seconds_to_wait())}
            signals.drain()
            if signals.take_reload():
                agent.reload()
            if agent.watch.changed():
                loop.follow_soon()
            loop.do_what_is_due()
            agent.supervisor.alive(time.monotonic_ns())
            if agent.control in ready:
                agent.control.serve(time.monotonic_ns())
                loop.push()
            if agent.exposition.server in ready:
                agent.exposition.server.serve(time.monotonic_ns())


def _is_due(due_ns: int | None) -> bool:
    return due_ns is not None and time.monotonic_ns() >= due_ns
