"""Records leave the database five years after the end of their financial year, into files that prove them.

Terms: "We keep activity and billing logs for a minimum of 5 years in accordance with Norwegian accounting
requirements." A financial year is a calendar year (UTC); a request is of the year in which it was settled.

A file has each record as the text of which its day's seal was made (``billing.proof.seals``), in the same order:
whoever has the file and the seals can prove that it is what was recorded. A record is removed only after its file
was written, read again, and found to be what was sealed. What removed transfers add up to is carried forward for
each ledger account, so that the ledger goes on to balance; and what the seller's books need of them is kept.

pyarrow takes longer to import than all else that a command needs: only whoever opens a file imports it.
"""

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database import tables
from billing.database.db import execute, fetch
from billing.database.partitions import drop_empty_partitions
from billing.errors import Conflict
from billing.proof.seals import read_records, seals_between, without_limit

YEARS_KEPT = 5
AMOUNTS = {"transfer": "amount_nanodollars", "usage": "cost_nanodollars"}
DATED = {"transfer": "created_at", "usage": "settled_at"}
ROWS_AT_ONCE = 10_000
_BOOKINGS = """
INSERT INTO carried_booking (ledger_account_id, kind, cause, at, financial_year, nanodollars)
SELECT side, kind, cause, max(created_at), $3, sum(amount_nanodollars)
FROM (
    SELECT CASE WHEN t.kind IN ('payment', 'write_off') THEN t.credit_id ELSE t.debit_id END AS side,
        t.kind, coalesce(l.cause, t.cause) AS cause, t.created_at, t.amount_nanodollars
    FROM transfer t LEFT JOIN lot l ON l.id = t.debit_id AND l.source = 'purchase'
    WHERE t.created_at >= $1 AND t.created_at < $2 AND (
        l.id IS NOT NULL AND t.kind IN ('usage', 'expiry', 'forfeiture')
        OR t.kind IN ('payment', 'write_off', 'chargeback', 'shortfall'))
) needed GROUP BY side, kind, cause, date_trunc('month', created_at AT TIME ZONE 'UTC')
"""


@dataclass(frozen=True, slots=True)
class Archived:
    """``digest`` is the file's SHA-256; ``nanodollars`` the sum of the records' amounts or costs."""

    financial_year: int
    file: str
    relation: str
    records: int
    nanodollars: int
    digest: bytes
    archived_at: datetime


def newest_year_due(now: datetime) -> int:
    """The last financial year that ended ``YEARS_KEPT`` years ago or earlier."""
    return now.year - YEARS_KEPT - 1


async def list_archives(connection: AsyncConnection) -> list[Archived]:
    table = tables.archive
    query = select(*(table.c[name] for name in Archived.__slots__)).order_by(table.c.financial_year, table.c.id)
    return [
        Archived(**dict(row) | {"nanodollars": int(row["nanodollars"])})
        for row in (await connection.execute(query)).mappings()
    ]


async def years_due(connection: AsyncConnection, clock: Clock) -> list[int]:
    """The years since the first seal that are due and not archived, oldest first."""
    ((first,),) = await fetch(connection, "SELECT min(day) FROM day_seal")
    if first is None:
        return []
    done = {one.financial_year for one in await list_archives(connection)}
    return [year for year in range(first.year, newest_year_due(clock()) + 1) if year not in done]


async def archive_year(connection: AsyncConnection, year: int, folder: Path, clock: Clock) -> list[Archived]:
    """Writes the year's files, proves them and removes their records, all of it or nothing.

    Raises Conflict if the year is not due, not sealed, or not what was sealed; and OSError.
    """
    if year > newest_year_due(clock()):
        raise Conflict(f"records of {year} are kept until the end of {year + YEARS_KEPT}")
    await without_limit(connection)
    first, last = date(year, 1, 1), date(year, 12, 31)
    seals = {seal.day: seal.digests for seal in await seals_between(connection, first, last)}
    if last not in seals:
        raise Conflict(f"{year} cannot be archived before its days are sealed")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    archived = []
    for relation in AMOUNTS:
        file = folder / f"{relation}-{year}.parquet"
        await _write(connection, relation, sorted(seals), file)
        records = _prove(file, relation, seals)
        archived.append(await _note(connection, relation, year, file, records, clock))
    await _carry_forward(connection, year)
    await _remove(connection, year)
    return archived


