"""One digest of the whole books up to a moment: two databases with the same books have the same one.

So a restored database is compared with what was lost, or a copy with its original. What is sealed day by day
(``billing.proof.seals``) is a chain that grows; this is computed anew from every row each time.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.db import execute
from billing.proof.seals import RECORDS, ROWS_A_FETCH

DATED = {**RECORDS, "document": ("issued_at", "id"), "day_seal": ("sealed_at", "day")}
"""Append-only records: of each kind the column that dates it, and the columns of its key."""

BALANCES = """
    SELECT id || ' ' || sum(net) FROM (
        SELECT credit_id AS id, amount_nanodollars::numeric AS net FROM transfer WHERE created_at < :until
        UNION ALL SELECT debit_id, -amount_nanodollars FROM transfer WHERE created_at < :until
        UNION ALL SELECT ledger_account_id, nanodollars FROM carried_forward
    ) sides GROUP BY id ORDER BY id"""


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


@dataclass(frozen=True, slots=True)
class BooksSeal:
    """Of all records before ``until`` and the balance of each ledger account then. ``digest`` is SHA-256."""

    until: datetime
    records: int
    balances: int
    digest: bytes


async def seal_books(connection: AsyncConnection, until: datetime) -> BooksSeal:
    """In a transaction that sees one moment. ``until`` is exclusive; no transaction still writes before it."""
    await execute(connection, "SET LOCAL TimeZone = 'UTC'")
    until = until.astimezone(UTC)
    hashed, records = hashlib.sha256(until.isoformat().encode()), 0
    for kind, (at, key) in DATED.items():
        rows = f"SELECT to_jsonb(r)::text FROM {kind} r WHERE {at} < :until ORDER BY {key}"
        records += await _add(connection, kind, rows, until, hashed)
    balances = await _add(connection, "balance", BALANCES, until, hashed)
    return BooksSeal(until, records, balances, hashed.digest())


async def _add(connection: AsyncConnection, kind: str, query: str, until: datetime, hashed: Hash) -> int:
    """How many lines there were."""
    hashed.update(f"{kind}\n".encode())
    count = 0
    stream = await connection.stream(text(query).bindparams(until=until))
    async for rows in stream.partitions(ROWS_A_FETCH):
        for row in rows:
            hashed.update(f"{row[0]}\n".encode())
            count += 1
    return count
