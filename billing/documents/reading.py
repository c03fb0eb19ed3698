"""Documents as they were posted, and how they were paid."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import sales
from billing.database.db import fetch
from billing.documents.document import SANDBOX_SERIES, Document, Kind
from billing.errors import NotFound

_COLUMNS = [sales.document.c[name] for name in Document.__struct_fields__]

# An invoice is paid by payments that name it and did not go back, a receipt by the payment that it is of.
_PAID = """
SELECT max(paid_at) AS at, sum(cents)::bigint AS cents, bool_or(way = 'bank') AS by_bank
FROM (
    SELECT kind, paid_at, way, gross_cents - (
        SELECT coalesce(sum(d.cents), 0) FROM dispute d WHERE d.payment_id = p.id AND d.state = 'lost'
    ) - (
        SELECT coalesce(sum(r.gross_cents), 0) FROM refund r
        WHERE r.payment_id = p.id AND r.state NOT IN ('asked', 'refused')
    ) AS cents
    FROM payment p WHERE document_id = $1 AND state = 'credited'
    UNION ALL
    SELECT kind, paid_at, way, gross_cents FROM payment
    WHERE id = (SELECT payment_id FROM document WHERE id = $1) AND state IN ('credited', 'unwanted')
) part
HAVING sum(cents) > 0 OR bool_or(kind <> 'invoice')
"""
_AROUND = """
SELECT id, series, number FROM document
WHERE corrects_id = $1 OR id = (SELECT corrects_id FROM document WHERE id = $1) ORDER BY id
"""


OF_USE = (Kind.INVOICE, Kind.USAGE)
"""The documents of what was used before they are issued, in a month that is over."""


@dataclass(frozen=True, slots=True)
class Paid:
    """Of a document, in US cents, and when last. ``by_bank``: by a transfer to the seller's own account."""

    at: datetime
    cents: int
    by_bank: bool


@dataclass(frozen=True, slots=True)
class Related:
    """Another document of the same sale: the one that a credit note takes back, or the credit notes of one."""

    id: int
    name: str


async def read_document(connection: AsyncConnection, id_: int, account_id: int | None = None) -> Document:
    """With ``account_id``, one of the account's own. Raises NotFound."""
    condition = sales.document.c.id == id_
    if account_id is not None:
        condition &= sales.document.c.account_id == account_id
    found = await _read(connection, condition, 1)
    if not found:
        raise NotFound(f"there is no document {id_}")
    return found[0]


async def documents_of(connection: AsyncConnection, account_id: int, limit: int) -> Sequence[Document]:
    """Newest first."""
    return await _read(connection, sales.document.c.account_id == account_id, limit)


async def only_trials(connection: AsyncConnection) -> bool:
    """Whether there are documents, and all are of a trial: then nothing here is of any books."""
    table = sales.document
    real = ~table.c.series.startswith(SANDBOX_SERIES)
    counts = await connection.execute(select(func.count(), func.count().filter(real)).select_from(table))
    documents, of_sales = counts.one()
    return bool(documents) and not of_sales


async def documents_until(connection: AsyncConnection, end: datetime) -> Sequence[Document]:
    """All that were issued before, but those of a trial, in the order of their days."""
    table = sales.document
    real = ~table.c.series.startswith(SANDBOX_SERIES)
    query = select(*_COLUMNS).where(table.c.issued_at < end, real).order_by(table.c.issued_at, table.c.id)
    return await _documents(connection, query)


async def documents_of_use_until(connection: AsyncConnection, end: datetime) -> Sequence[Document]:
    """Of what was used before, and issued since; but those of a trial."""
    table = sales.document
    real = ~table.c.series.startswith(SANDBOX_SERIES)
    late = table.c.kind.in_(OF_USE) & (table.c.delivered_at < end) & (table.c.issued_at >= end)
    return await _documents(
        connection, select(*_COLUMNS).where(late, real).order_by(table.c.issued_at, table.c.id)
    )


async def paid(connection: AsyncConnection, id_: int) -> Paid | None:
    """None if nothing was."""
    rows = await fetch(connection, _PAID, id_)
    return Paid(rows[0].at, rows[0].cents, rows[0].by_bank) if rows else None


async def related(connection: AsyncConnection, id_: int) -> Sequence[Related]:
    return [
        Related(row.id, f"{row.series}-{row.number}" if row.series else str(row.number))
        for row in await fetch(connection, _AROUND, id_)
    ]


async def _read(connection: AsyncConnection, condition: ColumnElement[bool], limit: int) -> Sequence[Document]:
    query = select(*_COLUMNS).where(condition).order_by(sales.document.c.id.desc()).limit(limit)
    return await _documents(connection, query)


async def _documents(connection: AsyncConnection, query: Select[Any]) -> Sequence[Document]:
    names = Document.__struct_fields__
    rows = await connection.execute(query)
    return [msgspec.convert(dict(zip(names, row, strict=True)), Document) for row in rows]
