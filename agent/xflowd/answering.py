"""What a running agent can be asked by its control socket, and who answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xflowd.edge.control import Answers, Steering
from xflowd.reporting import report
from xflowd.watching import live, steering

if TYPE_CHECKING:
    from xflowd.daemon import Agent


def answers(agent: Agent) -> Answers:
    """Request → what makes its answer."""
    return {
        "status": lambda _: report(agent, agent.clock.now()),
        "flows": lambda request: live.live(agent, request),
        "timeouts": lambda request: live.timeouts(agent, request),
        "flush": Steering(lambda request: steering.flush(agent, request)),
        "templates": Steering(lambda request: steering.templates(agent, request)),
    }
