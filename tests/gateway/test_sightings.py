"""From which networks a key is used: seen by the real gateway behind its door, written down, and found strange."""

import asyncio
import dataclasses
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import uvicorn
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance import secrets
from appliance.door.protocol import Door
from appliance.gateway.app import Gateway
from appliance.gateway.sightings import MOST, MOST_UNPROVEN, Sightings
from appliance.identity.places import Places
from appliance.mail import queue
from appliance.review.findings import Finding, list_findings
from appliance.review.letters import FOUND
from appliance.review.looking import Review
from appliance.review.tables import sighting
from appliance.settings import ReviewSettings
from billing.clock import system_clock
from billing.customers import keys
from billing.customers.keys import list_keys, revoke_key
from billing.customers.standing import Standings
from billing.database.db import Database
from billing.store.postgres import PostgresStore
from tests.gateway.conftest import Customer, House

PROXY = (ipaddress.ip_network("127.0.0.0/8"),)
OPERATOR = "help@site.example"


@asynccontextmanager
async def behind_the_door(house: House, *, trusted: bool) -> AsyncIterator[str]:
    """One more gateway of the house, as `server` runs it; what it has seen is written when it has ended."""
    settings = dataclasses.replace(house.settings, trusted_proxies=PROXY if trusted else ())
    gateway, listener = Gateway(settings, None), socket.create_server(("127.0.0.1", 0))
    door = Door(settings.door, (), gateway.metrics.observe_refusal, gateway.metrics.connections_open.set)
    config = uvicorn.Config(
        gateway, http=door.protocol, log_level="error", access_log=False, proxy_headers=False,  # type: ignore[arg-type]
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.11)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def ask(
    house: House, url: str, customer: Customer, client: str, model: str = "smollm2", n: object = 1
) -> int:
    headers = {"authorization": f"Bearer {customer.key}", "x-forwarded-for": client}
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "n": n}
    async with house.http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        await answer.read()
        return answer.status


async def seen(house: House, customer: Customer) -> list[tuple[str, int, int]]:
    """Networks, their requests, how many were refused; an hour that begins meanwhile is the same."""
    columns = (sighting.c.network, sighting.c.requests, sighting.c.refused)
    query = select(*columns).where(sighting.c.account_id == customer.account_id)
    found: dict[str, tuple[int, int]] = {}
    async with house.database.begin() as connection:
        for network, requests, refused in await connection.execute(query):
            before = found.get(network, (0, 0))
            found[network] = (before[0] + requests, before[1] + refused)
    return [(network, *counts) for network, counts in sorted(found.items())]


def review(house: House, **limits: int) -> Review:
    standings, settings = (
        Standings(PostgresStore(house.database), system_clock),
        msgspec.convert(limits, ReviewSettings),
    )
    return Review(house.database, standings, Places(None), settings, OPERATOR, system_clock)


async def on_the_list(house: House) -> list[Finding]:
    async with house.database.begin() as connection:
        return await list_findings(connection, closed=False, limit=9)


async def test_a_key_that_is_used_from_many_networks_is_put_on_the_list_once(house: House) -> None:
    shared, own = await house.customer(), await house.customer()
    async with behind_the_door(house, trusted=True) as url:
        for number in range(12):
            for _ in range(2):
                assert await ask(house, url, shared, f"9.9.9.9, 203.0.{number}.{40 + number}") == 200
        assert await ask(house, url, own, "2001:db8:1:2::3") == 200
    assert await seen(house, shared) == sorted((f"203.0.{n}.0/24", 2, 0) for n in range(12))
    assert await seen(house, own) == [("2001:db8:1::/48", 1, 0)]
    looking = review(house, networks_within_an_hour=2)
    assert [await looking.run_once() for _ in range(2)] == [1, 0]
    (found,) = await on_the_list(house)
    assert (found.account_id, found.signal, found.status) == (shared.account_id, "networks", "active")
    assert (found.evidence["networks"], found.evidence["requests"]) == (12, 24)
    assert "203.0.7.0/24" in found.evidence["seen_from"]
    async with house.database.begin() as connection:
        told = await queue.claim(connection, system_clock())
        assert told is not None
        assert (told.kind, told.email, told.about) == (FOUND, OPERATOR, found.id)
        assert await queue.claim(connection, system_clock()) is None


