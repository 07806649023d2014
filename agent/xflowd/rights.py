"""What the agent may do: what it has to be allowed to begin with, and what it gives up before it meets the network."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from xflowd.config import Config
from xflowd.config.schema import Agent
from xflowd.edge import privileges, regular
from xflowd.edge.pins import Pins
from xflowd.settings import StartError
from xflowd.systems import fault


def require(config: Config) -> None:
    """What need not be begun to see that it would fail. Raises StartError."""
    try:
        privileges.require()
        if config.meter.as_table:
            regular.opened(Path(config.meter.as_table)).close()
    except privileges.PrivilegeError as error:
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(f"[meter] as_table: {fault(error)}") from None


def lessen_rights(agent: Agent, pins: Pins | None, paths: Iterable[Path]) -> None:
    """What is pinned and these paths belong to the user from now on, so that the agent can clean up after itself.

    To root too, where no user is named: without its rights it may not open what another user's agent has left.
    Raises StartError.
    """
    user = agent.user or None
    try:
        owner = privileges.owner(user)
        if os.geteuid() == 0:
            if pins:
                pins.give_to(*owner)
            for path in paths:
                os.chown(path, *owner)
        privileges.drop(user)
    except privileges.PrivilegeError as error:  # it says its place
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(f"[agent] user: {error}") from None
