"""Documents are posted: one for each payment that came and each refund that went, each in its own transaction.

The number is given by the database as the row is written, so that one that is rolled back leaves no gap. Whoever
posts has the series' row first and looks then whether there is such a document: a row that is refused as a double
would have taken a number with it.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
from sqlalchemy import Row, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database import sales
from billing.database.db import Database, execute, fetch
from billing.documents.buyers import Buyer, Seller
from billing.documents.document import Document, Draft, Exchanged, Kind, Line, require_sums
from billing.documents.exchange import Exchange
from billing.documents.reading import read_document
from billing.documents.vat import VOUCHER, Taxing, rule_for

AT_ONCE = 200
NOTICE = "document"
"""The kind of notice that tells the account's people."""

_SOLD = """
SELECT p.id, p.account_id, p.kind, p.value_nanodollars, p.net_cents, p.vat_cents, p.gross_cents, p.vat_code,
    p.vat_basis_points, p.vat_reason, p.buyer::text AS buyer, p.paid_at, p.period_start, p.period_end,
    (v.terms->'names')::text AS plan
FROM payment p
LEFT JOIN plan_version v ON v.id = p.version_id
WHERE p.state IN ('credited', 'unwanted') AND p.kind <> 'invoice'
    AND NOT EXISTS (SELECT 1 FROM document d WHERE d.payment_id = p.id AND d.kind = 'receipt')
    AND (p.paid_at, p.id) > ($1, $2)
ORDER BY p.paid_at, p.id LIMIT $3
"""
# Money that came for an invoice and was not wanted goes back; the invoice is as right as before. What was wanted
# goes back when the invoice was wrong.
_RETURNED = """
SELECT r.id, d.id AS document_id, r.net_cents, r.vat_cents, r.gross_cents, r.done_at, r.created_at
FROM refund r JOIN payment p ON p.id = r.payment_id
JOIN document d ON d.id = coalesce(
    p.document_id, (SELECT id FROM document WHERE payment_id = p.id AND kind = 'receipt')
)
WHERE r.state IN ('done', 'otherwise') AND (p.kind <> 'invoice' OR p.state = 'credited')
    AND NOT EXISTS (SELECT 1 FROM document n WHERE n.refund_id = r.id)
ORDER BY r.created_at, r.id LIMIT $1
"""
_BEFORE_ALL = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


class Sold(msgspec.Struct, frozen=True):
    """``kind`` is the payment's; ``value``, in nano-dollars, the credit or the plan's price.

    ``plan``: its names, by language.
    """

    kind: str
    value: int
    plan: Mapping[str, str] | None
    paid_at: datetime


class Wording(Protocol):
    """How documents speak to an account's people; the words are not this package's."""

    async def language(self, connection: AsyncConnection, account_id: int) -> str: ...

    def sold(self, sold: Sold, language: str) -> str: ...

    def returned(self, taken_back: Document) -> str:
        """In the language of the document that is taken back."""
        ...

    def credited(self, invoice: Document) -> str:
        """Of an invoice that is unpaid; in its language."""
        ...

    def used(self, period: str, language: str) -> str:
        """Of credit, in a month: ``2026-11``."""
        ...

    def invoiced(self, period: str, language: str) -> str:
        """Of what was used beyond credit, in a month."""
        ...

    def taxed_when_used(self, language: str) -> str:
        """The note on a sale of credit on which tax falls later."""
        ...

    def reckoned(self, reason: str, language: str) -> str:
        """The note on a sale whose tax is so high for this reason of Stripe's; "" where nothing has to be said."""
        ...


@dataclass(frozen=True, slots=True)
class Posted:
    """``waiting`` are those for whose day there is no exchange rate yet."""

    documents: int
    waiting: int

    def __add__(self, other: "Posted") -> "Posted":
        return Posted(self.documents + other.documents, self.waiting + other.waiting)


@dataclass(frozen=True, slots=True)
class Office:
    """What every document of this operator has in common. Without ``exchange`` the books are in dollars."""

    seller: Seller
    series: str
    taxing: Taxing
    wording: Wording
    exchange: Exchange | None


