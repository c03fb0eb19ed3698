"""Chapter 3: a new release and back again, and one that does not start, while customers ask."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from scripts.release.repository import Repository
from tests.conftest import Figure
from tests.hosts.host import Host
from tests.hosts.product import books_agree, customer, serving, wait
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


def make_a_release_that_does_not_start(workshop: Workshop) -> None:
    with (workshop.folder / "appliance" / "gateway" / "server.py").open("a") as file:
        file.write('\nraise RuntimeError("this release does not start")\n')
    workshop.release("v3")


def replicas_of(host: Host) -> set[str]:
    """The releases whose Python runs the engines."""
    said = host.run(
        "pgrep", "--full", "--list-full", "/opt/appliance/releases/[^/]*/.venv/bin/python.*forkserver", check=False
    )
    return set(re.findall(r"/opt/appliance/releases/([^/]+)/\.venv/bin/python", said))


def test_a_release_is_changed_and_changed_back_under_load_without_a_dropped_answer(
    operator: Operator, key: str, figure: Figure, tmp_path: Path
) -> None:
    """The new one as an archive, the old one from where it was."""
    host, archive = operator.first, tmp_path / "appliance-2.tar.gz"
    make_the_second_release(operator.workshop)
    Repository(operator.workshop.folder).archive(archive, "appliance-2")
    busy = customer(host, "busy")
    host.run("install", "-d", "/opt/appliance/releases/v0/.venv")
    with operator.customers(busy) as seen:
        operator.converge("upgrade.yml", "-e", "release=v2", "-e", f"release_archive={archive}")
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


def test_to_go_back_twice_is_to_go_back_once_and_what_a_broken_run_left_is_done(
    operator: Operator, key: str
) -> None:
    host = operator.first
    gateway = host.main_pid("appliance-gateway@1.service")
    host.run("touch", "/run/appliance-to-replace-parts")
    operator.converge("rollback.yml")
    assert serving(host) == "v1"
    assert host.main_pid("appliance-gateway@1.service") not in (0, gateway)
    assert "appliance-to-replace" not in host.run("ls", "/run")


def test_a_release_that_does_not_start_takes_no_answer_with_it(operator: Operator, key: str) -> None:
    """The gateways that there are go on. Then the way back, with one gateway less."""
    host = operator.first
    make_a_release_that_does_not_start(operator.workshop)
    patient = customer(host, "patient")
    with operator.customers(patient) as seen:
        played = operator.play("upgrade.yml", "-e", "release=v3")
        assert played.status != 0
        assert all(host.runs(f"appliance-gateway@{number}.service") for number in (1, 2))
        assert not host.runs("appliance-gateway@0.service")
        operator.workshop.git("checkout", "--quiet", "v1")
        operator.converge("rollback.yml", "-e", "appliance_gateway_processes=1")
    assert serving(host) == "v1"
    assert seen.report["dropped"] == []
    books_agree(host, "patient", seen.report["usage"])
    assert host.run("systemctl", "is-enabled", "appliance-gateway@2.service", check=False) == "disabled\n"
    assert not host.runs("appliance-gateway@2.service")
