"""Own models and partners' side by side: who answers, what it costs, and what the customer is told of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance import secrets
from appliance.gateway import cold
from appliance.worker.recovery import LOST_AGE, ORPHAN_AGE
from serving.client.replicas import HEADER_MODEL, HEADER_REQUEST, HEADER_SECRET
from serving.client.wanted import Wanted
from serving.metering.journal import FileJournal, meters_directory
from serving.metering.meter import MeterBook
from serving.partner.breaker import MOST_FAILURES
from serving.partner.start import start
from tests.fake_partner import TEMPLATE_TOKENS, FakePartner
from tests.gateway.conftest import House, entry, publish_all, served
from tests.gateway.test_recovery import orphan, recover

KEY = "sk-of-the-operator"
OWN = {"input": "0.10", "cached_input": "0.02", "output": "0.40"}
DEAR = {"input": "1", "cached_input": "0.1", "output": "4"}
CHAT = ["/v1/chat/completions"]
PROMPT = 1 + TEMPLATE_TOKENS  # of "Hi"


def partner_entry(name: str) -> dict[str, Any]:
    partner = {"name": f"{name} Inc.", "url": "http://127.0.0.1:1/v1", "key": "KEY", "model": "partner/big-1"}
    return {"id": name, "partner": partner, "context_length": 2048, "rates": DEAR}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    own = {"id": "smollm2", "source": "directory:/m", "context_length": 2048, "rates": OWN}
    models = [
        own | {"fallbacks": ["first", "second"]},
        partner_entry("first"),
        partner_entry("second") | {"fallbacks": ["smollm2"]},
    ]
    file = tmp_path / "models.yaml"
    file.write_text(yaml.safe_dump({"models": models}))
    return {"APPLIANCE_MODELS": str(file), "KEY": KEY}


@dataclass
class Town:
    """``down`` are the models none of whose replicas is in the directory."""

    house: House
    partners: dict[str, FakePartner]
    places: dict[str, list[str]]

    async def publish(self, *down: str, state: str = "failed") -> None:
        fallbacks = {model.id: model.fallbacks for model in self.house.settings.models}
        models = {
            name: entry(
                [] if name in down else places,
                [] if name == "smollm2" else CHAT,
                state if name in down else "ready",
                fallbacks[name],
            )
            for name, places in self.places.items()
        }
        publish_all(self.house.settings.directory, models)
        await asyncio.sleep(0.15)


@pytest.fixture
async def town(house: House) -> AsyncIterator[Town]:
    """An own model of two replicas, and two partners; every partner's replica is a real one."""
    secret = secrets.read(house.settings.secrets).cluster_secret
    partners: dict[str, FakePartner] = {}
    places = {"smollm2": house.replicas()}
    async with AsyncExitStack() as stack:
        for model in house.settings.models:
            if model.partner is None:
                continue
            partners[model.id] = FakePartner(KEY)
            port = await stack.enter_async_context(served(partners[model.id]))
            reached = type(model.partner)(
                name=model.partner.name, url=f"http://127.0.0.1:{port}", model=model.partner.model, key="KEY"
            )
            book = MeterBook(FileJournal(meters_directory(house.settings.home, model.id), model.id))
            running = start(model, reached, KEY, book, secret)
            stack.push_async_callback(running.stop)
            place = await stack.enter_async_context(served(running.guard))
            places[model.id] = [f"http://127.0.0.1:{place}"]
        found = Town(house, partners, places)
        await found.publish()
        yield found


def cost(prompt: int, completion: int, rates: dict[str, str]) -> int:
    return round(prompt * float(rates["input"]) * 1000 + completion * float(rates["output"]) * 1000)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_partners_model_is_charged_what_the_partner_billed(town: Town, stream: bool) -> None:
    customer = await town.house.customer()
    fields: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    async with customer.post(model="first", **fields) as response:
        text = await response.text()
    assert response.status == 200
    assert "meter" not in text
    assert '"model":"first"' in text
    (usage,) = await customer.usage()
    bill = town.partners["first"].bill
    assert (usage.prompt_tokens, usage.completion_tokens) == (bill["prompt_tokens"], bill["completion_tokens"])
    assert usage.cost_nanodollars == cost(PROMPT, 8, DEAR)
    assert await town.house.discrepancies() == []


