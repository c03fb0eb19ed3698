"""A first node is backed up, tried on a drill machine, lost, and brought back on a fresh one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.hosts.host import Host
from tests.hosts.mongodb_stub import make_repository
from tests.hosts.network import Network
from tests.hosts.playbook import Played
from tests.hosts.restoring import (
    PYTHON,
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
from tests.hosts.systems import system

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900)]

CHAT = """
import sys
from bson import ObjectId
from pymongo import MongoClient
uri, what, *rest = sys.argv[1:]
database = MongoClient(uri).get_default_database()
if what == "say":
    user = ObjectId()
    database.users.insert_one({"_id": user, "openidId": rest[0]})
    database.messages.insert_one({"user": str(user), "text": rest[1]})
    print(user)
else:
    print(" ".join(sorted(one["text"] for one in database.messages.find())))
"""
EMPTY_BYTES = 32
"""What pgBackRest keeps of a table without rows. It makes such a one without looking."""
ROLES = ("postgresql", "mongodb", "backup")


@dataclass
class Story:
    """``front`` is the first node that is there now."""

    site: Site
    front: Host
    drill: Host
    fresh: Callable[[str], Host]

    def chat(self, *arguments: str) -> str:
        uri = self.front.run("sed", 's/^uri: "//; s/"$//', "/etc/appliance/backup/mongodump.yaml").strip()
        self.front.put("/root/chat.py", CHAT)
        return self.front.run("env", *PYTHON.split(), "/root/chat.py", uri, *arguments).strip()

    def converge(self, *arguments: str) -> Played:
        return self.site.converge([role(name) for name in ROLES], *arguments)


@pytest.fixture(scope="module")
def story(net: Network, new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("backups")
    place, stubs = folder / "place", folder / "mongodb"
    for one in (folder.parent, folder, place, stubs):
        one.mkdir(exist_ok=True)
        one.chmod(0o755)
    fingerprint = make_repository(stubs)

    def fresh(name: str) -> Host:
        host = new_host(name, *binds(), f"--bind={place}:/srv/backups", f"--bind-ro={stubs}:/srv/mongodb")
        put_program(host)
        return host

    variables = {
        "domain": "llm.example.com", "chat": True, "postgresql_shared_buffers_mb": 32,
        "mongodb_repository": "file:/srv/mongodb", "mongodb_key": "file:///srv/mongodb/key.pub",
        "mongodb_key_fingerprint": fingerprint,
        "backup_to": {"type": "path", "path": "/srv/backups"},
        "backup_passphrase": "only the vault knows $this \\ \"word\"", "backup_drill_settled_seconds": 0,
    }  # fmt: skip
    front, drill = fresh("old"), counts_otherwise(fresh("spare"))
    put_state(front, folder)
    front.run("useradd", "--system", "librechat")
    shared(front, "/var/lib/librechat/uploads")
    groups = {"first": [front], "nodes": [front], "drill": [drill]}
    return Story(Site(folder, variables, groups), front, drill, fresh)


def counts_otherwise(host: Host) -> Host:
    """The next free user id is another one than on other fresh hosts."""
    host.run("adduser", "--system", "somebody")
    return host


def shared(host: Host, folder: str) -> None:
    """As LibreChat's service makes it, so that the appliance can delete what is in it."""
    host.run("install", "-d", "-o", "librechat", "-g", "appliance", "-m", "2770", folder)


def test_this_machines_own_disk_is_no_place_for_backups(story: Story) -> None:
    with pytest.raises(AssertionError) as refused:
        story.site.converge([role("backup", backup_to={"type": "path", "path": "/srv"})])
    assert "/srv is on this machine's own disk" in " ".join(str(refused.value).split())


def test_a_first_node_is_backed_up_without_a_word(story: Story) -> None:
    story.site.converge([role("postgresql")])
    story.front.put("/etc/appliance/backup/mongodump.yaml", 'uri: ""\n')
    appliance(story.front, "migrate")
    person(story.front, "ada@example.com")
    in_the_way = ("flock", "/run/lock/appliance-restic", "sleep", "infinity")
    story.front.run("systemd-run", "--uid=nobody", *in_the_way)
    story.converge()
    assert story.front.run("stat", "-c", "%U %a", "/run/appliance-backup") == "root 700\n"
    again = story.converge()
    assert again.changed == {"old": 0}, again.changes
    checked = story.converge("--check", "--diff")
    assert checked.changed == {"old": 0}, checked.changes
    timers = story.front.run("systemctl", "list-timers", "--all", "--no-legend")
    assert len(set(re.findall(r"appliance-backup-[\w@-]+\.timer", timers))) == 7


def test_the_check_says_what_is_fine_and_prometheus_is_told(story: Story) -> None:
    story.front.run("systemctl", "start", "appliance-backup-check.service")
    said = story.front.run("journalctl", "-u", "appliance-backup-check", "-o", "cat")
    assert "PostgreSQL: one backup, the newest" in said
    assert "The chat's database: one backup, the newest" in said
    assert "Secrets and files: one backup, the newest" in said
    assert "No restoration was ever tried" in said
    metrics = story.front.run("cat", "/var/lib/prometheus/node-exporter/appliance_backup.prom")
    assert re.findall(r'appliance_backup_ok\{kind="(\w+)"\} 1', metrics) == ["postgresql", "mongodb", "files"]
    story.front.run("systemctl", "start", "appliance-backup-verify.service", seconds=120)
    for unit in ("postgresql@incr", "archive", "mongodb", "files", "verify", "check"):
        assert story.front.exposure(f"appliance-backup-{unit}.service") < 3, unit


