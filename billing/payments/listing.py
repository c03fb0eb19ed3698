"""What was paid and what is in trouble, of many payments at once: for pages that list them. Reads alone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.sales import dispute, payment, refund, stripe_event, stripe_mark
from billing.documents.buyers import Buyer
from billing.payments.records import Dispute, Payment, Refund

OPEN_DISPUTES = ("inquiry", "open")
_PAYMENT = [payment.c[name] for name in Payment.__struct_fields__]
_REFUND = [refund.c[name] for name in Refund.__struct_fields__]
_DISPUTE = [dispute.c[name] for name in Dispute.__struct_fields__]


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


async def payments_in(connection: AsyncConnection, *states: str, limit: int) -> Sequence[Payment]:
    """Of all accounts, newest first."""
    query = select(*_PAYMENT).where(payment.c.state.in_(states)).order_by(payment.c.created_at.desc()).limit(limit)
    rows = (await connection.execute(query)).mappings()
    return [Payment(**dict(row) | {"buyer": Buyer(**row["buyer"])}) for row in rows]


async def refunds_of_account(connection: AsyncConnection, account_id: int, limit: int) -> Sequence[Refund]:
    """Newest first."""
    query = select(*_REFUND).join_from(refund, payment).where(payment.c.account_id == account_id)
    rows = await connection.execute(query.order_by(refund.c.created_at.desc()).limit(limit))
    return [Refund(*row) for row in rows]


async def disputes_of_account(connection: AsyncConnection, account_id: int, limit: int) -> Sequence[Dispute]:
    """Newest first."""
    query = select(*_DISPUTE).join_from(dispute, payment).where(payment.c.account_id == account_id)
    rows = await connection.execute(query.order_by(dispute.c.opened_at.desc()).limit(limit))
    return [Dispute(*row) for row in rows]


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