async def test_a_customer_who_hangs_up_pays_for_what_the_partner_generated(town: Town) -> None:
    customer = await town.house.customer()
    town.partners["first"].interval = 0.02

    async def read_all() -> None:
        async with customer.post(model="first", stream=True, max_tokens=30) as response:
            await response.read()

    reading = asyncio.create_task(read_all())
    while not town.partners["first"].bodies:
        await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.wait([reading])
    await customer.settled()
    (usage,) = await customer.usage()
    assert (usage.ended, usage.completion_tokens) == ("cancelled", 30)
    assert town.partners["first"].bill["completion_tokens"] == 30
    assert await town.house.discrepancies() == []


async def test_own_replicas_come_first_then_the_fallbacks_in_their_order(town: Town) -> None:
    customer = await town.house.customer()

    async def who_answers() -> str:
        async with customer.post(messages=[{"role": "user", "content": "Hi"}]) as response:
            assert response.status == 200, await response.text()
            return str((await response.json()).get("model", "own"))

    assert await who_answers() == "own"
    await town.publish("smollm2")
    assert await who_answers() == "first"
    town.partners["first"].down = 99
    assert await who_answers() == "second"
    await town.publish("smollm2", "first")
    assert await who_answers() == "second"
    await town.publish()
    assert await who_answers() == "own"
    rows = await customer.usage()
    assert {row.model for row in rows} == {"smollm2"}  # what was asked for is what is charged
    assert sorted(row.cost_nanodollars for row in rows) == [
        *[cost(PROMPT, 8, OWN)] * 3,
        *[cost(10, 8, OWN)] * 2,
    ]
    assert await town.house.discrepancies() == []


async def test_a_partners_model_falls_back_on_an_own_one(town: Town) -> None:
    customer = await town.house.customer()
    for _ in range(MOST_FAILURES):
        town.partners["second"].down = 1
        async with customer.post(model="second", stream=True) as response:
            assert (response.status, (await response.read()).endswith(b"data: [DONE]\n\n")) == (200, True)
    asked = len(town.partners["second"].bodies)
    async with customer.post(model="second") as response:
        assert response.status == 200
    assert len(town.partners["second"].bodies) == asked  # it is left alone for a while
    assert {seen["x-appliance-model"] for stub in town.house.stubs for seen in stub.seen} == {"second"}
    assert {row.model for row in await customer.usage()} == {"second"}


async def test_full_replicas_are_no_reason_to_refuse_while_a_fallback_answers(town: Town) -> None:
    customer = await town.house.customer()
    async with customer.post(user="refuse") as response:
        assert (response.status, (await response.json())["model"]) == (200, "first")
    assert sum(len(stub.seen) for stub in town.house.stubs) == 2


async def test_a_body_that_cannot_be_addressed_to_a_fallback_is_a_400(town: Town) -> None:
    customer = await town.house.customer()
    await town.publish("smollm2")
    async with customer.post_raw(b'{"model": "smollm2", "messages": [], "\xff": 1}') as response:
        assert response.status == 400, await response.text()
    assert (await customer.settled()).balance_nanodollars == 10**9


async def test_an_answer_that_has_begun_is_not_begun_again_elsewhere(town: Town) -> None:
    customer = await town.house.customer()
    async with customer.post(user="die", stream=True) as response:
        text = await response.text()
    assert "[DONE]" not in text
    assert town.partners["first"].bodies == []
    content = [{"role": "user", "content": "order=die"}]
    async with customer.post(model="second", messages=content, stream=True) as response:
        text = await response.text()
    assert json.loads(text.strip().splitlines()[-1].removeprefix("data: "))["error"]["code"]
    await customer.settled()
    assert {(row.model, row.cost_nanodollars, row.ended) for row in await customer.usage()} == {
        ("smollm2", cost(10, 3, OWN), "cancelled"),
        ("second", 0, "failed"),
    }


async def test_without_anybody_to_answer_the_customer_is_told_at_once(town: Town) -> None:
    customer = await town.house.customer()
    town.partners["first"].down = 1
    began = asyncio.get_running_loop().time()
    async with customer.post(model="first") as response:
        assert response.status == 503
        assert float(response.headers["retry-after"]) > 0
    assert asyncio.get_running_loop().time() - began < 3
    account = await customer.settled()
    assert account.balance_nanodollars == 10**9


