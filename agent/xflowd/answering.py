"""What a running agent can be asked by its control socket, and who answers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from xflowd.config.problem import nearest, shown
from xflowd.edge.control import Answer, Answers, Steering
from xflowd.reporting import report

if TYPE_CHECKING:
    from xflowd.daemon import Agent

_EXPECTED = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def answers(agent: Agent) -> Answers:
    """Request → what makes its answer."""
    return {
        "status": _strict("status", lambda _: report(agent, agent.clock.now())),
        "flows": _asked(agent, "flows", "xflowd.watching.live", "live"),
        "timeouts": _asked(agent, "timeouts", "xflowd.watching.live", "timeouts"),
        "flush": Steering(_asked(agent, "flush", "xflowd.watching.steering", "flush")),
        "templates": Steering(_asked(agent, "templates", "xflowd.watching.steering", "templates")),
    }


def _asked(agent: Agent, ask: str, module: str, name: str) -> Answer:
    """What makes an answer, loaded by the first who asks: most routers are never asked."""
    return _strict(ask, lambda request: getattr(import_module(module), name)(agent, request))


def _strict(ask: str, make: Answer) -> Answer:
    def answer(request: dict[str, Any]) -> object:
        require_known(ask, request)
        return make(request)

    return answer


def require_known(ask: str, request: Mapping[str, Any]) -> None:
    """Raises ValueError for a key that this request has not, or a value of another type."""
    from xflowd.watching.document import REQUESTS  # noqa: PLC0415 - most routers are never asked

    known = REQUESTS[ask]
    for key, value in request.items():
        if key == "ask":
            continue
        if key not in known:
            raise ValueError(f"unknown key {shown(key)}: {nearest(key, known) if known else 'it takes none'}")
        kind = known[key]
        # JSON has numbers of one kind: 2 is as good as 2.0. In Python True is a number too, which it is not here.
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ValueError(f"{key}: {_EXPECTED[kind]} is expected")
