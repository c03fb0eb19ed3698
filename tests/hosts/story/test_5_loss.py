"""Chapter 5: it is backed up, the first machine is lost, and a bare one takes its place by the page."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from tests.conftest import Figure
from tests.hosts.product import asked, serving, status, wait
from tests.hosts.restoring import books, now
from tests.hosts.story.operator import CHAT, DOMAIN, READY_SECONDS, Operator

LATER = "v5"
"""A release like the one that serves."""

pytestmark = [pytest.mark.hosts, pytest.mark.engine, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def backed_up(operator: Operator, key: str, chat: Mapping[str, object]) -> None:
    operator.backs_up()
    operator.converge("site.yml", "--tags=backup")


@pytest.mark.usefixtures("backed_up")
def test_backups_begin_by_the_inventory_alone(operator: Operator) -> None:
    again = operator.converge("site.yml", "--tags=backup")
    assert again.changed == {operator.first.name: 0}, again.changes
    are_well(operator)


@pytest.mark.usefixtures("backed_up")
def test_each_drill_is_with_the_release_that_serves(operator: Operator, key: str, figure: Figure) -> None:
    spare = operator.has_a_spare()
    drill(operator, figure)
    assert serving(spare) == serving(operator.first)
    operator.workshop.release(LATER)
    operator.converge("upgrade.yml", "-e", f"release={LATER}")
    drill(operator, figure)
    assert serving(spare) == serving(operator.first) == LATER
    assert operator.answers(key)


def drill(operator: Operator, figure: Figure) -> None:
    began = time.monotonic()
    assert "the same books as production" in operator.converge("restore_drill.yml").said
    figure("a drill, seconds", round(time.monotonic() - began))


@pytest.mark.usefixtures("backed_up")
def test_a_bare_machine_takes_the_place_of_the_lost_one(operator: Operator, key: str, figure: Figure) -> None:
    operator.first.run("systemctl", "start", "appliance-backup-files.service", seconds=120)
    assert operator.answers(key), "which is after the backup, and in the archive alone"
    lost, release = operator.first, serving(operator.first)
    wait(lost, "nothing is held", lambda: not any(one["open_holds"] for one in asked(lost, "account", "list")), 60)
    until, charged = now(lost), requests(operator)
    before = books(lost, until)
    lost.run("systemctl", "start", "appliance-backup-archive.service")
    operator.loses_the_first()

    began, first = time.monotonic(), operator.first
    operator.converge("restore.yml")
    assert first.run("cat", "/etc/appliance/release").strip() == release
    operator.converge("site.yml", "-e", f"release={release}")
    wait(first, "the key that a customer has answers", lambda: operator.answers(key), READY_SECONDS)
    figure("from a bare machine to an answer of the lost one's, seconds", round(time.monotonic() - began))
    assert books(first, until) == before
    assert requests(operator) > charged
    first.run("appliance", "ledger", "verify", "--seal")
    wait(first, "the chat answers", lambda: status(first, f"{CHAT}/health") == 200)
    assert operator.curl(f"https://chat.{DOMAIN}/health") == "OK"
    are_well(operator)


@pytest.mark.usefixtures("backed_up")
def test_a_run_after_it_changes_nothing(operator: Operator) -> None:
    again = operator.converge("site.yml")
    assert again.changed == {operator.first.name: 0}, again.changes


def requests(operator: Operator) -> set[str]:
    """Of the first customer, that were charged."""
    rows = asked(operator.first, "usage", "list", "--limit", "10000", "--account", "me")
    return {str(row["request_id"]) for row in rows}


def are_well(operator: Operator) -> None:
    """The backups, by the check that looks each hour."""
    operator.first.run("systemctl", "start", "appliance-backup-check.service")
    said = operator.first.run("journalctl", "--unit=appliance-backup-check", "--output=cat")
    for kind in ("PostgreSQL", "The chat's database", "Secrets and files"):
        assert f"{kind}: " in said
