"""Backups at S3 and by SFTP: made, checked, read again, brought back; at S3 nobody destroys them."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.backup.place import MAY_DELETE
from tests.conftest import Figure
from tests.hosts import pgbackrest, ssh_server
from tests.hosts.host import Host
from tests.hosts.network import Network
from tests.hosts.object_store import NAME, Store, object_store
from tests.hosts.playbook import ROOT
from tests.hosts.restoring import (
    INSTALLED,
    Site,
    appliance,
    binds,
    books,
    now,
    person,
    psql,
    put_program,
    put_state,
    role,
)
from tests.hosts.stub_repository import Package, Repository, repository
from tests.hosts.systems import DEFAULT, SYSTEMS, system

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900)]

BUCKET = "my-backups"
UNITS = ("postgresql@incr", "files", "archive", "verify", "check")
"""Each as its timer starts it."""


def policy() -> str:
    """What docs/backup.md gives the node's key."""
    [found] = re.findall(r"```json\n(.*?)```", (ROOT / "docs/backup.md").read_text(), re.DOTALL)
    return str(found)


class Story:
    """A first node, ``name``, whose backups go to ``place``; ``meets`` tells a new machine how that is reached."""

    def __init__(
        self,
        name: str,
        folder: Path,
        new_host: Callable[..., Host],
        place: dict[str, Any],
        meets: Callable[[Host], None] = lambda host: None,
    ) -> None:
        self.new_host, self.meets = new_host, meets
        variables = {
            "domain": "llm.example.com", "postgresql_shared_buffers_mb": 32,
            "backup_passphrase": "only the vault knows this word", **place,
        }  # fmt: skip
        self.front = self.fresh(name)
        put_state(self.front, folder)
        self.site = Site(folder, variables, {"first": [self.front], "nodes": [self.front]})
        self.site.converge([role("postgresql")])
        appliance(self.front, "migrate")

    def fresh(self, name: str) -> Host:
        host = self.new_host(name, *binds())
        put_program(host)
        self.meets(host)
        return host

    def back_up(self) -> str:
        """Everything that the timers start, between two people's coming. Returns what the check says."""
        person(self.front, "ada@example.com")
        self.site.converge([role("backup")])
        assert self.site.converge([role("backup")]).changed == {self.front.name: 0}
        for unit in UNITS:
            self.front.run("systemctl", "start", f"appliance-backup-{unit}.service", seconds=120)
        person(self.front, "ben@example.com")
        self.front.run("systemctl", "start", "appliance-backup-archive.service")
        return self.front.run("journalctl", "-u", "appliance-backup-check", "-o", "cat")

    def comes_back(self, name: str, before: dict[str, object], until: str) -> None:
        """On a fresh machine, with every record and every secret."""
        self.front.kill()
        self.front = self.fresh(name)
        self.site.groups |= {"first": [self.front], "nodes": [self.front]}
        self.site.converge("restore.yml")
        assert books(self.front, until) == before
        assert psql(self.front, "SELECT count(*) FROM person WHERE email = 'ben@example.com'") == "1"
        assert self.front.run("stat", "-c", "%U %a", "/var/lib/appliance/secrets/key_pepper") == "appliance 600\n"


