"""What the worker does of payments, in a process of its own that can be killed: DATABASE SANDBOX MINUTES_AHEAD."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from appliance.till import Offer, till
from appliance.worker.metrics import WorkerMetrics
from appliance.worker.paying import Paying
from billing.database.db import Database
from billing.payments.stripe.adapter import StripeProvider
from tests.payments.conftest import BOUNDS
from tests.payments.on_a_plan import LARGE, SMALL
from tests.stripe_sandbox.inprocess import KEY, SECRET
from tests.taxing import INCLUDED


async def work(database_url: str, sandbox: str, ahead: timedelta) -> None:
    def clock() -> datetime:
        return datetime.now(UTC) + ahead

    database = Database(database_url, pool_size=8)
    provider = StripeProvider(KEY, SECRET, clock, base=sandbox)
    does = Paying(
        database,
        till(database, provider, INCLUDED, BOUNDS, clock, 30, None, Offer((SMALL, LARGE))),
        WorkerMetrics(CollectorRegistry()),
        clock,
    )
    while True:
        for job in (does.handle_events, does.top_up, does.refund, does.sweep):
            await job()
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    url, base, minutes = sys.argv[1:]
    asyncio.run(work(url, base, timedelta(minutes=int(minutes))))
