"""Models are added, replaced, scaled and put to sleep while customers ask them: nobody's answer is dropped."""

import asyncio
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import yaml

from appliance.settings import CONFIGS
from tests.conftest import Figure
from tests.scenarios.system import System, books_balance, stream, write_models
from tests.serving.tiny_adapter import make_adapter

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(900)]

CLIENTS = 16
ENOUGH = 1000
EMBEDDING = {"model": "minilm", "input": "How do I get a refund?"}
SHIPPED: dict[str, Any] = yaml.safe_load((CONFIGS / "models.yaml").read_text())


@dataclass
class Outcomes:
    """What the clients saw. ``begun`` are answers of which something came."""

    finished: int = 0
    refused: list[str] = field(default_factory=list)
    cut_off: int = 0

    @property
    def asked(self) -> int:
        return self.finished + self.cut_off + len(self.refused)


async def load(system: System, key: str, outcomes: Outcomes, is_over: Callable[[], bool]) -> None:
    """Clients that ask again as soon as they have their answer: most of them chat, the others embed."""

    async def chat(http: aiohttp.ClientSession, number: int) -> None:
        body = {
            "model": "smollm2", "messages": [{"role": "user", "content": f"Say {number}."}], "max_tokens": 2,
        }  # fmt: skip
        answer = await stream(http, system.url, key, body)
        if answer.finished:
            outcomes.finished += 1
        elif answer.has_begun:
            outcomes.cut_off += 1
        else:
            outcomes.refused.append(f"chat: {answer.status}")

    async def embed(http: aiohttp.ClientSession) -> None:
        headers = {"authorization": f"Bearer {key}"}
        async with http.post(system.url + "/v1/embeddings", json=EMBEDDING, headers=headers) as answer:
            if answer.status == 200:
                outcomes.finished += 1
            else:
                outcomes.refused.append(f"embedding: {answer.status} {await answer.text()}")

    async def client(http: aiohttp.ClientSession, number: int) -> None:
        while not is_over():
            await (embed(http) if number % 4 == 0 else chat(http, number))

    timeout = aiohttp.ClientTimeout(total=180)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(client(http, number) for number in range(CLIENTS)))


@pytest.fixture(scope="module")
def changed(system: System) -> dict[str, Any]:
    """Another version of the chat model, in two replicas and with an adapter, and an embedder that sleeps."""
    document = deepcopy(SHIPPED)
    chat, embedder = document["models"]
    chat["engine_args"]["max_num_seqs"] = 32
    chat["replicas"] = 2
    embedder["replicas"] = {"min": 0, "max": 1, "idle_seconds": 5}
    embedder["when_cold"] = {"queue": 4, "seconds": 120}
    adapter = make_adapter(system.home / "adapter")
    document["models"].append(
        {"id": "pirate", "base": "smollm2", "source": f"directory:{adapter}", "rates": chat["rates"]}
    )
    return document


async def test_a_model_is_replaced_under_sixteen_clients(
    ready: System, changed: dict[str, Any], figure: Figure
) -> None:
    key = ready.customer("50", "rolling")
    env = write_models(ready.home, changed)
    plan = ready.appliance("models", "plan", env=env).stdout
    assert "~ smollm2 replace" in plan
    assert "+ pirate add" in plan
    assert "* minilm scale" in plan
    outcomes, over = Outcomes(), False
    loading = asyncio.create_task(load(ready, key, outcomes, lambda: over and outcomes.asked >= ENOUGH))
    await asyncio.sleep(2)
    began = time.monotonic()
    done = await asyncio.to_thread(ready.appliance, "models", "apply", env=env, timeout=400)
    figure("rolling replacement by two replicas beside 16 clients, seconds", time.monotonic() - began)
    over = True
    await loading
    figure("rolling replacement: answers, failed", f"{outcomes.asked}, {len(outcomes.refused) + outcomes.cut_off}")
    assert "smollm2 ready, 2 of 2 replicas" in done.stdout
    assert (outcomes.refused, outcomes.cut_off) == ([], 0)
    assert outcomes.finished >= ENOUGH
    listed = {row["model"]: row for row in ready.ask("models", "list")}
    assert (listed["smollm2"]["state"], listed["smollm2"]["replicas"]) == ("ready", 2)
    books_balance(ready)


async def test_an_adapter_is_a_model_of_its_own(ready: System, changed: dict[str, Any]) -> None:
    key = ready.customer("5", "adapted")
    texts = {}
    async with aiohttp.ClientSession() as http:
        for model in ("smollm2", "pirate"):
            body = {
                "model": model, "messages": [{"role": "user", "content": "Hello"}], "temperature": 0,
                "max_tokens": 12,
            }  # fmt: skip
            answer = await stream(http, ready.url, key, body)
            assert answer.usage is not None
            texts[model] = answer.text
    assert texts["smollm2"] != texts["pirate"]
    assert {row["model"] for row in ready.usage("adapted").values()} == {"smollm2", "pirate"}
    books_balance(ready)


async def test_kill_9_of_one_of_two_replicas_fails_no_answer_that_had_not_begun(
    ready: System, changed: dict[str, Any], figure: Figure
) -> None:
    key = ready.customer("50", "killed-replica")
    outcomes, over = Outcomes(), False
    loading = asyncio.create_task(load(ready, key, outcomes, lambda: over))
    await asyncio.sleep(5)
    ready.replicas("smollm2")[-1].kill()
    await asyncio.sleep(15)
    over = True
    await loading
    figure(
        "kill -9 of one of two replicas: answers, refused, cut off",
        (outcomes.asked, len(outcomes.refused), outcomes.cut_off),
    )
    assert outcomes.refused == []
    ready.wait_until_no_holds(60)
    books_balance(ready)


async def test_a_model_that_nobody_asks_sleeps_and_wakes_for_the_first_who_does(
    ready: System, changed: dict[str, Any], figure: Figure
) -> None:
    key = ready.customer("5", "early-bird")
    began = time.monotonic()
    while _state(ready, "minilm") != "cold":
        assert time.monotonic() - began < 60
        await asyncio.sleep(0.5)
    headers = {"authorization": f"Bearer {key}"}
    began = time.monotonic()
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=150)) as http:

        async def ask() -> tuple[int, str | None]:
            async with http.post(ready.url + "/v1/embeddings", json=EMBEDDING) as answer:
                await answer.read()
                return answer.status, answer.headers.get("retry-after")

        answers = await asyncio.gather(*(ask() for _ in range(6)))
    figure("a cold model's first answer, seconds", time.monotonic() - began)
    assert sorted(status for status, _ in answers) == [200] * 4 + [503] * 2  # the queue has room for four
    assert all(float(wait or 0) > 0 for status, wait in answers if status == 503)


async def test_a_version_that_does_not_start_changes_nothing(ready: System, changed: dict[str, Any]) -> None:
    broken = deepcopy(changed)
    broken["models"][0]["engine_args"]["max_num_seqs"] = "many"
    env = write_models(ready.home, broken)
    done = await asyncio.to_thread(ready.appliance, "models", "apply", env=env, check=False, timeout=300)
    assert done.returncode == 1
    assert "max_num_seqs" in done.stdout.replace("-", "_")
    assert _state(ready, "smollm2") == "ready"
    async with aiohttp.ClientSession() as http:
        body = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        key = ready.customer("5", "unmoved")
        assert (await stream(http, ready.url, key, body)).finished


def _state(system: System, model: str) -> str:
    return next(str(row["state"]) for row in system.ask("models", "list") if row["model"] == model)
