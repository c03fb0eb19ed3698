"""Who uses the chat: asked for, charged, limited and told as the person that they are."""

import asyncio
import ipaddress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from appliance.door.limits import Limits as DoorLimits
from appliance.settings import load_settings
from billing.clock import system_clock
from billing.customers.standing import Limits, Standings
from billing.store.postgres import PostgresStore
from tests.gateway.chatting import SITE, chatter, told, with_chat
from tests.gateway.conftest import DOLLAR, House
from tests.gateway.test_door import GET, QUICK, door, status
from tests.gateway.test_sightings import behind_the_door, seen
from tests.stub_engine import PROMPT_TOKENS


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return with_chat(tmp_path)


def standings(house: House) -> Standings:
    return Standings(PostgresStore(house.database), system_clock)


async def test_what_is_asked_in_the_chat_is_charged_to_whoever_asks(house: House) -> None:
    ada, bob = await chatter(house), await chatter(house)
    async with ada.post(stream=True) as answer:
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")
    async with ada.post(path="/v1/messages") as answer:
        assert answer.status == 200
    async with ada.get("/v1/models") as answer:
        assert next(model["id"] for model in (await answer.json())["data"]) == "smollm2"
    async with ada.get("/v1/usage?group_by=channel,key") as answer:
        (line,) = (await answer.json())["data"]
    assert (line["channel"], line["key"]["name"], line["requests"]) == ("chat", "chat", 2)
    used = await ada.usage()
    assert [(one.channel, one.prompt_tokens) for one in used] == [("chat", PROMPT_TOKENS)] * 2
    assert (await ada.account()).balance_nanodollars == DOLLAR - sum(one.cost_nanodollars for one in used)
    assert await bob.usage() == []
    assert await house.discrepancies() == []


async def test_the_body_does_not_say_who_asks(house: House) -> None:
    ada, bob = await chatter(house), await chatter(house)
    async with ada.post(user=str(bob.subject)) as answer:
        assert answer.status == 200
    assert (len(await ada.usage()), await bob.usage()) == (1, [])


async def test_an_ordinary_key_stays_its_owners_whoever_the_header_names(house: House) -> None:
    ada, mallory = await chatter(house), await house.customer()
    for named in (str(ada.subject), "{{LIBRECHAT_USER_OPENIDID}}", "x"):
        headers = {"authorization": f"Bearer {mallory.key}", "x-appliance-user": named}
        body = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
        async with house.http.post(house.url + "/v1/chat/completions", json=body, headers=headers) as answer:
            assert answer.status == 200
    assert ([one.channel for one in await mallory.usage()], await ada.usage()) == (["api"] * 3, [])


async def test_a_title_and_an_answer_are_asked_for_at_once(house: House) -> None:
    ada = await chatter(house)

    async def ask(*, stream: bool) -> int:
        async with ada.post(stream=stream) as answer:
            await answer.read()
            return int(answer.status)

    statuses = await asyncio.gather(ask(stream=True), ask(stream=False))
    assert set(statuses) == {200}
    assert len(await ada.usage()) == 2


async def test_whoever_is_refused_is_told_what_to_do_and_where(house: House) -> None:
    poor, ended, unknown = await chatter(house, 0), await chatter(house), await chatter(house)
    await ended.sign_out()
    unknown.subject = uuid4()
    async with poor.post() as answer:
        assert await told(answer, 402) == f"Your credit does not cover this answer: buy more at {SITE}/credit."
    for one in (ended, unknown):
        async with one.post() as answer:
            again = "Your sign-in to the chat has ended: sign out of the chat, and sign in again."
            assert await told(answer, 403) == again
        async with one.get("/v1/models") as answer:
            assert await told(answer, 403) == again
        async with one.get("/v1/usage") as answer:
            assert await told(answer, 403) == again
    await ended.sign_on()
    async with ended.post() as answer:
        assert answer.status == 200