async def test_nobody_is_believed_who_is_no_trusted_proxy(house: House) -> None:
    customer = await house.customer()
    async with behind_the_door(house, trusted=False) as url:
        for number in range(15):
            assert await ask(house, url, customer, f"203.0.{number}.1") == 200
    assert await seen(house, customer) == [("127.0.0.0/24", 15, 0)]
    assert await review(house).run_once() == 0


async def test_a_burst_of_refused_requests_is_put_on_the_list(house: House) -> None:
    poor, lost, busy, spam = [await house.customer(0), *[await house.customer() for _ in range(3)]]
    async with behind_the_door(house, trusted=True) as url:
        for _ in range(20):
            assert await ask(house, url, poor, "192.0.2.1") == 402
            assert await ask(house, url, lost, "192.0.2.2", model="nonesuch") == 404
            assert await ask(house, url, busy, "192.0.2.3", n="x") == 400
            assert await ask(house, url, busy, "192.0.2.3") == 200
            assert await ask(house, url, spam, "192.0.2.4", n="x") == 400
    assert await seen(house, busy) == [("192.0.2.0/24", 40, 20)]
    assert await seen(house, lost) == [("192.0.2.0/24", 20, 0)]
    assert await review(house, refused=10).run_once() == 1
    (found,) = await on_the_list(house)
    assert (found.account_id, found.signal) == (spam.account_id, "refused")


async def test_a_key_that_is_none_leaves_no_trace(house: House) -> None:
    """A key that was revoked is in the database still."""
    customer = await house.customer()
    async with behind_the_door(house, trusted=True) as url:
        async with house.database.begin() as connection:
            (key,) = await list_keys(connection, customer.account_id)
            await revoke_key(connection, key.id, system_clock)
        assert await ask(house, url, customer, "192.0.2.1") == 401
    assert await seen(house, customer) == []


class Dropped:
    def __init__(self) -> None:
        self.requests = 0.0

    def __call__(self, requests: float) -> None:
        self.requests += requests


async def test_while_the_database_is_away_what_is_kept_is_bounded_and_comes_later(house: House) -> None:
    customer, dropped = await house.customer(), Dropped()
    digest, away = digest_of(house, customer), Database("postgresql://nobody@127.0.0.1:1/none")
    counted = Sightings(away, dropped, system_clock)
    for number in range(MOST + 50):
        counted.saw(digest, f"10.{number // 256}.{number % 256}.1", known=True, refused=False)
    assert dropped.requests == 50
    await counted.write()
    counted.saw(digest, "10.0.0.9", known=True, refused=True)
    counted.saw(digest, "192.0.2.1", known=True, refused=True)
    assert dropped.requests == 51
    await counted.write()
    await away.close()
    counted._database = house.database
    await counted.write()
    written = await seen(house, customer)
    assert len(written) == MOST
    assert ("10.0.0.0/24", 2, 1) in written


async def test_a_write_that_is_broken_off_loses_nothing(house: House) -> None:
    customer = await house.customer()
    counted = Sightings(house.database, Dropped(), system_clock)
    async with counted.written():
        counted.saw(digest_of(house, customer), "192.0.2.1", known=True, refused=False)
        async with house.database.begin() as connection:
            await connection.execute(text("LOCK TABLE sighting"))
            writing = asyncio.create_task(counted.write())
            while not await is_waited_for(connection):
                await asyncio.sleep(0.01)
            writing.cancel()
            await asyncio.wait([writing])
        assert await seen(house, customer) == []
    assert await seen(house, customer) == [("192.0.2.0/24", 1, 0)]


async def is_waited_for(connection: AsyncConnection) -> bool:
    """Whether somebody wants the lock that the connection has."""
    query = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'sighting'::regclass)")
    return bool((await connection.execute(query)).scalar_one())


async def test_whoever_makes_up_keys_takes_no_place_from_real_ones(house: House) -> None:
    customer, dropped = await house.customer(), Dropped()
    counted = Sightings(house.database, dropped, system_clock)
    for number in range(MOST):
        counted.saw(number.to_bytes(32), "192.0.2.1", known=False, refused=True)
    assert dropped.requests == MOST - MOST_UNPROVEN
    counted.saw(digest_of(house, customer), "192.0.2.1", known=True, refused=False)
    await counted.write()
    assert await seen(house, customer) == [("192.0.2.0/24", 1, 0)]


def digest_of(house: House, customer: Customer) -> bytes:
    return keys.digest(secrets.read(house.settings.secrets).key_pepper, customer.key)
