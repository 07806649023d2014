"""Proves that `xflowd check --to` writes in either form what a file says, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from xflowd import cli
from xflowd.config import Config, load

INI = """[meter]
interfaces = lo, wg*
key = full, flowLabelIPv6
active_timeout = 90

[template wide-1]
elements = default, minimumTTL

[collector nas.1]
address = [2001:db8::1]:2055
protocol = netflow9
template = wide-1

[collector nas_1]
address = 192.0.2.1
enabled = 0

[collector meter]
address = 192.0.2.2

[agent]
enabled = 1
"""
UCI = """config meter 'meter'
	list interfaces 'lo'
	list interfaces 'wg*'
	option key 'full, flowLabelIPv6'
	option active_timeout '90'

config template 'wide_1'
	list elements 'default'
	list elements 'minimumTTL'

config collector 'nas_1'
	option address '[2001:db8::1]:2055'
	option protocol 'netflow9'
	option template 'wide_1'

config collector 'nas_1_2'
	option address '192.0.2.1'
	option enabled '0'

config collector 'meter_2'
	option address '192.0.2.2'

config agent 'agent'
	option enabled '1'
"""
RENAMED = """[template wide-1] is called wide_1: UCI takes letters, digits and _, and each name once
[collector nas.1] is called nas_1: UCI takes letters, digits and _, and each name once
[collector nas_1] is called nas_1_2: UCI takes letters, digits and _, and each name once
[collector meter] is called meter_2: UCI takes letters, digits and _, and each name once
"""


def translated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, form: str, code: int = 0
) -> tuple[str, list[str]]:
    """What is written, and what is told, without what this host's interfaces have to do with it."""
    (tmp_path / "file").write_text(text)
    assert cli.main(["check", "-c", f"{tmp_path}/file", "--to", form]) == code
    told = capsys.readouterr()
    lines = [line.removeprefix("xflowd: ") for line in told.err.splitlines() if "nothing matches" not in line]
    return told.out, lines


def without_names(config: Config) -> Config:
    return replace(
        config,
        collectors=tuple(replace(one, name="", template="") for one in config.collectors),
        disabled=tuple(replace(one, name="", template="") for one in config.disabled),
        templates=tuple(replace(one, name="") for one in config.templates),
    )


def test_ini_to_uci(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loose = INI.replace("lo, wg*", "lo  wg*,lo # comment").replace("= 90", "= 1m30s").replace("netflow9", "9")
    loose = loose.replace("enabled = 0", "enabled = off\nsource =")
    assert translated(tmp_path, capsys, loose, "uci") == (UCI, RENAMED.splitlines())
    before = load(tmp_path / "file")
    (tmp_path / "file").write_text(UCI)
    assert without_names(load(tmp_path / "file")) == without_names(before)


@pytest.mark.parametrize("form", ["ini", "uci"])
@pytest.mark.parametrize("text", [INI, UCI], ids=["ini", "uci"])
def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, form: str) -> None:
    once, _ = translated(tmp_path, capsys, text, form)
    other, _ = translated(tmp_path, capsys, once, "ini" if form == "uci" else "uci")
    twice, told = translated(tmp_path, capsys, other, form)
    (tmp_path / "file").write_text(text)
    if form == "ini" and text is UCI:
        assert twice == once
    assert without_names(load(tmp_path / "file")) == without_names(_loaded(tmp_path, twice))
    assert (told == []) or form == "uci"


def _loaded(tmp_path: Path, text: str) -> Config:
    (tmp_path / "again").write_text(text)
    return load(tmp_path / "again")


def test_uci_to_uci_is_canonical(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loose = UCI.replace("list interfaces 'lo'\n\tlist interfaces 'wg*'", 'option interfaces "lo wg*"')
    loose = loose.replace("'90'", "1m30s # s").replace("config agent 'agent'", "config agent").replace("'1'", "on")
    loose = loose.replace("list elements", "list element")
    assert translated(tmp_path, capsys, loose, "uci") == (UCI, [])


@pytest.mark.parametrize("path", ["/etc/a # b", "/etc/a ;b", "/etc/a "])
def test_what_ini_cannot_have(tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    text = f"config meter 'meter'\n\toption as_table '{path}'\n"
    assert translated(tmp_path, capsys, text, "uci")[0] == text if path[-1] != " " else True
    written, told = translated(tmp_path, capsys, text, "ini", 2 if path[-1] != " " else 0)
    if path[-1] == " ":  # blanks around a value are none of it
        assert written == "[meter]\nas_table = /etc/a\n"
    else:
        what = f"INI cannot have '{path}': a comment begins in it, or it ends in a blank; rename it, or use UCI"
        assert (written, told[-1:]) == ("", [f"{tmp_path}/file:2 [meter] as_table: {what}"])


def test_a_quote_in_a_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written, _ = translated(tmp_path, capsys, "[meter]\nas_table = /etc/it's\n", "uci")
    assert written == "config meter 'meter'\n\toption as_table '/etc/it'\\''s'\n"
    assert _loaded(tmp_path, written).meter.as_table == "/etc/it's"


def test_a_file_with_faults_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = f"{tmp_path}/file:2 [meter] hook: 'x' is not known; allowed are auto, xdp, tc"
    assert translated(tmp_path, capsys, "config meter\n\toption hook x\n", "ini", 2) == ("", [told])


def test_all_collectors_disabled_is_a_doubt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, told = translated(tmp_path, capsys, "config collector a\n\toption enabled 0\n", "uci")
    assert told == [f"{tmp_path}/file warning: all collectors are disabled: flows are printed, not sent"]
