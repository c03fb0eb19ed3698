"""Which backups are fine, as an operator and Prometheus are told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.backup.judging import MOST, Noted, advice, judge
from appliance.backup.made import BackupsUnreadable, Kind, Made, parse_postgresql, parse_snapshots
from appliance.backup.telling import as_lines, write_metrics

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEEP = 14 * DAY
WELL = Noted(archive=NOW - HOUR, verify=NOW - DAY, drill=NOW - DAY)


def made(*ages: timedelta, damaged: tuple[timedelta, ...] = ()) -> Made:
    return Made(tuple(NOW - one for one in ages), tuple(NOW - one for one in damaged))


def told(kind: Kind, found: Made | BackupsUnreadable, noted: Noted = WELL) -> list[str]:
    return list(as_lines(judge({kind: found}, noted, KEEP, NOW), NOW))


def test_good_backups_are_said_to_be_there() -> None:
    assert told(Kind.POSTGRESQL, made(9 * DAY, 2 * DAY, 3 * HOUR)) == [
        "PostgreSQL: 3 backups, the newest 3 hours old."
    ]
    assert told(Kind.FILES, made(30 * HOUR / 60)) == ["Secrets and files: one backup, the newest 30 minutes old."]
    assert advice(WELL, NOW) == []


@pytest.mark.parametrize(
    ("kind", "found", "noted", "problem"),
    [
        (Kind.FILES, made(), WELL, "There is no backup."),
        (Kind.FILES, made(50 * HOUR), WELL, "The newest backup is 2 days old; it should be 26 hours at most."),
        (Kind.MONGODB, made(9 * HOUR), WELL, "The newest backup is 9 hours old; it should be 8 hours at most."),
        (
            Kind.FILES,
            made(16 * DAY, HOUR),
            WELL,
            "The oldest backup is 16 days old; it should be gone after 14 days.",
        ),
        (
            Kind.POSTGRESQL,
            made(2 * DAY, HOUR, damaged=(HOUR,)),
            WELL,
            "The backup of 2026-11-29 11:00 UTC has damaged pages: look at the disk.",
        ),
        (
            Kind.POSTGRESQL,
            made(HOUR),
            Noted(archive=NOW - 5 * HOUR),
            "No change came for 5 hours through to the archive: see appliance-backup-archive.service.",
        ),
        (
            Kind.POSTGRESQL,
            made(HOUR),
            Noted(),
            "No change ever came through to the archive: see appliance-backup-archive.service.",
        ),
        (
            Kind.FILES,
            made(9 * DAY, HOUR),
            Noted(),
            "Whether it can be read was never verified: see appliance-backup-verify.service.",
        ),
        (
            Kind.FILES,
            made(9 * DAY, HOUR),
            Noted(verify=NOW - 10 * DAY),
            "Whether it can be read was last 10 days ago verified: see appliance-backup-verify.service.",
        ),
        (Kind.FILES, BackupsUnreadable("restic: no key"), WELL, "Nothing is known of it: restic: no key."),
    ],
)
def test_each_thing_that_is_wrong_is_a_sentence(
    kind: Kind, found: Made | BackupsUnreadable, noted: Noted, problem: str
) -> None:
    (line,) = told(kind, found, noted)
    assert line.partition(": ")[2] == problem


def test_a_new_installation_has_a_week_until_its_first_verification() -> None:
    assert told(Kind.FILES, made(7 * DAY, HOUR), Noted()) == [
        "Secrets and files: 2 backups, the newest 60 minutes old."
    ]
    assert advice(Noted(), NOW) == ["No restoration was ever tried: ansible/restore_drill.yml does it."]


def test_each_kind_has_its_age() -> None:
    assert set(MOST) == set(Kind)


def test_prometheus_is_told_of_what_is_there_and_of_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "appliance_backup.prom"
    found: dict[Kind, Made | BackupsUnreadable] = {
        Kind.POSTGRESQL: made(HOUR),
        Kind.MONGODB: BackupsUnreadable("no"),
        Kind.FILES: made(3 * DAY),
    }
    write_metrics(file, judge(found, WELL, KEEP, NOW))
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert lines == [
        'appliance_backup_last_success_timestamp_seconds{kind="postgresql"} 1795950000',
        'appliance_backup_last_success_timestamp_seconds{kind="files"} 1795694400',
        'appliance_backup_ok{kind="postgresql"} 1',
        'appliance_backup_ok{kind="mongodb"} 0',
        'appliance_backup_ok{kind="files"} 0',
    ]
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


def test_what_the_programs_say_is_read() -> None:
    stop = NOW.timestamp()
    backups = [{"timestamp": {"start": stop - 9, "stop": stop}, "error": True}, {"timestamp": {"stop": stop - 60}}]
    stanza = {"name": "appliance", "status": {"code": 0, "message": "ok"}, "backup": backups}
    minute = timedelta(minutes=1)
    assert parse_postgresql(json.dumps([stanza]).encode()) == Made((NOW - minute, NOW), (NOW,))
    stanza["status"] = {"code": 3, "message": "missing stanza data"}
    with pytest.raises(BackupsUnreadable, match="pgBackRest: missing stanza data"):
        parse_postgresql(json.dumps([stanza]).encode())
    with pytest.raises(BackupsUnreadable, match="no stanza"):
        parse_postgresql(b"[]")
    with pytest.raises(BackupsUnreadable, match="restic does not answer in JSON"):
        parse_snapshots(b"Fatal: wrong password")
    snapshots = [
        {"time": "2026-11-29T13:00:00.123456789+01:00", "tags": ["mongodb"]},
        {"time": "2026-11-29T12:00:00Z", "tags": ["run-1"]},
        {"time": "2026-11-29T12:00:00Z"},
    ]
    read = parse_snapshots(json.dumps(snapshots).encode())
    assert read[Kind.MONGODB].times == (NOW.replace(microsecond=123456),)
    assert read[Kind.FILES] == Made()