class Posting:
    """Raises DatabaseUnavailable."""

    def __init__(self, database: Database, office: Office, clock: Clock) -> None:
        self._database = database
        self._office = office
        self._clock = clock

    async def run_once(self) -> Posted:
        """Everything that is due. Receipts come first: a credit note takes one back."""
        result = Posted(0, 0)
        async for row in self._sold():
            result += await self._receipt(row)
        async with self._database.begin() as connection:
            returned = await fetch(connection, _RETURNED, AT_ONCE)
        for row in returned:
            result += await self._credit_note(row)
        return result

    async def _sold(self) -> AsyncIterator[Row[Any]]:
        """A page at a time: those that wait keep none behind them."""
        after = _BEFORE_ALL
        while True:
            async with self._database.begin() as connection:
                page = await fetch(connection, _SOLD, *after, AT_ONCE)
            for row in page:
                yield row
            if len(page) < AT_ONCE:
                return
            after = (page[-1].paid_at, page[-1].id)

    async def _receipt(self, row: Row[Any]) -> Posted:
        office = self._office
        exchange = await exchanged(office, row.paid_at)
        if exchange is None and office.exchange is not None:
            return Posted(0, 1)
        async with self._database.begin() as connection:
            language = await office.wording.language(connection, row.account_id)
            plan = None if row.plan is None else msgspec.json.decode(row.plan, type=dict[str, str])
            sold = Sold(row.kind, row.value_nanodollars, plan, row.paid_at)
            buyer = msgspec.json.decode(row.buyer, type=Buyer)
            line = Line(office.wording.sold(sold, language), row.net_cents, unit_cents=row.net_cents)
            draft = Draft(
                series=office.series,
                kind=Kind.RECEIPT,
                account_id=row.account_id,
                payment_id=row.id,
                seller=office.seller,
                buyer=buyer,
                lines=[line],
                delivered_at=row.period_start or row.paid_at,
                delivered_until=row.period_end,
                language=language,
                net_cents=row.net_cents,
                vat_cents=row.vat_cents,
                gross_cents=row.gross_cents,
                vat_code=row.vat_code,
                vat_basis_points=row.vat_basis_points,
                note=note_on(office, buyer, row.vat_code, language, row.vat_reason),
                exchange=exchange,
            )
            return _counted(await post(connection, draft, self._clock()))

    async def _credit_note(self, row: Row[Any]) -> Posted:
        """At the rate of the document that it takes back, so that the tax in the books goes back as it came."""
        async with self._database.begin() as connection:
            original = await read_document(connection, row.document_id)
            line = Line(self._office.wording.returned(original), row.net_cents, unit_cents=row.net_cents)
            draft = Draft(
                series=original.series if original.is_trial else self._office.series,
                kind=Kind.CREDIT_NOTE,
                account_id=original.account_id,
                refund_id=row.id,
                corrects_id=original.id,
                seller=self._office.seller,
                buyer=original.buyer,
                lines=[line],
                delivered_at=row.done_at or row.created_at,
                language=original.language,
                net_cents=row.net_cents,
                vat_cents=row.vat_cents,
                gross_cents=row.gross_cents,
                vat_code=original.vat_code,
                vat_basis_points=original.vat_basis_points,
                note=original.note,
                exchange=original.exchange,
            )
            return _counted(await post(connection, draft, self._clock()))


async def exchanged(office: Office, moment: datetime) -> Exchanged | None:
    """The rate of the day (UTC); None where the books are in dollars, or what needs it has to wait."""
    return None if office.exchange is None else await office.exchange.on(moment.astimezone(UTC).date())


def note_on(office: Office, buyer: Buyer, code: str, language: str, reason: str | None = None) -> str:
    """What the law wants written beside the tax of ``code``; ``reason`` is Stripe's, where it reckoned the tax."""
    if reason is not None:
        return office.wording.reckoned(reason, language)
    if code == VOUCHER:
        return office.wording.taxed_when_used(language)
    rule = rule_for(buyer, office.taxing.rules)
    return rule.note if rule.code == code else ""


async def post(connection: AsyncConnection, draft: Draft, now: datetime) -> int | None:
    """The new document's id, its number given and its account's people told; None if there is one already.

    In the caller's transaction; documents of the series wait for its end. Raises ValueError for a wrong sum.
    """
    require_sums(draft)
    await execute(
        connection,
        "INSERT INTO document_series (name, last) VALUES ($1, 0) ON CONFLICT DO NOTHING",
        draft.series,
    )
    await execute(connection, "SELECT last FROM document_series WHERE name = $1 FOR UPDATE", draft.series)
    if await _is_posted(connection, draft):
        return None
    values: dict[str, Any] = msgspec.structs.asdict(draft)
    for name in ("seller", "buyer", "lines", "exchange"):
        values[name] = msgspec.to_builtins(values[name])
    if draft.exchange is None:
        del values["exchange"]
    statement = insert(sales.document).values(values | {"kind": draft.kind.value, "issued_at": now, "number": 0})
    id_: int = (await connection.execute(statement.returning(sales.document.c.id))).scalar_one()
    await execute(
        connection,
        "INSERT INTO notice (created_at, kind, account_id, subject, body)"
        " VALUES ($1, $2, $3, format('document %s', $4::bigint), jsonb_build_object('document', $4::bigint))",
        now,
        NOTICE,
        draft.account_id,
        id_,
    )
    return id_


async def _is_posted(connection: AsyncConnection, draft: Draft) -> bool:
    query = """
        SELECT EXISTS (SELECT 1 FROM document WHERE payment_id = $2 AND kind = $1)
            OR EXISTS (SELECT 1 FROM document WHERE refund_id = $3)
            OR EXISTS (SELECT 1 FROM document WHERE account_id = $4 AND kind = $1 AND period = $5)"""
    about = (draft.payment_id, draft.refund_id, draft.account_id, draft.period)
    ((found,),) = await fetch(connection, query, draft.kind.value, *about)
    return bool(found)


def _counted(posted: int | None) -> Posted:
    return Posted(int(posted is not None), 0)
