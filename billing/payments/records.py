"""What is kept of payments, refunds, disputes and wallets, as it is read."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import sales
from billing.documents.buyers import Buyer
from billing.documents.vat import rounded
from billing.errors import NotFound
from billing.prices.money import NANODOLLARS_PER_CENT

OF_PLAN = ("plan", "upgrade")


class Payment(msgspec.Struct, frozen=True):
    """``state`` is of ``life.PAYMENT``. ``failure``: why it is not paid, or why it is paid and not credited.

    ``save_card``: its page keeps the card for top-ups. ``document_id`` is of the invoice that it pays.
    ``vat_reason`` is Stripe's, where Stripe reckons the tax.
    """

    id: UUID
    account_id: int
    kind: str
    state: str
    value_nanodollars: int
    net_cents: int
    vat_cents: int
    gross_cents: int
    vat_code: str
    vat_basis_points: int
    buyer: Buyer
    created_at: datetime
    paid_at: datetime | None
    checkout: str | None
    intent: str | None
    invoice: str | None
    lot_id: int | None
    subscription_id: UUID | None
    failure: str | None
    save_card: bool = False
    way: str = "stripe"
    document_id: int | None = None
    vat_reason: str | None = None
    tax_calculation: str | None = None

    @property
    def is_of_plan(self) -> bool:
        """Its lot, if it has one, is an allowance: what was paid is in ``plans``, not in the lot."""
        return self.kind in OF_PLAN

    @property
    def vat_on_top(self) -> int:
        """Nano-dollars that are paid beside the value: 0 where prices include the tax."""
        return self.gross_cents * NANODOLLARS_PER_CENT - self.value_nanodollars

    @property
    def price_cents(self) -> int:
        """As it was advertised."""
        return self.value_nanodollars // NANODOLLARS_PER_CENT

    def value_of(self, gross_cents: int) -> int:
        """Cents of its value that are in so much of what was paid."""
        if self.vat_on_top == 0:
            return gross_cents
        return rounded(gross_cents * self.price_cents, self.gross_cents)


class Refund(msgspec.Struct, frozen=True):
    """``state`` is of ``life.REFUND``. ``past_ids`` are Stripe's, of tries that failed."""

    id: UUID
    payment_id: UUID
    state: str
    value_nanodollars: int
    net_cents: int
    vat_cents: int
    gross_cents: int
    actor: str
    reason: str
    created_at: datetime
    done_at: datetime | None = None
    stripe_id: str | None = None
    failure: str | None = None
    past_ids: Sequence[str] = ()

    @property
    def vat_on_top(self) -> int:
        """Nano-dollars that go back beside the value: 0 where prices include the tax."""
        return self.gross_cents * NANODOLLARS_PER_CENT - self.value_nanodollars


class Dispute(msgspec.Struct, frozen=True):
    """``state`` is of ``life.DISPUTE``; ``cents`` is what the bank contests, tax included.

    ``pay_by``: until when the invoice whose payment is lost is to be paid anew.
    """

    id: str
    payment_id: UUID
    cause: UUID
    state: str
    cents: int
    reason: str
    opened_at: datetime
    due_at: datetime | None
    closed_at: datetime | None
    pay_by: date | None = None


class Wallet(msgspec.Struct, frozen=True):
    """``customer`` and ``card`` are Stripe's ids. The three amounts are there together or not at all.

    ``paused``: why the card is not charged any more until its owner looks.
    """

    account_id: int
    customer: str | None = None
    card: str | None = None
    card_label: str | None = None
    below_nanodollars: int | None = None
    top_up_cents: int | None = None
    ceiling_cents: int | None = None
    paused: str | None = None


_PAYMENT, _REFUND, _DISPUTE, _WALLET = (
    [table.c[name] for name in record.__struct_fields__]
    for table, record in (
        (sales.payment, Payment),
        (sales.refund, Refund),
        (sales.dispute, Dispute),
        (sales.wallet, Wallet),
    )
)


async def payment(connection: AsyncConnection, id_: UUID, *, locked: bool = False) -> Payment:
    """Raises NotFound."""
    query = select(*_PAYMENT).where(sales.payment.c.id == id_)
    row = (await connection.execute(query.with_for_update() if locked else query)).one_or_none()
    if row is None:
        raise NotFound(f"there is no payment {id_}")
    return _payment(row)


