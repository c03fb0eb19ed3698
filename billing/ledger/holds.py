"""Open holds: the record that a request began and is not resolved."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import tables


@dataclass(frozen=True, slots=True)
class Hold:
    request_id: UUID
    account_id: int
    model: str
    amount_nanodollars: int
    created_at: datetime


async def holds_before(
    connection: AsyncConnection, moment: datetime, limit: int, after: Hold | None = None
) -> list[Hold]:
    """A page of the holds placed before ``moment``, oldest first, from behind ``after`` on."""
    table = tables.hold
    query = (
        select(*(table.c[name] for name in Hold.__slots__))
        .where(table.c.created_at < moment)
        .order_by(table.c.created_at, table.c.request_id)
        .limit(limit)
    )
    if after is not None:
        position = tuple_(table.c.created_at, table.c.request_id)
        query = query.where(position > tuple_(after.created_at, after.request_id))
    return [Hold(**row) for row in (await connection.execute(query)).mappings()]


async def has_hold(connection: AsyncConnection, account_id: int | None, purpose: str) -> bool:
    """Whether a request by the account's key of that purpose, or by anybody's, is unresolved."""
    hold, key = tables.hold, tables.api_key
    by_key = select(hold.c.request_id).join(key, key.c.id == hold.c.key_id)
    whose = () if account_id is None else (hold.c.account_id == account_id,)
    query = select(by_key.where(key.c.purpose == purpose, *whose).exists())
    return bool((await connection.execute(query)).scalar_one())


@dataclass(frozen=True, slots=True)
class OpenHolds:
    count: int
    oldest_at: datetime | None


async def look_at_holds(connection: AsyncConnection) -> OpenHolds:
    """All that are not resolved."""
    query = select(func.count(), func.min(tables.hold.c.created_at)).select_from(tables.hold)
    count, oldest_at = (await connection.execute(query)).one()
    return OpenHolds(count, oldest_at)
