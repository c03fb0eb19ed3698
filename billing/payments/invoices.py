"""Invoices are paid: by card on Stripe's page, or by bank, as the operator saw it. In parts too, never too much.

The operator gives back what came beyond that: it is nobody's credit here. A payment by bank has no counterpart at
Stripe, and its row says so (``way``).
"""

from collections.abc import Sequence
from datetime import date, datetime, time
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database.db import Database, execute, fetch
from billing.documents.document import Document, Kind
from billing.documents.reading import read_document
from billing.documents.settled import INVOICES
from billing.documents.vat import Quote, Taxing, contained
from billing.errors import Conflict, NotFound
from billing.ids import new_id
from billing.ledger.credit import Credit
from billing.payments.customers import Customers
from billing.payments.provider import Provider
from billing.payments.rows import NewPayment, note_expired, note_page, on, write
from billing.payments.settling import INVOICE, pays_invoice
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars

UNPAID = f"""
SELECT id, account_id, series, number, due_on, due_again_at, gross_cents, left_cents FROM ({INVOICES}) invoice
WHERE left_cents > 0 AND ($1::bigint IS NULL OR account_id = $1) ORDER BY due_on, id
"""
"""Of an account or of all: as ``Unpaid``, ``left_cents`` last."""
_LOCK = "SELECT 1 FROM account WHERE id = $1 FOR NO KEY UPDATE"
_KNOWN = "SELECT account_id, document_id, gross_cents, state IN ('ordered', 'open') FROM payment WHERE id = $1"


class Unpaid(msgspec.Struct, frozen=True):
    """An invoice of which ``left_cents`` are to be paid: no more than its account owes at all.

    ``due_again_at``: when a bank took a payment of it back for good, which gave it another ``due_on``.
    """

    id: int
    account_id: int
    name: str
    due_on: date
    gross_cents: int
    left_cents: int
    due_again_at: datetime | None = None


async def unpaid(connection: AsyncConnection, account_id: int | None = None) -> Sequence[Unpaid]:
    """Of an account or of all, what is due first comes first."""
    return [
        Unpaid(
            row.id, row.account_id, f"{row.series}-{row.number}" if row.series else str(row.number), row.due_on,
            row.gross_cents, row.left_cents, row.due_again_at,
        )
        for row in await fetch(connection, UNPAID, account_id)
    ]  # fmt: skip


async def invoice_named(connection: AsyncConnection, name: str) -> Document:
    """By the number that is written on it: ``12``, ``AB-12``. Raises NotFound."""
    series, _, number = name.strip().upper().rpartition("-")
    if number.isascii() and number.isdigit() and len(number) < 19:
        query = "SELECT id FROM document WHERE series = $1 AND number = $2 AND kind = 'invoice'"
        for row in await fetch(connection, query, series, int(number)):
            return await read_document(connection, row.id)
    raise NotFound(f"there is no invoice {name}")


class Invoices:
    """Raises NotFound, Conflict, DatabaseUnavailable, PaymentsUnavailable, PaymentsRefused."""

    def __init__(self, database: Database, provider: Provider, taxing: Taxing, clock: Clock) -> None:
        self._database = database
        self._provider = provider
        self._customers = Customers(database, provider, taxing)
        self._clock = clock

    async def order(self, account_id: int, document_id: int, *, order_id: UUID, back: str, email: str) -> str:
        """The address of Stripe's page to pay what is left of an invoice on. See ``Shop.order_credit``."""
        async with self._database.begin() as connection:
            await execute(connection, _LOCK, account_id)
            invoice = await read_document(connection, document_id, account_id)
            left = await left_of(connection, invoice)
            known = await fetch(connection, _KNOWN, order_id)
            if known and tuple(known[0]) != (account_id, document_id, left, True):
                raise Conflict(f"payment {order_id} is over, or is for something else")
            if not known:
                await _noted(connection, order_id, invoice, left, "stripe", self._clock())
        customer = await self._customers.of(account_id, email, invoice.buyer.name)
        page = await self._provider.sell(
            customer=customer,
            cents=left,
            what=f"Invoice {invoice.name}",
            reference=order_id,
            save_card=False,
            back=f"{back}?{urlencode({'payment': order_id})}",
            key=str(order_id),
        )
        async with self._database.begin() as connection:
            await note_page(connection, order_id, page.id)
        if page.url is None:
            raise Conflict("the page to pay on is closed already")
        return page.url


class BankTransfers:
    """Raises NotFound, Conflict, DatabaseUnavailable; ValueError for an amount or a day that cannot be."""

    def __init__(self, database: Database, credit: Credit, clock: Clock) -> None:
        self._database = database
        self._credit = credit
        self._clock = clock

    async def note(self, name: str, on: date, cents: int | None, actor: str) -> Unpaid | None:
        """Money that the operator saw on his bank account; all that is left without ``cents``.

        Returns what is left of the invoice then, None if nothing is.
        """
        now = self._clock()
        paid_at = datetime.combine(on, time(12), now.tzinfo)
        if on > now.date():
            raise ValueError(f"{on} is not over yet")
        async with self._database.begin() as connection:
            invoice = await invoice_named(connection, name)
            left = await left_of(connection, invoice)
            amount = left if cents is None else cents
            if amount <= 0:
                raise ValueError("an amount must be above zero")
            if amount > left:
                raise Conflict(
                    f"of invoice {invoice.name} {format_dollars(left * NANODOLLARS_PER_CENT)} is left:"
                    " note that much, and give the rest back"
                )
            payment_id = new_id(now)
            await _noted(connection, payment_id, invoice, amount, "bank", now)
        also = pays_invoice(payment_id, min(paid_at, now), None)
        nanodollars = amount * NANODOLLARS_PER_CENT
        try:
            await self._credit.pay_receivable(invoice.account_id, nanodollars, payment_id, actor, also=also)
        except Conflict as error:
            async with self._database.begin() as connection:
                await note_expired(connection, payment_id, str(error))
            raise
        async with self._database.begin() as connection:
            rest = [one for one in await unpaid(connection, invoice.account_id) if one.id == invoice.id]
        return rest[0] if rest else None


async def left_of(connection: AsyncConnection, invoice: Document) -> int:
    """To be paid, in cents. Raises NotFound, Conflict."""
    if invoice.kind is not Kind.INVOICE:
        raise NotFound(f"{invoice.name} is no invoice")
    for one in await unpaid(connection, invoice.account_id):
        if one.id == invoice.id:
            return one.left_cents
    raise Conflict(f"nothing of invoice {invoice.name} is left to be paid")


async def _noted(
    connection: AsyncConnection, payment_id: UUID, invoice: Document, cents: int, way: str, now: datetime
) -> None:
    """The payment's row; it pays nothing yet. The tax is in it in proportion."""
    vat = contained(cents, invoice.vat_basis_points) if invoice.vat_cents else 0
    value = cents * NANODOLLARS_PER_CENT
    new = NewPayment(
        id=payment_id,
        account_id=invoice.account_id,
        kind=INVOICE,
        way=way,
        quote=Quote(value, cents - vat, vat, cents, invoice.vat_code, invoice.vat_basis_points, ""),
        buyer=invoice.buyer,
        created_at=now,
        document_id=invoice.id,
    )
    await write(on(connection), new)
