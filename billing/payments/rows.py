"""The only place that writes rows of ``payment``: a new one, and each step of its life; and a new ``refund``.

Statements go through ``run``: a transaction's of the ledger, or a connection's (``on``).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.db import execute, fetch
from billing.documents.buyers import Buyer
from billing.documents.vat import Quote
from billing.payments import life
from billing.payments.records import Refund

ACTOR = "appliance"
"""Who gives back what nobody asked for."""

_NEW = """
INSERT INTO payment (
    id, account_id, kind, way, state, value_nanodollars, net_cents, vat_cents, gross_cents, vat_code,
    vat_basis_points, buyer, created_at, paid_at, intent, invoice, lot_id, subscription_id, version_id,
    period_start, period_end, document_id, failure, save_card, vat_reason, tax_calculation
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
    $11, $12::text::jsonb, $13, $14, $15, $16, $17, $18, $19, $20,
    $21, $22, $23, $24, $25, $26
)
"""
_STATE = "SELECT state FROM payment WHERE id = $1 FOR UPDATE"
_OPEN = "UPDATE payment SET state = 'open', checkout = $2 WHERE id = $1 AND state = 'ordered'"
_TAX = """
UPDATE payment SET net_cents = $2, vat_cents = $3, gross_cents = $4, vat_code = $5, vat_basis_points = $6,
    vat_reason = $7, tax_calculation = $8
