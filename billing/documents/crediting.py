"""Credit notes of invoices that nobody has to pay, or not wholly: each posted after the debt was lowered.

What is credited is on record with the transfers that lowered the debt; whoever posts looks for what has no
document. A refund that was done before its payer's bank forestalled it has its credit note already.
"""

from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database.db import Database, fetch
from billing.documents.document import Document, Draft, Kind, Line
from billing.documents.posting import Office, Posted, post
from billing.documents.reading import read_document
from billing.documents.vat import contained

_CREDITED = """
SELECT a.cause, a.document_id, a.cents, a.vat_cents, a.created_at FROM allocation a
WHERE a.kind = 'credited' AND NOT EXISTS (SELECT 1 FROM document d WHERE d.cause = a.cause)
    AND NOT EXISTS (SELECT 1 FROM document d WHERE d.refund_id = a.cause)
ORDER BY a.created_at, a.cause
"""
# What of an invoice is credited, with the tax in it, and whether that came on top of its prices.
_UNTIL_NOW = """
SELECT coalesce(sum(cents), 0)::bigint AS cents, coalesce(sum(vat_cents), 0)::bigint AS vat_cents,
    EXISTS (SELECT 1 FROM invoiced_month WHERE document_id = $1 AND vat_cause IS NOT NULL) AS on_top
FROM (
    SELECT cents, vat_cents FROM allocation WHERE document_id = $1 AND kind = 'credited'
    UNION ALL SELECT r.gross_cents, r.vat_cents FROM refund r JOIN payment p ON p.id = r.payment_id
        WHERE p.document_id = $1 AND p.state = 'credited' AND r.state <> 'refused'
) credited
"""
_LOCK = "SELECT 1 FROM account WHERE id = $1 FOR NO KEY UPDATE"
_POSTED = "SELECT 1 FROM document WHERE cause = $1 OR refund_id = $1"


class Credited(msgspec.Struct, frozen=True):
    """Of an invoice, in cents, with the tax. ``on_top``: that came on top of its prices."""

    cents: int
    vat_cents: int
    on_top: bool

    def vat_of_next(self, invoice: Document, cents: int) -> int:
        """The tax in so much more of it: all of it when all is credited, however many times that takes."""
        until = self.cents + cents
        whole = until == invoice.gross_cents or not invoice.vat_cents
        return (invoice.vat_cents if whole else contained(until, invoice.vat_basis_points)) - self.vat_cents


async def credited_of(connection: AsyncConnection, invoice: Document) -> Credited:
    (row,) = await fetch(connection, _UNTIL_NOW, invoice.id)
    return Credited(row.cents, row.vat_cents, row.on_top)


class InvoiceCrediting:
    """Raises DatabaseUnavailable."""

    def __init__(self, database: Database, office: Office, clock: Clock) -> None:
        self._database = database
        self._office = office
        self._clock = clock

    async def run_once(self) -> Posted:
        """Everything that is due: none of them waits, each is at its invoice's rate."""
        async with self._database.begin() as connection:
            due = await fetch(connection, _CREDITED)
        return Posted(sum([await self._post(row) for row in due]), 0)

    async def _post(self, row: Row[Any]) -> bool:
        async with self._database.begin() as connection:
            invoice = await read_document(connection, row.document_id)
            await fetch(connection, _LOCK, invoice.account_id)
            if await fetch(connection, _POSTED, row.cause):
                return False
            net = row.cents - row.vat_cents
            draft = Draft(
                series=invoice.series,
                kind=Kind.CREDIT_NOTE,
                account_id=invoice.account_id,
                cause=row.cause,
                corrects_id=invoice.id,
                seller=self._office.seller,
                buyer=invoice.buyer,
                lines=[Line(self._office.wording.credited(invoice), net, unit_cents=net)],
                delivered_at=row.created_at,
                language=invoice.language,
                net_cents=net,
                vat_cents=row.vat_cents,
                gross_cents=row.cents,
                vat_code=invoice.vat_code,
                vat_basis_points=invoice.vat_basis_points,
                note=invoice.note,
                exchange=invoice.exchange,
            )
            return await post(connection, draft, self._clock()) is not None
