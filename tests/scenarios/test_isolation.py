"""Tenants that never meet: neither in the cache, nor by its timing, nor in the queue."""

import asyncio
import json
import math
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from tests.conftest import Figure
from tests.scenarios.system import System

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(900)]

PROMPT_WORDS = 800
PROMPTS = 9
RATIO_ALLOWED = 1.25
FLOOD = 200
QUIET_REQUESTS = 15


def prompt(rng: random.Random, words: int) -> str:
    """Nobody sent it before."""
    return " ".join(f"{rng.choice(('red', 'old', 'big'))} {rng.randint(0, 99)}" for _ in range(words // 2))


async def first_token(
    http: aiohttp.ClientSession, system: System, key: str, text: str, max_tokens: int = 1
) -> tuple[float, int, int]:
    """Seconds to the first token; prompt tokens, and how many of them were cached."""
    body: dict[str, Any] = {
        "model": "smollm2", "prompt": text, "max_tokens": max_tokens, "stream": True, "ignore_eos": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    headers = {"authorization": f"Bearer {key}"}
    began = time.perf_counter()
    seconds = math.nan
    usage: dict[str, Any] = {}
    async with http.post(system.url + "/v1/completions", json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            if math.isnan(seconds):
                seconds = time.perf_counter() - began
            usage = json.loads(line[6:]).get("usage") or usage
    return seconds, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p, exact: how often the sum is as far from zero if every sign is chance."""
    sums = [0.0]
    for one in differences:
        sums = [total + sign * one for total in sums for sign in (1, -1)]
    return sum(abs(total) >= abs(sum(differences)) - 1e-12 for total in sums) / len(sums)


async def test_a_prompt_that_another_tenant_sent_is_as_slow_as_a_new_one(ready: System, figure: Figure) -> None:
    """For each prompt one tenant comes first and the other second, by lot; then the first one again.

    Second against first, paired by prompt: the cache tells nothing if the logarithms of the times differ by no
    more than chance (exact sign-flip permutation test). The same test on the repetition shows that it would see.
    """
    keys = {name: ready.customer("5", name) for name in ("isolated-a", "isolated-b")}
    rng = random.Random(4)
    across, again, cached_across, shares = [], [], [], []
    async with aiohttp.ClientSession() as http:
        await first_token(http, ready, keys["isolated-a"], prompt(rng, PROMPT_WORDS))
        for _ in range(PROMPTS):
            text = prompt(rng, PROMPT_WORDS)
            first, second = rng.sample(list(keys), 2)
            cold, tokens, _ = await first_token(http, ready, keys[first], text)
            other, _, cached = await first_token(http, ready, keys[second], text)
            warm, _, mine = await first_token(http, ready, keys[first], text)
            assert tokens >= 1500
            across.append(math.log(other / cold))
            again.append(math.log(warm / cold))
            cached_across.append(cached)
            shares.append(mine / tokens)
    assert cached_across == [0] * PROMPTS
    assert min(shares) > 0.95  # all but the last block
    ratio, p = math.exp(statistics.fmean(across)), sign_flip(across)
    ratio_again, p_again = math.exp(statistics.fmean(again)), sign_flip(again)
    figure("another tenant's prompt, time to first token / that of a new one", f"{ratio:.2f}, p {p:.3f}")
    figure("one's own prompt again, the same", f"{ratio_again:.2f}, p {p_again:.3f}")
    assert p > 0.005
    assert 1 / RATIO_ALLOWED < ratio < RATIO_ALLOWED
    assert ratio_again < 0.5
    assert p_again < 0.005


async def test_a_flood_does_not_keep_a_plan_with_priority_waiting(ready: System, figure: Figure) -> None:
    flood = ready.customer("100", "flood")
    quiet = ready.customer("5", "quiet")
    ready.appliance("account", "terms", "quiet", "--priority", "5", "--reason", "its plan")
    rng = random.Random(5)

    async def ask_quietly(http: aiohttp.ClientSession) -> list[float]:
        found = []
        for _ in range(QUIET_REQUESTS):
            seconds, _, _ = await first_token(http, ready, quiet, prompt(rng, 300), max_tokens=4)
            found.append(seconds)
            await asyncio.sleep(0.3)
        return sorted(found)

    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        alone = await ask_quietly(http)

        async def keep_asking() -> None:
            while True:
                await first_token(http, ready, flood, prompt(rng, 20), max_tokens=100)

        flooding = [asyncio.create_task(keep_asking()) for _ in range(FLOOD)]
        await asyncio.sleep(5)
        beside = await ask_quietly(http)
        for task in flooding:
            task.cancel()
        await asyncio.wait(flooding)
    p95 = [times[math.ceil(0.95 * QUIET_REQUESTS) - 1] for times in (alone, beside)]
    figure(
        "quiet account's time to first token, p50 / p95 alone, ms", f"{alone[7] * 1000:.0f} / {p95[0] * 1000:.0f}"
    )
    figure("the same beside 200 at once, ms", f"{beside[7] * 1000:.0f} / {p95[1] * 1000:.0f}")
    figure("p95 ratio (bar 1.5)", p95[1] / p95[0])
    ready.wait_until_no_holds(30)
    assert p95[1] <= 1.5 * p95[0]
