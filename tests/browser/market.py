"""A site that sells, the sandbox in place of Stripe, and the worker's turns, on one clock that is turned."""

import asyncio
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from prometheus_client import CollectorRegistry

from appliance import secrets
from appliance.bootstrap import OPERATOR
from appliance.settings import STRIPE_WEBHOOK_PATH, Settings, load_settings
from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.server import sandbox_app
from appliance.stripe_sandbox.settings import SandboxSettings
from appliance.supervisor.system import accepts
from appliance.till import Till, open_till, provider_of
from appliance.web.app import site_app
from appliance.web.metrics import SiteMetrics
from appliance.worker.metrics import WorkerMetrics
from appliance.worker.papers import Papering
from billing.customers.accounts import create_account
from billing.database import migrations
from billing.database.db import Database
from billing.ledger.sweep import Sweeper
from billing.plans.versions import publish
from serving.catalog.declared import declare
from tests.appliance.postgres_server import running_cluster
from tests.billing.conftest import Bank, TurnedClock
from tests.ports import free_port
from tests.web.conftest import QUICK, House

Result = TypeVar("Result")
PATIENCE_SECONDS = 120
TURN_SECONDS = 0.1
CONFIG = "site: {name: Example AI, company: Example AS, contact: help@example.com}\n"


@dataclass
class Market:
    """``bank`` is what stands behind the site; ``house`` reads the mail that it sends."""

    settings: Settings
    clock: TurnedClock
    bank: Bank
    house: House
    sandbox: Sandbox
    loop: asyncio.AbstractEventLoop
    failures: list[Exception]
    """Of the worker's turns."""

    @property
    def url(self) -> str:
        return self.settings.site_url

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """In the loop of everything else: Playwright has one in this thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_SECONDS)

    def wait(self, for_what: str, is_so: Callable[[], Awaitable[object]]) -> None:
        async def look() -> bool:
            return bool(await is_so())

        until = time.monotonic() + PATIENCE_SECONDS
        while not self.do(look()):
            assert time.monotonic() < until, for_what
            time.sleep(TURN_SECONDS)


@contextmanager
def market() -> Iterator[Market]:
    with tempfile.TemporaryDirectory() as folder, running_cluster() as cluster:
        home = Path(folder)
        (home / "appliance.yaml").write_text(CONFIG)
        settings = load_settings({
            "APPLIANCE_HOME": folder, "DATABASE_URL": cluster.url(), "SITE_PORT": str(free_port()),
            "STRIPE_SANDBOX_PORT": str(free_port()), "APPLIANCE_CONFIG": str(home / "appliance.yaml"),
        })  # fmt: skip
        secrets.create(settings.secrets)
        settings.run.mkdir()
        declare(settings.declared, settings.models)
        open_, opened, closing = threading.Event(), [], threading.Event()

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                made, tasks = await _open(settings, cluster.url(), group)
                opened.append(made)
                open_.set()
                while not closing.is_set():
                    await asyncio.sleep(TURN_SECONDS)
                for task in tasks:
                    task.cancel()

        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        assert open_.wait(PATIENCE_SECONDS), "the market did not open"
        yield opened[0]
        closing.set()
        thread.join(PATIENCE_SECONDS)


async def _open(settings: Settings, url: str, group: asyncio.TaskGroup) -> tuple[Market, list[asyncio.Task[None]]]:
    await migrations.upgrade(settings.sqlalchemy_url)
    clock = TurnedClock(datetime.now(UTC).replace(microsecond=0))
    database = Database(url, pool_size=8)
    async with database.begin() as connection:
        await create_account(connection, OPERATOR, "operator", clock)
        await publish(connection, settings.plans, clock)
    provider = provider_of(settings, clock)
    assert provider is not None
    keys = secrets.read_sandbox(settings.secrets)
    chosen = SandboxSettings(
        keys.key, keys.webhook, settings.stripe_sandbox_url, settings.site_url + STRIPE_WEBHOOK_PATH
    )
    sandbox = Sandbox(chosen, clock=lambda: clock().timestamp(), receivers_clock=lambda: clock().timestamp())
    site = site_app(settings, SiteMetrics(CollectorRegistry()), clock, QUICK, provider)
    bank = Bank(database, clock, url)
    await bank.set_rate((100_000, 20_000, 400_000))
    till = open_till(settings, provider, database, clock)
    papering = Papering(database, settings, WorkerMetrics(CollectorRegistry()), clock)
    made = Market(
        settings,
        clock,
        bank,
        House(settings, database, clock, site, provider, sandbox),
        sandbox,
        asyncio.get_running_loop(),
        [],
    )
    tasks = [
        group.create_task(_serve(sandbox_app(sandbox), settings.stripe_sandbox_port)),
        group.create_task(_serve(site.app, settings.site_port)),
        group.create_task(_work(till, papering, Sweeper(bank.store, clock), made.failures)),
    ]
    for port in (settings.stripe_sandbox_port, settings.site_port):
        while not await accepts("127.0.0.1", port):
            await asyncio.sleep(TURN_SECONDS)
    return made, tasks


async def _serve(app: Any, port: int) -> None:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="on"))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    await server._serve()


async def _work(till: Till, papering: Papering, sweeper: Sweeper, failures: list[Exception]) -> None:
    """The worker's turns, one after another."""
    while True:
        try:
            await till.inbox.run_once()
            await till.upkeep.run_once()
            await till.refunds.run_once()
            await papering.run_once()
            await sweeper.run_once()
        except Exception as error:  # noqa: BLE001 -- the test asserts that there was none
            failures.append(error)
        await asyncio.sleep(TURN_SECONDS)
