"""The usage table's partitions: a calendar month (UTC) each, by the time in the request's id (UUIDv7)."""

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database.db import execute, fetch
from billing.ids import lowest_id

MONTHS_AHEAD = 3
DEFAULT = "usage_default"


def name_of(month: int) -> str:
    """``month`` is 12 x year + month - 1, as in ``billing.charging.limits``."""
    return f"usage_{month // 12}_{month % 12 + 1:02d}"


def first_id(month: int) -> UUID:
    """Below every request id of the month and above every one before it."""
    return lowest_id(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC))


def partition_statements(now: datetime) -> Iterator[str]:
    """The DDL for the month of ``now``, one before and those ahead, and for what no month's partition takes."""
    yield f"CREATE TABLE IF NOT EXISTS {DEFAULT} PARTITION OF usage DEFAULT"
    this = 12 * now.year + now.month - 1
    for month in range(this - 1, this + MONTHS_AHEAD + 1):
        yield _create(month)


async def make_partitions(connection: AsyncConnection, clock: Clock) -> list[str]:
    """Makes the months ahead; returns the names of the new ones.

    Rows that an earlier month without a partition left in the default one are moved to where they belong.
    """
    existing = {row[0] for row in await fetch(connection, _PARTITIONS)}
    now = clock()
    this = 12 * now.year + now.month - 1
    made = []
    for month in range(this, this + MONTHS_AHEAD + 1):
        if name_of(month) not in existing:
            await _make(connection, month)
            made.append(name_of(month))
    return made


async def drop_empty_partitions(connection: AsyncConnection, before: int) -> None:
    """Drops the partitions of months before ``before`` that have no row."""
    for (name,) in await fetch(connection, _PARTITIONS):
        if name == DEFAULT or name >= name_of(before):
            continue
        ((empty,),) = await fetch(connection, f"SELECT NOT EXISTS (SELECT 1 FROM {name})")
        if empty:
            await execute(connection, f"DROP TABLE {name}")


async def _make(connection: AsyncConnection, month: int) -> None:
    low, high = first_id(month), first_id(month + 1)
    (row,) = await fetch(
        connection, f"SELECT count(*) FROM {DEFAULT} WHERE request_id >= $1 AND request_id < $2", low, high
    )
    if row[0] == 0:
        await execute(connection, _create(month))
        return
    name = name_of(month)
    await execute(connection, f"CREATE TABLE {name} (LIKE usage INCLUDING ALL)")
    await execute(connection, "SET LOCAL appliance.archiving = 'on'")
    await execute(
        connection,
        f"WITH moved AS (DELETE FROM {DEFAULT} WHERE request_id >= $1 AND request_id < $2 RETURNING *)"
        f" INSERT INTO {name} SELECT * FROM moved",
        low,
        high,
    )
    await execute(connection, "SET LOCAL appliance.archiving = 'off'")
    await execute(connection, f"ALTER TABLE usage ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')")


_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'usage'::regclass
"""


def _create(month: int) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {name_of(month)} PARTITION OF usage"
        f" FOR VALUES FROM ('{first_id(month)}') TO ('{first_id(month + 1)}')"
    )
