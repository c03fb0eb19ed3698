"""What the role ``prometheus`` writes, without Ansible: its templates use what Jinja has by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tests.monitoring.reading import ROOT

ROLE = ROOT / "ansible/roles/prometheus"

NOBODY: dict[str, Any] = {
    "ansible_managed": "by the test",
    "inventory_hostname": "one",
    "domain": "llm.example",
    "groups": {"first": ["one"], "nodes": ["one"]},
    "hostvars": {"one": {"node_address": "10.0.0.1"}},
    "prometheus_address": "127.0.0.1",
    "prometheus_gateway_port": 8000,
    "prometheus_others": [],
    "prometheus_without_gpu": [],
    "prometheus_postgres": True,
    "prometheus_chat": False,
    "prometheus_grafana": True,
    "prometheus_probes": [{"endpoint": "site", "address": "https://llm.example/", "module": "https"}],
    "prometheus_by_mail": False,
    "prometheus_mail": "ops@llm.example",
    "prometheus_smtp_server": "",
    "prometheus_smtp_user": "",
    "prometheus_smtp_sender": "alerts@llm.example",
    "prometheus_smtp_tls": True,
    "prometheus_pagerduty_key": "",
    "prometheus_slack_url": "",
    "prometheus_webhook_url": "",
    "prometheus_heartbeat_url": "",
}
"""One node, no chat, and nobody who is told."""


def rendered(template: str, variables: Mapping[str, Any] | None = None) -> str:
    """``template`` is one of the role's, without its suffix."""
    environment = Environment(
        loader=FileSystemLoader(ROLE / "templates"), undefined=StrictUndefined, trim_blocks=True, autoescape=False
    )
    environment.filters["bool"] = bool
    return environment.get_template(f"{template}.j2").render({**NOBODY, **(variables or {})})


def settings(variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Of Prometheus."""
    document: dict[str, Any] = yaml.safe_load(rendered("prometheus.yml", variables))
    return document
