"""What the worker does in the background, each job on a real database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from appliance.identity.places import Places
from appliance.librechat.data import ChatData
from appliance.review.looking import Review
from appliance.settings import ReviewSettings
from appliance.worker.jobs import Jobs
from appliance.worker.metrics import WorkerMetrics
from appliance.worker.recovery import Recovery
from appliance.worker.run import Job, repeat
from appliance.worker.takings import TakingsCheck
from billing.database.db import execute, fetch
from billing.ids import new_id
from billing.ledger.sweep import Sweeper
from billing.payments.provider import MovementSeen, PaymentsUnavailable
from billing.prices.pricing import Tokens
from billing.statements import closing
from serving.client.replicas import ReplicaUnreachable
from serving.metering.journal import FileJournal, meters_directory
from serving.metering.meter import Meter
from tests.billing.conftest import MODEL, Bank, bank

__all__ = ["bank"]
DOLLAR = 10**9


class Worker:
    def __init__(self, bank: Bank, home: Path, chat: ChatData | None = None) -> None:
        self.registry = CollectorRegistry()
        nobody: Any = None
        self.jobs = Jobs(
            bank.database,
            nobody,
            Sweeper(bank.store, bank.clock),
            bank.standings,
            WorkerMetrics(self.registry),
            home / "meters",
            home / "archive",
            timedelta(days=180),
            Review(bank.database, bank.standings, Places(None), ReviewSettings(), "", bank.clock),
            chat,
            bank.clock,
        )

    def gauge(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"appliance_{name}", labels)


async def closed(bank: Bank) -> closing.Closing:
    async with bank.database.begin() as connection:
        found = await closing.newest(connection)
    assert found is not None
    return found


async def test_a_day_that_is_over_is_reconciled_once_and_any_difference_is_an_alarm(
    bank: Bank, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    customer = await bank.customer(DOLLAR)
    journal = FileJournal(meters_directory(tmp_path, MODEL), "replica", lambda: bank.clock().timestamp())
    admitted = await customer.admitted()
    journal.append(Meter(str(admitted.request.id), 10, 0, 10, "complete"))
    await customer.settle(admitted, Tokens(10, 0, 10))
    nobodys = new_id(bank.clock())
    journal.append(Meter(str(nobodys), 3, 0, 4, "complete"))
    bank.clock.turn(hours=14)
    worker = Worker(bank, tmp_path)
    for _ in range(2):
        await worker.jobs.seal()
        await worker.jobs.verify()
        await worker.jobs.close_day()
    assert worker.gauge("reconciliation_differences") == 1
    assert worker.gauge("reconciled_until_timestamp_seconds") == datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    (said,) = [record.message for record in caplog.records if str(nobodys) in record.message]
    assert "no account: metered, never charged; tokens metered 3/0/4, charged none" in said
    for scope in ("recent", "all"):
        assert worker.gauge("ledger_discrepancies", scope=scope) == 0
        assert worker.gauge("seals_broken", scope=scope) == 0
    first = await closed(bank)
    assert (first.day, first.requests, first.differences, first.agrees) == (date(2026, 1, 31), 2, 1, False)
    bank.clock.turn(days=1)
    await worker.jobs.close_day()
    assert worker.gauge("reconciliation_differences") == 0
    assert (await closed(bank)).agrees


class Till:
    """Stripe, whose movements these are, or which cannot be reached."""

    def __init__(self, *movements: MovementSeen) -> None:
        self.movements_of = movements
        self.down = False

    async def movements(self, since: datetime) -> AsyncIterator[Sequence[MovementSeen]]:
        if self.down:
            raise PaymentsUnavailable("Stripe cannot be reached")
        yield [one for one in self.movements_of if one.created_at >= since]


async def test_the_takings_of_a_day_are_compared_once_stripe_can_be_asked_and_a_difference_is_an_alarm(
    bank: Bank, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(bank, tmp_path)
    stripe: Any = Till(
        MovementSeen("txn_1", "charge", "ch_1", "pi_1", "usd", 1000, 59, 941, None, 1000, bank.clock())
    )
    takings = TakingsCheck(bank.database, stripe, WorkerMetrics(registry := CollectorRegistry()), bank.clock)

    def differences() -> float | None:
        return registry.get_sample_value("appliance_takings_differences")

    bank.clock.now = datetime(2026, 2, 1, 0, 5, tzinfo=UTC)
    await takings.run_once()
    assert differences() == 0, "what was paid just before midnight is under way: it is the day before's turn"
    bank.clock.turn(minutes=15)
    stripe.down = True
    await takings.run_once()
    assert "the takings of 2026-01-31 are not compared yet" in caplog.text
    stripe.down = False
    await worker.jobs.close_day()
    for _ in range(2):
        await takings.run_once()
        await worker.jobs.close_day()
    (said,) = [record.message for record in caplog.records if "txn_1" in record.message]
    assert "movement txn_1: paid at Stripe, for no payment of ours; at Stripe $10.00, here $0.00" in said
    assert (differences(), (await closed(bank)).takings, (await closed(bank)).agrees) == (1, 1, False)
    assert (await closed(bank)).differences == 0


async def test_books_that_do_not_balance_are_an_alarm_within_minutes_or_at_night(
    bank: Bank, tmp_path: Path
) -> None:
    customer = await bank.customer(DOLLAR)
    await customer.settle(await customer.admitted(), Tokens(10, 0, 10))
    async with bank.database.begin() as connection:
        await execute(connection, "SET session_replication_role = replica")
        await execute(connection, "UPDATE usage SET completion_tokens = 2")
        await execute(connection, "SET session_replication_role = origin")
    worker = Worker(bank, tmp_path)
    await worker.jobs.verify()
    assert worker.gauge("ledger_discrepancies", scope="recent") == 1
    bank.clock.turn(days=10)
    await worker.jobs.verify()
    await worker.jobs.close_day()
    assert worker.gauge("ledger_discrepancies", scope="recent") == 0
    assert worker.gauge("ledger_discrepancies", scope="all") == 1
    assert ((await closed(bank)).discrepancies, (await closed(bank)).agrees) == (1, False)


async def test_what_is_due_is_deleted_and_archived(bank: Bank, tmp_path: Path) -> None:
    leaving, staying = await bank.customer(DOLLAR), await bank.customer(DOLLAR)
    await bank.standings.mark_for_deletion(leaving.account_id, "kari", "asked")
    worker = Worker(bank, tmp_path)
    await worker.jobs.delete_accounts()
    assert (await leaving.account()).status == "deleting"
    bank.clock.turn(days=31)
    await worker.jobs.delete_accounts()
    assert [(await one.account()).status for one in (leaving, staying)] == ["deleted", "active"]
    bank.clock.now = datetime(2032, 1, 1, 2, tzinfo=UTC)
    await worker.jobs.make_months()
    await worker.jobs.sweep()
    await worker.jobs.archive()
    assert not (tmp_path / "archive").exists(), "no day is sealed yet"
    await worker.jobs.seal()
    for _ in range(2):
        await worker.jobs.archive()
    assert sorted(path.name for path in (tmp_path / "archive").iterdir()) == [
        "transfer-2026.parquet", "usage-2026.parquet",
    ]  # fmt: skip
    async with bank.database.begin() as connection:
        ((old,),) = await fetch(
            connection, "SELECT count(*) FROM transfer WHERE created_at < $1", bank.clock() - timedelta(days=1)
        )
    assert old == 0
    assert await bank.discrepancies() == []


async def test_a_job_that_does_not_come_to_its_end_is_seen_by_when_it_last_did(bank: Bank) -> None:
    metrics = WorkerMetrics(registry := CollectorRegistry())
    tries: asyncio.Queue[bool] = asyncio.Queue()
    done: asyncio.Queue[None] = asyncio.Queue()

    async def run() -> None:
        done.put_nowait(None)
        if await tries.get():
            raise RuntimeError

    def succeeded() -> float | None:
        return registry.get_sample_value("appliance_task_succeeded_timestamp_seconds", {"task": "seals"})

    began = bank.clock().timestamp()
    working = asyncio.create_task(repeat(Job("seals", 0.01, run), bank.database, metrics, bank.clock))
    await done.get()
    bank.clock.turn(hours=2)
    tries.put_nowait(True)
    await done.get()
    assert succeeded() == began
    tries.put_nowait(False)
    await done.get()
    assert succeeded() == bank.clock().timestamp() == began + 7200
    assert registry.get_sample_value("appliance_task_period_seconds", {"task": "seals"}) == 0.01
    working.cancel()


async def test_a_request_that_nobody_resolves_is_seen_by_its_age(bank: Bank, tmp_path: Path) -> None:
    metrics = WorkerMetrics(registry := CollectorRegistry())
    nobody: Any = None
    unmetered: Any = Unreachable()
    recovery = Recovery(bank.database, nobody, unmetered, tmp_path, bank.clock)
    jobs = Jobs(
        bank.database, recovery, nobody, nobody, metrics, tmp_path, tmp_path, timedelta(), nobody, None, bank.clock
    )

    async def seen() -> tuple[float | None, float | None]:
        await jobs.recover()
        count, oldest = "appliance_holds_open", "appliance_holds_oldest_seconds"
        return registry.get_sample_value(count), registry.get_sample_value(oldest)

    assert await seen() == (0, 0)
    customer = await bank.customer(DOLLAR)
    await customer.admitted()
    bank.clock.turn(minutes=50)
    await customer.admitted()
    assert await seen() == (2, 3000)


class Unreachable:
    async def find_meter(self, *_: str) -> None:
        raise ReplicaUnreachable("nobody is there")
