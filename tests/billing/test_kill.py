"""Sixty seconds in which PostgreSQL and clients are killed: nothing is lost, nothing is charged twice."""

import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.postgres import Cluster, embedded
from appliance.worker.reconciling import read_meters
from appliance.worker.recovery import GIVE_UP_AGE, LOST_AGE, ORPHAN_AGE, Recovery
from billing.charging.settlement import Settlement
from billing.clock import system_clock
from billing.customers import keys
from billing.database.db import Database, fetch
from billing.database.migrations import upgrade
from billing.errors import DatabaseUnavailable
from billing.proof.reconciliation import reconcile
from serving.metering.journal import read_journal
from serving.metering.meter import Meter
from tests.appliance.postgres_server import start, wait_until_ready
from tests.billing.conftest import PEPPER, RATE, Bank
from tests.conftest import Figure
from tests.record import Ordeal, record

pytestmark = pytest.mark.timeout(300)

SECONDS, KILLS, CLIENTS, ACCOUNTS, CREDIT = 60.0, 24, 3, 20, 10**12
MODEL = "smollm2"


class Mortal:
    """A PostgreSQL that is killed and started again on the same data."""

    def __init__(self, cluster: Cluster, log: Path) -> None:
        self._cluster, self._log = cluster, log
        self._server = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            server = start(self._cluster, log.fileno())
        wait_until_ready(self._cluster, server, self._log)
        return server

    def kill(self) -> None:
        """Back when it accepts connections. A new server refuses to start while an orphan of the old one runs."""
        self._server.kill()
        self._server.wait()
        deadline = time.monotonic() + 20
        while True:
            try:
                self._server = self._started()
            except AssertionError:
                assert time.monotonic() < deadline, self._log.read_text()[-2000:]
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        self._server.kill()
        self._server.wait()


@contextmanager
def mortal_postgres() -> Iterator[tuple[Mortal, str]]:
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    cluster = embedded(folder / "data", folder / "sockets")
    cluster.initialise()
    mortal = Mortal(cluster, folder / "log")
    try:
        yield mortal, cluster.url()
    finally:
        mortal.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Replicas:
    """The engines, of which only the journals are left."""

    def __init__(self, journals: Path) -> None:
        self._journals = journals

    async def find_meter(self, model: str, request_id: str) -> Meter | None:
        return read_journal(self._journals, request_id)


class Clients:
    def __init__(self, url: str, digests: dict[int, str], journals: Path, folder: Path) -> None:
        self._arguments = [
            sys.executable,
            "-m",
            "tests.billing.killed_client",
            url,
            json.dumps(digests),
            str(journals),
        ]
        self._folder, self._serial = folder, 0
        self.end = time.monotonic() + SECONDS
        self.running = [self._started() for _ in range(CLIENTS)]

    def _started(self) -> subprocess.Popen[bytes]:
        self._serial += 1
        left = max(0.0, self.end - time.monotonic())
        arguments = [str(self._folder / f"{self._serial}.acks"), str(left), str(self._serial)]
        return subprocess.Popen(self._arguments + arguments)

    def kill(self, rng: random.Random) -> None:
        victim = rng.randrange(CLIENTS)
        self.running[victim].kill()
        record(Ordeal.KILLS)
        self.running[victim].wait()
        self.running[victim] = self._started()

    def acknowledged(self) -> dict[str, int]:
        """Nano-dollars by request, of whole lines: a kill may cut off the last one."""
        lines = [line for file in self._folder.glob("*.acks") for line in file.read_text().split("\n")[:-1]]
        return {request: int(cost) for request, cost in map(str.split, lines)}


def recovery(bank: Bank, journals: Path, ahead: timedelta) -> Recovery:
    def later() -> datetime:
        return system_clock() + ahead

    replicas: Any = Replicas(journals)
    return Recovery(bank.database, Settlement(bank.store, system_clock), replicas, Path("/nowhere"), later)


