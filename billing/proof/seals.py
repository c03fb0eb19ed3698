"""The audit chain: each day's records are hashed together with the day before, so that a later change shows.

A day (UTC) is sealed once it has been over for ``SETTLING``, longer than any transaction takes. Its seal is
SHA-256 over the seal before, the day, and one SHA-256 for each kind of record over its rows in the order of their
keys. Who can rewrite the whole database can also seal anew; that shows against a seal kept elsewhere: the worker
logs each one, and `appliance ledger verify` prints the newest.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database.db import execute, fetch
from billing.statements.period import SETTLING

ONE_DAY = timedelta(days=1)
GENESIS = bytes(32)
ROWS_A_FETCH = 5_000

# Of each kind of record: the column that dates it, and the columns of its key. All its columns are hashed.
RECORDS = {
    "transfer": ("created_at", "cause, debit_id"),
    "usage": ("settled_at", "request_id"),
    "rate": ("announced_at", "id"),
    "audit": ("at", "id"),
}


@dataclass(frozen=True, slots=True)
class Seal:
    """``digest`` chains the day to the one before; ``digests`` are hexadecimal, by kind of record."""

    day: date
    records: int
    digests: dict[str, str]
    digest: bytes


@dataclass(frozen=True, slots=True)
class BrokenSeal:
    """``what`` names the kind of record that is not as it was, or the chain."""

    day: date
    what: str


async def seal_days(connection: AsyncConnection, clock: Clock) -> list[Seal]:
    """Seals every day that is over and not sealed yet, oldest first; a first seal covers all days before too."""
    last_day = (clock() - SETTLING).astimezone(UTC).date() - ONE_DAY
    newest = await newest_seal(connection)
    day = await _first_day(connection) if newest is None else newest.day + ONE_DAY
    previous = GENESIS if newest is None else newest.digest
    sealed = []
    while day is not None and day <= last_day:
        seal = await _compute(connection, day, previous)
        await execute(
            connection,
            "INSERT INTO day_seal (day, records, digests, digest, sealed_at)"
            " VALUES ($1, $2, $3::text::jsonb, $4, $5)",
            seal.day,
            seal.records,
            json.dumps(seal.digests),
            seal.digest,
            clock(),
        )
        sealed.append(seal)
        day, previous = day + ONE_DAY, seal.digest
    return sealed


async def without_limit(connection: AsyncConnection) -> None:
    """Reading a busy day takes longer than a request may."""
    await execute(connection, "SET LOCAL statement_timeout = 0")


async def newest_seal(connection: AsyncConnection) -> Seal | None:
    rows = await fetch(connection, f"{_SEALS} ORDER BY day DESC LIMIT 1")
    return _seal(rows[0]) if rows else None


async def seals_between(connection: AsyncConnection, first: date, last: date) -> list[Seal]:
    """Both days included."""
    rows = await fetch(connection, f"{_SEALS} WHERE day >= $1 AND day <= $2 ORDER BY day", first, last)
    return [_seal(row) for row in rows]


async def verify_seals(connection: AsyncConnection, since: date | None = None) -> list[BrokenSeal]:
    """The sealed days (from ``since`` on) whose records, or whose place in the chain, are not what was sealed.

    Archived records are not here any more; their file has them (``billing.proof.archive``).
    """
    rows = await fetch(connection, "SELECT financial_year, relation FROM archive")
    archived = {(row.financial_year, row.relation) for row in rows}
    broken = []
    previous, before = GENESIS, None
    for row in await fetch(connection, f"{_SEALS} ORDER BY day"):
        sealed = _seal(row)
        if before is not None and sealed.day != before + ONE_DAY:
            broken.append(BrokenSeal(sealed.day, "the day before is missing"))
        if _chained(previous, sealed.day, sealed.digests) != sealed.digest:
            broken.append(BrokenSeal(sealed.day, "the chain"))
        elif since is None or sealed.day >= since:
            here = [kind for kind in RECORDS if (sealed.day.year, kind) not in archived]
            found = await _digests(connection, sealed.day, here)
            broken += [BrokenSeal(sealed.day, kind) for kind in here if found[kind][0] != sealed.digests[kind]]
        previous, before = sealed.digest, sealed.day
    return broken


def _seal(row: Row[Any]) -> Seal:
    return Seal(row.day, row.records, row.digests, row.digest)


_SEALS = "SELECT day, records, digests, digest FROM day_seal"


async def _first_day(connection: AsyncConnection) -> date | None:
    """The day of the oldest record."""
    oldest = " UNION ALL ".join(f"SELECT min({at}) AS at FROM {table}" for table, (at, _) in RECORDS.items())
    ((first,),) = await fetch(connection, f"SELECT min(at) FROM ({oldest}) o")
    return None if first is None else first.astimezone(UTC).date()


async def _compute(connection: AsyncConnection, day: date, previous: bytes) -> Seal:
    found = await _digests(connection, day, RECORDS)
    digests = {kind: digest for kind, (digest, _) in found.items()}
    return Seal(day, sum(count for _, count in found.values()), digests, _chained(previous, day, digests))


async def _digests(connection: AsyncConnection, day: date, kinds: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Of each kind its hash, in hexadecimal, and how many there are."""
    found = {}
    for kind in kinds:
        hashed, records = hashlib.sha256(), 0
        async for row in read_records(connection, kind, day):
            hashed.update(row.encode() + b"\n")
            records += 1
        found[kind] = hashed.hexdigest(), records
    return found


async def read_records(connection: AsyncConnection, kind: str, day: date) -> AsyncIterator[str]:
    """The day's records as they are sealed: text that does not depend on the session's settings but UTC."""
    at, key = RECORDS[kind]
    start = datetime.combine(day, time(), UTC)
    query = text(f"SELECT to_jsonb(r)::text FROM {kind} r WHERE {at} >= :start AND {at} < :end ORDER BY {key}")
    await execute(connection, "SET LOCAL TimeZone = 'UTC'")
    stream = await connection.stream(query.bindparams(start=start, end=start + ONE_DAY))
    async for rows in stream.partitions(ROWS_A_FETCH):
        for row in rows:
            yield row[0]


def _chained(previous: bytes, day: date, digests: dict[str, str]) -> bytes:
    hashed = hashlib.sha256(previous)
    hashed.update(day.isoformat().encode())
    for kind in RECORDS:
        hashed.update(bytes.fromhex(digests[kind]))
    return hashed.digest()
