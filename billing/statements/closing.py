"""What the check of a day that is over found, so that whoever looks later sees it: the console does."""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import tables


@dataclass(frozen=True, slots=True)
class Closing:
    """How many requests the day had, in how many of them meter, charge and transfers differ, how many rules of the
    books were broken, and how many seals.
    """

    day: date
    requests: int
    differences: int
    discrepancies: int
    broken_seals: int
    closed_at: datetime

    @property
    def agrees(self) -> bool:
        return not (self.differences or self.discrepancies or self.broken_seals)


async def record(connection: AsyncConnection, found: Closing) -> None:
    """In place of what an earlier check of the same day found."""
    values = {name: getattr(found, name) for name in Closing.__slots__}
    statement = upsert(tables.closing).values(**values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["day"], set_=values))


async def newest(connection: AsyncConnection) -> Closing | None:
    """None before the first day was over."""
    columns = [tables.closing.c[name] for name in Closing.__slots__]
    query = select(*columns).order_by(tables.closing.c.day.desc()).limit(1)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else Closing(**row)
