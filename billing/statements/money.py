"""The business in sums: what was charged, what is owed to customers, and by them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.charging.limits import month_of
from billing.database.db import fetch
from billing.ids import lowest_id

ENDS_SOON = timedelta(days=30)
_SUMS = """
SELECT count(*) AS accounts, count(*) FILTER (WHERE status = 'active') AS active,
    coalesce(sum(month_spent_nanodollars) FILTER (WHERE month = $1), 0)::bigint AS charged,
    coalesce(sum(balance_nanodollars), 0)::bigint AS deferred,
    coalesce(sum(held_nanodollars), 0)::bigint AS held, coalesce(sum(owed_nanodollars), 0)::bigint AS owed
FROM account WHERE role = 'customer'
"""
_ENDING = """
SELECT coalesce(sum(remaining_nanodollars), 0)::bigint AS ending
FROM lot WHERE open AND ends_at > $1 AND ends_at <= $2
"""


@dataclass(frozen=True, slots=True)
class Money:
    """Of all customers; amounts in nano-dollars.

    ``charged`` is of this calendar month (UTC), ``deferred`` credit that is unused, ``ending`` what of it ends
    within 30 days.
    """

    accounts: int
    active: int
    charged: int
    deferred: int
    held: int
    owed: int
    ending: int


async def charged_since(connection: AsyncConnection, moment: datetime) -> int:
    """Nano-dollars, for requests that were admitted since then. Reads each of them."""
    query = "SELECT coalesce(sum(cost_nanodollars), 0)::bigint AS charged FROM usage WHERE request_id >= $1"
    (row,) = await fetch(connection, query, lowest_id(moment))
    return int(row.charged)


async def read_money(connection: AsyncConnection, now: datetime) -> Money:
    (sums,) = await fetch(connection, _SUMS, month_of(now))
    (ending,) = await fetch(connection, _ENDING, now, now + ENDS_SOON)
    of_sums = (sums.accounts, sums.active, sums.charged, sums.deferred, sums.held, sums.owed)
    return Money(*of_sums, ending=ending.ending)
