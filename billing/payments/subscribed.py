"""What is kept of subscriptions, as it is read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import sales
from billing.plans.entitlements import Entitled
from billing.plans.versions import Version, version_of

RUNNING = ("active", "past_due")


class Subscription(msgspec.Struct, frozen=True):
    """An account's time on a plan. ``state``: ordered, active, past_due or ended.

    ``period_end`` is what is paid for: ``next_version`` follows then, or the end if it ``cancels``.
    ``grace_until`` is there while a renewal is not paid. ``before`` is what the account had, and gets back.
    ``written`` counts how often the row was written.
    """

    id: UUID
    account_id: int
    version: Version
    next_version: Version | None
    state: str
    stripe_id: str | None
    checkout: str | None
    cancels: bool
    before: Entitled | None
    created_at: datetime
    period_start: datetime | None
    period_end: datetime | None
    grace_until: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    written: int


def stripe_id_of(row: Subscription) -> str:
    """Of one that runs, or has run."""
    assert row.stripe_id is not None, "what runs is known at Stripe"
    return row.stripe_id


_COLUMNS = [
    sales.subscription.c[name]
    for name in (
        "id", "account_id", "version_id", "next_version_id", "state", "stripe_id", "checkout", "cancels", "before",
        "created_at", "period_start", "period_end", "grace_until", "ended_at", "end_reason", "written",
    )
]  # fmt: skip


async def running_of(connection: AsyncConnection, account_id: int) -> Subscription | None:
    """The one that is active, or whose renewal is not paid yet."""
    table = sales.subscription.c
    found = await subscriptions_where(connection, table.account_id == account_id, table.state.in_(RUNNING))
    return found[0] if found else None


async def unfinished_of(connection: AsyncConnection, account_id: int) -> Sequence[Subscription]:
    """Those that are ordered or run, newest first."""
    table = sales.subscription.c
    return await subscriptions_where(connection, table.account_id == account_id, table.state != "ended")


async def last_of(connection: AsyncConnection, account_id: int) -> Subscription | None:
    """The newest of those that were paid for and have ended."""
    table = sales.subscription.c
    had = (table.account_id == account_id, table.state == "ended", table.period_end.is_not(None))
    found = await subscriptions_where(connection, *had, limit=1)
    return found[0] if found else None


async def subscriptions_of(
    connection: AsyncConnection, account_id: int, limit: int = 100
) -> Sequence[Subscription]:
    """Newest first, also those that nobody paid for."""
    return await subscriptions_where(connection, sales.subscription.c.account_id == account_id, limit=limit)


async def subscriptions_where(
    connection: AsyncConnection, *conditions: ColumnElement[bool], limit: int | None = None
) -> list[Subscription]:
    """Newest first."""
    query = (
        select(*_COLUMNS)
        .where(*conditions)
        .order_by(sales.subscription.c.created_at.desc(), sales.subscription.c.id.desc())
        .limit(limit)
    )
    return [await _subscription(connection, row) for row in await connection.execute(query)]


async def _subscription(connection: AsyncConnection, row: Sequence[Any]) -> Subscription:
    id_, account_id, version_id, next_id, state, stripe_id, checkout, cancels, before, *rest = row
    return Subscription(
        id_,
        account_id,
        await version_of(connection, version_id),
        None if next_id is None else await version_of(connection, next_id),
        state,
        stripe_id,
        checkout,
        cancels,
        None if before is None else msgspec.convert(before, Entitled),
        *rest,
    )
