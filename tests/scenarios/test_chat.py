"""What a real LibreChat has sent, to the running system: real answers, each charged to whoever is signed on."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from sqlalchemy import insert

from appliance import secrets
from appliance.identity.tables import person
from appliance.settings import load_settings
from billing.clock import system_clock
from billing.customers import keys
from billing.customers.accounts import find_account
from billing.database.db import Database
from tests.librechat.replayed import Recorded, is_whole, recorded
from tests.scenarios.system import System, books_balance

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(600)]

SHORT = {"/v1/chat/completions": {"max_tokens": 16}, "/v1/responses": {"max_output_tokens": 16}}


async def signed_on(system: System, name: str) -> uuid.UUID:
    """A customer with credit, who has opened the chat; what the chat knows them by."""
    system.customer("5", name)
    settings, subject = load_settings(system.env), uuid.uuid4()
    pepper, now = secrets.read(settings.secrets).key_pepper, system_clock()
    database = Database(settings.sqlalchemy_url)
    try:
        async with database.begin() as connection:
            account = await find_account(connection, name)
            assert account is not None
            email = f"{name}@example.com"
            row = {"account_id": account.id, "name": name, "email": email, "email_key": email, "language": "en"}
            await connection.execute(insert(person).values(**row, created_at=now, subject=subject))
            until = now + timedelta(hours=1)
            await keys.renew_chat_key(connection, account.id, subject, pepper, system_clock, until)
    finally:
        await database.close()
    return subject


def has_picture(one: Recorded) -> bool:
    return "image_url" in str(one.body)


async def test_what_a_real_librechat_asks_is_answered_and_charged_to_whoever_asked(ready: System) -> None:
    dave = await signed_on(ready, "dave")
    other = await signed_on(ready, "other")
    key = secrets.read_chat(load_settings(ready.env).secrets).service_key

    async def ask(http: aiohttp.ClientSession, one: Recorded) -> tuple[int, bytes, str]:
        headers = one.headers(key, str(dave))
        body = one.document("smollm2", SHORT.get(one.path, {}))
        async with http.request(one.method, ready.url + one.path, data=body, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers["content-type"]

    asked = [one for one in recorded() if one.is_signed_on]
    async with aiohttp.ClientSession() as http:
        answers = await asyncio.gather(*(ask(http, one) for one in asked))
        strangers = [await ask(http, one) for one in recorded() if not one.is_signed_on]
    for one, (status, body, content_type) in zip(asked, answers, strict=True):
        if has_picture(one):  # the sample model sees none
            assert status == 400, body
        else:
            assert status == 200, body
            assert is_whole(one.path, content_type, body, streamed=one.is_streamed), body
    assert {status for status, *_ in strangers} == {403}
    used: list[dict[str, Any]] = list(ready.usage("dave").values())
    charged = [row for row in used if row["cost_nanodollars"]]
    answered = [one for one in asked if one.body is not None and not has_picture(one)]
    assert sorted(row["endpoint"] for row in charged) == sorted(one.path for one in answered)
    assert {row["channel"] for row in used} == {"chat"}
    assert ready.usage("other") == {}
    assert other != dave
    books_balance(ready)
