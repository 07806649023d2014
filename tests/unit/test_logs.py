"""Proves that an event is one line, with its priority where somebody asks for that, and never twice in a minute."""

from __future__ import annotations

import io
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xflowd import logs
from xflowd.notices import Notice, Repeats

SECOND = 10**9
NEWS = logging.getLogger("xflowd.test")


@pytest.fixture
def syslog(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "log"))
        listening.settimeout(5)
        yield listening


# Repeats


def test_what_is_repeated_is_told_once_a_minute_and_how_often() -> None:
    repeats: Repeats[str] = Repeats()
    told, summed = [], []
    for second in range(200):
        kept = repeats.admit("down", second * SECOND + 1)
        if kept is not None:
            told.append((second, kept))
        summed += [(second, count) for _, count in repeats.due(second * SECOND)]
    assert told == [(0, 0), (60, 59), (120, 59), (180, 59)]
    assert summed == []


def test_what_is_not_repeated_any_more_is_summed_up() -> None:
    repeats: Repeats[str] = Repeats()
    kept = [repeats.admit("down", second * SECOND) for second in range(10)]
    assert kept == [0] + [None] * 9
    assert list(repeats.due(60 * SECOND - 1)) == []
    assert list(repeats.due(60 * SECOND)) == [("down", 9)]
    assert repeats.admit("down", 61 * SECOND) is None, "that was telling it"


def test_other_things_and_other_minutes_are_told() -> None:
    repeats: Repeats[str] = Repeats()
    assert repeats.admit("down", 0) == 0
    assert repeats.admit("up", 1) == 0
    assert repeats.admit("down", 60 * SECOND) == 0
    assert list(repeats.due(10**6 * SECOND)) == [], "what was not kept back is not summed up"


def test_a_clock_that_starts_at_0_is_no_repetition() -> None:
    assert Repeats[str]().admit("first", 0) == 0


def test_what_is_remembered_has_a_limit() -> None:
    repeats: Repeats[int] = Repeats()
    assert all(repeats.admit(number, 1) == 0 for number in range(100_000))
    assert len(repeats._told) <= 1_000
    assert repeats.admit(99_999, 2) is None


# One line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("metering lan", "metering lan"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("umlaut ü, arrow →", "umlaut ü, arrow →"),
        ("half a pair \ud800", "half a pair \\ud800"),
        ("turned \u202e around", "turned \\u202e around"),
    ],
)
def test_a_line_is_one_and_harmless(text: str, line: str) -> None:
    stream = io.StringIO()
    logs.begin(stream, {})
    NEWS.warning("%s", text, extra=logs.ANSWER)
    assert stream.getvalue() == f"{line}\n"


def test_a_fault_is_one_line_with_its_places() -> None:
    stream = io.StringIO()
    logs.begin(stream, {})
    try:
        raise KeyError("slots\n")
    except KeyError:
        NEWS.exception("a sink failed")
    text = stream.getvalue()
    assert text.startswith("a sink failed: KeyError: 'slots\\n' (test_logs.py:")
    assert text.count("\n") == 1


def test_the_same_line_is_kept_back_whoever_says_it() -> None:
    stream = io.StringIO()
    logs.begin(stream, {})
    for _ in range(1_000):
        NEWS.warning("collector %s: down, %s", "filtered in full", 1)
        NEWS.warning("an answer", extra=logs.ANSWER)
    assert stream.getvalue().count("down") == 1
    assert stream.getvalue().count("an answer") == 1_000
    logs.catch_up(2**62)
    assert "collector filtered in full: down, 1 (999 times more in the last minute)\n" in stream.getvalue()


def test_what_was_kept_back_is_told_where_it_was_kept_back() -> None:
    """Not to whoever else listens, nor where logging began anew."""
    first, second = io.StringIO(), io.StringIO()
    logs.begin(first, {})
    for _ in range(2):
        NEWS.warning("down")
    logs.begin(second, {})
    other = logging.StreamHandler(second)
    logging.getLogger().addHandler(other)
    logs.catch_up(2**62)
    assert (first.getvalue(), second.getvalue()) == ("down\n", "")


