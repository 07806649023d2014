"""Which interfaces a list of names and globs means."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable


def is_pattern(name: str) -> bool:
    """Whether a name of the configuration is a glob, which can mean any number of interfaces."""
    return any(sign in name for sign in "*?[")


def matching(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """The names that any pattern matches, each once, in the order of `names`. Case counts, as for Linux."""
    wanted = list(patterns)
    return [name for name in dict.fromkeys(names) if any(fnmatch.fnmatchcase(name, one) for one in wanted)]


def unmatched(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """The patterns that match no name: worth a warning, since an interface may come later."""
    known = list(names)
    return [pattern for pattern in dict.fromkeys(patterns) if not matching([pattern], known)]
