"""What the role writes for Prometheus and Alertmanager: it is read, and the right people are told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.reading import ROOT, RULES, alerts
from tests.monitoring.rendering import ROLE, rendered, settings
from tests.monitoring.tools import run

THREE = {
    "groups": {"first": ["one"], "nodes": ["one", "two", "three"]},
    "hostvars": {"one": {}, "two": {"node_address": "10.0.0.2"}, "three": {"node_address": "fd00::3"}},
    "prometheus_others": ["two", "three"],
    "prometheus_without_gpu": ["three"],
    "prometheus_chat": True,
    "prometheus_probes": [
        {"endpoint": "api", "address": "https://api.llm.example/livez", "module": "https"},
        {"endpoint": "mongodb", "address": "127.0.0.1:27017", "module": "tcp"},
    ],
}
EVERYBODY = {
    "prometheus_by_mail": True,
    "prometheus_smtp_server": "mail.example:587",
    "prometheus_smtp_user": "alerts",
    "prometheus_pagerduty_key": "k",
    "prometheus_slack_url": "https://slack.example/hook",
    "prometheus_webhook_url": "https://pages.example/",
    "prometheus_heartbeat_url": "https://beat.example/",
}


@pytest.mark.parametrize("variables", [{}, THREE], ids=["one node", "three nodes and a chat"])
def test_prometheus_reads_its_settings(variables: dict[str, Any], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    text = rendered("prometheus.yml", variables).replace("/etc/prometheus/rules", str(RULES))
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus/librechat-metrics-secret", str(secret)))
    done = run("promtool", "check", "config", file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("variables", [{}, EVERYBODY], ids=["nobody", "everybody"])
def test_alertmanager_reads_its_settings(variables: dict[str, Any], tmp_path: Path) -> None:
    file = alertmanager(variables, tmp_path)
    done = run("amtool", "check-config", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 templates" in done.stdout


@pytest.mark.parametrize(
    ("severity", "receiver"), [("page", "page"), ("ticket", "ticket"), ("heartbeat", "heartbeat")]
)
def test_each_severity_has_its_receiver(severity: str, receiver: str, tmp_path: Path) -> None:
    file = alertmanager(EVERYBODY, tmp_path)
    done = run("amtool", "config", "routes", "test", f"--config.file={file}", f"severity={severity}")
    assert done.stdout.strip() == receiver


def alertmanager(variables: dict[str, Any], folder: Path) -> Path:
    templates = str(ROOT / "configs/alertmanager/alerts.tmpl")
    file = folder / "alertmanager.yml"
    file.write_text(
        rendered("alertmanager.yml", variables).replace("/etc/prometheus/alertmanager_templates/*.tmpl", templates)
    )
    return file


def test_whoever_gets_tickets_by_mail_gets_pages_by_mail_and_by_telephone() -> None:
    document = yaml.safe_load(rendered("alertmanager.yml", EVERYBODY))
    kinds = {one["name"]: {kind for kind in one if kind != "name"} for one in document["receivers"]}
    assert kinds["ticket"] == {"email_configs", "slack_configs"}
    assert kinds["page"] == kinds["ticket"] | {"pagerduty_configs", "webhook_configs"}
    assert kinds["heartbeat"] == {"webhook_configs"}


def test_an_alert_that_silences_others_and_those_that_it_silences_exist() -> None:
    names = {rule.name for rule in alerts()}
    document = yaml.safe_load(rendered("alertmanager.yml"))
    assert len(document["inhibit_rules"]) > 10
    for rule in document["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            kind = re.fullmatch(r"alertname (=|!=|=~) (.+)", matcher)
            assert kind, matcher
            for one in kind[2].split("|"):
                pattern = re.compile(one)
                assert any(pattern.fullmatch(name) for name in names), one


def test_what_prometheus_asks_is_what_rules_look_for() -> None:
    """Each job that a rule names is asked by one, or told by the gateway."""
    told = {"gateway", "engine", "ray"}
    asked = {job["job_name"] for job in settings(THREE)["scrape_configs"]} - {"appliance", "gateways"} | told
    named = {
        job
        for rule in alerts()
        for matched in re.findall(r'\bjob!?=~?"([^"]+)"', rule.expr)
        for job in matched.split("|")
    }
    assert named <= asked
    endpoints = {
        one
        for rule in alerts()
        for one in re.findall(r'endpoint="([a-z]+)"', rule.expr)
        if "probe_success" in rule.expr
    }
    probes = (ROLE / "defaults/main.yml").read_text()
    assert endpoints == set(re.findall(r"'endpoint': '(\w+)'", probes))


def test_every_node_is_asked_by_the_address_that_only_the_nodes_reach() -> None:
    jobs = {job["job_name"]: job for job in settings(THREE)["scrape_configs"]}

    def where(job: str) -> dict[str, str]:
        return {one["labels"]["instance"]: one["targets"][0] for one in jobs[job]["static_configs"]}

    assert where("node") == {"one": "127.0.0.1:9100", "two": "10.0.0.2:9100", "three": "[fd00::3]:9100"}
    assert where("gpu") == {"one": "127.0.0.1:9400", "two": "10.0.0.2:9400"}
    assert where("gateways") == {"two": "10.0.0.2:8000", "three": "[fd00::3]:8000"}
    assert {one["labels"]["job"] for one in jobs["gateways"]["static_configs"]} == {"gateway"}