async def test_a_norwegian_is_told_in_norwegian(house: House) -> None:
    kari = await chatter(house, 0, language="nb")
    async with kari.post() as answer:
        assert await told(answer, 402) == f"Kreditten din dekker ikke dette svaret: kjøp mer på {SITE}/credit."
    await kari.sign_out()
    async with kari.post() as answer:
        assert (await told(answer, 403)).startswith("Innloggingen din i chatten er avsluttet")


async def test_an_account_that_is_closed_is_closed_in_the_chat(house: House) -> None:
    closing = standings(house)
    for close, word in (
        (closing.suspend, "suspended"),
        (closing.terminate, "closed"),
        (closing.mark_for_deletion, "closed"),
    ):
        ada = await chatter(house)
        await close(ada.account_id, "operator", "a reason")
        async with ada.post() as answer:
            message = await told(answer, 403)
        assert message == f"Your account is {word}: {SITE}/standing says why, and what you can do."
        assert await ada.usage() == []


async def test_the_chat_has_limits_of_its_own(house: House) -> None:
    ada = await chatter(house)
    key_id, setting = await ada.key_id(), standings(house)
    await setting.set_limits(ada.account_id, "account", Limits(requests_per_minute=1), key_id)
    async with ada.post() as answer:
        assert answer.status == 200
    async with ada.post() as answer:
        assert f"raise it at {SITE}/keys" in await told(answer, 429)
        assert int(answer.headers["retry-after"]) > 0
    async with house.http.post(
        house.url + "/v1/chat/completions", headers={"authorization": f"Bearer {ada.key}"},
        json={"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8},
    ) as answer:  # fmt: skip
        assert answer.status == 200
    await setting.set_limits(ada.account_id, "account", Limits(budget=1), key_id)
    async with ada.post() as answer:
        message = await told(answer, 402)
    assert message == f"Your chat's budget of this month is used up: raise it at {SITE}/keys."


async def test_where_the_chat_runs_is_not_where_its_users_are(house: House) -> None:
    ada = await chatter(house)
    async with behind_the_door(house, trusted=False) as url:
        house.url = url
        async with ada.post() as answer:
            assert answer.status == 200
        async with ada.post(n="x") as answer:
            assert answer.status == 400
        await ada.sign_out()
        async with ada.post() as answer:
            assert answer.status == 403
    assert await seen(house, ada) == [("0.0.0.0/24", 2, 1)]


async def test_a_house_without_a_chat_has_no_service_key(house: House, tmp_path: Path) -> None:
    ada = await chatter(house)
    settings = load_settings({"APPLIANCE_HOME": str(tmp_path), "DATABASE_URL": str(house.settings.database_url)})
    assert settings.door.shared_by_many == ()
    house.settings = replace(house.settings, chat=settings.chat)
    async with behind_the_door(house, trusted=False) as url:
        house.url = url
        async with ada.post() as answer:
            assert await told(answer, 401) == "Incorrect API key provided. Check the key, or create a new one."
        async with ada.get("/v1/models") as answer:
            assert answer.status == 401


async def test_all_users_of_the_chat_come_from_one_address(house: House) -> None:
    assert house.settings.door.shared_by_many == house.settings.chat_networks
    limits: DoorLimits = replace(
        QUICK, connections=9, connections_per_address=2, head_seconds=5,
        shared_by_many=(ipaddress.ip_network("127.0.0.5"),),
    )  # fmt: skip
    async with door(limits) as running:
        kept = [await running.connect("127.0.0.5") for _ in range(5)]
        asked = GET + b"connection: close\r\n\r\n"
        assert status(await running.say(asked, "127.0.0.5")) == 200
        others = [await running.connect("127.0.0.6") for _ in range(2)]
        await asyncio.sleep(0.05)
        assert status(await running.say(asked, "127.0.0.6")) == 429
        for _, writer in (*kept, *others):
            writer.close()
