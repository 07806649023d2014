"""A configuration from a file of either form."""

from __future__ import annotations

import os

from xflowd.config.check import check
from xflowd.config.entries import Section
from xflowd.config.file import is_uci, read_text
from xflowd.config.ini import read_ini
from xflowd.config.problem import Problem
from xflowd.config.schema import Config
from xflowd.config.uci import read_uci


def load(path: str | os.PathLike[str]) -> Config:
    """The checked configuration of a file, INI or UCI; raises ConfigError, and nothing else, with all its problems."""
    return check(*read(path))


def read(path: str | os.PathLike[str]) -> tuple[list[Section], list[Problem]]:
    """The sections of a file as they stand there, and what cannot be read; raises ConfigError where nothing can."""
    file = os.fspath(path)
    text = read_text(file)
    return read_uci(text, file) if is_uci(text) else read_ini(text, file)
