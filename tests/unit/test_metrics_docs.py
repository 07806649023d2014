"""Proves that docs/metrics.md has every metric as it is, and that the dashboard shows each of them and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xflowd.config import load
from xflowd.metrics import METRICS, Metric

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((ROOT / "packaging" / "grafana" / "xflowd.json").read_text())
ROW = re.compile(r"^\| `((?:xflowd|process)_\w+)` \| (\w+) \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
NAME = re.compile(r"\b(?:xflowd|process)_\w+")
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


def rows() -> Iterator[Metric]:
    for name, kind, labels, unit, meaning in ROW.findall(PAGE):
        yield Metric(name, kind, unit.strip(), meaning, tuple(re.findall(r"`(\w+)`", labels)))


def test_the_page_has_each_metric_in_order() -> None:
    assert list(rows()) == list(METRICS.values())


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_names_are_prometheus_own(metric: Metric) -> None:
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.kind in ("counter", "gauge")
    suffixes = {"octets": "_bytes", "seconds": "_seconds", "0 to 1": "_ratio"}
    if metric.unit in suffixes:
        assert suffixes[metric.unit] in metric.name
    if metric.name.endswith("_info"):
        assert metric.labels


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    shown = {name for _, expression in EXPRESSIONS for name in NAME.findall(expression)}
    assert shown == METRICS.keys()


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_labels_and_variables_of_expressions_are_there(title: str, expression: str) -> None:
    for name, matchers in re.findall(r"((?:xflowd|process)_\w+)\{(.*?)\}", expression):
        used = set(re.findall(r"(\w+)\s*(?:=~|=|!=|!~)", matchers))
        assert used <= {*METRICS[name].labels, "instance"}, title
    for grouped, name in re.findall(r"by \(([\w, ]+)\) \((?:rate|increase)?\(?((?:xflowd|process)_\w+)", expression):
        assert set(grouped.split(", ")) <= {*METRICS[name].labels, "instance"}, title
    assert set(re.findall(r"\$(\w+)", expression)) <= VARIABLES.keys() | {"__rate_interval"}
    counters = [name for name in NAME.findall(expression) if METRICS[name].kind == "counter"]
    if counters and title != "The equation":
        assert re.search(r"\b(?:rate|increase)\(", expression), "a counter as it is says nothing"


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_legends_have_labels_that_the_series_have(title: str, expression: str) -> None:
    (legend,) = (
        one["legendFormat"]
        for panel in PANELS
        for one in panel["targets"]
        if one["expr"] == expression and panel["title"] == title
    )
    labels = {label for name in NAME.findall(expression) for label in METRICS[name].labels} | {"instance"}
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels


def test_the_alerts_of_the_page_ask_for_what_there_is() -> None:
    (rules,) = re.findall(r"```yaml\n(groups:.*?)```", PAGE, re.DOTALL)
    assert rules.count("- alert:") == rules.count("expr:") == 5
    assert set(NAME.findall(rules)) < METRICS.keys()
    for name, matchers in re.findall(r"(xflowd_\w+)\{(.*?)\}", rules):
        assert set(re.findall(r"(\w+)=~", matchers)) <= set(METRICS[name].labels)
    for labels, name in re.findall(r"by \(([\w, ]+)\) \((?:rate|increase)\((\w+)", rules):
        assert set(labels.split(", ")) <= {*METRICS[name].labels, "instance"}


def test_each_panel_asks_the_data_source_that_is_chosen() -> None:
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["description"]
    assert VARIABLES["datasource"]["query"] == "prometheus"
    assert {"instance", "interface", "collector"} < VARIABLES.keys()


@pytest.mark.parametrize("panel", [one for one in PANELS if one["type"] == "table"], ids=lambda one: one["title"])
def test_tables_show_the_answers_to_all_their_queries(panel: dict[str, Any]) -> None:
    """A table shows one of several answers, until they are merged; then each has a column for its value."""
    steps = {one["id"]: one["options"] for one in panel["transformations"]}
    left_out = {name for name, is_out in steps["organize"]["excludeByName"].items() if is_out}
    if len(panel["targets"]) > 1:
        assert list(steps) == ["merge", "organize"]
        assert {f"Value #{target['refId']}" for target in panel["targets"]} <= left_out
    assert {"Time", "Value", "__name__"} <= left_out


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in own) < 24
        assert not own & cells, panel["title"]
        cells |= own


def test_the_example_of_the_page_is_a_configuration(tmp_path: Path) -> None:
    (example,) = re.findall(r"```ini\n(\[metrics\].*?)```", PAGE, re.DOTALL)
    (tmp_path / "xflowd.conf").write_text(example)
    assert str(load(tmp_path / "xflowd.conf").metrics.listen) == "127.0.0.1:9995"
