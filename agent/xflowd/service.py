"""`xflowd run`: from the command line to an agent that meters, which a service tries for until it can."""

from __future__ import annotations

import faulthandler
import gc
import logging
import select
import time
from collections.abc import Callable, Iterator
from functools import partial

from xflowd import logs
from xflowd.config import Config, ConfigError
from xflowd.config.schema import Log
from xflowd.daemon import Agent
from xflowd.edge import privileges
from xflowd.edge.clock import TimeNamespaceError, require_host_time
from xflowd.edge.notify import Supervisor
from xflowd.edge.signals import Signals
from xflowd.lasting import TakenError
from xflowd.settings import StartError

log = logging.getLogger(__name__)

_TRY_AGAIN_SECONDS = 1.0


def run(config: Config, reread: Callable[[], Config], style: str) -> int:
    """Run until told to stop; the exit code."""
    supervisor = Supervisor()
    if not config.agent.enabled:
        logs.fail("enabled = 0 in [agent]: nothing is metered")
        return 2 if supervisor.is_there else 0  # which a service is not started again after
    if supervisor.is_there:
        faulthandler.enable()  # where it was stuck, when a watchdog aborts it
    with Signals() as signals:
        try:
            _log_to(config.agent.log)
            require_host_time()
            start = partial(Agent, reread=reread, style=style, supervisor=supervisor)
            agent = _started(start, _configurations(config, reread), supervisor, signals)
        except (StartError, TakenError, TimeNamespaceError) as error:
            logs.fail(error)
            return 1 if supervisor.is_there and privileges.are_lessened() else 2
        if agent is None:
            return 1
        agent.run(signals)
        agent.sinks.require_written()
    return 0


def _log_to(where: Log) -> None:
    if where is Log.STDERR:
        return
    try:
        logs.to_syslog()
    except OSError as error:
        mend = "start a syslog daemon, or set it to stderr"
        raise StartError(f"[agent] log = syslog: {logs.DEV_LOG}: {error.strerror}; {mend}") from None


def _configurations(first: Config, reread: Callable[[], Config]) -> Iterator[Callable[[], Config]]:
    """How to come by the configuration of each try: what was wrong may have been mended in the file meanwhile."""
    yield lambda: first
    while True:
        yield reread


def _started(
    start: Callable[[Config], Agent],
    configurations: Iterator[Callable[[], Config]],
    supervisor: Supervisor,
    signals: Signals,
) -> Agent | None:
    """An agent. As a service it tries until it can, for interfaces come late at boot; None: it was told to stop.

    It tries once in any case: what one before it has left is to be cleaned up. When it has given up rights it cannot
    try again: the service manager starts another process.
    """
    for configuration in configurations:
        try:
            return start(_enabled(configuration()))
        except (StartError, TakenError, OSError, ConfigError) as error:
            if not supervisor.is_there or privileges.are_lessened():
                raise
            supervisor.status(f"waiting: {error}")
            log.error("%s; trying again each second", str(error).replace("\n", "; "))
        gc.collect()  # maps stay mapped as long as what read them, and that goes round in circles
        logs.catch_up(time.monotonic_ns())
        select.select([signals], [], [], _TRY_AGAIN_SECONDS)
        signals.drain()
        if signals.stop:
            break
    return None


def _enabled(config: Config) -> Config:
    """Of a try: the configuration may say by now that nothing is to be metered."""
    if not config.agent.enabled:
        raise StartError("enabled = 0 in [agent]: nothing is metered")
    return config
