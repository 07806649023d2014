"""Proves that a signal of the start is neither lost nor fatal, and that a SIGTERM after a SIGQUIT changes nothing."""

from __future__ import annotations

import select
import signal
from collections.abc import Iterator

import pytest

from xflowd.edge.signals import Signals


@pytest.fixture
def blocked() -> Iterator[None]:
    """As commands/run.py does before all else."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT})
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.usefixtures("blocked")
def test_a_hangup_of_the_start_waits_for_the_agent() -> None:
    signal.raise_signal(signal.SIGHUP)  # to this thread: numpy has others, which would not block it
    with Signals() as signals:
        assert select.select([signals], [], [], 1)[0], "nobody would look"
        assert signals.take_reload()
        assert not signals.take_reload()
        assert not signals.stop


@pytest.mark.parametrize(
    ("numbers", "leave"),
    [((signal.SIGTERM,), False), ((signal.SIGQUIT,), True), ((signal.SIGQUIT, signal.SIGTERM), True)],
)
def test_how_the_agent_is_to_go(numbers: tuple[signal.Signals, ...], leave: bool) -> None:
    with Signals() as signals:
        for number in numbers:
            signal.raise_signal(number)
        assert signals.stop
        assert signals.leave is leave
