"""What came by bank for an invoice goes back by bank: the operator pays it, and notes it here.

The invoice is credited by it, and the worker posts the credit note. Each refund is of one payment: the money that
came last goes back first.
"""

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database.db import Database, fetch
from billing.documents.crediting import credited_of
from billing.documents.document import Document
from billing.errors import Conflict
from billing.ids import new_id
from billing.ledger.credit import Credit, PaidBack
from billing.payments.invoices import invoice_named
from billing.payments.records import Refund
from billing.payments.rows import write_refund
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars
from billing.store.port import Transaction

_LEFT = """
SELECT p.id, p.gross_cents - coalesce(sum(r.gross_cents) FILTER (WHERE r.state <> 'refused'), 0)::bigint AS cents,
    p.paid_at
FROM payment p LEFT JOIN refund r ON r.payment_id = p.id
WHERE p.document_id = $1 AND p.way = 'bank' AND p.state = 'credited' GROUP BY p.id
ORDER BY p.paid_at DESC, p.id DESC
"""


class Part(msgspec.Struct, frozen=True):
    """Of what goes back: so many cents of one payment, with the tax in them."""

    id: UUID
    payment_id: UUID
    cents: int
    vat_cents: int


class BankRefunds:
    """Raises NotFound, Conflict, DatabaseUnavailable; ValueError for a wrong amount or day, or no reason."""

    def __init__(self, database: Database, credit: Credit, clock: Clock) -> None:
        self._database = database
        self._credit = credit
        self._clock = clock

    async def note(self, name: str, on: date, cents: int | None, actor: str, reason: str) -> int:
        """Money that the operator sent back by bank: all that came by it without ``cents``. Returns the cents."""
        now = self._clock()
        if on > now.date():
            raise ValueError(f"{on} is not over yet")
        if not reason.strip():
            raise ValueError("a reason is needed")
        async with self._database.begin() as connection:
            invoice = await invoice_named(connection, name)
            left = await fetch(connection, _LEFT, invoice.id)
            amount = sum(one.cents for one in left) if cents is None else cents
            parts = await self._parts(connection, invoice, left, amount)
            came = {one.id: one.paid_at.astimezone(now.tzinfo).date() for one in left}
            if (last := max(came[part.payment_id] for part in parts)) > on:
                raise ValueError(f"on {on} the money had not come yet: it came on {last}")
            on_top = (await credited_of(connection, invoice)).on_top
        done_at = min(datetime.combine(on, time(12), now.tzinfo), now)

        async def also(transaction: Transaction) -> None:
            """Under the account's lock: whoever was faster has paid back a part of it."""
            still: dict[UUID, int] = {row[0]: row[1] for row in await transaction.fetch(_LEFT, invoice.id)}
            for part in parts:
                if part.cents > still[part.payment_id]:
                    raise Conflict(f"of invoice {invoice.name} something was paid back meanwhile")
                refund = Refund(
                    id=part.id,
                    payment_id=part.payment_id,
                    state="otherwise",
                    value_nanodollars=part.cents * NANODOLLARS_PER_CENT,
                    net_cents=part.cents - part.vat_cents,
                    vat_cents=part.vat_cents,
                    gross_cents=part.cents,
                    actor=actor,
                    reason=reason,
                    created_at=now,
                    done_at=done_at,
                )
                await write_refund(transaction.fetch, refund)

        moved = [
            PaidBack(
                part.id,
                part.cents * NANODOLLARS_PER_CENT,
                part.vat_cents * NANODOLLARS_PER_CENT if on_top else 0,
            )
            for part in parts
        ]
        why = f"invoice {invoice.name}: {reason}"
        await self._credit.give_back_invoiced(invoice.account_id, moved, actor, why, also=also)
        return amount

    async def _parts(
        self, connection: AsyncConnection, invoice: Document, left: Sequence[Row[Any]], cents: int
    ) -> list[Part]:
        """Raises Conflict if not so much came by bank."""
        most = sum(one.cents for one in left)
        if cents > most or not most:
            amount = format_dollars(most * NANODOLLARS_PER_CENT)
            raise Conflict(f"{amount} of invoice {invoice.name} came by bank and is not paid back")
        if cents <= 0:
            raise ValueError("an amount must be above zero")
        credited = await credited_of(connection, invoice)
        parts: list[Part] = []
        for one in left:
            if part := min(cents, one.cents):
                vat = credited.vat_of_next(invoice, part)
                parts.append(Part(new_id(self._clock()), one.id, part, vat))
                credited = msgspec.structs.replace(
                    credited, cents=credited.cents + part, vat_cents=credited.vat_cents + vat
                )
            cents -= part
        return parts