@pytest.fixture(scope="module")
def store(net: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with object_store(net, tmp_path_factory.mktemp("s3"), BUCKET, policy()) as made:
        yield made


@pytest.fixture(scope="module")
def at_s3(store: Store, new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story("old", tmp_path_factory.mktemp("story"), new_host, in_bucket(store), store.known_to)


def test_a_lost_machine_comes_back_from_s3(at_s3: Story, figure: Figure) -> None:
    began = time.monotonic()
    said = at_s3.back_up()
    assert "PostgreSQL: 2 backups, the newest" in said
    assert "Secrets and files: 2 backups, the newest" in said
    assert "can destroy the backups" not in said
    until = now(at_s3.front)
    at_s3.comes_back("new", books(at_s3.front, until), until)
    figure("backed up to S3, lost and brought back, s", time.monotonic() - began)


def test_whoever_takes_over_the_machine_destroys_no_backup(at_s3: Story, store: Store) -> None:
    """They delete everything that the node's key lets them delete. The operator has it as it was before."""
    front = at_s3.front
    until = now(front)
    before = books(front, until)
    moment = front.run("date", "--utc", "+%Y-%m-%dT%H:%M:%SZ").strip()
    time.sleep(1)  # the service counts in seconds
    rclone(front, store.node, "delete", f":s3:{BUCKET}")
    assert rclone(front, store.node, "lsf", "--recursive", "--files-only", f":s3:{BUCKET}") == ""
    with pytest.raises(RuntimeError, match="AccessDenied"):
        rclone(front, store.node, "delete", "--s3-versions", f":s3:{BUCKET}")

    def with_what_was_there(host: Host) -> None:
        store.known_to(host)
        there = f":s3:{BUCKET}/appliance"
        rclone(host, store.operator, "copy", f"--s3-version-at={moment}", there, "/srv/backups")

    at_s3.meets = with_what_was_there
    at_s3.site.variables = {**at_s3.site.variables, "backup_to": {"type": "path", "path": "/srv/backups"}}
    at_s3.comes_back("third", before, until)


def test_a_key_that_may_destroy_backups_is_named(at_s3: Story, store: Store) -> None:
    key, secret = store.operator
    environment = (f"RESTIC_REPOSITORY=s3:https://{NAME}/{BUCKET}", f"AWS_ACCESS_KEY_ID={key}")
    secrets = (f"AWS_SECRET_ACCESS_KEY={secret}", "AWS_DEFAULT_REGION=us-east-1")
    asking = ("env", *environment, *secrets, INSTALLED, "backup", "check", "--kind=files")
    assert MAY_DELETE in at_s3.front.run(*asking, check=False)


@pytest.fixture(scope="module")
def postgresqls_own(net: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """PostgreSQL's repository: a pgBackRest that knows SFTP, and a newer PostgreSQL that nobody has asked for."""
    with repository(tmp_path_factory.mktemp("apt") / "postgresql", net.gateway, pgbackrest.ORIGIN) as made:
        there = Path(shutil.copy2(pgbackrest.package(), made.folder))
        made.build(there, Package("postgresql", version="99+1"), Package("libpq5", version="99+1"))
        yield made


@pytest.fixture(scope="module")
def away(new_host: Callable[..., Host]) -> Host:
    return new_host("away")


@pytest.fixture(scope="module")
def by_sftp(
    request: pytest.FixtureRequest,
    away: Host,
    new_host: Callable[..., Host],
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    folder = tmp_path_factory.mktemp("sftp")
    place = ssh_server.place(away, folder)
    if system() is SYSTEMS[DEFAULT]:
        own: Repository = request.getfixturevalue("postgresqls_own")
        place |= own.of("backup_pgbackrest") | {"backup_pgbackrest_suite": "./"}
    return Story("older", folder, new_host, place)


def test_a_lost_machine_comes_back_by_sftp(by_sftp: Story, figure: Figure) -> None:
    began = time.monotonic()
    said = by_sftp.back_up()
    assert "PostgreSQL: 2 backups, the newest" in said
    assert "Secrets and files: 2 backups, the newest" in said
    until = now(by_sftp.front)
    by_sftp.comes_back("later", books(by_sftp.front, until), until)
    figure("backed up by SFTP, lost and brought back, s", time.monotonic() - began)


def test_nothing_but_pgbackrest_comes_from_postgresqls_repository(by_sftp: Story) -> None:
    assert "99+1" not in by_sftp.front.run("dpkg-query", "--show")
    assert "99+1" not in by_sftp.front.run("apt-get", "--simulate", "dist-upgrade")


def test_another_machine_at_its_address_gets_nothing(by_sftp: Story, away: Host) -> None:
    by_sftp.site.converge([role("backup")])
    ssh_server.becomes_another(away)
    for unit in ("archive", "files"):
        with pytest.raises(RuntimeError, match="failed"):
            by_sftp.front.run("systemctl", "start", f"appliance-backup-{unit}.service", seconds=120)


def rclone(host: Host, key: tuple[str, str], *arguments: str) -> str:
    """As docs/backup.md has it. Raises RuntimeError with what it said when it fails."""
    host.run("sh", "-c", "command -v rclone || { apt-get update -q; apt-get install -qy rclone; }", seconds=200)
    service = (f"RCLONE_S3_ENDPOINT=https://{NAME}", "RCLONE_S3_PROVIDER=Other", "RCLONE_S3_REGION=us-east-1")
    keys = (f"RCLONE_S3_ACCESS_KEY_ID={key[0]}", f"RCLONE_S3_SECRET_ACCESS_KEY={key[1]}")
    return host.run("env", *service, *keys, "rclone", "--retries=1", *arguments, seconds=120)


def in_bucket(store: Store) -> dict[str, Any]:
    key, secret = store.node
    place = {"type": "s3", "endpoint": NAME, "bucket": BUCKET, "region": "us-east-1"}
    return {"backup_to": place, "backup_s3_key": key, "backup_s3_secret": secret}
