"""What the worker does of payments: handles what Stripe told, asks what it did not tell, charges saved cards.

Where Stripe cannot be reached all of it waits for its next turn.
"""

import logging
from collections.abc import Awaitable, Callable

from appliance.till import Till
from appliance.worker.metrics import WorkerMetrics
from billing.clock import Clock
from billing.database.db import Database, fetch
from billing.payments.inbox import backlog
from billing.payments.provider import PaymentsRefused, PaymentsUnavailable

log = logging.getLogger(__name__)

EVENTS_PERIOD_SECONDS = 1.0
TOP_UP_PERIOD_SECONDS = 5.0
REFUNDS_PERIOD_SECONDS = 10.0
SWEEP_PERIOD_SECONDS = 120.0
IMPORT_PERIOD_SECONDS = 3600.0
PLANS_PERIOD_SECONDS = 60.0


class Paying:
    """Raises DatabaseUnavailable."""

    def __init__(self, database: Database, till: Till, metrics: WorkerMetrics, clock: Clock) -> None:
        self._database = database
        self._till = till
        self._metrics = metrics
        self._clock = clock

    async def handle_events(self) -> None:
        await self._till.inbox.run_once()
        async with self._database.begin() as connection:
            waiting = await backlog(connection)
        age = 0.0 if waiting.oldest_at is None else (self._clock() - waiting.oldest_at).total_seconds()
        self._metrics.stripe_events_waiting.set(waiting.waiting)
        self._metrics.stripe_events_failed.set(waiting.failed)
        self._metrics.stripe_oldest_seconds.set(age)

    async def top_up(self) -> None:
        if charged := await self._asking(self._till.top_ups.run_once):
            log.info("%d cards were charged by themselves", charged)
            self._metrics.top_ups.inc(charged)

    async def refund(self) -> None:
        await self._asking(self._till.refunds.run_once)
        async with self._database.begin() as connection:
            query = "SELECT count(*) AS failed FROM refund WHERE state = 'failed'"
            self._metrics.refunds_failed.set((await fetch(connection, query))[0].failed)

    async def sweep(self) -> None:
        if found := await self._asking(self._till.sweep.find_events):
            log.info("%d events were found that no webhook had brought", found)
            self._metrics.stripe_events_swept.inc(found)
        await self._asking(self._till.sweep.look_at_unfinished)
        await self._asking(self._till.refunds.look)

    async def keep_plans(self) -> None:
        await self._asking(self._till.customers.tell_buyers)
        await self._till.upkeep.run_once()

    async def import_movements(self) -> None:
        await self._asking(self._till.sweep.import_movements)

    async def forget_customers(self) -> None:
        """Of accounts that are deleted, at Stripe too."""
        if gone := await self._asking(self._till.customers.forget_deleted):
            log.info("%d deleted accounts are deleted at Stripe too", gone)

    async def _asking(self, ask: Callable[[], Awaitable[int]]) -> int:
        try:
            return await ask()
        except (PaymentsUnavailable, PaymentsRefused) as error:
            log.warning("payments wait: %s", error)
            self._metrics.stripe_unreachable.inc()
            return 0
