"""What there is: rules, alerts, the panels of dashboards, and the metrics that they may name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from appliance.gateway.metrics import DirectoryMetrics, GatewayMetrics
from appliance.web.metrics import SiteMetrics
from appliance.worker.metrics import WorkerMetrics
from serving.client.published import Directory
from serving.partner.metrics import PartnerMetrics

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "configs/prometheus/rules"
DASHBOARDS = ROOT / "configs/grafana"
METRICS = Path(__file__).parent / "metrics"
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}
BACKUPS = ("appliance_backup_last_success_timestamp_seconds", "appliance_backup_ok")
"""Written by `appliance backup check` for the node exporter."""

WORDS = {
    "and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool", "inf",
    "nan",
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """``alert`` or ``record`` is its name; ``document`` is what the file says."""

    file: Path
    document: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.document.get("alert") or self.document["record"])

    @property
    def expr(self) -> str:
        return str(self.document["expr"])

    @property
    def is_alert(self) -> bool:
        return "alert" in self.document


@cache
def rules() -> tuple[Rule, ...]:
    return tuple(
        Rule(file, rule)
        for file in sorted(RULES.glob("*.yaml"))
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    )


@cache
def alerts() -> tuple[Rule, ...]:
    return tuple(rule for rule in rules() if rule.is_alert)


@dataclass(frozen=True)
class Query:
    """One line of a panel."""

    dashboard: str
    panel: str
    expr: str

    def filled(self) -> str:
        """With what Grafana puts in the place of its variables."""
        return re.sub(r"\$__rate_interval", "5m", re.sub(r"\$(model|host)\b", ".*", self.expr))


@cache
def queries() -> tuple[Query, ...]:
    return tuple(
        Query(file.stem, str(panel["title"]), str(target["expr"]))
        for file in sorted(DASHBOARDS.glob("*.json"))
        for panel in panels(json.loads(file.read_text()))
        for target in panel["targets"]
    )


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that show something."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", ())
        else:
            yield panel


def names(expr: str) -> set[str]:
    """The metrics that an expression names."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expr)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\boffset\s+\w+", "", bare)
    found = re.findall(r"(?<![\w:])[A-Za-z_:][\w:]*(?!\s*\(|[\w:])", bare)
    return {one for one in found if one.lower() not in WORDS}


@cache
def ours() -> frozenset[str]:
    """The series of our own processes, from the code that makes them."""
    registry = CollectorRegistry()
    for metrics in (GatewayMetrics, WorkerMetrics, SiteMetrics, PartnerMetrics):
        metrics(registry)
    registry.register(DirectoryMetrics(Directory(ROOT / "nobody published it")))
    made = {
        metric.name + suffix for metric in registry.collect() for suffix in SUFFIXES.get(metric.type, ("",))
    }  # fmt: skip
    return frozenset(made | set(BACKUPS))


@cache
def others() -> frozenset[str]:
    """Those of others, as they were seen at run time, and what DCGM's exporter is told to give."""
    seen = {line.split("#")[0].strip() for file in METRICS.glob("*.txt") for line in file.read_text().splitlines()}
    counters = (ROOT / "configs/prometheus/dcgm-counters.csv").read_text().splitlines()
    gpu = {line.split(",")[0] for line in counters if line and not line.startswith("#")}
    return frozenset((seen - {""}) | gpu | {"up", "ALERTS"})


@cache
def recorded() -> frozenset[str]:
    return frozenset(rule.name for rule in rules() if not rule.is_alert)


@cache
def known() -> frozenset[str]:
    return ours() | others() | recorded()
