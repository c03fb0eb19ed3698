"""Notices become mail: one for the owner of the account, or one for everybody who is in good standing."""

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.settings import Settings
from billing.clock import Clock
from billing.database.db import Database, execute, fetch
from billing.payments.notices import TO_OPERATOR

NEWS = "news"
"""The kind of mail; it is about the notice."""
AT_ONCE = 100
BEFORE_THE_END = (timedelta(days=30), timedelta(days=7))
"""How long before credit ends its owner is told."""

_DUE = """
SELECT id, account_id FROM notice WHERE sent_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_TO_OWNERS = """
INSERT INTO mail (kind, email, language, about, created_at, due_at, bulk)
SELECT $1, p.email, p.language, n.id, $3, $3, true
FROM notice n JOIN person p ON p.account_id = n.account_id OR n.account_id IS NULL
JOIN account a ON a.id = p.account_id
WHERE n.id = ANY($2::bigint[]) AND (n.account_id IS NOT NULL OR a.status = 'active')
  AND (NOT starts_with(n.kind, $4) OR a.role = 'operator')
"""
_LOTS = """
INSERT INTO notice (created_at, kind, account_id, subject, body)
SELECT $1, 'lot_ends', l.account_id, format('lot %s %s', l.id, $3::text),
    jsonb_build_object('ends_at', l.ends_at, 'remaining_nanodollars', l.remaining_nanodollars)
FROM lot l WHERE l.open AND l.remaining_nanodollars > 0 AND l.ends_at > $1 AND l.ends_at <= $1 + $2::interval
    AND l.acquired_at <= l.ends_at - 2 * $2::interval
ON CONFLICT DO NOTHING
"""
_TERMS = """
INSERT INTO notice (created_at, kind, subject, body)
SELECT $1, 'terms', $2, jsonb_build_object('version', $2::text)
WHERE EXISTS (SELECT 1 FROM acceptance WHERE terms < $2)
ON CONFLICT DO NOTHING
"""


async def notice_terms(connection: AsyncConnection, version: str, now: datetime) -> None:
    """A notice for everybody that the terms have changed, if somebody has accepted those before."""
    await execute(connection, _TERMS, now, version)


async def tell(connection: AsyncConnection, now: datetime) -> int:
    """Queues mail for what was not told yet; returns how many notices were."""
    due = [row[0] for row in await fetch(connection, _DUE, AT_ONCE)]
    if due:
        await execute(connection, _TO_OWNERS, NEWS, due, now, TO_OPERATOR)
        await execute(connection, "UPDATE notice SET sent_at = $2 WHERE id = ANY($1::bigint[])", due, now)
    return len(due)


async def notice_ends(connection: AsyncConnection, now: datetime) -> None:
    """A notice for each lot of credit that ends soon; none for one that was to last no longer than that."""
    for before in BEFORE_THE_END:
        await execute(connection, _LOTS, now, before, f"{before.days} days")


async def announce_terms(settings: Settings, version: str, clock: Clock) -> None:
    """At the start of a system, whose operator may have changed them. Raises DatabaseUnavailable."""
    database = Database(settings.sqlalchemy_url)
    try:
        async with database.begin() as connection:
            await notice_terms(connection, version, clock())
    finally:
        await database.close()
