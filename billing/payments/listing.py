"""What is in trouble and what waits, in numbers, for the operator's pages. Reads alone."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.sales import dispute, payment, refund, stripe_event, stripe_mark

OPEN_DISPUTES = ("inquiry", "open")


@dataclass(frozen=True, slots=True)
class Troubles:
    """How many there are of each."""

    failed: int
    unwanted: int
    refunds: int
    disputes: int


@dataclass(frozen=True, slots=True)
class InboxState:
    """How many events wait, how many of those failed at the last try, how many are handled; and what came last."""

    waiting: int
    failed: int
    handled: int
    webhook_at: datetime | None
    refused_at: datetime | None
    swept_until: datetime | None


async def accounts_of(connection: AsyncConnection, payment_ids: Collection[UUID]) -> Mapping[UUID, int]:
    """Whose payments they are."""
    query = select(payment.c.id, payment.c.account_id).where(payment.c.id.in_(payment_ids))
    return {row.id: row.account_id for row in await connection.execute(query)}


async def count_troubles(connection: AsyncConnection) -> Troubles:
    counts = [
        select(func.count()).where(payment.c.state == "failed"),
        select(func.count()).where(payment.c.state == "unwanted"),
        select(func.count()).where(refund.c.state == "failed"),
        select(func.count()).where(dispute.c.state.in_(OPEN_DISPUTES)),
    ]
    return Troubles(*(await connection.execute(select(*(one.scalar_subquery() for one in counts)))).one())


async def read_inbox(connection: AsyncConnection) -> InboxState:
    waits = stripe_event.c.handled_at.is_(None)
    counts = select(
        func.count().filter(waits),
        func.count().filter(waits, stripe_event.c.error.is_not(None)),
        func.count().filter(~waits),
    )
    numbers = (await connection.execute(counts)).one()
    marks = {row.name: row.at for row in await connection.execute(select(stripe_mark.c.name, stripe_mark.c.at))}
    return InboxState(*numbers, *(marks.get(name) for name in ("webhook", "webhook_refused", "swept")))