async def recover_all_along(bank: Bank, journals: Path) -> None:
    """Looks into every hold older than a second, while the clients run: both may settle the same request."""
    worker = recovery(bank, journals, ORPHAN_AGE - timedelta(seconds=1))
    while True:
        try:
            await worker.run_once()
        except DatabaseUnavailable:
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.3)


async def kill_at_random(postgres: Mortal, clients: Clients, rng: random.Random) -> dict[str, int]:
    killed = {"PostgreSQL": 0, "a client": 0}
    for number in range(1, KILLS + 1):
        due = clients.end - SECONDS + SECONDS * number / (KILLS + 1)
        await asyncio.sleep(max(0.0, due - time.monotonic() + rng.uniform(-1, 1)))
        if rng.random() < 0.5:
            await asyncio.to_thread(postgres.kill)
            killed["PostgreSQL"] += 1
        else:
            await asyncio.to_thread(clients.kill, rng)
            killed["a client"] += 1
    return killed


@pytest.fixture
async def mortal(tmp_path: Path) -> AsyncIterator[tuple[Mortal, Bank]]:
    with mortal_postgres() as (postgres, url):
        await upgrade(url)
        database = Database(url, pool_size=4)
        bank = Bank(database, system_clock, url)  # type: ignore[arg-type]
        await bank.set_rate(RATE)
        yield postgres, bank
        await database.close()


async def test_kill_9_of_postgresql_and_clients_under_load_loses_and_doubles_nothing(
    mortal: tuple[Mortal, Bank], tmp_path: Path, figure: Figure
) -> None:
    postgres, bank = mortal
    customers = [await bank.customer(CREDIT) for _ in range(ACCOUNTS)]
    digests = {one.account_id: keys.digest(PEPPER, one.key).hex() for one in customers}
    journals = tmp_path / "meters" / MODEL
    first_day = system_clock().date()
    clients = Clients(bank.url, digests, journals, tmp_path)
    recovering = asyncio.create_task(recover_all_along(bank, journals))
    killed = await kill_at_random(postgres, clients, random.Random(3))
    for client in clients.running:
        assert await asyncio.to_thread(client.wait, 60) == 0
    recovering.cancel()
    await recovery(bank, journals, GIVE_UP_AGE + LOST_AGE).run_once()

    assert min(killed.values()) >= 5
    async with bank.database.begin() as connection:
        usage = {
            str(row[0]): row
            for row in await fetch(connection, "SELECT request_id, cost_nanodollars, ended FROM usage")
        }
        ((holds,),) = await fetch(connection, "SELECT count(*) FROM hold")
        ((moved,),) = await fetch(
            connection, "SELECT sum(amount_nanodollars)::bigint FROM transfer WHERE kind = 'usage'"
        )
        ((left,),) = await fetch(connection, "SELECT sum(balance_nanodollars)::bigint FROM account")
    acknowledged = clients.acknowledged()
    wrong = [one for one, cost in acknowledged.items() if one not in usage or usage[one].cost_nanodollars != cost]
    metered = {
        one.request_id
        for day in (first_day, system_clock().date())
        async for page in read_meters(tmp_path / "meters", day)
        for one in page
    }
    lost = [one for one in metered if str(one) not in usage or usage[str(one)].ended != "complete"]
    differences = [
        difference
        for day in {first_day, system_clock().date()}
        for difference in (
            await reconcile(bank.database, day, read_meters(tmp_path / "meters", day), system_clock)
        ).differences
    ]
    figure("kills within 60 s of load", ", ".join(f"{count} x {what}" for what, count in killed.items()))
    figure("requests metered, acknowledged", f"{len(metered)}, {len(acknowledged)}")
    figure("lost, doubled or wrong, not reconciled", f"{len(lost)}, {len(wrong)}, {len(differences)}")
    assert (holds, wrong, lost, differences) == (0, [], [], [])
    assert len(acknowledged) > 1000
    assert CREDIT * ACCOUNTS - left == moved == sum(row.cost_nanodollars for row in usage.values())
    assert await bank.discrepancies() == []
