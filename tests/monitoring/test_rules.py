"""Every alert fires when it should and is silent when it should be; promtool is the judge."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.reading import RULES, Rule, alerts, known, names, rules
from tests.monitoring.tools import run

CASES = Path(__file__).parent / "cases"


def cases() -> dict[str, dict[str, Any]]:
    """By the alert's name."""
    found: dict[str, dict[str, Any]] = {}
    for file in CASES.glob("*.yaml"):
        found |= yaml.safe_load(file.read_text())
    return found


def test_promtool_takes_every_file() -> None:
    done = run("promtool", "check", "rules", "--lint-fatal", *sorted(RULES.glob("*.yaml")))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_case_and_every_case_its_alert() -> None:
    assert set(cases()) == {rule.name for rule in alerts()}
    assert len(alerts()) > 70


@dataclass(frozen=True)
class Case:
    """Two stories of an alert, with the moment at which each is looked at."""

    rule: Rule
    document: dict[str, Any]

    @property
    def every(self) -> str:
        return str(self.document.get("every", "1m"))

    def firing(self) -> str:
        """With every label that its annotations name."""
        mentioned = set(re.findall(r"\$labels\.(\w+)", str(self.rule.document["annotations"])))
        labels = "".join(f',{label}!=""' for label in sorted(mentioned))
        return f'max(ALERTS{{alertname="{self.rule.name}",alertstate="firing"{labels}}})'

    def silent(self) -> str:
        return f'max(ALERTS{{alertname="{self.rule.name}",alertstate="firing"}})'

    def trial(self, story: str, expr: str, *, fires: bool) -> dict[str, Any]:
        at = self.document.get(f"{story}_at", self.document["at"])
        samples = [{"value": 1, "labels": "{}"}] if fires else []
        return {
            "interval": self.document.get("samples", self.every),
            "input_series": [{"series": one, "values": said} for one, said in self.document[story].items()],
            "promql_expr_test": [{"expr": expr, "eval_time": at, "exp_samples": samples}],
        }

    def judged(self, folder: Path, *tests: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        file = folder / "case.yaml"
        document = {
            "rule_files": [str(self.rule.file)],
            "evaluation_interval": self.every,
            "tests": list(tests),
        }
        file.write_text(yaml.safe_dump(document))
        return run("promtool", "test", "rules", file)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule.name)
def test_the_alert_fires_in_its_case_and_not_in_the_other(rule: Rule, tmp_path: Path) -> None:
    case = Case(rule, cases()[rule.name])
    done = case.judged(
        tmp_path,
        case.trial("fires", case.firing(), fires=True),
        case.trial("quiet", case.silent(), fires=False),
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("story", ["fires", "quiet"])
def test_a_case_that_is_not_so_is_noticed(story: str, tmp_path: Path) -> None:
    rule = next(rule for rule in alerts() if rule.name == "LedgerImbalance")
    case = Case(rule, cases()[rule.name])
    done = case.judged(tmp_path, case.trial(story, case.silent(), fires=story == "quiet"))
    assert done.returncode != 0


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_the_rule_names_only_metrics_that_exist(rule: Rule) -> None:
    assert names(rule.expr)
    assert names(rule.expr) - known() == set()


def test_no_two_rules_have_one_name() -> None:
    made = [rule.name for rule in rules()]
    assert len(made) == len(set(made))


def test_a_metric_that_does_not_exist_would_be_found() -> None:
    expr = 'sum by (model) (rate(appliance_no_such_thing_total{status="up"}[5m] offset 1h)) / on (x) up > 5'
    assert names(expr) == {"appliance_no_such_thing_total", "up"}
    assert names(expr) - known() == {"appliance_no_such_thing_total"}


def test_every_alert_says_who_is_called_and_what_to_read() -> None:
    for rule in alerts():
        assert rule.document["labels"]["severity"] in ("page", "ticket"), rule.name
        said = rule.document["annotations"]
        assert set(said) == {"summary", "description", "runbook_url"}, rule.name
        assert said["runbook_url"] == f"docs/runbooks/{rule.name}.md"
        assert all(value.strip() for value in said.values())
