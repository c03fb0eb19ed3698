"""Rates in versions: the one in force at admission is the one that is charged.

Terms: "We will notify you of model rate changes, and such changes will take effect on the date specified in the
notification." A change is announced so many days before, a policy value; an emergency is at once, and on record.
What was announced can be taken back until a day before it takes effect: that is on record, and everybody is told.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, insert, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database import tables
from billing.database.db import execute
from billing.errors import Conflict, NotFound
from billing.prices.pricing import Rate

TOO_LATE = timedelta(days=1)
"""Before a rate takes effect: whoever was told of it is to hear in time that it does not."""
WITHDRAWN = "rate taken back"
"""What a withdrawal is called in the records."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Tokens in micro-dollars per million; ``request``, ``image`` and ``audio_second`` in nano-dollars each."""

    input: int
    cached_input: int
    output: int
    request: int = 0
    image: int = 0
    audio_second: int = 0

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 0:
            raise ValueError("a price cannot be negative")


@dataclass(frozen=True, slots=True)
class Version:
    """``account_id`` is whose negotiated rate it is; one of the list has none.

    One that was taken back has ``withdrawn_at``, and was never in force.
    """

    id: int
    model: str
    account_id: int | None
    announced_at: datetime
    effective_at: datetime
    ends_at: datetime | None
    input: int
    cached_input: int
    output: int
    request: int
    image: int
    audio_second: int
    withdrawn_at: datetime | None

    @property
    def prices(self) -> Prices:
        return Prices(*(getattr(self, name) for name in Prices.__slots__))


@dataclass(frozen=True, slots=True)
class Listed:
    """A model's list rate in force, and the next one that is announced."""

    current: Version
    next: Version | None


async def rates_in_force(connection: AsyncConnection, clock: Clock) -> dict[str, Rate]:
    """The list's, by model."""
    return {model: _rate(version) for model, version in (await _versions_in_force(connection, clock())).items()}


async def price_list(connection: AsyncConnection, clock: Clock) -> dict[str, Listed]:
    """What everybody may know: the list rates in force, by model, with the next change of each."""
    now, of = clock(), tables.rate.c
    current = await _versions_in_force(connection, now)
    following = await _one_a_model(connection, of.effective_at > now, of.effective_at.asc())
    return {model: Listed(version, following.get(model)) for model, version in current.items()}


async def list_versions(
    connection: AsyncConnection, model: str | None = None, account_id: int | None = None
) -> list[Version]:
    """Past and to come, by model and date: all of them, or a model's, or those negotiated for an account."""
    of = tables.rate.c
    query = _versions().order_by(of.model, of.account_id.nulls_first(), of.effective_at, of.id)
    if model is not None:
        query = query.where(of.model == model)
    if account_id is not None:
        query = query.where(of.account_id == account_id)
    return [Version(**row) for row in (await connection.execute(query)).mappings()]


async def first_rates(
    connection: AsyncConnection, declared: Mapping[str, Prices], clock: Clock
) -> tuple[list[str], list[str]]:
    """Gives each model that has no rate its first one. Returns these models, and those whose list rate differs."""
    await _one_at_a_time(connection)
    known = {version.model for version in await list_versions(connection) if version.withdrawn_at is None}
    in_force = await _versions_in_force(connection, clock())
    new = [model for model in declared if model not in known]
    for model in new:
        await _insert(connection, model, declared[model], clock(), clock())
    different = [
        model for model, prices in declared.items() if model in in_force and in_force[model].prices != prices
    ]
    return new, different


async def change_rate(
    connection: AsyncConnection,
    model: str,
    prices: Prices,
    effective_at: datetime,
    clock: Clock,
    *,
    notice_days: int,
    actor: str,
    emergency: str | None = None,
) -> None:
    """A version of the list's rate from ``effective_at`` on, and its announcement, queued for mail.

    Raises Conflict if that is sooner than ``notice_days`` from now and there is no ``emergency`` (its reason,
    which goes on record), if it is in the past, or if that moment has a version. A first rate needs no notice.
    The announcement compares with what will be in force until then, which may be a change announced before.
    """
    now = clock()
    await _one_at_a_time(connection)
    old = (await _versions_in_force(connection, effective_at)).get(model)
    if effective_at < now:
        raise Conflict("a rate cannot take effect in the past")
    if old is not None and emergency is None and effective_at < now + timedelta(days=notice_days):
        raise Conflict(
            f"a change of {model}'s rate must be announced {notice_days} days before: "
            f"{(now + timedelta(days=notice_days)).isoformat(timespec='minutes')} at the earliest"
        )
    rate_id = await _insert(connection, model, prices, effective_at, now)
    if emergency is not None:
        await _record(connection, now, actor, "rate set in an emergency", None, model, emergency)
    if old is not None:
        body = {
            "model": model,
            "effective_at": effective_at.isoformat(),
            "old": asdict(old.prices),
            "new": asdict(prices),
        }
        await _announce(connection, "rate_change", f"rate {rate_id}", body, now)


