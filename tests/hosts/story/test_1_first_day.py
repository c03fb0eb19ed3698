"""Chapter 1: from a bare server to a paid answer, by docs/installation.md, and what the world sees of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hosts.product import asked, curl, headers
from tests.hosts.scanning import scan
from tests.hosts.story.operator import ASKED, DOMAIN, OTHERS, PUBLIC, SERVICES, TERMS, Operator

pytestmark = [pytest.mark.hosts, pytest.mark.engine, pytest.mark.timeout(1800)]

EVERYTHING = (*SERVICES, *OTHERS, "appliance-firewall", "grafana-server", "nvidia-persistenced")

BODY_MOST = 32 << 20
"""Bytes of a request's body, by the gateway's settings. Caddy lets another MiB through."""


def test_a_stranger_has_a_paid_answer_by_the_page(operator: Operator, key: str) -> None:
    host = operator.first
    for service in EVERYTHING:
        assert host.runs(service), service
    assert host.run("systemctl", "list-units", "--failed", "--no-legend", "--plain") == ""
    found = json.loads(operator.ask(key))
    assert {one["name"] for one in asked(host, "account", "list")} == {"operator", "me"}, "nothing to try it with"
    (row, *_) = asked(host, "usage", "list", "--account", "me")
    tokens = (found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"])
    assert (row["prompt_tokens"], row["completion_tokens"]) == tokens
    host.run("appliance", "ledger", "verify")
    link = host.run("cat", "/var/lib/appliance/run/first-link").strip()
    assert link.startswith(f"https://{DOMAIN}/")
    assert "<title>" in operator.curl(link)


def test_the_terms_are_the_operators_own(operator: Operator, key: str) -> None:
    assert TERMS in operator.curl(f"https://{DOMAIN}/terms")


def test_who_sends_too_much_is_told_so(operator: Operator, key: str, tmp_path: Path) -> None:
    """By the gateway itself, through Caddy, while it is still being sent."""
    (tmp_path / "large").write_bytes(bytes(BODY_MOST + (1 << 19)))
    large = ("--data-binary", f"@{tmp_path / 'large'}", "--write-out", "%{http_code}")
    said = operator.curl(ASKED, *headers(key), *large)
    assert f"larger than {BODY_MOST} bytes" in said
    assert said.endswith("413")
    assert operator.answers(key)


def test_a_second_run_changes_nothing(operator: Operator, key: str) -> None:
    for options in ((), ("--check", "--diff")):
        again = operator.converge("site.yml", *options)
        assert again.changed == {"gpu1": 0}, again.changes


def test_prometheus_sees_everything_that_there_is(operator: Operator, key: str) -> None:
    def up() -> dict[str, set[str]]:
        said = curl(operator.first, "http://127.0.0.1:9090/api/v1/targets?state=active")
        states: dict[str, set[str]] = {}
        for target in json.loads(said)["data"]["activeTargets"]:
            states.setdefault(target["labels"]["job"], set()).add(target["health"])
        return states

    operator.first.wait("every target is up", lambda: set.union(*up().values()) == {"up"}, 180)
    assert {"gateway", "engine", "ray", "node", "postgres"} <= up().keys()


def test_the_world_reaches_ssh_and_caddy_alone(operator: Operator, key: str) -> None:
    scan(operator.net, operator.first, PUBLIC["tcp"], PUBLIC["udp"])
