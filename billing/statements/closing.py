"""What the check of a day that is over found, so that whoever looks later sees it: the console does."""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import tables


@dataclass(frozen=True, slots=True)
class Closing:
    """How many requests the day had, in how many of them meter, charge and transfers differ, how many rules of the
    books were broken, and how many seals. ``takings`` are the differences between Stripe, ledger and documents,
    which are looked for after that.
    """

    day: date
    requests: int
    differences: int
    discrepancies: int
    broken_seals: int
    closed_at: datetime
    takings: int = 0

    @property
    def agrees(self) -> bool:
        return not (self.differences or self.discrepancies or self.broken_seals or self.takings)


async def record(connection: AsyncConnection, found: Closing) -> None:
    """In place of what an earlier check of the same day found, but for its takings."""
    values = {name: getattr(found, name) for name in Closing.__slots__ if name != "takings"}
    statement = upsert(tables.closing).values(**values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["day"], set_=values))


async def record_takings(connection: AsyncConnection, day: date, differences: int) -> bool:
    """False before the day's other books are closed."""
    table = tables.closing
    done = await connection.execute(update(table).where(table.c.day == day).values(takings=differences))
    return done.rowcount == 1


async def newest(connection: AsyncConnection) -> Closing | None:
    """None before the first day was over."""
    columns = [tables.closing.c[name] for name in Closing.__slots__]
    query = select(*columns).order_by(tables.closing.c.day.desc()).limit(1)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else Closing(**row)