WHERE id = $1 AND state NOT IN ('credited', 'unwanted')
"""
_CHECKOUT = "UPDATE payment SET checkout = $2 WHERE id = $1 AND checkout IS NULL"
_INTENT = "UPDATE payment SET intent = $2 WHERE id = $1 AND intent IS NULL"
_CREDITED = """
UPDATE payment SET state = 'credited', paid_at = $2, lot_id = $3, failure = NULL, intent = coalesce(intent, $4)
WHERE id = $1 AND state IN ('ordered', 'open', 'failed', 'expired')
"""
_UNWANTED = """
UPDATE payment SET state = 'unwanted', paid_at = $2, failure = $3, intent = coalesce(intent, $4)
WHERE id = $1 AND state IN ('ordered', 'open', 'failed', 'expired')
RETURNING id
"""
_ALL_OF = """
SELECT value_nanodollars, net_cents, vat_cents, gross_cents, failure FROM payment WHERE id = $1 AND gross_cents > 0
"""
_NEW_REFUND = """
INSERT INTO refund (
    id, payment_id, state, value_nanodollars, net_cents, vat_cents, gross_cents, actor, reason, created_at,
    done_at, stripe_id
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
_OVER = "UPDATE payment SET state = $2, failure = $3, intent = coalesce(intent, $4) WHERE id = $1"
_DIFFERS = "UPDATE payment SET failure = $2 WHERE id = $1 AND failure IS DISTINCT FROM $2"
_EXPIRED = """
UPDATE payment SET state = 'expired', failure = coalesce($2, failure)
WHERE id = $1 AND state = 'ordered' AND checkout IS NULL
"""


class Run(Protocol):
    async def __call__(self, statement: str, *parameters: object) -> Sequence[Sequence[Any]]: ...


def on(connection: AsyncConnection) -> Run:
    async def run(statement: str, *parameters: object) -> Sequence[Sequence[Any]]:
        found = await connection.exec_driver_sql(statement, parameters)
        return list(found) if found.returns_rows else []

    return run


class NewPayment(msgspec.Struct, frozen=True, kw_only=True):
    """As ``records.Payment``. ``version_id`` and the period are of the plan that it pays for; ``way``: how."""

    id: UUID
    account_id: int
    kind: str
    state: str = "ordered"
    way: str = "stripe"
    quote: Quote
    buyer: Buyer
    created_at: datetime
    paid_at: datetime | None = None
    intent: str | None = None
    invoice: str | None = None
    lot_id: int | None = None
    subscription_id: UUID | None = None
    version_id: int | None = None
    period: tuple[datetime | None, datetime | None] = (None, None)
    document_id: int | None = None
    failure: str | None = None
    save_card: bool = False


async def write(run: Run, new: NewPayment) -> None:
    quote = new.quote
    await run(
        _NEW,
        *(new.id, new.account_id, new.kind, new.way, new.state),
        *(quote.value, quote.net, quote.vat, quote.gross, quote.code, quote.basis_points),
        *(msgspec.json.encode(new.buyer).decode(), new.created_at, new.paid_at, new.intent, new.invoice),
        *(new.lot_id, new.subscription_id, new.version_id, *new.period),
        *(new.document_id, new.failure, new.save_card, quote.reason, quote.calculation),
    )


async def write_refund(run: Run, new: Refund) -> None:
    await run(
        _NEW_REFUND,
        *(new.id, new.payment_id, new.state, new.value_nanodollars, new.net_cents, new.vat_cents, new.gross_cents),
        *(new.actor, new.reason, new.created_at, new.done_at, new.stripe_id),
    )


async def take_tax(connection: AsyncConnection, payment_id: UUID, quoted: Quote) -> None:
    """As Stripe has reckoned it on the page, of a payment that is not credited yet. An earlier quote is over."""
    amounts = (quoted.net, quoted.vat, quoted.gross, quoted.code, quoted.basis_points)
    await execute(connection, _TAX, payment_id, *amounts, quoted.reason, quoted.calculation)


async def note_page(connection: AsyncConnection, payment_id: UUID, checkout: str) -> None:
    """Stripe has made the page of a payment that was ordered."""
    await execute(connection, _OPEN, payment_id, checkout)


async def note_ids(
    connection: AsyncConnection, payment_id: UUID, checkout: str | None = None, intent: str | None = None
) -> None:
    """What Stripe calls it, where whoever made it did not come to note it."""
    if checkout is not None:
        await execute(connection, _CHECKOUT, payment_id, checkout)
    if intent is not None:
        await execute(connection, _INTENT, payment_id, intent)


async def may_be_credited(run: Run, payment_id: UUID) -> bool:
    """Locks the row. False if it is credited already; raises Conflict if it cannot be."""
    ((state,),) = await run(_STATE, payment_id)
    if state != "credited":
        life.require("payment", state, "credited")
    return bool(state != "credited")


async def note_credited(
    run: Run, payment_id: UUID, paid_at: datetime, lot_id: int | None, intent: str | None
) -> None:
    await run(_CREDITED, payment_id, paid_at, lot_id, intent)


async def note_unwanted(
    run: Run, payment_id: UUID, paid_at: datetime, why: str, intent: str, refund_id: UUID, now: datetime
) -> None:
    """Paid, and not taken: with the refund that the worker makes of it."""
    if await run(_UNWANTED, payment_id, paid_at, why, intent):
        await give_back(run, payment_id, refund_id, now)


async def give_back(run: Run, payment_id: UUID, refund_id: UUID, now: datetime) -> None:
    """The refund of all of one that is unwanted. The worker sends it."""
    for value, net, vat, gross, why in await run(_ALL_OF, payment_id):
        refund = Refund(
            id=refund_id,
            payment_id=payment_id,
            state="taken",
            value_nanodollars=value,
            net_cents=net,
            vat_cents=vat,
            gross_cents=gross,
            actor=ACTOR,
            reason=why,
            created_at=now,
        )
        await write_refund(run, refund)


async def note_over(
    connection: AsyncConnection, payment_id: UUID, state: str, failure: str | None, intent: str | None
) -> bool:
    """Whether it may be so now: else nothing is written."""
    ((before,),) = await fetch(connection, _STATE, payment_id)
    may = life.may("payment", before, state)
    if may:
        await execute(connection, _OVER, payment_id, state, failure, intent)
    return may


async def note_difference(connection: AsyncConnection, payment_id: UUID, different: str) -> None:
    """It is paid, and not as it was ordered."""
    await execute(connection, _DIFFERS, payment_id, different)


async def note_expired(connection: AsyncConnection, payment_id: UUID, why: str | None = None) -> None:
    """One that was ordered and never led to a page."""
    await execute(connection, _EXPIRED, payment_id, why)
