"""The background jobs: orphaned holds are resolved, the books are checked. One worker at a time does them."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from sqlalchemy import text

from appliance import secrets
from appliance.metrics import WorkerMetrics
from appliance.recovery import Recovery
from appliance.settings import Settings
from billing import ledger
from billing.clock import system_clock
from billing.db import Database
from billing.errors import DatabaseUnavailable
from billing.holds import count_holds
from billing.postgres import PostgresStore
from billing.settlement import Settlement
from serving.client import Directory, EngineClient

log = logging.getLogger(__name__)

RECOVERY_PERIOD_SECONDS = 2.0
VERIFY_PERIOD_SECONDS = 300.0
WORKER_LOCK = 723_241_500


@dataclass(frozen=True)
class Job:
    """``run`` may raise DatabaseUnavailable: it is tried again after its period."""

    name: str
    period_seconds: float
    run: Callable[[], Awaitable[None]]


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    database = Database(settings.sqlalchemy_url, application_name="appliance-worker")
    engine_client = EngineClient(Directory(settings.directory), secrets.read(settings.secrets).cluster_secret)
    metrics = WorkerMetrics(CollectorRegistry())
    recovery = Recovery(database, Settlement(PostgresStore(database), system_clock), engine_client, system_clock)

    async def recover() -> None:
        async with database.begin() as connection:
            metrics.holds_open.set(await count_holds(connection))
        if resolved := await recovery.run_once():
            log.info("%d holds without a gateway were resolved", resolved)
            metrics.holds_recovered.inc(resolved)

    async def verify() -> None:
        async with database.snapshot() as connection:
            discrepancies = await ledger.verify(connection)
        metrics.ledger_discrepancies.set(len(discrepancies))
        metrics.ledger_checked_at.set(time.time())
        for found in discrepancies:
            log.error("the books do not balance: %s: %s", found.rule, found.subject)

    jobs = (
        Job("recovery", RECOVERY_PERIOD_SECONDS, recover),
        Job("ledger verification", VERIFY_PERIOD_SECONDS, verify),
    )
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_repeat(job, database)) for job in jobs]
            await stop.wait()
            for task in tasks:
                task.cancel()
    finally:
        await engine_client.close()
        await database.close()


async def _repeat(job: Job, database: Database) -> None:
    while True:
        try:
            async with database.begin(timeout_seconds=None) as lock:
                query = text("SELECT pg_try_advisory_xact_lock(:lock, hashtext(:job))")
                parameters = {"lock": WORKER_LOCK, "job": job.name}
                if (await lock.execute(query, parameters)).scalar_one():
                    await job.run()
        except DatabaseUnavailable:
            log.warning("%s waits: PostgreSQL cannot be reached", job.name)
        except Exception:
            log.exception("%s failed and is tried again", job.name)
        await asyncio.sleep(job.period_seconds)
