"""Which backups are fine, and what is wrong with the others. A function of values: what is there, and the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.backup.made import BackupsUnreadable, Kind, Made

MOST = {
    Kind.POSTGRESQL: timedelta(hours=26),
    Kind.MONGODB: timedelta(hours=8),
    Kind.FILES: timedelta(hours=26),
}
"""How old the newest backup may be: as often as the role ``backup`` makes one, and two hours."""

ARCHIVE_MOST = timedelta(hours=2)
VERIFY_MOST = timedelta(days=8)
DRILL_MOST = timedelta(days=100)
SPARE = timedelta(days=1)
"""What is too old goes with the next backup."""

NAMES = {Kind.POSTGRESQL: "PostgreSQL", Kind.MONGODB: "The chat's database", Kind.FILES: "Secrets and files"}


@dataclass(frozen=True, slots=True)
class Noted:
    """When each was last done: a change of PostgreSQL came through, backups were read again, one was restored."""

    archive: datetime | None = None
    verify: datetime | None = None
    drill: datetime | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """``problems`` are sentences; none: this kind is fine."""

    kind: Kind
    last: datetime | None
    count: int
    problems: tuple[str, ...]

    @property
    def is_fine(self) -> bool:
        return not self.problems


def judge(
    found: Mapping[Kind, Made | BackupsUnreadable], noted: Noted, keep: timedelta, now: datetime
) -> list[Judged]:
    """``keep`` is the longest that a backup may be kept, as people were promised."""
    return [_judged(kind, made, noted, keep, now) for kind, made in found.items()]


def advice(noted: Noted, now: datetime) -> list[str]:
    """What is no failure, and should be done."""
    if noted.drill is None:
        return ["No restoration was ever tried: ansible/restore_drill.yml does it."]
    if now - noted.drill > DRILL_MOST:
        return [f"A restoration was last tried {age(now - noted.drill)} ago: ansible/restore_drill.yml does it."]
    return []


def age(length: timedelta) -> str:
    """As one would say it."""
    hours = length.total_seconds() / 3600
    if hours >= 48:
        return f"{hours / 24:.0f} days"
    minutes = f"{hours * 60:.0f}"
    if hours >= 2:
        return f"{hours:.0f} hours"
    return "a minute" if minutes in ("0", "1") else f"{minutes} minutes"


def _judged(kind: Kind, made: Made | BackupsUnreadable, noted: Noted, keep: timedelta, now: datetime) -> Judged:
    if isinstance(made, BackupsUnreadable):
        return Judged(kind, None, 0, (f"Nothing is known of it: {made}.",))
    if not made.times:
        return Judged(kind, None, 0, ("There is no backup.",))
    problems = [*_of_age(kind, made, keep, now), *_of_reading(made, noted, now)]
    if kind is Kind.POSTGRESQL:
        problems += _of_archive(noted, now)
    return Judged(kind, made.times[-1], len(made.times), tuple(problems))


def _of_age(kind: Kind, made: Made, keep: timedelta, now: datetime) -> list[str]:
    problems = []
    newest, oldest = now - made.times[-1], now - made.times[0]
    if newest > MOST[kind]:
        problems.append(f"The newest backup is {age(newest)} old; it should be {age(MOST[kind])} at most.")
    if oldest > keep + SPARE:
        problems.append(f"The oldest backup is {age(oldest)} old; it should be gone after {age(keep)}.")
    if made.damaged:
        problems.append(
            f"The backup of {made.damaged[-1]:%Y-%m-%d %H:%M} UTC has damaged pages: look at the disk."
        )
    return problems


def _of_reading(made: Made, noted: Noted, now: datetime) -> list[str]:
    if now - (noted.verify or made.times[0]) <= VERIFY_MOST:
        return []
    when = "never" if noted.verify is None else f"last {age(now - noted.verify)} ago"
    return [f"Whether it can be read was {when} verified: see appliance-backup-verify.service."]


def _of_archive(noted: Noted, now: datetime) -> list[str]:
    if noted.archive is not None and now - noted.archive <= ARCHIVE_MOST:
        return []
    since = "ever came" if noted.archive is None else f"came for {age(now - noted.archive)}"
    return [f"No change {since} through to the archive: see appliance-backup-archive.service."]
