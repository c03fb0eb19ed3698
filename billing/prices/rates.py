"""Rates in versions: the one in force at admission is the one that is charged.

Terms: "We will notify you of model rate changes, and such changes will take effect on the date specified in the
notification." A change is announced so many days before, a policy value; an emergency is at once, and on record.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, insert, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database import tables
from billing.database.db import execute
from billing.errors import Conflict, NotFound
from billing.prices.pricing import Rate


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
    """``account_id`` is whose negotiated rate it is; one of the list has none."""

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
    now, table = clock(), tables.rate
    current = await _versions_in_force(connection, now)
    following = await _one_a_model(connection, table.c.effective_at > now, table.c.effective_at.asc())
    return {model: Listed(version, following.get(model)) for model, version in current.items()}


async def list_versions(
    connection: AsyncConnection, model: str | None = None, account_id: int | None = None
) -> list[Version]:
    """Past and to come, by model and date: all of them, or a model's, or those negotiated for an account."""
    table = tables.rate
    query = select(*(table.c[name] for name in Version.__slots__)).order_by(
        table.c.model, table.c.account_id.nulls_first(), table.c.effective_at
    )
    if model is not None:
        query = query.where(table.c.model == model)
    if account_id is not None:
        query = query.where(table.c.account_id == account_id)
    return [Version(**row) for row in (await connection.execute(query)).mappings()]


async def first_rates(
    connection: AsyncConnection, declared: Mapping[str, Prices], clock: Clock
) -> tuple[list[str], list[str]]:
    """Gives each model that has no rate its first one. Returns these models, and those whose list rate differs."""
    known = {version.model for version in await list_versions(connection)}
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
    old = (await _versions_in_force(connection, effective_at)).get(model)
    if effective_at < now:
        raise Conflict("a rate cannot take effect in the past")
    if old is not None and emergency is None and effective_at < now + timedelta(days=notice_days):
        raise Conflict(
            f"a change of {model}'s rate must be announced {notice_days} days before: "
            f"{(now + timedelta(days=notice_days)).isoformat(timespec='minutes')} at the earliest"
        )
    await _insert(connection, model, prices, effective_at, now)
    if emergency is not None:
        await _record(connection, now, actor, "rate set in an emergency", None, model, emergency)
    if old is not None:
        body = {
            "model": model,
            "effective_at": effective_at.isoformat(),
            "old": asdict(old.prices),
            "new": asdict(prices),
        }
        subject = f"{model} {effective_at.isoformat()}"
        await execute(
            connection,
            "INSERT INTO notice (created_at, kind, subject, body) VALUES ($1, 'rate_change', $2, $3::text::jsonb)",
            now,
            subject,
            json.dumps(body),
        )


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

    From ``effective_at`` on, now without it; what was agreed needs no notice. Raises NotFound; Conflict if it
    begins in the past, ends before it begins, or if that moment has a version.
    """
    now = clock()
    start = effective_at or now
    if start < now:
        raise Conflict("a rate cannot take effect in the past")
    if ends_at is not None and ends_at <= start:
        raise Conflict("a negotiated rate must end after it begins")
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


async def _insert(
    connection: AsyncConnection,
    model: str,
    prices: Prices,
    effective_at: datetime,
    announced_at: datetime,
    account_id: int | None = None,
    ends_at: datetime | None = None,
) -> None:
    row = {
        "model": model, "account_id": account_id, "effective_at": effective_at, "announced_at": announced_at,
        "ends_at": ends_at,
    }  # fmt: skip
    try:
        await connection.execute(insert(tables.rate).values(**row, **asdict(prices)))
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) == "23505":
            raise Conflict(f"{model} has a rate from {effective_at.isoformat()} on already") from None
        raise


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
    table = tables.rate
    return await _one_a_model(connection, table.c.effective_at <= moment, table.c.effective_at.desc())


async def _one_a_model(
    connection: AsyncConnection, condition: ColumnElement[bool], order: ColumnElement[datetime]
) -> dict[str, Version]:
    """The first list version of each model, in the order given."""
    table = tables.rate
    query = (
        select(*(table.c[name] for name in Version.__slots__))
        .where(condition, table.c.account_id.is_(None))
        .ext(distinct_on(table.c.model))
        .order_by(table.c.model, order)
    )
    return {row["model"]: Version(**row) for row in (await connection.execute(query)).mappings()}


def _rate(version: Version) -> Rate:
    return Rate(version.id, *(getattr(version.prices, name) for name in Prices.__slots__))
