"""Proves that the file of AS numbers is read again when it is another one, and only then."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from xflowd.metering.flow import FLOW
from xflowd.systems import Systems

OFFICE, HOME = "192.0.2.0/24 64496\n", "192.0.2.0/24 64497\n"


def number(systems: Systems) -> int:
    """What a flow from 192.0.2.1 is told to come from."""
    flows = np.zeros(1, FLOW)
    flows["ip_version"] = 4
    flows["source_address"][0, :4] = (192, 0, 2, 1)
    systems.fill(flows)
    return int(flows["bgp_source_as_number"][0])


def wait_for(systems: Systems, wanted: int) -> None:
    until = time.monotonic() + 10
    while number(systems) != wanted and time.monotonic() < until:
        time.sleep(0.01)
    assert number(systems) == wanted


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "as_table"
    path.write_text(OFFICE)
    return path


def test_an_unchanged_file_is_left_alone(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systems = Systems()
    systems.load(str(table))
    assert number(systems) == 64496
    with monkeypatch.context() as nobody_reads:
        nobody_reads.setattr("threading.Thread", None)
        systems.reload(str(table))
    assert number(systems) == 64496


@pytest.mark.parametrize("way", ["written", "renamed"])
def test_another_file_is_read(table: Path, way: str) -> None:
    systems = Systems()
    systems.load(str(table))
    before = table.stat()
    if way == "written":
        table.write_text(HOME)
        os.utime(table, ns=(0, before.st_mtime_ns + 1))
    else:
        new = table.with_suffix(".new")
        new.write_text(HOME)
        os.utime(new, ns=(0, before.st_mtime_ns))
        new.rename(table)
    systems.reload(str(table))
    wait_for(systems, 64497)
    systems.reload("")
    assert number(systems) == 0
    systems.reload(str(table))
    wait_for(systems, 64497)


def test_one_that_goes_and_comes_back(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    systems, away = Systems(), table.with_suffix(".away")
    systems.load(str(table))
    table.rename(away)
    systems.reload(str(table))
    until = time.monotonic() + 10
    while "not read again" not in caplog.text and time.monotonic() < until:
        time.sleep(0.01)
    assert "as_table not read again, going on as before" in caplog.text
    assert number(systems) == 64496
