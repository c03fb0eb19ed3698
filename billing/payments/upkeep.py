"""What no event asks for: grace that ends, orders that nobody paid, plans of closed accounts, lost events."""

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlalchemy import ColumnElement, select

from billing.clock import Clock
from billing.database import sales, tables
from billing.database.db import Database
from billing.errors import BillingError, DatabaseUnavailable
from billing.ledger.credit import CLOSED
from billing.payments.following import Following
from billing.payments.giving import tell_grace_ends
from billing.payments.plan_life import CLOSED_ACCOUNT, NOT_PAID
from billing.payments.provider import Provider
from billing.payments.subscribed import RUNNING, Subscription, stripe_id_of, subscriptions_where

BEFORE_GRACE_ENDS = timedelta(days=1)
ORDER_KEPT = timedelta(hours=2)
"""So long a page to pay on stays open."""
EVENTS_LATE = timedelta(hours=2)
"""A renewal is charged within seconds; where no webhook tells of it, Stripe does it within the hour."""

log = logging.getLogger(__name__)


class Upkeep:
    def __init__(self, database: Database, following: Following, provider: Provider, clock: Clock) -> None:
        self._database = database
        self._following = following
        self._provider = provider
        self._clock = clock

    async def run_once(self) -> None:
        """Does what is due, each by itself. Raises DatabaseUnavailable."""
        now, table = self._clock(), sales.subscription.c
        running = table.state.in_(RUNNING)
        closed = table.account_id.in_(select(tables.account.c.id).where(tables.account.c.status.in_(CLOSED)))
        await self._each(self._ended, running, table.end_reason.is_not(None))
        await self._each(self._of_closed, running, closed)
        await self._each(self._tell, table.state == "past_due", table.grace_until <= now + BEFORE_GRACE_ENDS)
        await self._each(self._unpaid, table.state == "past_due", table.grace_until <= now)
        await self._each(self._late, table.state == "active", table.period_end <= now - EVENTS_LATE)
        await self._each(self._forgotten, table.state == "ordered", table.created_at <= now - ORDER_KEPT)

    async def _each(self, do: Callable[[Subscription], Awaitable[None]], *which: ColumnElement[bool]) -> None:
        async with self._database.begin() as connection:
            found = await subscriptions_where(connection, *which)
        for row in found:
            try:
                await do(row)
            except DatabaseUnavailable:
                raise
            except BillingError as error:
                log.warning("subscription %s waits: %s", row.id, error)

    async def _ended(self, row: Subscription) -> None:
        """Somebody began to end it, and did not come to the end."""
        assert row.end_reason is not None, "it was asked for"
        await self._following.end(row, row.end_reason)

    async def _of_closed(self, row: Subscription) -> None:
        await self._following.end(row, CLOSED_ACCOUNT)

    async def _tell(self, row: Subscription) -> None:
        async with self._database.begin() as connection:
            await tell_grace_ends(connection, row, self._clock())

    async def _unpaid(self, row: Subscription) -> None:
        found = await self._following.follow(stripe_id_of(row))
        if found is not None and found.state == "past_due":
            await self._following.end(found, NOT_PAID)

    async def _late(self, row: Subscription) -> None:
        await self._following.follow(stripe_id_of(row))

    async def _forgotten(self, row: Subscription) -> None:
        await self._following.close_page(row)
