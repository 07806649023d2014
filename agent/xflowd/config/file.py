"""A configuration as it lies on the disk: which file, its text, and in which of the two forms it is written."""

from __future__ import annotations

import os
import re
import stat

from xflowd.config.problem import ConfigError, Problem

DEFAULT, DEFAULT_UCI = "/etc/xflowd.conf", "/etc/config/xflowd"
MAXIMUM_OCTETS = 1 << 20  # no configuration is as long: whatever is longer was meant to be something else
_CONTROL = re.compile("[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")  # all but blanks and ends of lines
#: What the first line begins with that is a title of INI, or a command of UCI; libuci knows each by one letter too.
_FORM = re.compile(r"^[ \t\r]*(?:\[|(config|package|option|list|[cpol](?![ \t]*=))[ \t])", re.MULTILINE)


def default_file(root: str = "") -> str:
    """The file to read where none is named: /etc/xflowd.conf, or OpenWrt's /etc/config/xflowd where only that is."""
    only_uci = os.path.exists(root + DEFAULT_UCI) and not os.path.exists(root + DEFAULT)
    return root + (DEFAULT_UCI if only_uci else DEFAULT)


def is_uci(text: str) -> bool:
    """Whether the text of a configuration is UCI; what looks like neither form is read as INI."""
    found = _FORM.search(text)
    return found is not None and found[1] is not None


def read_text(file: str) -> str:
    """The text of a file; raises ConfigError, and nothing else, where it is none that can be read."""
    try:
        with open(file, "rb", opener=_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):  # one that never ends, or is gone at a SIGHUP
                raise ConfigError([Problem(file, "is not a regular file", "name a configuration file")])
            octets = stream.read(MAXIMUM_OCTETS + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        problem = Problem(file, f"cannot be read ({reason})", "check the path and its permissions")
        raise ConfigError([problem]) from error
    if len(octets) > MAXIMUM_OCTETS:
        raise ConfigError([Problem(file, "is longer than 1 MiB", "name a configuration file")])
    return _decoded(octets, file)


def _without_waiting(path: str, flags: int) -> int:
    """Opening a FIFO waits until somebody writes to it, for ever perhaps."""
    return os.open(path, flags | os.O_NONBLOCK)


def _decoded(octets: bytes, file: str) -> str:
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        what = f"octet 0x{octets[error.start]:02x} is not UTF-8"
        raise ConfigError([Problem(f"{file}:{line}", what, "save the file as UTF-8 text")]) from error
    wrong = _CONTROL.search(text)
    if wrong:
        line = text.count("\n", 0, wrong.start()) + 1
        problem = Problem(f"{file}:{line}", f"has a control character, {wrong[0]!r}", "save the file as UTF-8 text")
        raise ConfigError([problem])
    return text
