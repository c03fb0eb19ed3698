"""Models that others serve, beside own ones: a partner's bill is its customers', and somebody always answers."""

import asyncio
import json
import random
from copy import deepcopy
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import aiohttp
import pytest

from tests.conftest import Figure
from tests.record import Ordeal, record
from tests.scenarios.conftest import PARTNERS_KEY
from tests.scenarios.nowhere import assert_nowhere, files_with
from tests.scenarios.system import System, books_balance, gather_limited, stream, write_models
from tests.scenarios.test_models import SHIPPED
from tests.scenarios.test_zero_retention import CANARY

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(600)]

ORDERS = (
    "status-400", "status-401", "status-404", "status-422", "status-429", "status-500", "status-503", "garbage",
    "no-usage", "die", "error-event", "inject", "usage-early", "greedy", "none",
)  # fmt: skip
STREAMS = 60


def bill(partner: str) -> tuple[int, int]:
    with urlopen(f"{partner}/bill", timeout=5) as answer:
        found = json.load(answer)
    return found.get("prompt_tokens", 0), found.get("completion_tokens", 0)


@pytest.fixture(scope="module")
def applied(system: System, partner: str) -> None:
    """Two partners: a fake one, which stands in for the own model too; and this system itself, a real engine."""
    system.wait_until_ready()
    document = deepcopy(SHIPPED)
    rates = {"input": "1", "cached_input": "0.1", "output": "2"}
    fake = {"name": "Example AI", "url": f"{partner}/v1", "key": "EXAMPLE_KEY", "model": "partner/big-1"}
    mirror = {"name": "Ourselves", "url": f"{system.url}/v1", "key": "MIRROR_KEY", "model": "smollm2"}
    document["models"][0]["fallbacks"] = ["big"]
    document["models"] += [
        {"id": "big", "partner": fake, "context_length": 4096, "rates": rates},
        {"id": "mirror", "partner": mirror, "context_length": 2048, "rates": rates},
    ]
    env = write_models(system.home, document)
    refused = system.appliance("models", "apply", env=env, check=False)
    assert "EXAMPLE_KEY is not set: it is the key for Example AI" in refused.stderr
    keys = {"EXAMPLE_KEY": PARTNERS_KEY, "MIRROR_KEY": system.customer("50", "as-a-partner")}
    done = system.appliance("models", "apply", env=env | keys, timeout=300)
    assert "big ready, 1 of 1 replicas" in done.stdout
    assert "smollm2 falls back on Example AI: what is sent to it may leave the house" in done.stdout
    assert "smollm2 as it is" in done.stdout  # who stands in for it is no reason to start it again


async def test_what_the_partner_bills_is_what_the_customers_are_charged(
    ready: System, applied: None, partner: str, figure: Figure
) -> None:
    key, before = ready.customer("50", "of-a-partner"), bill(partner)
    rng = random.Random(6)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        def one(number: int) -> Any:
            content = " ".join(["word"] * rng.randint(1, 30))
            body = {"model": "big", "messages": [{"role": "user", "content": content}], "max_tokens": 30}
            last = rng.randint(1, 20) if number % 3 == 0 else None
            return stream(http, ready.url, key, body, hang_up_after=last)

        answers = await gather_limited([one(number) for number in range(STREAMS)], 16)
    await asyncio.to_thread(ready.wait_until_no_holds, 30)
    finished = [answer for answer in answers if answer.finished]
    charged = ready.usage("of-a-partner")
    prompt, completion = (after - then for after, then in zip(bill(partner), before, strict=True))
    assert len(charged) == STREAMS
    assert len(finished) == STREAMS - STREAMS // 3
    assert sum(row["prompt_tokens"] for row in charged.values()) == prompt
    assert sum(row["completion_tokens"] for row in charged.values()) == completion
    for answer in finished:
        row = charged[str(answer.request_id)]
        assert answer.usage is not None
        assert (row["prompt_tokens"], row["completion_tokens"]) == (
            answer.usage["prompt_tokens"], answer.usage["completion_tokens"],
        )  # fmt: skip
    await asyncio.to_thread(books_balance, ready)
    figure("a partner's bill, and what its customers were charged, tokens", f"{prompt} + {completion}, the same")


