"""Test money and real money never meet in one database: credit that a test card bought would be worth something.

Stripe's ids of the pages to pay on have the mode in them, and nobody's first payment comes without such a page.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import Conflict

LIVE, TEST = "cs_live_", "cs_test_"
_COUNT = """
SELECT (SELECT count(*) FROM payment WHERE starts_with(checkout, :prefix))
     + (SELECT count(*) FROM subscription WHERE starts_with(checkout, :prefix))
"""


async def count_of_mode(connection: AsyncConnection, *, live: bool) -> int:
    """Payments and subscriptions that were begun in this mode."""
    found: int = (await connection.execute(text(_COUNT), {"prefix": LIVE if live else TEST})).scalar_one()
    return found


async def require_one_mode(connection: AsyncConnection, *, live: bool) -> None:
    """Before anything is sold with a key of this mode. Raises Conflict."""
    if not await count_of_mode(connection, live=not live):
        return
    if live:
        raise Conflict(
            "this database has payments of Stripe's test mode or of the sandbox, whose credit would become real: "
            "begin with an empty one, by another APPLIANCE_HOME or DATABASE_URL"
        )
    raise Conflict(
        "this database has real payments, and credit could be had for test money: put the live key back"
    )