async def payment_by(connection: AsyncConnection, **where: str | int) -> Payment | None:
    """By Stripe's id of its ``checkout``, ``intent`` or ``invoice``, or by its ``lot_id``."""
    ((column, value),) = where.items()
    row = (await connection.execute(select(*_PAYMENT).where(sales.payment.c[column] == value))).one_or_none()
    return None if row is None else _payment(row)


async def payments_of(connection: AsyncConnection, account_id: int, limit: int = 100) -> Sequence[Payment]:
    """Newest first."""
    return await _payments(connection, sales.payment.c.account_id == account_id, limit=limit)


async def newest_payments(connection: AsyncConnection, limit: int = 100) -> Sequence[Payment]:
    """Of all accounts, newest first."""
    return await _payments(connection, limit=limit)


async def payments_in(connection: AsyncConnection, *states: str, limit: int) -> Sequence[Payment]:
    """Of all accounts, newest first."""
    return await _payments(connection, sales.payment.c.state.in_(states), limit=limit)


async def refund(connection: AsyncConnection, id_: UUID, *, locked: bool = False) -> Refund:
    """Raises NotFound."""
    query = select(*_REFUND).where(sales.refund.c.id == id_)
    row = (await connection.execute(query.with_for_update() if locked else query)).one_or_none()
    if row is None:
        raise NotFound(f"there is no refund {id_}")
    return Refund(*row)


async def refunds_of(connection: AsyncConnection, payment_id: UUID) -> Sequence[Refund]:
    """Oldest first."""
    table = sales.refund
    query = select(*_REFUND).where(table.c.payment_id == payment_id).order_by(table.c.created_at, table.c.id)
    return [Refund(*row) for row in await connection.execute(query)]


async def refunds_of_account(connection: AsyncConnection, account_id: int, limit: int) -> Sequence[Refund]:
    """Newest first."""
    query = select(*_REFUND).join(sales.payment).where(sales.payment.c.account_id == account_id)
    rows = await connection.execute(query.order_by(sales.refund.c.created_at.desc()).limit(limit))
    return [Refund(*row) for row in rows]


async def refunds_in(connection: AsyncConnection, *states: str, limit: int = 100) -> Sequence[Refund]:
    """Oldest first."""
    table = sales.refund
    query = select(*_REFUND).where(table.c.state.in_(states)).order_by(table.c.created_at).limit(limit)
    return [Refund(*row) for row in await connection.execute(query)]


async def dispute(connection: AsyncConnection, id_: str) -> Dispute | None:
    row = (await connection.execute(select(*_DISPUTE).where(sales.dispute.c.id == id_))).one_or_none()
    return None if row is None else Dispute(*row)


async def disputes_of(connection: AsyncConnection, payment_id: UUID) -> Sequence[Dispute]:
    """Oldest first."""
    table = sales.dispute
    query = select(*_DISPUTE).where(table.c.payment_id == payment_id).order_by(table.c.opened_at)
    return [Dispute(*row) for row in await connection.execute(query)]


async def disputes_of_account(connection: AsyncConnection, account_id: int, limit: int) -> Sequence[Dispute]:
    """Newest first."""
    query = select(*_DISPUTE).join(sales.payment).where(sales.payment.c.account_id == account_id)
    rows = await connection.execute(query.order_by(sales.dispute.c.opened_at.desc()).limit(limit))
    return [Dispute(*row) for row in rows]


async def disputes_in(connection: AsyncConnection, *states: str, limit: int = 100) -> Sequence[Dispute]:
    """The one that must be answered first comes first."""
    table = sales.dispute
    query = select(*_DISPUTE).where(table.c.state.in_(states)).order_by(table.c.due_at, table.c.opened_at)
    return [Dispute(*row) for row in await connection.execute(query.limit(limit))]


async def wallet(connection: AsyncConnection, account_id: int) -> Wallet:
    """An empty one where there is none."""
    row = (await connection.execute(select(*_WALLET).where(sales.wallet.c.account_id == account_id))).one_or_none()
    return Wallet(account_id) if row is None else Wallet(*row)


async def _payments(
    connection: AsyncConnection, *conditions: ColumnElement[bool], limit: int
) -> Sequence[Payment]:
    table = sales.payment.c
    query = select(*_PAYMENT).where(*conditions).order_by(table.created_at.desc(), table.id.desc()).limit(limit)
    return [_payment(row) for row in await connection.execute(query)]


def _payment(row: Row[Any]) -> Payment:
    values = dict(zip(Payment.__struct_fields__, row, strict=True))
    return Payment(**values | {"buyer": Buyer(**values["buyer"])})
