"""Years whose books went to the accountant: what comes later does not change them.

The first export of a year that is over counts. An exchange rate that is recorded after it is not of that year's
books, nor is a document that is issued after it of what was used in that year.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import sales
from billing.statements.period import Period

NOT_YET = datetime.max.replace(tzinfo=UTC)
COMES_IN = timedelta(days=1)
"""After a year, until its last documents and Stripe's movements are here: until then it is not over."""


async def exported_years(connection: AsyncConnection) -> Mapping[int, datetime]:
    """When each was for the first time."""
    table = sales.exported_year
    query = select(table.c.year, table.c.exported_at)
    return {row.year: row.exported_at for row in await connection.execute(query)}


async def note_export(connection: AsyncConnection, year: int, read_at: datetime) -> bool:
    """Whether this was the first of a year that is over. ``read_at``: the moment before the books were read."""
    if read_at < Period.year(year).end + COMES_IN:
        return False
    values = {"year": year, "exported_at": read_at}
    noted = await connection.execute(insert(sales.exported_year).values(values).on_conflict_do_nothing())
    return noted.rowcount == 1