def test_a_minute_goes_on_where_logging_goes_over_to_syslog(syslog: socket.socket) -> None:
    stream = io.StringIO()
    logs.begin(stream, {})
    NEWS.warning("down")
    logs.to_syslog(Path(syslog.getsockname()))
    NEWS.warning("down")
    logs.catch_up(2**62)
    assert syslog.recv(1000).decode().endswith("down (once more in the last minute)")
    assert stream.getvalue() == "down\n"


# Where to


def test_the_journal_gets_priorities(tmp_path: Path) -> None:
    """Only where it is what reads standard error: a variable that was inherited means nothing."""
    with (tmp_path / "stream").open("w+") as stream:
        status = os.fstat(stream.fileno())
        for identity in (f"{status.st_dev}:{status.st_ino}", f"{status.st_dev}:{status.st_ino + 1}"):
            logs.begin(stream, {"JOURNAL_STREAM": identity})
            for level in (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO):
                NEWS.log(level, "at %d", level, extra=logs.ANSWER)
            logs.fail("the end")
        stream.seek(0)
        lines = stream.read().splitlines()
    assert lines[:5] == ["<2>at 50", "<3>at 40", "<4>at 30", "<6>at 20", "<3>the end"]
    assert lines[5:] == ["at 50", "at 40", "at 30", "at 20", "xflowd: the end"]


def test_syslog_gets_facility_severity_and_who_speaks(syslog: socket.socket) -> None:
    logs.begin(io.StringIO(), {})
    logs.to_syslog(Path(syslog.getsockname()))
    NEWS.error("a fault\nof two lines")
    logs.fail("the end")
    who = f"xflowd[{os.getpid()}]"
    assert syslog.recv(1000).decode() == f"<27>{who}: a fault\\nof two lines"  # daemon 3 * 8, error 3
    assert syslog.recv(1000).decode() == f"<27>{who}: the end"
    NEWS.info("news")
    assert syslog.recv(1000).decode().startswith("<30>")


def test_what_syslog_does_not_take_goes_to_standard_error(syslog: socket.socket) -> None:
    """It hangs, it is gone, it is there again: no line waits and none is lost."""
    stream, path = io.StringIO(), Path(syslog.getsockname())
    logs.begin(stream, {})
    logs.to_syslog(path)
    for number in range(10_000):
        NEWS.info("line %d.", number)
    told = stream.getvalue().splitlines()
    assert told[-1] == "line 9999."
    read = 10_000 - len(told)
    assert syslog.recv(1000).decode().endswith("line 0.")
    assert [syslog.recv(1000) for _ in range(read - 1)][-1].decode().endswith(f"line {read - 1}.")

    path.unlink()
    syslog.close()
    NEWS.info("nobody is there")
    assert stream.getvalue().endswith("nobody is there\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(path))
        again.settimeout(5)
        NEWS.info("somebody is there")
        assert again.recv(1000).decode().endswith("somebody is there")


def test_no_syslog_at_all(tmp_path: Path) -> None:
    logs.begin(io.StringIO(), {})
    with pytest.raises(FileNotFoundError):
        logs.to_syslog(tmp_path / "log")


def test_a_fault_of_the_agent_is_one_line_for_the_journal(tmp_path: Path) -> None:
    """On a terminal it stays Python's own traceback."""
    script = "from xflowd import logs\nlogs.begin()\nraise RuntimeError('broken\\nin two')"
    path = tmp_path / "stderr"
    with path.open("w") as stream:
        status = os.fstat(stream.fileno())
        journal = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        subprocess.run([sys.executable, "-c", script], stderr=stream, env=journal, check=False, timeout=30)
    text = path.read_text()
    assert text == "<2>ended by a fault of its own: RuntimeError: broken\\nin two (<string>:3 <module>)\n"


def test_good_news_has_no_warning_s_priority(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w+") as stream:
        status = os.fstat(stream.fileno())
        logs.begin(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        Notice().tell("buffer full", 0)
        Notice(logging.INFO).tell("sending again", 0)
        stream.seek(0)
        assert stream.read() == "<4>buffer full\n<6>sending again\n"