async def test_a_model_that_sleeps_is_woken_while_its_fallback_answers(town: Town) -> None:
    customer = await town.house.customer()
    await town.publish("smollm2", state="cold")
    async with customer.post() as response:
        assert (response.status, (await response.json())["model"]) == (200, "first")
    assert Wanted(town.house.settings.wanted).all() == ["smollm2"]
    async with customer.post("/v1/completions", prompt="Hi") as response:  # which no fallback has
        assert response.status == 503
        assert float(response.headers["retry-after"]) == cold.START_SECONDS


async def test_what_a_fallback_metered_is_charged_though_the_gateway_died(town: Town) -> None:
    customer = await town.house.customer()
    await town.publish("smollm2")
    request_id = await orphan(town.house, customer)
    headers = {
        HEADER_SECRET: secrets.read(town.house.settings.secrets).cluster_secret,
        HEADER_REQUEST: str(request_id), HEADER_MODEL: "smollm2", "content-type": "application/json",
    }  # fmt: skip
    body = {"model": "first", "messages": [{"role": "user", "content": "Hi"}]}
    async with town.house.http.post(town.places["first"][0] + CHAT[0], json=body, headers=headers) as response:
        assert response.status == 200
    assert await recover(town.house, ORPHAN_AGE) == 1
    (usage,) = await customer.usage()
    assert (usage.model, usage.completion_tokens, usage.cost_nanodollars) == ("smollm2", 8, cost(PROMPT, 8, OWN))


async def test_a_hold_survives_that_its_fallback_is_no_longer_one(town: Town) -> None:
    """The operator changes the fallbacks while an answer is being written: it is charged all the same."""
    customer = await town.house.customer()
    await town.publish("smollm2")
    town.partners["first"].interval = 0.1

    async def ask() -> int:
        async with customer.post(stream=True, max_tokens=20) as response:
            await response.read()
            return int(response.status)

    asking = asyncio.create_task(ask())
    while not town.partners["first"].bodies:
        await asyncio.sleep(0.01)
    document = json.loads(town.house.settings.directory.read_text())["models"]
    for model in document.values():
        model["fallbacks"] = []
    document["smollm2"] = entry(town.places["smollm2"])
    publish_all(town.house.settings.directory, document)
    assert await recover(town.house, LOST_AGE) == 0  # it is found where it runs
    assert await asking == 200
    (usage,) = await customer.usage()
    assert (usage.ended, usage.completion_tokens) == ("complete", 20)


async def test_what_stands_in_for_text_stands_in_for_nothing_else(town: Town) -> None:
    customer = await town.house.customer()
    await town.publish("smollm2")
    for path in ("/tokenize", "/v1/embeddings"):
        async with customer.post(path, prompt="Hi", input="Hi") as response:
            assert response.status == 503
    assert town.partners["first"].bodies == []


async def test_the_model_list_says_to_whom_content_goes_and_when(town: Town) -> None:
    async with town.house.http.get(town.house.url + "/v1/models") as response:
        models = {model["id"]: model for model in (await response.json())["data"]}
    assert {name: model["owned_by"] for name, model in models.items()} == {
        "smollm2": "operator", "first": "partner", "second": "partner",
    }  # fmt: skip
    assert models["first"]["partners"] == [{"name": "first Inc.", "when": "always"}]
    assert models["smollm2"]["partners"] == [
        {"name": "first Inc.", "when": "fallback"}, {"name": "second Inc.", "when": "fallback"},
    ]  # fmt: skip


async def test_a_prompt_that_only_fits_when_counted_is_bounded_by_the_partners_replica(town: Town) -> None:
    """With tools the bound is the whole context, which this customer cannot afford."""
    customer = await town.house.customer(nanodollars=cost(700, 20, DEAR))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    async with customer.post(model="first", tools=tools, max_tokens=8) as response:
        assert response.status == 200, await response.text()
    async with customer.post(model="first", tools=tools * 20, max_tokens=8) as response:
        assert response.status == 402
