"""What was used: a row a request, without content."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import tables
from billing.statements.channel import channel, with_keys


@dataclass(frozen=True, slots=True)
class Usage:
    """``time`` is when the request was admitted, ``channel`` by which way it came."""

    request_id: UUID
    account_id: int
    time: datetime
    model: str
    endpoint: str
    channel: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_nanodollars: int
    ended: str


@dataclass(frozen=True, slots=True)
class Running:
    """A request that was admitted and is not charged yet; ``amount_nanodollars`` is what is held for it."""

    request_id: UUID
    account_id: int
    created_at: datetime
    model: str
    endpoint: str
    channel: str
    amount_nanodollars: int


_TABLE = tables.usage
_NAMED = {"time": _TABLE.c.created_at.label("time"), "channel": channel()}
_COLUMNS = [_NAMED[name] if name in _NAMED else _TABLE.c[name] for name in Usage.__slots__]
_USAGE = select(*_COLUMNS).select_from(with_keys(_TABLE))


async def list_usage(connection: AsyncConnection, limit: int, account_id: int | None = None) -> list[Usage]:
    """Newest first (request ids are in the order of time)."""
    query = _USAGE.order_by(_TABLE.c.request_id.desc()).limit(limit)
    if account_id is not None:
        query = query.where(_TABLE.c.account_id == account_id)
    return [Usage(**row) for row in (await connection.execute(query)).mappings()]


async def list_running(connection: AsyncConnection, limit: int) -> list[Running]:
    """Newest first."""
    hold = tables.hold
    columns = [channel() if name == "channel" else hold.c[name] for name in Running.__slots__]
    query = select(*columns).select_from(with_keys(hold)).order_by(hold.c.request_id.desc()).limit(limit)
    return [Running(**row) for row in (await connection.execute(query)).mappings()]


async def find_usage(connection: AsyncConnection, request_id: UUID, account_id: int) -> Usage | None:
    """One of the account's own."""
    query = _USAGE.where(_TABLE.c.request_id == request_id, _TABLE.c.account_id == account_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else Usage(**row)