def test_nothing_in_the_backups_can_be_read_without_the_passphrase(story: Story) -> None:
    place = story.site.folder / "place"
    found = [file for file in place.rglob("*") if file.is_file()]
    assert len(found) > 20
    assert not [file for file in found if b"ada@example.com" in file.read_bytes()]


def test_a_drill_has_the_same_books_and_leaves_no_copy(story: Story, figure: Figure) -> None:
    began = time.monotonic()
    said = story.site.converge("restore_drill.yml").said
    figure("a drill with an empty machine, s", time.monotonic() - began)
    assert "the same books as production" in said
    assert psql(story.front, "SELECT failed_count FROM pg_stat_archiver") == "0"
    left = f"ls /var/lib/postgresql/{system().postgresql} /etc/appliance/backup 2>/dev/null || true"
    assert story.drill.run("sh", "-c", left) == ""
    assert story.front.run("stat", "-c", "%U", "/var/lib/appliance-backup/drill") == "root\n"


def test_a_machine_that_cannot_read_the_backups_takes_them_from_nobody(story: Story) -> None:
    story.drill.run("usermod", "--uid", "500", "postgres")
    owner = story.front.run("stat", "-c", "%U", "/srv/backups/postgresql")
    with pytest.raises(AssertionError) as refused:
        story.site.converge("restore_drill.yml")
    assert "PostgreSQL's user has the number 500 on this machine" in " ".join(str(refused.value).split())
    assert story.front.run("stat", "-c", "%U", "/srv/backups/postgresql") == owner == "postgres\n"


def test_a_lost_machine_comes_back_with_all_its_books(story: Story, figure: Figure) -> None:
    ada = psql(story.front, "SELECT subject FROM person WHERE email = 'ada@example.com'")
    ben = person(story.front, "ben@example.com")
    story.chat("say", ada, "ada's")
    user = story.chat("say", ben, "ben's")
    shared(story.front, f"/var/lib/librechat/uploads/{user}")
    story.front.put(f"/var/lib/librechat/uploads/{user}/paper.pdf", "ben's paper")
    story.front.run("chmod", "-R", "g+rwX", "/var/lib/librechat")  # as LibreChat makes them
    for unit in ("mongodb", "files", "postgresql@incr"):
        story.front.run("systemctl", "start", f"appliance-backup-{unit}.service", seconds=120)
    # After the last backup: one leaves, another comes.
    psql(story.front, "DELETE FROM person WHERE email = 'ben@example.com'")
    person(story.front, "cleo@example.com")
    until = now(story.front)
    before = books(story.front, until)
    story.front.run("systemctl", "start", "appliance-backup-archive.service")
    story.front.kill()

    began = time.monotonic()
    story.front = counts_otherwise(story.fresh("new"))
    story.site.groups |= {"first": [story.front], "nodes": [story.front]}
    with (
        unreadable(story.site.folder / "place/postgresql/backup/appliance"),
        pytest.raises(AssertionError) as broken,
    ):
        story.site.converge("restore.yml")
    assert "Bring back the newest backup, and have all later changes follow from the archive" in str(broken.value)
    cluster = f"/var/lib/postgresql/{system().postgresql}/main"
    there = story.front.run("ls", f"{cluster}/base", f"{cluster}/global")
    assert "pg_control" not in there.split(), "what is there cannot be started"
    story.site.converge("restore.yml")
    figure("a lost machine is back from its backups at the second attempt, s", time.monotonic() - began)
    assert books(story.front, until) == before
    assert psql(story.front, "SELECT count(*) FROM person WHERE email = 'cleo@example.com'") == "1"
    secret = story.front.run("stat", "-c", "%U %a", "/var/lib/appliance/secrets/key_pepper")
    assert secret == "appliance 600\n"

    assert story.chat("read") == "ada's ben's"
    assert story.site.converge([role("backup", tasks="forget")]).changed == {"new": 2}
    assert story.site.converge([role("backup", tasks="forget")]).changed == {"new": 0}
    assert story.chat("read") == "ada's"
    assert "paper" not in story.front.run("find", "/var/lib/librechat")


@contextmanager
def unreadable(backups: Path) -> Iterator[None]:
    """One small table of the newest backup is away: the restoration breaks off when nearly all is there."""

    def tables(kind: str) -> dict[str, Path]:
        found = backups.glob(f"*{kind}/pg_data/base/*/*.zst")
        return {
            str(one.relative_to(one.parents[3])): one
            for one in found
            if int(re.sub(r"\D.*", "", one.name) or 0) > 17000 and one.stat().st_size > EMPTY_BYTES
        }

    unchanged = tables("F").keys() - tables("I").keys()
    away = min((tables("F")[one] for one in unchanged), key=lambda one: one.stat().st_size)
    away.rename(away.with_suffix(".away"))
    try:
        yield
    finally:
        away.with_suffix(".away").rename(away)


def test_it_is_backed_up_again_and_a_second_restoration_is_refused(story: Story) -> None:
    story.converge()
    appliance(story.front, "credit", "grant", "ada@example.com", "1")
    story.front.run("systemctl", "start", "appliance-backup-archive.service")
    story.front.run("systemctl", "start", "appliance-backup-postgresql@incr.service", seconds=120)
    story.front.run("rm", "/var/lib/appliance-backup/restored")
    with pytest.raises(AssertionError) as refused:
        story.site.converge([role("backup", tasks="restore_postgresql")])
    assert "a backup is brought back to a fresh machine alone" in " ".join(str(refused.value).split())
