"""Chapter 3: a new release and back again, while customers ask."""

from __future__ import annotations

import re
import time

import pytest

from tests.conftest import Figure
from tests.hosts.host import Host
from tests.hosts.product import books_agree, customer, wait
from tests.hosts.releases import Workshop
from tests.hosts.story.operator import Operator

pytestmark = [pytest.mark.hosts, pytest.mark.engine, pytest.mark.timeout(1800)]


def make_the_second_release(workshop: Workshop) -> None:
    """Its gateways say so in a header, and its replicas are of another version."""
    headers = workshop.folder / "appliance" / "door" / "headers.py"
    before, found, after = headers.read_text().partition("NO_PAGE: Headers = (\n")
    assert found
    headers.write_text(f'{before}{found}    ("x-release", "v2"),\n{after}')
    with (workshop.folder / "serving" / "engine" / "__init__.py").open("a") as file:
        file.write("\nRELEASE = 2\n")
    workshop.release("v2")


def replicas_of(host: Host) -> set[str]:
    """The releases whose Python runs the engines."""
    said = host.run(
        "pgrep", "--full", "--list-full", "/opt/appliance/releases/[^/]*/.venv/bin/python.*forkserver", check=False
    )
    return set(re.findall(r"/opt/appliance/releases/([^/]+)/\.venv/bin/python", said))


def test_a_release_is_changed_and_changed_back_under_load_without_a_dropped_answer(
    operator: Operator, key: str, figure: Figure
) -> None:
    host = operator.first
    make_the_second_release(operator.workshop)
    busy = customer(host, "busy")
    host.run("install", "-d", "/opt/appliance/releases/v0/.venv")
    with operator.customers(busy) as seen:
        operator.converge("upgrade.yml", "-e", "release=v2")
        upgraded = time.monotonic()
        wait(host, "the replicas are the second release's", lambda: replicas_of(host) == {"v2"})
        figure("replicas of the second release alone, seconds after the upgrade", time.monotonic() - upgraded)
        releases = host.run("ls", "/opt/appliance/releases").split()
        operator.converge("rollback.yml")
        wait(host, "the replicas are the first release's", lambda: replicas_of(host) == {"v1"})
    report = seen.report
    figure("answers over an upgrade and a rollback", len(report["usage"]))
    assert report["dropped"] == []
    assert set(report["releases"]) == {"", "v2"}
    assert report["releases"][-1] == "", "the first release serves again"
    assert releases == ["v1", "v2"], "v0 is too old; v1 is where one can go back to, and what Ray runs with"
    books_agree(host, "busy", report["usage"])
