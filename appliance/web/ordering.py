"""How often somebody makes us ask Stripe, whose own limit is one for all customers.

Where cards are tried and things are made there, seldom; where something is only asked or changed, more often: who
has ordered too often may still cancel.
"""

from datetime import timedelta

from appliance.identity.throttle import Rate, Throttle
from billing.clock import Clock
from billing.database.db import Database

ORDERS = Rate(20, timedelta(minutes=10))
QUESTIONS = Rate(60, timedelta(seconds=10))


class Ordering:
    def __init__(self, database: Database, throttle: Throttle, clock: Clock) -> None:
        self._database = database
        self._throttle = throttle
        self._clock = clock

    async def count(self, account_id: int) -> None:
        """Before each that charges, refunds or leads to a page to pay on. Raises TooManyTries."""
        await self._spend(ORDERS, "order", account_id)

    async def count_question(self, account_id: int) -> None:
        """Before each that only asks Stripe, or changes what is there. Raises TooManyTries."""
        await self._spend(QUESTIONS, "question", account_id)

    async def _spend(self, rate: Rate, what: str, account_id: int) -> None:
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, rate, self._clock(), what, str(account_id))
