"""What nobody told: events that no webhook brought, payments of which no event came, movements of the balance."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from billing.clock import Clock
from billing.database import sales
from billing.database.db import Database, fetch
from billing.errors import BillingError, DatabaseUnavailable
from billing.payments.inbox import mark, marked, store
from billing.payments.provider import Provider
from billing.payments.rows import note_expired
from billing.payments.settling import Settling

log = logging.getLogger(__name__)

OVERLAP = timedelta(hours=1)
"""Events and movements may show in Stripe's lists later than they are dated."""
FIRST_REACH = timedelta(days=30)
"""So far back Stripe keeps events."""
UNFINISHED = timedelta(minutes=5)
PAGE_OPEN = timedelta(hours=1)
"""After that a page to pay on is closed, and what it asked for counts no more against the day's limit."""
AT_ONCE = 200

_UNFINISHED = """
SELECT id, checkout, created_at FROM payment
WHERE state IN ('ordered', 'open') AND created_at < $1
  AND kind IN ('credit', 'top_up', 'invoice') AND way = 'stripe'
ORDER BY created_at LIMIT $2
"""
_PAYMENT_OF = "SELECT intent, id FROM payment WHERE intent = ANY($1::text[])"


class Sweep:
    """Raises DatabaseUnavailable, PaymentsUnavailable, PaymentsRefused."""

    def __init__(self, database: Database, provider: Provider, settling: Settling, clock: Clock) -> None:
        self._database = database
        self._provider = provider
        self._settling = settling
        self._clock = clock

    async def find_events(self) -> int:
        """Stores what Stripe has and no webhook brought; returns how many."""
        began, found = self._clock(), 0
        async for page in self._provider.events(await self._since("swept", began)):
            async with self._database.begin() as connection:
                found += await store(connection, page, "sweep", self._clock())
        async with self._database.begin() as connection:
            await mark(connection, "swept", began)
        return found

    async def look_at_unfinished(self) -> int:
        """Asks Stripe after payments that have waited for a while; returns how many are finished now."""
        now, finished = self._clock(), 0
        async with self._database.begin() as connection:
            waiting = await fetch(connection, _UNFINISHED, now - UNFINISHED, AT_ONCE)
        for row in waiting:
            try:
                finished += await self._look(row.id, row.checkout, now - row.created_at >= PAGE_OPEN)
            except DatabaseUnavailable:
                raise
            except BillingError as error:
                log.warning("payment %s is not finished: %s", row.id, error)
        return finished

    async def _look(self, payment_id: UUID, checkout: str | None, closes: bool) -> bool:
        """Whether it is finished now."""
        payment = await self._settling.settle(payment_id)
        if closes and payment.state == "open" and checkout is not None:
            await self._provider.expire_checkout(checkout)
            payment = await self._settling.settle(payment_id)
        if closes and payment.state == "ordered" and payment.kind != "top_up":
            async with self._database.begin() as connection:
                await note_expired(connection, payment_id)
            return True
        return payment.state not in ("ordered", "open")

    async def import_movements(self) -> int:
        """Stores what moved the balance at Stripe; returns how many were new."""
        began, new = self._clock(), 0
        async for page in self._provider.movements(await self._since("imported", began)):
            async with self._database.begin() as connection:
                intents = [one.intent for one in page if one.intent is not None]
                ours = {row.intent: row.id for row in await fetch(connection, _PAYMENT_OF, intents)}
                rows = [
                    {
                        "id": one.id,
                        "kind": one.kind,
                        "source": one.source,
                        "intent": one.intent,
                        "payment_id": None if one.intent is None else ours.get(one.intent),
                        "currency": one.currency,
                        "cents": one.cents,
                        "fee_cents": one.fee,
                        "net_cents": one.net,
                        "exchange_rate": one.rate,
                        "usd_cents": one.usd_cents,
                        "created_at": one.created_at,
                    }
                    for one in page
                ]
                statement = insert(sales.stripe_movement).values(rows).on_conflict_do_nothing()
                new += len((await connection.execute(statement.returning(sales.stripe_movement.c.id))).all())
        async with self._database.begin() as connection:
            await mark(connection, "imported", began)
        return new

    async def _since(self, name: str, now: datetime) -> datetime:
        async with self._database.begin() as connection:
            last = await marked(connection, name)
        return now - FIRST_REACH if last is None else last - OVERLAP
