"""Proves that docs/coming-from.md has every option of softflowd's and every key of nfprobe's, as they tell them."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xflowd.commands.strange import SOFTFLOWD

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "coming-from.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
KEYS = Path("/usr/share/doc/pmacct/CONFIG-KEYS.gz")


def first_cells(section: str) -> str:
    return "\n".join(
        line.split("|")[1] for line in SECTIONS[section].replace(r"\|", "/").splitlines() if line[:1] == "|"
    )


def test_softflowd() -> None:
    told = subprocess.run(["softflowd", "-h"], capture_output=True, text=True, check=False, timeout=10)
    usage = told.stdout + told.stderr
    options = set(re.findall(r"^  (-\w)\b", usage, re.MULTILINE)) - {"-h"}
    timeouts = set(re.findall(r"\b(\w+(?:\.\w+)?)\s+\(default +\d+\)", usage.partition("Valid timeout")[2]))
    assert {"-i", "-T", "-x"} <= options
    assert timeouts == {"tcp", "tcp.rst", "tcp.fin", "udp", "icmp", "general", "maxlife", "expint"}
    cells = first_cells("softflowd")
    assert [option for option in sorted(options) if not re.search(rf"`{option}\b", cells)] == []
    assert [name for name in sorted(timeouts) if not re.search(rf"[` ]{re.escape(name)}=`", cells)] == []


def test_each_option_of_softflowd_that_is_none_here_is_answered() -> None:
    """By the command line, where it is given out of habit."""
    told = set(re.findall(r"`(-\w)\b", first_cells("softflowd")))
    usage = subprocess.run(
        [sys.executable, "-m", "xflowd", "run", "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    ours = set(re.findall(r"(?<![\w-])(-\w)\b", usage.partition("examples:")[0]))
    assert {"-i", "-n", "-c"} <= ours
    assert told - ours == set(SOFTFLOWD)


def test_nfprobe() -> None:
    if not KEYS.exists():
        pytest.skip(f"no {KEYS}: this system leaves out the documents of its packages")
    text = gzip.decompress(KEYS.read_bytes()).decode()
    keys = set(re.findall(r"\bnfprobe_\w+", "\n".join(re.findall(r"^KEY:(.*)$", text, re.MULTILINE))))
    assert "nfprobe_receiver" in keys
    assert [key for key in sorted(keys) if f"`{key}`" not in first_cells("pmacctd, with nfprobe")] == []
