"""The dashboards are what their source draws, name what exists, and fit on the page."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.dashboards.all import DASHBOARDS
from tests.monitoring.dashboards.drawing import Number
from tests.monitoring.reading import DASHBOARDS as FOLDER
from tests.monitoring.reading import Query, known, names, panels, queries
from tests.monitoring.tools import run

GRID = 24
UNITS = {
    "none", "short", "percent", "percentunit", "s", "d", "reqps", "cps", "ops", "bytes", "Bps", "watt", "celsius",
    "rotmhz",
}  # fmt: skip
"""Of Grafana's, those that are used. One that it does not know would be shown as a word."""


def drawn(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return document


def test_the_files_are_what_their_source_draws() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(DASHBOARDS)
    for name, dashboard in DASHBOARDS.items():
        assert (FOLDER / f"{name}.json").read_text() == dashboard.drawn(), f"{name}: run make dashboards"


def test_every_expression_can_be_read_by_prometheus(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": query.filled()} for number, query in enumerate(queries(), start=1)
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = run("promtool", "check", "rules", "--lint=none", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rules) > 100


@pytest.mark.parametrize("query", queries(), ids=lambda query: f"{query.dashboard}: {query.panel}")
def test_the_panel_names_only_metrics_that_exist(query: Query) -> None:
    assert names(query.filled())
    assert names(query.filled()) - known() == set()
    assert "$" not in query.filled()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_panels_fit_on_the_page_and_cover_nothing(name: str) -> None:
    document = drawn(name)
    places = [panel["gridPos"] for panel in document["panels"]]
    assert all(place["x"] + place["w"] <= GRID and place["h"] > 0 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    numbers = [panel["id"] for panel in document["panels"]]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_dashboard_is_one_that_grafana_imports(name: str) -> None:
    document = drawn(name)
    assert document["uid"] == f"appliance-{name}"
    assert "id" not in document, "an id is Grafana's to give"
    assert document["schemaVersion"] >= 36
    variables = {one["name"] for one in document.get("templating", {}).get("list", ())}
    for panel in panels(document):
        assert panel["type"] in ("timeseries", "stat")
        assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        used = {part for part in ("model", "host") if any(f"${part}" in one["expr"] for one in panel["targets"])}
        assert used <= variables
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_colours_rise_to_red_where_much_is_bad_and_fall_to_it_where_little_is() -> None:
    def steps(number: Number) -> list[tuple[float | None, str]]:
        return [(step.value, step.color) for step in number.steps()]

    assert steps(Number("", "", "", 1, 5)) == [(None, "green"), (1, "orange"), (5, "red")]
    assert steps(Number("", "", "", 0.5, 0.1, low=True)) == [(None, "red"), (0.1, "orange"), (0.5, "green")]
    assert steps(Number("", "", "")) == [(None, "green")]
