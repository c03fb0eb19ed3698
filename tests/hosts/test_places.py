"""Backups at S3: made, checked, read again, brought back, and not to be destroyed by who has the machine."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.backup.place import MAY_DELETE
from tests.conftest import Figure
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

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900)]

BUCKET = "my-backups"
UNITS = ("postgresql@incr", "files", "archive", "verify", "check")
"""Each as its timer starts it."""


def policy() -> str:
    """What docs/backup.md gives the node's key."""
    [found] = re.findall(r"```json\n(.*?)```", (ROOT / "docs/backup.md").read_text(), re.DOTALL)
    return str(found)


class Story:
    """A first node whose backups go to ``place``; ``meets`` tells a new machine how that is reached."""

    def __init__(
        self, folder: Path, new_host: Callable[..., Host], place: dict[str, Any], meets: Callable[[Host], None]
    ) -> None:
        self.new_host, self.meets = new_host, meets
        variables = {
            "domain": "llm.example.com", "postgresql_shared_buffers_mb": 32,
            "backup_passphrase": "only the vault knows this word", **place,
        }  # fmt: skip
        self.front = self.fresh("old")
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
        assert self.site.converge([role("backup")]).changed == {"old": 0}
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
    return Story(tmp_path_factory.mktemp("story"), new_host, in_bucket(store), store.known_to)


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
