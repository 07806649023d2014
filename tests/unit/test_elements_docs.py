"""Proves that docs/elements.md and `xflowd elements` say of each element what the catalogue says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from xflowd import listing
from xflowd.cli import main
from xflowd.exporting.catalogue import OFFERED

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "elements.md").read_text()
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| `")]
WORDS = {"netflow5": "v5", "netflow9": "v9", "ipfix": "IPFIX"}


def test_the_page_has_every_element_in_order() -> None:
    assert [row[0].strip("`") for row in ROWS] == list(OFFERED)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_says_what_is_so(row: list[str]) -> None:
    name, number, octets, default, _, meaning = row
    offered = OFFERED[name.strip("`")]
    assert (number, octets) == (str(offered.element.number), str(offered.octets))
    assert default == ", ".join(WORDS[protocol] for protocol in listing.in_default(offered.name))
    assert meaning == offered.element.meaning


def test_elements_stand_in_their_part_of_the_page() -> None:
    parts = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
    for offered in OFFERED.values():
        title = {"": "Always there", "mpls": "MPLS", "tcp": "TCP", "tcp counts": "TCP counts"}
        group = listing.group(offered)
        assert f"| `{offered.name}` |" in parts[title.get(group, group.capitalize())]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_table_fits_and_has_every_element(width: int) -> None:
    lines = list(listing.table(width))
    assert max(map(len, lines)) <= width
    column = lines[0].index("meaning")
    rows = {line.split()[0]: line for line in lines if line and line.split()[0] in OFFERED}
    assert list(rows) == list(OFFERED)
    for name, line in rows.items():
        assert line.split()[1:3] == [str(OFFERED[name].element.number), str(OFFERED[name].octets)]
        assert line[column - 1] == " " != line[column]


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["elements"]) == 0
    assert capsys.readouterr().out.startswith("element ")
    assert main(["elements", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in told] == list(OFFERED)
    by_name = {each["name"]: each for each in told}
    assert by_name["minimumTTL"] == {
        "name": "minimumTTL",
        "number": 52,
        "type": "unsigned8",
        "octets": 1,
        "ip_versions": [4, 6],
        "counterpart": None,
        "default_in": ["netflow9"],
        "needs": None,
        "meaning": "lowest TTL or hop limit",
    }
    assert by_name["sourceIPv4Address"]["counterpart"] == "sourceIPv6Address"
    assert by_name["tcpSynTotalCount"]["needs"] == "tcp counts"
    assert by_name["octetDeltaCount"]["default_in"] == ["netflow5", "netflow9", "ipfix"]
