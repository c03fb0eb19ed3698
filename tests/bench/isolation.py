"""What tenants can tell of each other by time, over the whole system: a shared prompt, and a flood."""

import asyncio
import math
import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp

from tests.ports import free_port
from tests.scenarios.system import System, first_token, prompt, running

PROMPT_WORDS = 800
PROMPTS = 12
FLOOD = 200
QUIET_REQUESTS = 20
QUIET_WORDS = 300


def measure() -> Mapping[str, float | int | str]:
    with (
        tempfile.TemporaryDirectory(prefix="appliance-", ignore_cleanup_errors=True) as home,
        running(Path(home), free_port()) as system,
    ):
        system.wait_until_ready()
        return asyncio.run(_cache(system)) | asyncio.run(_flood(system))


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p, exact: how often the sum is as far from zero if every sign is chance."""
    sums = [0.0]
    for one in differences:
        sums = [total + sign * one for total in sums for sign in (1, -1)]
    return sum(abs(total) >= abs(sum(differences)) - 1e-12 for total in sums) / len(sums)


async def _cache(system: System) -> dict[str, float | int | str]:
    """For each prompt one tenant comes first and the other second, by lot; then the first one again.

    Second against first, paired by prompt: the cache tells nothing if the logarithms of the times differ by no
    more than chance (exact sign-flip permutation test). The same test on the repetition shows that it would see.
    """
    keys = {name: system.customer("5", name) for name in ("isolated-a", "isolated-b")}
    rng = random.Random(4)
    across, again = [], []
    async with aiohttp.ClientSession() as http:
        await first_token(http, system, keys["isolated-a"], prompt(rng, PROMPT_WORDS))
        for _ in range(PROMPTS):
            text = prompt(rng, PROMPT_WORDS)
            first, second = rng.sample(list(keys), 2)
            cold = (await first_token(http, system, keys[first], text)).seconds
            other = (await first_token(http, system, keys[second], text)).seconds
            warm = (await first_token(http, system, keys[first], text)).seconds
            across.append(math.log(other / cold))
            again.append(math.log(warm / cold))
    return {
        "other_tenant_to_new_prompt_ttft_ratio": math.exp(statistics.fmean(across)),
        "other_tenant_p_value": sign_flip(across),
        "same_tenant_to_new_prompt_ttft_ratio": math.exp(statistics.fmean(again)),
        "same_tenant_p_value": sign_flip(again),
    }


async def _flood(system: System) -> dict[str, float | int | str]:
    """A quiet account whose plan has a priority, alone and beside one that asks 200 times at once."""
    flood, quiet = system.customer("100", "flood"), system.customer("5", "quiet")
    system.appliance("account", "terms", "quiet", "--priority", "5", "--reason", "its plan")
    rng = random.Random(5)

    async def ask_quietly(http: aiohttp.ClientSession) -> list[float]:
        found = []
        for _ in range(QUIET_REQUESTS):
            found.append((await first_token(http, system, quiet, prompt(rng, QUIET_WORDS), max_tokens=4)).seconds)
            await asyncio.sleep(0.3)
        return sorted(found)

    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        alone = await ask_quietly(http)

        async def keep_asking() -> None:
            while True:
                await first_token(http, system, flood, prompt(rng, 20), max_tokens=100)

        flooding = [asyncio.create_task(keep_asking()) for _ in range(FLOOD)]
        await asyncio.sleep(5)
        beside = await ask_quietly(http)
        for task in flooding:
            task.cancel()
        await asyncio.wait(flooding)
    p95 = math.ceil(0.95 * QUIET_REQUESTS) - 1
    return {
        "quiet_alone_ttft_ms_p50": 1000 * statistics.median(alone),
        "quiet_alone_ttft_ms_p95": 1000 * alone[p95],
        "quiet_beside_flood_ttft_ms_p50": 1000 * statistics.median(beside),
        "quiet_beside_flood_ttft_ms_p95": 1000 * beside[p95],
        "quiet_ttft_p95_ratio": beside[p95] / alone[p95],
    }
