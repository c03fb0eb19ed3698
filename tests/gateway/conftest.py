"""A gateway in its own process's stead: the real application, a real PostgreSQL, and a stub for the engine."""

import asyncio
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from appliance import secrets
from appliance.bootstrap import bootstrap
from appliance.gateway.app import Gateway
from appliance.settings import Settings, load_settings
from billing.clock import system_clock
from billing.customers import accounts, keys
from billing.customers.standing import Limits
from billing.database.db import Database
from billing.ledger.credit import Credit
from billing.proof import rules as ledger
from billing.statements.usage import Usage, list_usage
from billing.store.postgres import PostgresStore
from serving.catalog.declared import declare
from tests.stub_engine import Stub

DOLLAR = 10**9


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[int]:
    """Runs an ASGI application on a free port of the loopback."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="on", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


@dataclass
class House:
    """The system as a customer sees it at ``url``, and as its operator does."""

    url: str
    settings: Settings
    database: Database
    stubs: list[Stub]
    http: aiohttp.ClientSession

    async def customer(self, nanodollars: int = DOLLAR, limits: Limits | None = None) -> "Customer":
        pepper = secrets.read(self.settings.secrets).key_pepper
        async with self.database.begin() as connection:
            name = f"customer-{time.time_ns()}"
            account = await accounts.create_account(connection, name, "customer", system_clock, limits)
            _, key = await keys.create_key(connection, account.id, "k", pepper, system_clock)
        if nanodollars:
            credit = Credit(PostgresStore(self.database), system_clock)
            await credit.purchase(account.id, nanodollars, "test", uuid.uuid4())
        return Customer(self, account.id, key)

    def replicas(self) -> list[str]:
        """Where the stubs are."""
        document = json.loads(self.settings.directory.read_text())
        return [replica["endpoint"] for replica in document["models"]["smollm2"]["replicas"]]

    async def discrepancies(self) -> list[ledger.Discrepancy]:
        async with self.database.snapshot() as connection:
            return await ledger.verify(connection)


@dataclass
class Customer:
    house: House
    account_id: int
    key: str

    def post(self, path: str = "/v1/chat/completions", **body: Any) -> Any:
        document = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8} | body
        return self.post_raw(json.dumps(document).encode(), path)

    def post_raw(self, body: bytes, path: str = "/v1/chat/completions") -> Any:
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        return self.house.http.post(self.house.url + path, data=body, headers=headers)

    async def usage(self) -> list[Usage]:
        async with self.house.database.begin() as connection:
            return await list_usage(connection, 1000, self.account_id)

    async def account(self) -> accounts.Account:
        async with self.house.database.begin() as connection:
            return await accounts.get_account(connection, self.account_id)

    async def settled(self) -> accounts.Account:
        """The account once nothing is held of it; fails after five seconds."""
        for _ in range(100):
            account = await self.account()
            if account.open_holds == 0:
                return account
            await asyncio.sleep(0.05)
        raise AssertionError("a hold is left after five seconds")


def publish(path: Path, replica_endpoints: list[str], endpoints: Sequence[str] = (), state: str = "ready") -> None:
    """``endpoints`` are those of the API that the model has."""
    publish_all(path, {"smollm2": entry(replica_endpoints, endpoints, state)})


def entry(
    replica_endpoints: Sequence[str],
    endpoints: Sequence[str] = (),
    state: str = "ready",
    fallbacks: Sequence[str] = (),
) -> dict[str, Any]:
    """A model in the directory."""
    replicas = [
        {
            "id": endpoint.rpartition("/")[2],
            "endpoint": endpoint,
            "node": "n",
            "running": 0,
            "waiting": 0,
            "draining": False,
        }
        for endpoint in replica_endpoints
    ]
    return {
        "state": state, "message": "", "context_length": 2048, "replicas": replicas, "fallbacks": fallbacks,
        "traits": {"template_tokens": 64, "endpoints": list(endpoints)},
    }  # fmt: skip


def publish_all(path: Path, models: dict[str, dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"published_at": time.time(), "models": models, "nodes": []}))
    draft.rename(path)


@pytest.fixture
def environment() -> dict[str, str]:
    """What a house is opened with besides its home and its database."""
    return {}


@pytest.fixture
async def house(fresh_url: str, tmp_path: Path, environment: dict[str, str]) -> AsyncIterator[House]:
    """One gateway, two stub replicas."""
    settings = load_settings(environment | {"APPLIANCE_HOME": str(tmp_path), "DATABASE_URL": fresh_url})
    secrets.create(settings.secrets)
    await bootstrap(settings, system_clock)
    declare(settings.declared, settings.models)
    cluster_secret = secrets.read(settings.secrets).cluster_secret
    stubs = [Stub(cluster_secret, chunks=8), Stub(cluster_secret, chunks=8)]
    database = Database(fresh_url)
    async with (
        served(stubs[0]) as first,
        served(stubs[1]) as second,
        served(Gateway(settings, None)) as port,
        aiohttp.ClientSession() as http,
    ):
        publish(settings.directory, [f"http://127.0.0.1:{first}", f"http://127.0.0.1:{second}"])
        await asyncio.sleep(0.11)
        yield House(f"http://127.0.0.1:{port}", settings, database, stubs, http)
    await database.close()
