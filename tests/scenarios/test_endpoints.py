"""Down the table of endpoints over the whole system: usage as its client sees it = metered = charged."""

import asyncio
import json
import re
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from serving.catalog.endpoints import ENDPOINTS, Body
from tests.every_endpoint import AUDIO, BODIES, GENERATING, LONG, Reply
from tests.scenarios.system import System

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(600)]

MODELS = dict.fromkeys((Body.EMBEDDINGS, Body.EMBED, Body.SCORE, Body.RERANK), "minilm")
NANODOLLARS = {"smollm2": (100, 20, 400), "minilm": (10, 10, 0)}  # per token of configs/models.yaml
HANG_UP_AFTER_TOKENS = 3
GENERATED = re.compile(r"^vllm:generation_tokens_total\{.*\} (\S+)$", re.MULTILINE)


def body_for(path: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODELS.get(ENDPOINTS[path].body, "smollm2")} | BODIES[path] | fields


async def ask(
    http: aiohttp.ClientSession, system: System, key: str, path: str, **fields: Any
) -> tuple[str, Reply]:
    """The request's id, and its answer."""
    headers = {"x-api-key" if ENDPOINTS[path].dialect == "anthropic" else "authorization": key}
    if "authorization" in headers:
        headers["authorization"] = f"Bearer {key}"
    async with http.post(system.url + path, json=body_for(path, **fields), headers=headers) as answer:
        text = await answer.text()
        assert answer.status == 200, (path, text)
        reply = Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, text)
        return answer.headers["x-request-id"], reply


async def hang_up(http: aiohttp.ClientSession, system: System, key: str, path: str, *, stream: bool) -> None:
    """In the middle of its answer, or of waiting for it, unless it is one of Anthropic's that is over before."""
    before = await generated_tokens(http, system)
    asking = asyncio.create_task(
        ask(http, system, key, path, stream=stream, temperature=1.5, ignore_eos=True, **LONG[path])
    )
    while not asking.done() and await generated_tokens(http, system) < before + HANG_UP_AFTER_TOKENS:
        pass
    assert not asking.done() or path == "/v1/messages", "all others are told to go on"
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking


async def generated_tokens(http: aiohttp.ClientSession, system: System) -> float:
    """By the engines' own count, where Prometheus is told to find it."""
    async with http.get(system.url + "/metrics/targets") as answer:
        labels = [target["labels"] for target in await answer.json()]
    found = 0.0
    for path in (one["__metrics_path__"] for one in labels if one["job"] == "engine"):
        async with http.get(system.url + path) as answer:
            found += sum(map(float, GENERATED.findall(await answer.text())))
    return found


def cost(row: dict[str, Any]) -> int:
    """Nano-dollars."""
    prompt, cached, completion = counts(row)
    rates = NANODOLLARS[row["model"]]
    return (prompt - cached) * rates[0] + cached * rates[1] + completion * rates[2]


def counts(row: dict[str, Any]) -> tuple[int, int, int]:
    return row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]


async def test_usage_is_what_is_metered_and_charged_whatever_the_endpoint(ready: System, figure: Any) -> None:
    key = ready.customer("5", "table")
    seen: dict[str, tuple[int, int, int]] = {}
    async with aiohttp.ClientSession() as http:
        for path in BODIES:
            for stream in (False, True) if path in GENERATING else (False,):
                fields: dict[str, Any] = {"stream": True} if stream else {}
                if stream and path.endswith("completions"):
                    fields["stream_options"] = {"include_usage": True}
                request_id, reply = await ask(http, ready, key, path, **fields)
                seen[request_id] = reply.usage(ENDPOINTS[path])
        finished = set(seen)
        for path in GENERATING:
            for stream in (False, True):
                await hang_up(http, ready, key, path, stream=stream)
    ready.wait_until_no_holds(15)
    charged, metered = ready.usage("table"), ready.meters()
    assert finished <= charged.keys()
    assert len(charged) == len(finished) + 2 * len(GENERATING)
    assert {row["endpoint"] for row in charged.values()} == ENDPOINTS.keys() - AUDIO
    for request_id, row in charged.items():
        assert counts(row) == counts(metered[request_id])
        assert row["cost_nanodollars"] == cost(row)
        if request_id in seen:
            assert counts(row) == seen[request_id], row["endpoint"]
    cut_off = [row for row in charged.values() if row["ended"] == "cancelled"]
    assert len(cut_off) >= len(GENERATING)
    assert all(counts(row)[2] for row in cut_off)
    ready.appliance("ledger", "verify")
    figure("endpoints", f"{len(finished)} answers, {len(cut_off)} cut off: usage = metered = charged")


async def test_a_model_is_not_asked_for_what_it_cannot_do(ready: System) -> None:
    key = ready.customer("1", "confused")
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as http:
        for path, model in (("/v1/embeddings", "smollm2"), ("/v1/chat/completions", "minilm")):
            async with http.post(ready.url + path, json=body_for(path, model=model), headers=headers) as answer:
                error = json.loads(await answer.text())["error"]
                assert (answer.status, error["param"]) == (400, "model")
    assert ready.usage("confused") == {}


async def test_the_shortest_texts_are_not_too_long(ready: System) -> None:
    """The tokenizer adds more tokens than they have letters."""
    key = ready.customer("1", "brief")
    async with aiohttp.ClientSession() as http:
        await ask(http, ready, key, "/v1/score", text_1="a", text_2="b")
        for path in ("/v1/rerank", "/v2/rerank", "/rerank"):
            await ask(http, ready, key, path, query="a", documents=["a", "b"])
        for path, field in (("/v1/embeddings", "input"), ("/v2/embed", "texts")):
            await ask(http, ready, key, path, **{field: ["a", "b", "c"]})
