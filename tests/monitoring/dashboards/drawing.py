"""Panels and dashboards in a few words, and what Grafana calls them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as build_common
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
"""By the name that the role ``grafana`` gives it."""

GREEN, ORANGE, RED = "green", "orange", "red"
TAG = "appliance"


@dataclass(frozen=True)
class Graph:
    """Lines over time: each an expression and how it is called. ``unit`` is Grafana's name for it."""

    title: str
    unit: str
    lines: Sequence[tuple[str, str]]
    about: str = ""
    width: int = 8
    stacked: bool = False
    most: float | None = None

    def drawn(self) -> timeseries.Panel:
        panel = timeseries.Panel().title(self.title).description(self.about).unit(self.unit).min(0)
        panel = panel.datasource(PROMETHEUS).span(self.width).height(8).fill_opacity(10 if self.stacked else 0)
        legend = build_common.VizLegendOptions().show_legend(show_legend=True)
        panel = panel.legend(legend.display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM))
        panel = panel.tooltip(build_common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        if self.stacked:
            panel = panel.stacking(build_common.StackingConfig().mode(StackingMode.NORMAL))
        if self.most is not None:
            panel = panel.max(self.most)
        for number, (expr, name) in enumerate(self.lines):
            panel = panel.with_target(_query(expr, name, number))
        return panel


@dataclass(frozen=True)
class Number:
    """What it is now. It is orange from ``warn`` and red from ``alarm``; below them where ``low`` is bad."""

    title: str
    unit: str
    expr: str
    warn: float | None = None
    alarm: float | None = None
    low: bool = False
    name: str = ""
    about: str = ""
    width: int = 4

    def drawn(self) -> stat.Panel:
        panel = stat.Panel().title(self.title).description(self.about).unit(self.unit)
        panel = panel.datasource(PROMETHEUS).span(self.width).height(4).no_value("none")
        panel = panel.graph_mode(BigValueGraphMode.AREA).color_mode(BigValueColorMode.VALUE)
        panel = panel.reduce_options(build_common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
        steps = build.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(self.steps())
        return panel.thresholds(steps).with_target(_query(self.expr, self.name, 0))

    def steps(self) -> list[Threshold]:
        bounds = [(self.warn, ORANGE), (self.alarm, RED)]
        given = [(value, colour) for value, colour in bounds if value is not None]
        if not self.low:
            return [Threshold(None, GREEN), *(Threshold(value, colour) for value, colour in given)]
        rising = sorted(given)
        colours = [*(colour for _, colour in rising), GREEN]
        return [
            Threshold(value, colour)
            for value, colour in zip([None, *(v for v, _ in rising)], colours, strict=True)
        ]


@dataclass(frozen=True)
class Choice:
    """A list above the dashboard: ``$name`` in expressions, the values of a metric's label."""

    name: str
    label: str
    metric: str
    of: str


@dataclass(frozen=True)
class Dashboard:
    name: str
    title: str
    about: str
    rows: Sequence[tuple[str, Sequence[Graph | Number]]]
    choices: Sequence[Choice] = ()

    def drawn(self) -> str:
        """As Grafana imports it."""
        made = build.Dashboard(self.title).uid(f"{TAG}-{self.name}").description(self.about).tags([TAG])
        made = made.time("now-6h", "now").refresh("1m").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
        others = build.DashboardLink("Dashboards").type(DashboardLinkType.DASHBOARDS).tags([TAG])
        made = made.link(others.as_dropdown(as_dropdown=True).keep_time(keep_time=True)).readonly()
        for choice in self.choices:
            made = made.with_variable(_variable(choice))
        number = 0
        for title, panels in self.rows:
            number += 1
            made = made.with_row(build.Row(title).id(number))
            for panel in panels:
                number += 1
                made = made.with_panel(panel.drawn().id(number))
        return json.dumps(made.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _query(expr: str, name: str, number: int) -> prometheus.Dataquery:
    query = (
        prometheus.Dataquery().expr(" ".join(expr.split())).ref_id(chr(ord("A") + number)).datasource(PROMETHEUS)
    )
    return query.legend_format(name).range() if name else query.range()


def _variable(choice: Choice) -> build.QueryVariable:
    variable = build.QueryVariable(choice.name).label(choice.label).datasource(PROMETHEUS)
    variable = variable.query(f"label_values({choice.metric}, {choice.of})").refresh(
        VariableRefresh.ON_TIME_RANGE_CHANGED
    )
    variable = variable.sort(VariableSort.ALPHABETICAL_ASC).multi(multi=True)
    return variable.include_all(include_all=True).all_value(".*")
