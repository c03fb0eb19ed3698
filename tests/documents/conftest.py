"""A seller, its customers, and what they paid; the clock is the test's."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import sales
from billing.database.db import execute, fetch
from billing.documents.buyers import Buyer, Seller
from billing.documents.document import Document, Exchanged
from billing.documents.posting import Office, Posted, Posting, Sold
from billing.documents.reading import read_document
from billing.documents.vat import Quote, Taxing, quote
from billing.ids import new_id
from billing.prices.money import NANODOLLARS_PER_CENT
from tests.billing.conftest import Bank, Customer, bank  # noqa: F401 -- a fixture
from tests.taxing import INCLUDED

SELLER = Seller(
    "Example AS", "Storgata 1", "0155", "Oslo", "NO", "999 999 999", registered=True, email="a@b.example"
)
OSLO = Buyer("Øyvind Łukasiewicz", "Karl Johans gate 1", "0154", "Oslo", "NO", business=False)
ATHENS = Buyer("Γιώργος AE", "Ερμού 1", "105 63", "Αθήνα", "GR", business=True, tax_number="EL123456789")


class Words:
    async def language(self, connection: AsyncConnection, account_id: int) -> str:
        return "en"

    def sold(self, sold: Sold, language: str) -> str:
        return f"{sold.kind} of {sold.value / 10**9:.2f} dollars"

    def returned(self, taken_back: Document) -> str:
        return f"taken back: {taken_back.lines[0].text}"

    def credited(self, invoice: Document) -> str:
        return f"credited: {invoice.lines[0].text}"

    def used(self, period: str, language: str) -> str:
        return f"used in {period}"

    def invoiced(self, period: str, language: str) -> str:
        return f"invoiced for {period}"

    def taxed_when_used(self, language: str) -> str:
        return "taxed when used"

    def reckoned(self, reason: str, language: str) -> str:
        return "" if reason == "standard_rated" else f"taxed so: {reason}"


@dataclass
class FixedExchange:
    """A rate for every day, or none."""

    rate: Decimal | None = Decimal("10.85")
    asked: list[date] = field(default_factory=list)

    async def on(self, day: date) -> Exchanged | None:
        self.asked.append(day)
        return None if self.rate is None else Exchanged("NOK", self.rate, day, "Norges Bank")


@dataclass
class Shop:
    """Sells as the payments room would, with the same rows and transfers."""

    bank: Bank
    taxing: Taxing = INCLUDED
    exchange: FixedExchange | None = field(default_factory=FixedExchange)
    series: str = ""

    @property
    def office(self) -> Office:
        return Office(SELLER, self.series, self.taxing, Words(), self.exchange)

    @property
    def posting(self) -> Posting:
        return Posting(self.bank.database, self.office, self.bank.clock)

    async def post(self) -> Posted:
        return await self.posting.run_once()

    async def sells(self, customer: Customer, cents: int, buyer: Buyer = OSLO, kind: str = "credit") -> UUID:
        """Paid and credited."""
        quoted = quote(cents, buyer, self.taxing, is_credit=True)
        id_ = await self.pays(customer, quoted, buyer, kind)
        lot = await self.bank.credit.purchase(customer.account_id, quoted.value, kind, id_)
        if quoted.gross * NANODOLLARS_PER_CENT > quoted.value:
            await self.moves(id_, "vat", "payments", "vat", quoted.vat)
        async with self.bank.database.begin() as connection:
            await connection.execute(
                update(sales.payment).where(sales.payment.c.id == id_).values(state="credited", lot_id=lot.id)
            )
        return id_

    async def pays(
        self, customer: Customer, quoted: Quote, buyer: Buyer = OSLO, kind: str = "credit", state: str = "unwanted"
    ) -> UUID:
        id_ = new_id(self.bank.clock())
        row = {
            "id": id_, "account_id": customer.account_id, "kind": kind, "state": state,
            "value_nanodollars": quoted.value, "net_cents": quoted.net, "vat_cents": quoted.vat,
            "gross_cents": quoted.gross, "vat_code": quoted.code, "vat_basis_points": quoted.basis_points,
            "buyer": msgspec.to_builtins(buyer), "created_at": self.bank.clock(), "paid_at": self.bank.clock(),
        }  # fmt: skip
        async with self.bank.database.begin() as connection:
            await connection.execute(insert(sales.payment).values(row))
        return id_

    async def moves(self, cause: UUID, kind: str, debit: str, credit: str, cents: int) -> None:
        statement = """
            INSERT INTO transfer (cause, debit_id, credit_id, amount_nanodollars, kind, created_at)
            SELECT $1, d.id, c.id, $2, $3, $4 FROM ledger_account d, ledger_account c
            WHERE d.kind = $5 AND c.kind = $6 AND d.account_id IS NULL AND c.account_id IS NULL"""
        async with self.bank.database.begin() as connection:
            await execute(
                connection, statement, cause, cents * NANODOLLARS_PER_CENT, kind, self.bank.clock(), debit, credit
            )

    async def refunds(self, payment: UUID, state: str = "done") -> UUID:
        """All of it; the credit is taken back if there is any."""
        async with self.bank.database.begin() as connection:
            (row,) = await fetch(connection, "SELECT * FROM payment WHERE id = $1", payment)
        if row.lot_id is not None:
            await self.bank.credit.refund(row.lot_id, "test", "asked for")
        id_ = new_id(self.bank.clock())
        values = {
            "id": id_, "payment_id": payment, "state": state, "value_nanodollars": row.value_nanodollars,
            "net_cents": row.net_cents, "vat_cents": row.vat_cents, "gross_cents": row.gross_cents,
            "actor": "test", "reason": "asked for", "created_at": self.bank.clock(), "done_at": self.bank.clock(),
        }  # fmt: skip
        async with self.bank.database.begin() as connection:
            await connection.execute(insert(sales.refund).values(values))
        return id_

    async def documents(self) -> list[Document]:
        """In the order of their numbers."""
        async with self.bank.database.begin() as connection:
            ids = await fetch(connection, "SELECT id FROM document ORDER BY series, number")
            return [await read_document(connection, row.id) for row in ids]


@pytest.fixture
def shop(bank: Bank) -> Shop:  # noqa: F811 -- the fixture
    return Shop(bank)
