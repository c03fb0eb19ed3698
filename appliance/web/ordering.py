"""How often somebody is sent to Stripe's pages: each one is an object there, and a place where cards are tried."""

from datetime import timedelta

from appliance.identity.throttle import Rate, Throttle
from billing.clock import Clock
from billing.database.db import Database

ORDERS = Rate(20, timedelta(minutes=10))


class Ordering:
    def __init__(self, database: Database, throttle: Throttle, clock: Clock) -> None:
        self._database = database
        self._throttle = throttle
        self._clock = clock

    async def count(self, account_id: int) -> None:
        """Before each. Raises TooManyTries."""
        async with self._database.begin() as connection:
            await self._throttle.spend(connection, ORDERS, self._clock(), "order", str(account_id))
