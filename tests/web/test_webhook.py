"""Stripe's webhooks at the site's door: taken for their signature alone, bounded, never lost for a database."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from appliance.door.asgi import Receive
from appliance.settings import STRIPE_WEBHOOK_PATH as PATH
from appliance.stripe_sandbox.webhooks import signature
from appliance.web.app import Site, site_app
from appliance.web.stripe import BODY_BYTES, StripeWebhook
from billing.database.db import fetch
from billing.payments.inbox import Inbox, marked
from billing.payments.provider import BadSignature
from billing.payments.stripe.adapter import StripeProvider
from tests.stripe_sandbox.inprocess import KEY, SECRET
from tests.web.conftest import ADDRESS, QUICK, House

EVENT = {
    "id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "created": 1_700_000_000,
    "data": {"object": {"id": "pi_1", "object": "payment_intent"}},
}  # fmt: skip
BODY = json.dumps(EVENT).encode()


@pytest.fixture
async def selling(house: House) -> AsyncIterator[Site]:
    provider = StripeProvider(KEY, SECRET, house.clock)
    site = site_app(house.settings, House.metrics(), house.clock, QUICK, provider)
    yield site
    await provider.close()
    await site.database.close()


async def sent(
    site: Site, house: House, body: bytes = BODY, secret: str = SECRET, seconds: int = 0
) -> httpx.Response:
    signed = signature(body, secret, int(house.clock().timestamp()) + seconds)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site.app), base_url=ADDRESS) as stripe:
        return await stripe.post(PATH, content=body, headers={"stripe-signature": signed})


async def events(house: House) -> list[tuple[str, str, str]]:
    async with house.database.begin() as connection:
        rows = await fetch(connection, "SELECT id, kind, object FROM stripe_event")
        return [(row.id, row.kind, row.object) for row in rows]


async def test_what_stripe_signed_is_kept_once_without_its_content(house: House, selling: Site) -> None:
    for _ in range(2):
        answer = await sent(selling, house)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert await events(house) == [("evt_1", "payment_intent.succeeded", "pi_1")]


@pytest.mark.parametrize(
    ("secret", "seconds"),
    [("whsec_" + "0" * 32, 0), (SECRET, -301), (SECRET, 301)],
    ids=["forged", "old", "early"],
)
async def test_what_it_did_not_sign_is_refused_and_noted(
    house: House, selling: Site, caplog: pytest.LogCaptureFixture, secret: str, seconds: int
) -> None:
    assert (await sent(selling, house, secret=secret, seconds=seconds)).status_code == 400
    assert await events(house) == []
    assert "event=webhook-refused" in caplog.text
    async with house.database.begin() as connection:
        assert await marked(connection, "webhook_refused") == house.clock()
        assert await marked(connection, "webhook") is None


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"object": "event"}', b"\xff\xfe"])
async def test_what_is_signed_and_no_event_is_refused(house: House, selling: Site, body: bytes) -> None:
    assert (await sent(selling, house, body)).status_code == 400


async def test_a_body_is_bounded_and_only_sent(house: House, selling: Site) -> None:
    assert (await sent(selling, house, b" " * (BODY_BYTES + 1))).status_code == 413
    async with httpx.AsyncClient(transport=httpx.ASGITransport(selling.app), base_url=ADDRESS) as anybody:
        assert (await anybody.get(PATH)).status_code == 405
        unsigned = await anybody.post(PATH, content=BODY)
        assert unsigned.status_code == 400


@dataclass
class Door:
    """The place of webhooks, and what it answers to who sends as told."""

    webhook: StripeWebhook

    async def answers(self, headers: list[tuple[bytes, bytes]], receive: Receive) -> int:
        said: list[int] = []

        async def send(message: Any) -> None:
            said.append(message.get("status", 0))

        scope = {"type": "http", "method": "POST", "path": PATH, "headers": headers, "client": None}
        await self.webhook(scope, receive, send)
        return said[0]


async def never() -> Any:
    await asyncio.Event().wait()


async def nobody(*_: object) -> None:
    raise AssertionError("this is not for anybody else")


async def test_who_sends_slowly_or_unsigned_keeps_no_place_from_stripe(house: House) -> None:
    provider = StripeProvider(KEY, SECRET, house.clock)
    inbox = Inbox(house.database, provider, {}, house.clock)
    door = Door(StripeWebhook(nobody, inbox, House.metrics(), (), body_seconds=0))
    assert await door.answers([(b"stripe-signature", b"t=1,v1=0")], never) == 408
    assert await door.answers([], never) == 400
    await provider.close()


async def test_many_lies_are_written_down_once_in_ten_seconds(house: House) -> None:
    provider = StripeProvider(KEY, SECRET, house.clock)
    inbox = Inbox(house.database, provider, {}, house.clock)

    async def lied() -> bool:
        async with house.database.begin() as connection:
            await connection.exec_driver_sql("DELETE FROM stripe_mark")
        with pytest.raises(BadSignature):
            await inbox.receive(BODY, "t=1,v1=0")
        async with house.database.begin() as connection:
            return await marked(connection, "webhook_refused") is not None

    assert await lied()
    assert not await lied()
    house.clock.turn(seconds=10)
    assert await lied()
    await provider.close()


async def test_without_a_database_stripe_is_asked_to_come_again(house: House) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    provider = StripeProvider(KEY, SECRET, house.clock)
    site = site_app(replace(house.settings, database_url=url), House.metrics(), house.clock, QUICK, provider)
    answer = await sent(site, house)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    await site.database.close()
    await provider.close()


async def test_where_nothing_is_sold_there_is_no_such_place(house: House) -> None:
    site = site_app(house.settings, House.metrics(), house.clock, QUICK)
    assert (await sent(site, house)).status_code == 403
    await site.database.close()
