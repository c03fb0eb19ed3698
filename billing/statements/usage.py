"""What was used: a row a request, without content."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import tables


@dataclass(frozen=True, slots=True)
class Usage:
    """``time`` is when the request was admitted."""

    request_id: UUID
    account_id: int
    time: datetime
    model: str
    endpoint: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_nanodollars: int
    ended: str


async def list_usage(connection: AsyncConnection, limit: int, account_id: int | None = None) -> list[Usage]:
    """Newest first (request ids are in the order of time)."""
    table = tables.usage
    query = (
        select(
            table.c.request_id,
            table.c.account_id,
            table.c.created_at.label("time"),
            table.c.model,
            table.c.endpoint,
            table.c.prompt_tokens,
            table.c.cached_tokens,
            table.c.completion_tokens,
            table.c.cost_nanodollars,
            table.c.ended,
        )
        .order_by(table.c.request_id.desc())
        .limit(limit)
    )
    if account_id is not None:
        query = query.where(table.c.account_id == account_id)
    return [Usage(**row) for row in (await connection.execute(query)).mappings()]
