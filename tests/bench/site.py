"""The pages: how long the server takes for each with ten million usage rows and a hundred thousand people.

And what the gateway's answers cost while fifty people click through the site.
"""

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import uvloop
from sqlalchemy import select, text

from appliance import secrets
from appliance.identity import sessions
from appliance.identity.origin import Origin
from appliance.settings import Settings, load_settings
from billing.clock import system_clock
from billing.customers.accounts import find_account
from billing.database import tables
from billing.database.db import Database
from billing.database.migrations import upgrade
from serving.catalog.declared import declare
from tests.appliance.postgres_server import running_cluster
from tests.bench.child import running_child
from tests.bench.growth import GROWN_ACCOUNTS, ROWS, grow
from tests.bench.relay import CHUNKS, INTERVAL_SECONDS, WARM_UP, prepare, relayed_cpu
from tests.bench.report import percentile
from tests.bench.settlement import prepare as prepare_billing
from tests.browser.screenshots import FOR_ALL, FOR_CUSTOMERS, FOR_OPERATORS
from tests.gateway.conftest import publish
from tests.ports import free_port

TIMES = 60
FOUND, NOT_FOUND = (f"/console/customers?search={name}" for name in ("person+77", "nobody+at+all"))
PEOPLE, PAUSE_SECONDS, ANSWERS = 50, 1.0, 500
_PEOPLE = """
INSERT INTO person (account_id, name, email, email_key, language, created_at)
SELECT id, 'Person ' || id, id || '@example.com', id || '@example.com', 'en', now() FROM account
"""
_ACCEPTED = "INSERT INTO acceptance SELECT account_id, '2025-10-28', now(), '192.0.2.1' FROM person"
_SECOND = "INSERT INTO authenticator (account_id, secret) VALUES (:account_id, '\\x00')"


def measure() -> dict[str, float | int | str]:
    """Milliseconds of pages, and the relay's processor time."""
    figures: dict[str, float | int | str] = {"usage_rows": ROWS, "people": GROWN_ACCOUNTS}
    figures |= _pages()
    return figures | _relay()


def _pages() -> dict[str, float | int | str]:
    with ExitStack() as stack:
        env, settings = _home(stack)
        uvloop.run(_grow(settings))
        cookies = asyncio.run(_signed_in(settings))
        site = [sys.executable, "-m", "appliance", "site"]
        stack.enter_context(running_child(site, env, f"http://127.0.0.1:{settings.site_port}/livez"))
        seen = asyncio.run(_time_pages(settings, cookies))
    slowest = max(seen, key=lambda path: percentile(seen[path], 0.5))
    return {
        "pages": len(seen),
        "slowest page": slowest,
        "slowest page: ms p50": percentile(seen[slowest], 0.5),
        "slowest page: ms p95": percentile(seen[slowest], 0.95),
        "dashboard: ms p50": percentile(seen["/dashboard"], 0.5),
        "customers found by name: ms p50": percentile(seen[FOUND], 0.5),
        "no customer found by name: ms p50": percentile(seen[NOT_FOUND], 0.5),
        "all pages: ms p50": percentile([one for times in seen.values() for one in times], 0.5),
    }


def _home(stack: ExitStack) -> tuple[dict[str, str], Settings]:
    home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    cluster = stack.enter_context(running_cluster())
    ports = {"PORT": str(free_port()), "SITE_PORT": str(free_port())}
    env = os.environ | {"APPLIANCE_HOME": str(home), "DATABASE_URL": cluster.url(), **ports}
    settings = load_settings(env)
    secrets.create(settings.secrets)
    settings.run.mkdir()
    declare(settings.declared, settings.models)
    return env, settings


async def _grow(settings: Settings) -> None:
    await upgrade(settings.sqlalchemy_url)
    database = Database(settings.sqlalchemy_url)
    await prepare_billing(database)
    assert settings.database_url is not None
    await grow(settings.database_url)
    async with database.begin(timeout_seconds=None) as connection:
        await connection.execute(text(_PEOPLE))
        await connection.execute(text(_ACCEPTED))
        await connection.execute(text("ANALYZE person, acceptance"))  # as autovacuum does within minutes
    await database.close()


async def _signed_in(settings: Settings) -> dict[str, str]:
    """The sessions of a customer and of an operator, by their roles."""
    database, now, origin = Database(settings.sqlalchemy_url), system_clock(), Origin("192.0.2.1", "Firefox")
    async with database.begin() as connection:
        customer = await find_account(connection, f"grown-{GROWN_ACCOUNTS // 2}")
        query = select(tables.account.c.id).order_by(tables.account.c.id).limit(1)
        operator = (await connection.execute(query)).scalar_one()
        assert customer is not None
        await connection.execute(text("UPDATE account SET role = 'operator' WHERE id = :id"), {"id": operator})
        await connection.execute(text(_SECOND), {"account_id": operator})
        cookies = {
            role: await sessions.begin(connection, account_id, role, origin, now)
            for role, account_id in (("customer", customer.id), ("operator", operator))
        }
    await database.close()
    return cookies


