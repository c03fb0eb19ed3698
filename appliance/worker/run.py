"""The background jobs, each in its own period. One worker at a time does each."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import CollectorRegistry
from sqlalchemy import text

from appliance import secrets
from appliance.identity.places import open_places
from appliance.librechat.data import open_chat
from appliance.review.looking import Review
from appliance.settings import Settings
from appliance.systemd import Manager
from appliance.till import open_till, provider_of
from appliance.worker import paying
from appliance.worker.invoicing import InvoicingJob
from appliance.worker.jobs import Jobs
from appliance.worker.mailing import Mailing
from appliance.worker.metrics import WorkerMetrics
from appliance.worker.papers import Papering
from appliance.worker.paying import Paying
from appliance.worker.recovery import Recovery
from appliance.worker.takings import TakingsCheck
from billing.charging.settlement import Settlement
from billing.clock import Clock, system_clock
from billing.customers.standing import Standings
from billing.database.db import Database
from billing.errors import DatabaseUnavailable
from billing.ledger.sweep import Sweeper
from billing.store.postgres import PostgresStore
from serving.client.published import Directory
from serving.client.replicas import EngineClient

log = logging.getLogger(__name__)

RECOVERY_PERIOD_SECONDS = 2.0
MAIL_PERIOD_SECONDS = 1.0
SWEEP_PERIOD_SECONDS = 60.0
DOCUMENTS_PERIOD_SECONDS = 10.0
VERIFY_PERIOD_SECONDS = 300.0
REVIEW_PERIOD_SECONDS = 300.0
DAILY_PERIOD_SECONDS = 3600.0
WORKER_LOCK = 723_241_500
POOL_SIZE = 56
"""Connections: each job holds one for its lock and works with another, and at the start all run at once."""


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
    database = Database(settings.sqlalchemy_url, application_name="appliance-worker", pool_size=POOL_SIZE)
    engine_client = EngineClient(Directory(settings.directory), secrets.read(settings.secrets).cluster_secret)
    store = PostgresStore(database)
    recovery = Recovery(database, Settlement(store, system_clock), engine_client, settings.meters, system_clock)
    places = open_places(settings.places)
    metrics = WorkerMetrics(CollectorRegistry())
    chat = open_chat(settings) if settings.is_first_node else None
    does = Jobs(
        database,
        recovery,
        Sweeper(store, system_clock),
        standings := Standings(store, system_clock),
        metrics,
        settings.meters,
        settings.archive,
        timedelta(days=settings.site.messages_days),
        Review(database, standings, places, settings.review, settings.site.contact, system_clock),
        chat,
        system_clock,
    )
    jobs: tuple[Job, ...] = (
        Job("recovery", RECOVERY_PERIOD_SECONDS, does.recover),
        Job("sweep", SWEEP_PERIOD_SECONDS, does.sweep),
        Job("ledger verification", VERIFY_PERIOD_SECONDS, does.verify),
        Job("months", DAILY_PERIOD_SECONDS, does.make_months),
        Job("seals", DAILY_PERIOD_SECONDS, does.seal),
    )
    if (
        settings.is_first_node
    ):  # it has the journals of all nodes, the archive, and what is set of mail, people and the chat
        mailing = Mailing(database, settings, places, metrics, system_clock)
        papering = Papering(database, settings, metrics, system_clock)
        jobs += (
            Job("mail", MAIL_PERIOD_SECONDS, mailing.run_once),
            Job("documents", DOCUMENTS_PERIOD_SECONDS, papering.run_once),
            Job(
                "invoices",
                DAILY_PERIOD_SECONDS,
                InvoicingJob(database, settings, standings, system_clock).run_once,
            ),
            Job("outbox", DAILY_PERIOD_SECONDS, mailing.clear_outbox),
            Job("deletion of accounts", DAILY_PERIOD_SECONDS, does.delete_accounts),
            Job("retention", SWEEP_PERIOD_SECONDS, does.forget),
            Job("review", REVIEW_PERIOD_SECONDS, does.review),
            Job("closing of the day", DAILY_PERIOD_SECONDS, does.close_day),
            Job("archive", DAILY_PERIOD_SECONDS, does.archive),
        )
    provider = provider_of(settings, system_clock) if settings.is_first_node else None
    if provider is not None:
        jobs += _paying(
            Paying(database, open_till(settings, provider, database, system_clock), metrics, system_clock)
        )
        takings = TakingsCheck(database, provider, metrics, system_clock)
        jobs += (Job("comparison of takings", DAILY_PERIOD_SECONDS, takings.run_once),)
    assert 2 * len(jobs) <= POOL_SIZE
    try:
        async with Manager.of(os.environ).informed(), asyncio.TaskGroup() as group:
            tasks = [group.create_task(repeat(job, database, metrics, system_clock)) for job in jobs]
            await stop.wait()
            for task in tasks:
                task.cancel()
    finally:
        await engine_client.close()
        if provider is not None:
            await provider.close()
        if chat is not None:
            await chat.close()
        await database.close()


def _paying(does: Paying) -> tuple[Job, ...]:
    return (
        Job("events of Stripe", paying.EVENTS_PERIOD_SECONDS, does.handle_events),
        Job("top-ups", paying.TOP_UP_PERIOD_SECONDS, does.top_up),
        Job("refunds", paying.REFUNDS_PERIOD_SECONDS, does.refund),
        Job("sweep of payments", paying.SWEEP_PERIOD_SECONDS, does.sweep),
        Job("plans", paying.PLANS_PERIOD_SECONDS, does.keep_plans),
        Job("movements at Stripe", paying.IMPORT_PERIOD_SECONDS, does.import_movements),
        Job("customers at Stripe", DAILY_PERIOD_SECONDS, does.forget_customers),
    )


async def repeat(job: Job, database: Database, metrics: WorkerMetrics, clock: Clock) -> None:
    """Until it is cancelled. Another worker that has the job at this moment does it instead."""
    metrics.task_begins(job.name, job.period_seconds, clock())
    while True:
        try:
            async with database.begin(timeout_seconds=None) as lock:
                query = text("SELECT pg_try_advisory_xact_lock(:lock, hashtext(:job))")
                parameters = {"lock": WORKER_LOCK, "job": job.name}
                if (await lock.execute(query, parameters)).scalar_one():
                    await job.run()
                    metrics.task_succeeded(job.name, clock())
        except DatabaseUnavailable:
            log.warning("%s waits: PostgreSQL cannot be reached", job.name)
        except Exception:
            log.exception("%s failed and is tried again", job.name)
        await asyncio.sleep(job.period_seconds)
