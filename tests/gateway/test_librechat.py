"""A recorded LibreChat asks the gateway: each request is answered as it expects, and charged to whoever asked."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.gateway.chatting import Chatter, chatter, service_key, told, with_chat
from tests.gateway.conftest import House
from tests.librechat.replayed import Recorded, is_whole, recorded


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return with_chat(tmp_path)


def send(house: House, one: Recorded, who: Chatter) -> aiohttp.client._RequestContextManager:
    headers = one.headers(service_key(house), str(who.subject))
    return house.http.request(one.method, house.url + one.path, data=one.document("smollm2"), headers=headers)


async def test_what_a_real_librechat_asks_is_answered_and_charged_to_whoever_asked(house: House) -> None:
    dave, other = await chatter(house), await chatter(house)
    asked = [one for one in recorded() if one.is_signed_on]

    async def ask(one: Recorded) -> None:
        async with send(house, one, dave) as answer:
            body = await answer.read()
            assert answer.status == 200, body
            assert is_whole(one.path, answer.headers["content-type"], body, streamed=one.is_streamed), body

    await asyncio.gather(*map(ask, asked))
    charged = await dave.usage()
    assert sorted(use.endpoint for use in charged) == sorted(one.path for one in asked if one.body is not None)
    assert {use.channel for use in charged} == {"chat"}
    assert all(use.cost_nanodollars for use in charged)
    assert (sum(one.is_title for one in asked), len(charged)) == (5, 11)
    assert await other.usage() == []
    assert await house.discrepancies() == []


async def test_whoever_did_not_sign_on_is_nobody(house: House) -> None:
    """LibreChat leaves its placeholder as it is then."""
    dave = await chatter(house)
    asked = [one for one in recorded() if not one.is_signed_on]
    assert {one.path for one in asked} == {"/v1/models", "/v1/chat/completions"}
    for one in asked:
        async with send(house, one, dave) as answer:
            message = await told(answer, 403)
        assert message == "The chat does not say who you are: sign out of the chat, and sign in again."
    assert await dave.usage() == []