async def _time_pages(settings: Settings, cookies: dict[str, str]) -> dict[str, list[float]]:
    """Milliseconds by page, one request at a time."""
    seen: dict[str, list[float]] = {}
    for paths, who in (
        (FOR_ALL, ""),
        (FOR_CUSTOMERS, "customer"),
        ((*FOR_OPERATORS, FOUND, NOT_FOUND), "operator"),
    ):
        async with _browser(settings, cookies.get(who, "")) as browser:
            for path in paths:
                times = [await _look(browser, path) for _ in range(TIMES + 1)]
                seen[path] = times[1:]
    return seen


def _browser(settings: Settings, cookie: str) -> aiohttp.ClientSession:
    headers = {"cookie": f"__Host-session={cookie}"} if cookie else {}
    return aiohttp.ClientSession(f"http://127.0.0.1:{settings.site_port}", headers=headers)


async def _look(browser: aiohttp.ClientSession, path: str) -> float:
    began = time.perf_counter()
    async with browser.get(path) as answer:
        await answer.read()
        if answer.status not in (200, 404) or answer.history:
            raise RuntimeError(f"{path}: {answer.status}")
    return (time.perf_counter() - began) * 1000


def _relay() -> dict[str, float | int | str]:
    """The gateway's processor time with nobody on the site, and with fifty people there, in turns."""
    with ExitStack() as stack:
        env, settings = _home(stack)
        asyncio.run(prepare(settings))
        cookies = asyncio.run(_visitors(settings))
        secret, port = secrets.read(settings.secrets).cluster_secret, free_port()
        engine = f"http://127.0.0.1:{port}"
        stub = [sys.executable, "-m", "tests.stub_engine", "--port", str(port), "--secret", secret]
        stub += ["--chunks", str(CHUNKS), "--interval", str(INTERVAL_SECONDS)]
        stack.enter_context(running_child(stub, env, f"{engine}/health"))
        publish(settings.directory, [engine])
        command, url = [sys.executable, "-m", "appliance"], f"http://127.0.0.1:{settings.port}"
        gateway = stack.enter_context(running_child([*command, "serve"], env, f"{url}/livez"))
        stack.enter_context(running_child([*command, "site"], env, f"http://127.0.0.1:{settings.site_port}/livez"))
        return asyncio.run(_in_turns(settings, gateway.pid, cookies))


async def _visitors(settings: Settings) -> str:
    database = Database(settings.sqlalchemy_url)
    async with database.begin() as connection:
        await connection.execute(text(_PEOPLE))
        await connection.execute(text(_ACCEPTED))
        demo = await find_account(connection, "demo")
        assert demo is not None
        cookie = await sessions.begin(
            connection, demo.id, "customer", Origin("192.0.2.1", "Firefox"), system_clock()
        )
    await database.close()
    return cookie


async def _in_turns(settings: Settings, gateway: int, cookie: str) -> dict[str, float | int | str]:
    quiet: list[float] = []
    busy: list[float] = []
    await relayed_cpu(settings, gateway, WARM_UP)
    for _ in range(3):
        quiet.append(await relayed_cpu(settings, gateway, ANSWERS))
        clicking = [asyncio.create_task(_click(settings, cookie, number)) for number in range(PEOPLE)]
        busy.append(await relayed_cpu(settings, gateway, ANSWERS))
        for task in clicking:
            task.cancel()
        clicks = await asyncio.gather(*clicking, return_exceptions=True)
        if failed := [one for one in clicks if not isinstance(one, asyncio.CancelledError)]:
            raise RuntimeError(f"somebody could not go on clicking: {failed[0]}")
    before, beside = sorted(quiet)[1], sorted(busy)[1]
    return {
        "gateway_cpu_seconds_per_1000: nobody on the site": before,
        "gateway_cpu_seconds_per_1000: 50 people clicking": beside,
        "50 people clicking: times the gateway's cost": beside / before,
    }


async def _click(settings: Settings, cookie: str, number: int) -> None:
    chance = random.Random(number)
    paths: Sequence[str] = [path for path in (*FOR_ALL, *FOR_CUSTOMERS) if path != "/nothing"]
    async with _browser(settings, cookie) as browser:
        while True:
            await asyncio.sleep(chance.uniform(0, 2 * PAUSE_SECONDS))
            async with browser.get(chance.choice(paths)) as answer:
                await answer.read()
                if answer.status >= 500:
                    raise RuntimeError(f"{answer.url}: {answer.status}")
