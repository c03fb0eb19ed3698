"""What the worker does, each job by itself. Every one may raise DatabaseUnavailable and is then tried again."""

import logging
import time

from appliance.metrics import WorkerMetrics
from appliance.recovery import Recovery
from billing import ledger
from billing import seals as chain
from billing.clock import Clock
from billing.db import Database
from billing.holds import count_holds
from billing.partitions import make_partitions
from billing.sweep import Sweeper

log = logging.getLogger(__name__)


class Jobs:
    def __init__(
        self, database: Database, recovery: Recovery, sweeper: Sweeper, metrics: WorkerMetrics, clock: Clock
    ) -> None:
        self._database = database
        self._recovery = recovery
        self._sweeper = sweeper
        self._metrics = metrics
        self._clock = clock

    async def recover(self) -> None:
        async with self._database.begin() as connection:
            self._metrics.holds_open.set(await count_holds(connection))
        if resolved := await self._recovery.run_once():
            log.info("%d holds without a gateway were resolved", resolved)
            self._metrics.holds_recovered.inc(resolved)

    async def sweep(self) -> None:
        if swept := await self._sweeper.run_once():
            log.info("the credit of %d lots was over", swept)

    async def make_months(self) -> None:
        async with self._database.begin() as connection:
            for name in await make_partitions(connection, self._clock):
                log.info("partition %s was made", name)

    async def seal(self) -> None:
        async with self._database.begin(timeout_seconds=None) as connection:
            await chain.without_limit(connection)
            for sealed in await chain.seal_days(connection, self._clock):
                log.info("day %s is sealed: %d records, %s", sealed.day, sealed.records, sealed.digest.hex())
            broken = await chain.verify_seals(connection)
        self._metrics.seals_broken.set(len(broken))
        for found in broken:
            log.error("the records of %s are not what was sealed: %s", found.day, found.what)

    async def verify(self) -> None:
        async with self._database.snapshot() as connection:
            discrepancies = await ledger.verify(connection)
        self._metrics.ledger_discrepancies.set(len(discrepancies))
        self._metrics.ledger_checked_at.set(time.time())
        for found in discrepancies:
            log.error("the books do not balance: %s: %s", found.rule, found.subject)
