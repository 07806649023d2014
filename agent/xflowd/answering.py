"""What a running agent can be asked by its control socket, and who answers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from xflowd.edge.control import Answer, Answers, Steering
from xflowd.reporting import report

if TYPE_CHECKING:
    from xflowd.daemon import Agent


def answers(agent: Agent) -> Answers:
    """Request → what makes its answer."""
    return {
        "status": lambda _: report(agent, agent.clock.now()),
        "flows": _asked(agent, "xflowd.watching.live", "live"),
        "timeouts": _asked(agent, "xflowd.watching.live", "timeouts"),
        "flush": Steering(_asked(agent, "xflowd.watching.steering", "flush")),
        "templates": Steering(_asked(agent, "xflowd.watching.steering", "templates")),
    }


def _asked(agent: Agent, module: str, name: str) -> Answer:
    """What makes an answer, loaded by the first who asks: most routers are never asked."""
    return lambda request: getattr(import_module(module), name)(agent, request)