async def test_a_real_engine_as_a_partner_counts_what_its_customer_is_charged(
    ready: System, applied: None
) -> None:
    key = ready.customer("5", "in-the-mirror")
    question = [{"role": "user", "content": "What is the capital of France?"}]
    body = {"model": "mirror", "messages": question, "temperature": 0, "max_tokens": 12}
    async with aiohttp.ClientSession() as http:
        for fields in ({}, {"n": 2, "temperature": 0.01}, {"logprobs": True}):
            answer = await stream(http, ready.url, key, body | fields)
            assert answer.finished, answer
            assert "Paris" in answer.text
    await asyncio.to_thread(books_balance, ready)
    ours, theirs = ready.usage("in-the-mirror"), ready.usage("as-a-partner")

    def counts(rows: dict[str, dict[str, Any]]) -> list[tuple[int, int]]:
        return sorted((row["prompt_tokens"], row["completion_tokens"]) for row in rows.values())

    assert counts(ours) == counts(theirs) != []


async def test_a_partner_answers_while_the_own_replica_is_dead(
    ready: System, applied: None, figure: Figure
) -> None:
    key, over, models, refused = ready.customer("50", "uninterrupted"), False, list[str](), list[int]()
    headers = {"authorization": f"Bearer {key}"}
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Say something."}], "max_tokens": 8}

    async def client(http: aiohttp.ClientSession) -> None:
        while not over:
            async with http.post(ready.url + "/v1/chat/completions", json=body, headers=headers) as response:
                if response.status == 200:
                    models.append((await response.json())["model"])
                else:
                    refused.append(response.status)

    async with aiohttp.ClientSession() as http:
        clients = [asyncio.create_task(client(http)) for _ in range(8)]
        await asyncio.sleep(3)
        ready.kill("replica")
        await asyncio.sleep(10)
        over = True
        await asyncio.gather(*clients)
    figure(
        "kill -9 of the only own replica: answers by itself, by the partner, refused",
        (models.count("smollm2"), models.count("big"), len(refused)),
    )
    assert refused == []
    assert models.count("big") > 10
    assert {row["model"] for row in ready.usage("uninterrupted").values()} == {"smollm2"}
    await asyncio.to_thread(ready.wait_until_ready)
    await asyncio.to_thread(books_balance, ready)


async def test_nothing_is_kept_of_what_partners_are_sent_and_say(
    ready: System, applied: None, partner: str
) -> None:
    key = ready.customer("50", "discreet")
    headers = {"authorization": f"Bearer {key}"}
    statuses = []
    async with aiohttp.ClientSession(headers=headers) as http:
        for order in ORDERS:
            for streams, then in ((False, order), (True, order), (False, "none")):  # or it would be left alone
                content = f"My secret is {CANARY}, order={then}"
                body = {
                    "model": "big", "messages": [{"role": "user", "content": content}], "stream": streams,
                    "max_tokens": 8, "user": CANARY, "stop": [CANARY], CANARY: CANARY,
                }  # fmt: skip
                async with http.post(ready.url + "/v1/chat/completions", json=body) as response:
                    await response.read()
                    statuses.append(response.status)
            async with http.post(ready.url + "/v1/chat/completions", json=body | {"n": CANARY}) as response:
                statuses.append(response.status)
    assert {200, 400, 422, 503} <= set(statuses)
    await assert_nowhere(ready, CANARY)
    assert files_with(PARTNERS_KEY.encode(), ready.home) == [ready.home / "secrets/partner_keys"]


async def test_the_partners_replica_can_die_too(ready: System, applied: None) -> None:
    key = ready.customer("5", "resilient")
    body = {"model": "big", "messages": [{"role": "user", "content": "Say something."}], "max_tokens": 200}
    async with aiohttp.ClientSession() as http:
        asking = [asyncio.create_task(stream(http, ready.url, key, body)) for _ in range(4)]
        await asyncio.sleep(1)
        (victim,) = ready.replicas("big")
        victim.kill()
        record(Ordeal.KILLS)
        answers = await asyncio.gather(*asking)
        assert not any(answer.finished for answer in answers)
        while True:
            answer = await stream(http, ready.url, key, body | {"max_tokens": 4})
            if answer.finished:
                break
            await asyncio.sleep(0.5)
    await asyncio.to_thread(ready.wait_until_no_holds, 60)
    await asyncio.to_thread(books_balance, ready)
    assert sum(row["cost_nanodollars"] > 0 for row in ready.usage("resilient").values()) == 1


def test_a_partner_that_nobody_needs_any_more_is_gone_with_its_key(ready: System, applied: None) -> None:
    env = write_models(ready.home, SHIPPED)
    done = ready.appliance("models", "apply", env=env, timeout=300)
    assert "big removed" in done.stdout
    assert json.loads((ready.home / "secrets/partner_keys").read_text()) == {}
    with pytest.raises(URLError), urlopen(f"{ready.url}/v1/models/big", timeout=5):
        pass
