"""How invoices stand: what of each was paid, credited or given up, what is left, and until when."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.db import fetch
from billing.prices.money import NANODOLLARS_PER_CENT

SETTLED = """
SELECT document_id, sum(cents)::bigint AS cents,
    coalesce(sum(cents) FILTER (WHERE how = 'paid'), 0)::bigint AS paid_cents,
    coalesce(sum(cents) FILTER (WHERE how = 'credited'), 0)::bigint AS credited_cents,
    coalesce(sum(cents) FILTER (WHERE how = 'forgiven'), 0)::bigint AS forgiven_cents
FROM (
    SELECT document_id, 'paid' AS how, gross_cents AS cents FROM payment
        WHERE kind = 'invoice' AND state = 'credited'
    UNION ALL SELECT document_id, kind, cents FROM allocation
    UNION ALL SELECT p.document_id, 'paid', -d.cents FROM dispute d JOIN payment p ON p.id = d.payment_id
        WHERE p.kind = 'invoice' AND p.state = 'credited' AND d.state = 'lost'
    UNION ALL SELECT p.document_id, moved.how, moved.sign * r.gross_cents
        FROM refund r JOIN payment p ON p.id = r.payment_id
        CROSS JOIN (VALUES ('paid', -1), ('credited', 1)) AS moved (how, sign)
        WHERE p.kind = 'invoice' AND p.state = 'credited' AND r.state NOT IN ('asked', 'refused')
) part GROUP BY 1
"""
"""A query of cents by invoice: ``cents`` are not to be paid any more. They were paid and not taken back by a bank,
or credited, or given up."""

INVOICES = f"""
SELECT d.id, d.account_id, d.series, d.number, d.gross_cents, greatest(d.due_on, again.pay_by) AS due_on,
    again.at AS due_again_at, coalesce(s.paid_cents, 0) AS paid_cents,
    coalesce(s.credited_cents, 0) AS credited_cents, coalesce(s.forgiven_cents, 0) AS forgiven_cents,
    greatest(
        0, least(d.gross_cents - coalesce(s.cents, 0), a.owed_nanodollars / {NANODOLLARS_PER_CENT})
    )::bigint AS left_cents
FROM document d JOIN account a ON a.id = d.account_id
LEFT JOIN ({SETTLED}) s ON s.document_id = d.id
LEFT JOIN (
    SELECT p.document_id, max(l.pay_by) AS pay_by, max(l.closed_at) AS at
    FROM dispute l JOIN payment p ON p.id = l.payment_id
    WHERE p.kind = 'invoice' AND p.state = 'credited' AND l.state = 'lost' GROUP BY 1
) again ON again.document_id = d.id
WHERE d.kind = 'invoice'
"""
"""A query of all invoices. ``left_cents``: no more than the account owes, in whole cents. ``due_again_at``: when a
lost dispute made it due anew."""

_STATES = f"""
SELECT id, gross_cents, paid_cents, credited_cents, forgiven_cents, left_cents, due_on FROM ({INVOICES}) invoice
WHERE ($1::bigint IS NULL OR account_id = $1) AND ($2::bigint IS NULL OR id = $2)
"""


class InvoiceState(msgspec.Struct, frozen=True):
    """Cents with tax. ``paid`` is what did not go back; ``forgiven`` what was given up without a credit note.

    Their sum and what is left are the whole, but for a cent of which a part is not owed any more.
    """

    gross_cents: int
    paid_cents: int
    credited_cents: int
    forgiven_cents: int
    left_cents: int
    due_on: date


async def invoices_of(connection: AsyncConnection, account_id: int) -> Mapping[int, InvoiceState]:
    """By the document's id."""
    return {row.id: _state(row) for row in await fetch(connection, _STATES, account_id, None)}


async def invoice_state(connection: AsyncConnection, document_id: int) -> InvoiceState | None:
    """None of what is no invoice."""
    rows = await fetch(connection, _STATES, None, document_id)
    return _state(rows[0]) if rows else None


def _state(row: Row[Any]) -> InvoiceState:
    return InvoiceState(**{name: getattr(row, name) for name in InvoiceState.__struct_fields__})