async def drop_archived_months(connection: AsyncConnection) -> None:
    """Drops the partitions of archived years that are empty. In a transaction of its own: it locks the table."""
    ((year,),) = await fetch(connection, "SELECT max(financial_year) FROM archive")
    if year is not None:
        await drop_empty_partitions(connection, before=12 * (year + 1))


def check_file(archived: Archived, folder: Path) -> str:
    """``"unchanged"``, ``"changed"`` or ``"not here"``."""
    file = folder / archived.file
    if not file.exists():
        return "not here"
    return "unchanged" if _sha256(file) == archived.digest else "changed"


async def _write(connection: AsyncConnection, relation: str, days: list[date], file: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("day", pa.date32()), ("record", pa.string())])
    draft = file.with_name(f".{file.name}.draft")
    try:
        with parquet.ParquetWriter(draft, schema, compression="zstd") as writer:
            async for day, records in _pages(connection, relation, days):
                writer.write_table(pa.table({"day": [day] * len(records), "record": records}, schema=schema))
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.chmod(0o400)
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)


async def _pages(
    connection: AsyncConnection, relation: str, days: list[date]
) -> AsyncIterator[tuple[date, list[str]]]:
    for day in days:
        page: list[str] = []
        async for record in read_records(connection, relation, day):
            page.append(record)
            if len(page) == ROWS_AT_ONCE:
                yield day, page
                page = []
        if page:
            yield day, page


def _prove(file: Path, relation: str, seals: dict[date, dict[str, str]]) -> int:
    """Reads the file again; the number of its records. Raises Conflict if a day is not what was sealed."""
    found = {day: hashlib.sha256() for day in seals}
    count = 0
    for day, records in groupby(_read(file), key=lambda row: row[0]):
        for _, record in records:
            found[day].update(record.encode() + b"\n")
            count += 1
    for day, digest in found.items():
        if digest.hexdigest() != seals[day][relation]:
            raise Conflict(f"the {relation} records of {day} are not what was sealed: nothing is archived")
    return count


def _read(file: Path) -> Iterator[tuple[date, str]]:
    from pyarrow import parquet

    with parquet.ParquetFile(file) as opened:
        for batch in opened.iter_batches(ROWS_AT_ONCE):
            yield from zip(batch["day"].to_pylist(), batch["record"].to_pylist(), strict=True)


async def _note(
    connection: AsyncConnection, relation: str, year: int, file: Path, records: int, clock: Clock
) -> Archived:
    start, end = _bounds(year)
    query = (
        f"SELECT count(*) AS records, coalesce(sum({AMOUNTS[relation]}), 0) AS nanodollars FROM {relation}"
        f" WHERE {DATED[relation]} >= $1 AND {DATED[relation]} < $2"
    )
    (row,) = await fetch(connection, query, start, end)
    count, nanodollars = int(row.records), int(row.nanodollars)
    if count != records:
        raise Conflict(f"{count} {relation} records are of {year}, {records} of them on sealed days")
    noted = Archived(year, file.name, relation, records, nanodollars, _sha256(file), clock())
    await execute(
        connection,
        "INSERT INTO archive (financial_year, file, relation, records, nanodollars, digest, archived_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        *(getattr(noted, name) for name in Archived.__slots__),
    )
    return noted


async def _carry_forward(connection: AsyncConnection, year: int) -> None:
    statement = """
        INSERT INTO carried_forward (ledger_account_id, financial_year, nanodollars)
        WITH old AS (SELECT * FROM transfer WHERE created_at >= $1 AND created_at < $2)
        SELECT id, $3, sum(net) FROM (
            SELECT credit_id AS id, amount_nanodollars AS net FROM old
            UNION ALL SELECT debit_id, -amount_nanodollars FROM old
        ) sides GROUP BY id"""
    await execute(connection, statement, *_bounds(year), year)
    await execute(connection, _BOOKINGS, *_bounds(year), year)


async def _remove(connection: AsyncConnection, year: int) -> None:
    await execute(connection, "SET LOCAL appliance.archiving = 'on'")
    for relation, dated in DATED.items():
        await execute(connection, f"DELETE FROM {relation} WHERE {dated} >= $1 AND {dated} < $2", *_bounds(year))
    await execute(connection, "SET LOCAL appliance.archiving = 'off'")


def _bounds(year: int) -> tuple[datetime, datetime]:
    return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)


def _sha256(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
