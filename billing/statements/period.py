"""What was used in a period: summed by day, model, key, endpoint and channel, or row by row. Never content.

A request belongs to the day (UTC) on which it was admitted.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Date, Row, and_, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import tables
from billing.errors import NotFound
from billing.ids import ID_SLACK, lowest_id
from billing.statements.channel import channel, with_keys

ROWS_AT_ONCE = 10_000
SETTLING = timedelta(hours=1)
"""After a period, until all of it is written: longer than a request, or a transaction, takes."""


class By(StrEnum):
    """What a summary can be grouped by."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"
    ENDPOINT = "endpoint"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days of UTC, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"a period cannot end on {self.last}, before its first day {self.first}")

    @classmethod
    def month(cls, day: date) -> "Period":
        """The calendar month of ``day``."""
        first = day.replace(day=1)
        return cls(first, (first + timedelta(days=32)).replace(day=1) - timedelta(days=1))

    @classmethod
    def year(cls, year: int) -> "Period":
        """Raises ValueError for one that no calendar has."""
        return cls(date(year, 1, 1), date(year, 12, 31))

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def start(self) -> datetime:
        return datetime.combine(self.first, time(), UTC)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return datetime.combine(self.last + timedelta(days=1), time(), UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """Sums over requests; ``cost_nanodollars`` is what was charged. What the summary is not grouped by is None."""

    day: date | None
    model: str | None
    key_id: int | None
    endpoint: str | None
    channel: str | None
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    images: int
    audio_seconds: int
    cost_nanodollars: int


_SUMS = (
    "prompt_tokens", "cached_tokens", "completion_tokens", "images", "audio_seconds", "cost_nanodollars",
)  # fmt: skip


async def require_kept(connection: AsyncConnection, period: Period) -> None:
    """Raises NotFound if requests of the period are archived: sums without them would be wrong."""
    year = (await connection.execute(select(func.max(tables.archive.c.financial_year)))).scalar_one()
    if year is not None and period.first.year <= year:
        raise NotFound(f"requests before {year + 1} are archived: they are in the files of their years")


def within(period: Period, account_id: int | None) -> ColumnElement[bool]:
    """The requests of the period. The bounds of the ids spare PostgreSQL the partitions of other months."""
    table = tables.usage
    conditions = [
        table.c.created_at >= period.start,
        table.c.created_at < period.end,
        table.c.request_id >= lowest_id(period.start - ID_SLACK),
        table.c.request_id < lowest_id(period.end + ID_SLACK),
    ]
    if account_id is not None:
        conditions.append(table.c.account_id == account_id)
    return and_(*conditions)


async def summarize(
    connection: AsyncConnection, period: Period, by: Collection[By], account_id: int | None = None
) -> list[Line]:
    """A line for each group that used anything, in order."""
    table = tables.usage
    groups: dict[By, ColumnElement[Any]] = {
        By.DAY: cast(func.timezone("UTC", table.c.created_at), Date).label("day"),
        By.MODEL: table.c.model,
        By.KEY: table.c.key_id,
        By.ENDPOINT: table.c.endpoint,
        By.CHANNEL: channel(),
    }
    grouped = [groups[one] for one in By if one in by]
    sums = [cast(func.coalesce(func.sum(table.c[name]), 0), BigInteger).label(name) for name in _SUMS]
    query = (
        select(*grouped, func.count().label("requests"), *sums)
        .select_from(with_keys(table) if By.CHANNEL in by else table)
        .where(within(period, account_id))
        .group_by(*grouped)
        .order_by(*grouped)
    )
    nothing = {"day": None, "model": None, "key_id": None, "endpoint": None, "channel": None}
    return [Line(**nothing | dict(row)) for row in (await connection.execute(query)).mappings()]


def total_of(lines: Iterable[Line]) -> Line:
    """The sum of all lines."""
    lines = list(lines)
    sums = {name: sum(getattr(line, name) for line in lines) for name in ("requests", *_SUMS)}
    return Line(None, None, None, None, None, **sums)


async def read_usage(
    connection: AsyncConnection, period: Period, account_id: int | None = None
) -> AsyncIterator[Sequence[Row[Any]]]:
    """All rows of the period, with the channel, in the order of their ids, some thousand at a time."""
    rows_of_period = select(tables.usage, channel()).select_from(with_keys(tables.usage))
    query = rows_of_period.where(within(period, account_id)).order_by(tables.usage.c.request_id)
    async with connection.stream(query, execution_options={"yield_per": ROWS_AT_ONCE}) as rows:
        async for page in rows.partitions():
            yield page
