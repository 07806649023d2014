"""What a running agent can be asked by its control socket, and who answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xflowd.edge.control import Answers
from xflowd.reporting import report

if TYPE_CHECKING:
    from xflowd.daemon import Agent


def answers(agent: Agent) -> Answers:
    """Request → what makes its answer."""
    return {"status": lambda _: report(agent, agent.clock.now())}
