"""What a US dollar was worth on a day, in the currency of the seller's books.

The newest rate at or before a day counts, as long as it is at most ``DAYS_OLD`` days older: banks publish none on
weekends and holidays. Never asked for inside a transaction.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, Protocol

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database import sales
from billing.database.db import Database
from billing.documents.document import Exchanged
from billing.errors import BillingError, Conflict

DAYS_OLD = 7
HOLIDAYS = timedelta(days=4)
"""So long nobody publishes a rate, at most. What is asked for then goes back further: no day is left out."""
ASKED_EVERY = timedelta(minutes=15)
CURRENCIES = {"NO": "NOK"}
"""Of the books, by the seller's country; sellers elsewhere keep theirs in US dollars here."""
EXAMPLE = Decimal("10.00")
EXAMPLE_SOURCE = "example, not for books"


class NoRates(BillingError):
    """Whoever publishes the rates cannot be reached, or answered nonsense."""


class Rate(NamedTuple):
    """``value``: how much of the currency a US dollar is."""

    day: date
    value: Decimal


class ExchangeRates(Protocol):
    """Whoever publishes them."""

    source: str

    async def published(self, currency: str, first: date, last: date) -> Sequence[Rate]:
        """Those of the days from ``first`` to ``last`` that have one. Raises NoRates."""
        ...


class Exchange(Protocol):
    async def on(self, day: date) -> Exchanged | None:
        """None if there is no rate yet that counts: what needs it waits. Raises DatabaseUnavailable."""
        ...


def books_currency(country: str) -> str | None:
    """None if it is the US dollar."""
    return CURRENCIES.get(country)


class ExampleExchange:
    """For trying out without Stripe: no real sale has this rate, and it is never kept."""

    def __init__(self, currency: str) -> None:
        self._currency = currency

    async def on(self, day: date) -> Exchanged | None:
        return Exchanged(self._currency, EXAMPLE, day, EXAMPLE_SOURCE)


class KeptExchange:
    """Asks whoever publishes for what is missing, and keeps it; not more often than every ``ASKED_EVERY``."""

    def __init__(self, database: Database, currency: str, rates: ExchangeRates, clock: Clock) -> None:
        self._database = database
        self._currency = currency
        self._rates = rates
        self._clock = clock
        self._asked: dict[date, datetime] = {}

    async def on(self, day: date) -> Exchanged | None:
        found = await self._kept(day)
        if found is not None and found.day == day:
            return found
        if await self._ask(day):
            found = await self._kept(day)
        return found

    async def keep_up(self, now: datetime) -> None:
        """So that the books have a rate for each day, also for those without a document."""
        async with self._database.begin() as connection:
            newest = await newest_day(connection, self._currency)
        if newest is None or now.date() - newest > HOLIDAYS:
            await self.on(now.date())

    async def _kept(self, day: date) -> Exchanged | None:
        async with self._database.begin() as connection:
            return await rate_on(connection, self._currency, day)

    async def _ask(self, day: date) -> bool:
        now = self._clock()
        self._asked = {asked: at for asked, at in self._asked.items() if at > now - ASKED_EVERY}
        if day in self._asked:
            return False
        self._asked[day] = now
        try:
            published = await self._rates.published(self._currency, day - timedelta(days=DAYS_OLD), day)
        except NoRates:
            return False
        async with self._database.begin() as connection:
            for rate in published:
                await keep_rate(connection, self._currency, rate, self._rates.source, now)
        return True


async def rate_on(connection: AsyncConnection, currency: str, day: date) -> Exchanged | None:
    """Of those that are kept, the newest that counts for the day."""
    table = sales.exchange_rate
    query = (
        select(table.c.day, table.c.rate, table.c.source)
        .where(table.c.currency == currency, table.c.day.between(day - timedelta(days=DAYS_OLD), day))
        .order_by(table.c.day.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Exchanged(currency, row.rate.normalize(), row.day, row.source)


async def keep_rate(connection: AsyncConnection, currency: str, rate: Rate, source: str, now: datetime) -> bool:
    """False if the day has a rate already: what documents may have been made of is not changed."""
    values = {"currency": currency, "day": rate.day, "rate": rate.value, "source": source, "recorded_at": now}
    statement = insert(sales.exchange_rate).values(values).on_conflict_do_nothing()
    return (await connection.execute(statement)).rowcount == 1


async def enter_rate(connection: AsyncConnection, currency: str, rate: Rate, source: str, now: datetime) -> None:
    """By hand. Raises ValueError for a rate that is none or of a day to come, Conflict if the day has one."""
    if not rate.value.is_finite() or rate.value <= 0 or rate.value != round(rate.value, 8):
        raise ValueError("a rate is a number above zero, with at most 8 decimals")
    if rate.day > now.date():
        raise ValueError(f"{rate.day} is not over yet: it has no rate")
    if not source.strip():
        raise ValueError("the source of a rate must be named")
    if not await keep_rate(connection, currency, rate, source, now):
        raise Conflict(f"{rate.day} has a rate already")


async def newest_day(connection: AsyncConnection, currency: str) -> date | None:
    table = sales.exchange_rate
    query = select(func.max(table.c.day)).where(table.c.currency == currency)
    day: date | None = (await connection.execute(query)).scalar_one()
    return day