async def negotiate_rate(
    connection: AsyncConnection,
    account_id: int,
    model: str,
    prices: Prices,
    clock: Clock,
    *,
    ends_at: datetime | None,
    actor: str,
    reason: str,
    effective_at: datetime | None = None,
) -> None:
    """An account's own rate of a model, until ``ends_at``; then the list's again.

    Of several the newest that has begun counts. From ``effective_at`` on, now without it; what was agreed needs no
    notice. Raises NotFound; Conflict if it begins in the past, ends before it begins, or if that moment has a
    version.
    """
    now = clock()
    start = effective_at or now
    if start < now:
        raise Conflict("a rate cannot take effect in the past")
    if ends_at is not None and ends_at <= start:
        raise Conflict("a negotiated rate must end after it begins")
    await _one_at_a_time(connection)
    statement = (
        tables.account.update()
        .where(tables.account.c.id == account_id)
        .values(negotiated=True)
        .returning(tables.account.c.id)
    )
    if (await connection.execute(statement)).one_or_none() is None:
        raise NotFound(f"there is no account {account_id}")
    await _insert(connection, model, prices, start, now, account_id, ends_at)
    await _record(connection, now, actor, "rate negotiated", account_id, model, reason)


async def withdraw_rate(
    connection: AsyncConnection, rate_id: int, clock: Clock, *, actor: str, reason: str
) -> Version:
    """Takes back a version that is not in force yet.

    That is announced, queued for mail, to all who were told of the change. Raises NotFound; Conflict if it was
    taken back before, or takes effect within ``TOO_LATE``.
    """
    now = clock()
    if not reason.strip():
        raise Conflict("a reason is needed")
    await _one_at_a_time(connection)
    query = _versions().where(tables.rate.c.id == rate_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no rate {rate_id}")
    version = Version(**row)
    if version.withdrawn_at is not None:
        raise Conflict("this rate was taken back before")
    if version.effective_at <= now + TOO_LATE:
        raise Conflict("a rate that is in force, or about to be, cannot be taken back: announce another change")
    await connection.execute(insert(tables.rate_withdrawal).values(rate_id=rate_id, at=now))
    await _record(connection, now, actor, WITHDRAWN, version.account_id, f"rate {rate_id}", reason)
    if await _was_announced(connection, rate_id):
        body = {"model": version.model, "effective_at": version.effective_at.isoformat()}
        await _announce(connection, "rate_withdrawn", f"rate {rate_id}", body, now)
    return version


async def _insert(
    connection: AsyncConnection,
    model: str,
    prices: Prices,
    effective_at: datetime,
    announced_at: datetime,
    account_id: int | None = None,
    ends_at: datetime | None = None,
) -> int:
    """Its id. Nobody else may be changing rates. Raises Conflict if the moment has a version that stands."""
    of = tables.rate.c
    whose = of.model == model, of.account_id.is_not_distinct_from(account_id), of.effective_at == effective_at
    if (await connection.execute(_versions().where(*whose, _stands()))).first() is not None:
        raise Conflict(f"{model} has a rate from {effective_at.isoformat()} on already")
    row = {
        "model": model, "account_id": account_id, "effective_at": effective_at, "announced_at": announced_at,
        "ends_at": ends_at,
    }  # fmt: skip
    made = insert(tables.rate).values(**row, **asdict(prices)).returning(of.id)
    return int((await connection.execute(made)).scalar_one())


async def _one_at_a_time(connection: AsyncConnection) -> None:
    """Whoever changes rates waits for one another; nobody who reads them does."""
    await execute(connection, "LOCK TABLE rate IN SHARE ROW EXCLUSIVE MODE")


async def _was_announced(connection: AsyncConnection, rate_id: int) -> bool:
    query = select(tables.notice.c.id).where(
        tables.notice.c.kind == "rate_change", tables.notice.c.subject == f"rate {rate_id}"
    )
    return (await connection.execute(query)).first() is not None


async def _announce(
    connection: AsyncConnection, kind: str, subject: str, body: Mapping[str, object], now: datetime
) -> None:
    """To everybody, by mail."""
    await execute(
        connection,
        "INSERT INTO notice (created_at, kind, subject, body) VALUES ($1, $2, $3, $4::text::jsonb)",
        now,
        kind,
        subject,
        json.dumps(body),
    )


async def _record(
    connection: AsyncConnection,
    now: datetime,
    actor: str,
    action: str,
    account_id: int | None,
    subject: str,
    reason: str,
) -> None:
    entry = {
        "at": now, "actor": actor, "action": action, "account_id": account_id, "subject": subject, "reason": reason
    }  # fmt: skip
    await connection.execute(insert(tables.audit).values(**entry))


async def _versions_in_force(connection: AsyncConnection, moment: datetime) -> dict[str, Version]:
    of = tables.rate.c
    return await _one_a_model(connection, of.effective_at <= moment, of.effective_at.desc())


async def _one_a_model(
    connection: AsyncConnection, condition: ColumnElement[bool], order: ColumnElement[datetime]
) -> dict[str, Version]:
    """The first list version of each model that stands, in the order given."""
    of = tables.rate.c
    query = (
        _versions()
        .where(condition, of.account_id.is_(None), _stands())
        .ext(distinct_on(of.model))
        .order_by(of.model, order)
    )
    return {row["model"]: Version(**row) for row in (await connection.execute(query)).mappings()}


def _versions() -> Select[tuple[object, ...]]:
    """Of every version what Version has."""
    rate, withdrawal = tables.rate, tables.rate_withdrawal
    own = [rate.c[name] for name in Version.__slots__ if name != "withdrawn_at"]
    joined = rate.join(withdrawal, withdrawal.c.rate_id == rate.c.id, isouter=True)
    return select(*own, withdrawal.c.at.label("withdrawn_at")).select_from(joined)


def _stands() -> ColumnElement[bool]:
    return tables.rate_withdrawal.c.rate_id.is_(None)


def _rate(version: Version) -> Rate:
    return Rate(version.id, *(getattr(version.prices, name) for name in Prices.__slots__))
