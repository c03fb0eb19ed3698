"""A real Prometheus looks at the running system: what rules, alerts and dashboards ask for is there."""

import asyncio
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.browser.conftest import site_url
from tests.conftest import Figure
from tests.monitoring.reading import alerts, names, queries, rules
from tests.scenarios.system import System, stream
from tests.scenarios.watching import SECONDS, Watch, watching

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(1200)]

NOT_HERE = {
    "DCGM_": "there is no GPU",
    "gpu:": "there is no GPU",
    'job="gpu"': "there is no GPU",
    "node_systemd_": "systemd need not be process 1",
    "node_nf_conntrack_": "not every machine that runs tests counts connections",
    "node_pressure_": "not every kernel measures what waits",
    'fstype=~"ext4|xfs|btrfs"': "tests may run on another file system",
    'fstype!~"tmpfs': "tests may run on an overlay alone",
    "host:disk:": "tests may run on an overlay alone",
    'job="librechat"': "the stand-in for the chat has no metrics",
    "appliance_partner_": "no model is a partner's",
    "appliance_images_total": "nobody sent a picture",
    "appliance_audio_seconds_total": "nobody sent a recording",
    "appliance_connections_refused_total": "nobody was turned away",
    "appliance_site_connections_refused_total": "nobody was turned away",
    'status="502"': "no answer broke off",
    'status="499"': "nobody hung up",
    'outcome="failed"': "no partner failed",
    "caddy_": "no proxy stands before the system",
    "job:late_seconds > 0": "no job is late",
}
"""What may be missing, by a part of the expression, and why. Anything else that is missing is a fault."""


@pytest.fixture(scope="module")
def watch(system: System, mongo: str) -> Iterator[Watch]:
    """After some traffic, and long enough for rates."""
    system.wait_until_ready()
    with tempfile.TemporaryDirectory(prefix="watch-") as folder, watching(system, mongo, Path(folder)) as watch:
        watch.until("the gateway was asked", 'up{job="gateway"} == 1')
        key = system.customer("5", "watched")
        for _ in range(4):
            asyncio.run(traffic(system, key))
            time.sleep(SECONDS)
        watch.until("rules have looked at requests", "service:requests:rate5m > 0")
        watch.until("rules have looked at answers", "model:output_token_seconds:p95_5m > 0")
        yield watch


async def opened(http: aiohttp.ClientSession, url: str) -> None:
    """As people do: a page that is not there because the machine is busy is asked for again."""
    async with asyncio.timeout(120):
        while True:
            async with http.get(url) as page:
                if page.status == 200:
                    return
                assert page.status == 503
            await asyncio.sleep(1)


async def traffic(system: System, key: str) -> None:
    """What a customer does, and what a stranger does."""
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as http:
        body = {"model": "smollm2", "messages": [{"role": "user", "content": "Say something."}], "max_tokens": 8}
        assert (await stream(http, system.url, key, body)).finished
        for path, document, status in (
            ("embeddings", {"model": "minilm", "input": "How?"}, 200),
            ("chat/completions", {"model": "none", "messages": []}, 404),
        ):
            async with http.post(f"{system.url}/v1/{path}", json=document, headers=headers) as answer:
                assert answer.status == status
        async with http.post(f"{system.url}/v1/chat/completions", json=body) as answer:
            assert answer.status == 401
        await opened(http, f"{site_url(system)}/")
        async with http.post(f"{site_url(system)}/stripe/webhook", data=b"{}") as page:
            assert page.status == 400


def excused(expr: str) -> bool:
    return any(part in expr for part in NOT_HERE)


def test_everything_that_is_asked_answers(watch: Watch) -> None:
    jobs = {"gateway", "engine", "ray", "node", "postgres", "blackbox", "prometheus", "alertmanager"}
    deadline = time.monotonic() + 60
    while set.union(*(health := watch.targets()).values()) != {"up"}:
        assert time.monotonic() < deadline, health
        time.sleep(1)
    assert health.keys() - {"librechat"} == jobs


def test_every_rule_gives_something(watch: Watch, figure: Figure) -> None:
    recorded = [rule for rule in rules() if not rule.is_alert]
    empty = {rule.name: rule.expr for rule in recorded if not watch.ask(rule.expr)}
    figure("recording rules with data, of all", f"{len(recorded) - len(empty)} of {len(recorded)}")
    assert {name for name, expr in empty.items() if not excused(expr)} == set()


def selectors(expr: str) -> set[str]:
    """Each metric of an expression with what it is narrowed to."""
    found = re.findall(r'(?<![\w:"])([A-Za-z_:][\w:]*(?:\{[^}]*\})?)', expr)
    return {one for one in found if one.split("{")[0] in names(expr)}


def test_every_alert_looks_at_something(watch: Watch, figure: Figure) -> None:
    """Of one that is silent because nothing is wrong, each part has data."""
    parts = {(rule.name, part) for rule in alerts() for part in selectors(rule.expr)}
    empty = {(name, part) for name, part in parts if not watch.ask(part)}
    figure("parts of alerts with data, of all", f"{len(parts) - len(empty)} of {len(parts)}")
    assert {one for one in empty if not excused(one[1])} == set()


def test_every_panel_shows_something(watch: Watch, figure: Figure) -> None:
    empty = [query for query in queries() if not watch.ask(query.filled())]
    figure("lines of panels with data, of all", f"{len(queries()) - len(empty)} of {len(queries())}")
    assert {
        f"{query.dashboard}: {query.panel}: {query.expr}" for query in empty if not excused(query.expr)
    } == set()


def test_a_healthy_system_calls_nobody(watch: Watch) -> None:
    """Of what would call somebody at night. A machine for tests may be slow, small, or just started."""
    firing = {alert["metric"]["alertname"] for alert in watch.ask('ALERTS{alertstate="firing",severity="page"}')}
    assert firing == set()


def test_an_old_backup_calls_somebody_and_says_what_to_read(watch: Watch, figure: Figure) -> None:
    began = time.monotonic()
    watch.back_up("files", time.time() - 51 * 3600)
    while not (watch.heartbeat.received and (found := told(watch, "BackupVeryOld"))):
        assert time.monotonic() - began < 60, watch.ask("ALERTS")
        time.sleep(0.5)
    figure("from an old backup to the call, seconds", time.monotonic() - began)
    assert (
        found[0]["labels"] | {"kind": "files", "severity": "page", "service": "llm.example"} == found[0]["labels"]
    )
    said = found[0]["annotations"]
    assert said["summary"] == "There has been no backup of files for two days"
    assert re.fullmatch(r"The last one that succeeded is 2d 3h 0m \d+s old\.", said["description"])
    assert said["runbook_url"] == "docs/runbooks/BackupVeryOld.md"
    assert told(watch, "BackupOld") == [], "the graver one keeps it silent"
    beats = {one["labels"]["alertname"] for post in watch.heartbeat.received for one in post["alerts"]}
    assert beats == {"Watchdog"}


def test_what_alerts_say_can_be_filled_in(watch: Watch) -> None:
    for alert in watch.get("alerts")["alerts"]:
        assert "error" not in " ".join(alert["annotations"].values()), alert


def told(watch: Watch, name: str) -> list[dict[str, dict[str, str]]]:
    """What came of an alert."""
    every = [alert for post in watch.told.received for alert in post["alerts"]]
    return [alert for alert in every if alert["labels"]["alertname"] == name]
