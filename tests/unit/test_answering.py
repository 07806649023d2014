"""Proves that a request with anything misspelt is refused, before it does what was not meant."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from xflowd.answering import answers, require_known
from xflowd.edge.control import Steering
from xflowd.watching.document import REQUESTS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text()
EXAMPLES = [json.loads(line) for line in re.findall(r"^\| `(\{.*?\})` \|", PAGE, re.M)]

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"ask": "flush", "fliter": "port 1"}, "unknown key fliter: did you mean filter?"),
    ({"ask": "flush", "Filter": "port 1"}, "unknown key Filter: did you mean filter?"),
    ({"ask": "flush", "xyz": 1}, "unknown key xyz: known are filter, begun_by_ns"),
    ({"ask": "flush", "a\x1b[2J": 1}, "unknown key a\\x1b[2J: known are"),
    ({"ask": "status", "filter": ""}, "unknown key filter: it takes none"),
    ({"ask": "flush", "filter": None}, "filter: a text is expected"),
    ({"ask": "flush", "filter": ["port 1"]}, "filter: a text is expected"),
    ({"ask": "flush", "begun_by_ns": True}, "begun_by_ns: a whole number is expected"),
    ({"ask": "flush", "begun_by_ns": 1.0}, "begun_by_ns: a whole number is expected"),
    ({"ask": "flows", "limit": True}, "limit: a whole number is expected"),
    ({"ask": "flows", "limit": "5"}, "limit: a whole number is expected"),
    ({"ask": "flows", "smallest": "no"}, "smallest: true or false is expected"),
    ({"ask": "flows", "smallest": 0}, "smallest: true or false is expected"),
    ({"ask": "flows", "idle_below_seconds": True}, "idle_below_seconds: a number is expected"),
    ({"ask": "flows", "idle_below_seconds": "2s"}, "idle_below_seconds: a number is expected"),
    ({"ask": "templates", "name": 5}, "name: a text is expected"),
    ({"ask": "templates", "name": None}, "name: a text is expected"),
]


@pytest.mark.parametrize(("request_", "told"), WRONG, ids=[str(request) for request, _ in WRONG])
def test_what_is_misspelt_is_refused(request_: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        require_known(request_["ask"], request_)
    make = answers(cast(Any, SimpleNamespace()))[request_["ask"]]
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        (make.make if isinstance(make, Steering) else make)(request_)


def test_a_number_may_be_whole() -> None:
    for value in (2, 2.5):
        require_known("flows", {"ask": "flows", "idle_below_seconds": value})


def test_the_page_has_every_request_with_all_its_keys() -> None:
    said: dict[str, set[str]] = {}
    for request in EXAMPLES:
        require_known(request["ask"], request)
        said.setdefault(request["ask"], set()).update(request.keys() - {"ask"})
    documented = {ask: set(keys) for ask, keys in REQUESTS.items() if ask != "status"}  # which has a page of its own
    assert said == documented
    assert answers(cast(Any, SimpleNamespace())).keys() == REQUESTS.keys()
