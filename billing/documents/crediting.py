"""Credit notes of invoices that nobody has to pay, or not wholly: each posted after the debt was lowered.

What is credited is on record with the transfers that lowered the debt; whoever posts looks for what has no
document.
"""

from typing import Any

from sqlalchemy import Row

from billing.clock import Clock
from billing.database.db import Database, fetch
from billing.documents.document import Draft, Kind, Line
from billing.documents.posting import Office, Posted, post
from billing.documents.reading import read_document

_CREDITED = """
SELECT a.cause, a.document_id, a.cents, a.vat_cents, a.created_at FROM allocation a
WHERE a.kind = 'credited' AND NOT EXISTS (SELECT 1 FROM document d WHERE d.cause = a.cause)
ORDER BY a.created_at, a.cause
"""
_LOCK = "SELECT 1 FROM account WHERE id = $1 FOR NO KEY UPDATE"
_POSTED = "SELECT 1 FROM document WHERE cause = $1"


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
