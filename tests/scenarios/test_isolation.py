"""Tenants that never meet: neither in the cache nor in the queue. What time tells is in ``make bench``."""

import asyncio
import random

import aiohttp
import pytest

from tests.conftest import Figure
from tests.scenarios.system import System, first_token, prompt

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(600)]

PROMPT_WORDS = 800
FLOOD = 200


async def test_nobody_finds_another_tenants_prompt_in_the_cache(ready: System, figure: Figure) -> None:
    one, other = ready.customer("5", "cache-one"), ready.customer("5", "cache-other")
    text = prompt(random.Random(4), PROMPT_WORDS)
    async with aiohttp.ClientSession() as http:
        cached = [(await first_token(http, ready, key, text)).cached_tokens for key in (one, other, one, other)]
        tokens = (await first_token(http, ready, one, text)).prompt_tokens
    assert tokens >= 1500
    assert cached[:2] == [0, 0]
    assert min(cached[2:]) > 0.95 * tokens  # all but the last block
    figure("tokens of a prompt / cached: first, other tenant, first again, other again", f"{tokens} / {cached}")


async def test_one_accounts_flood_does_not_keep_another_waiting(ready: System, figure: Figure) -> None:
    """Two hundred were there before it; it is served when the next seat is free."""
    flood, quiet = ready.customer("100", "crowd"), ready.customer("5", "newcomer")
    rng = random.Random(5)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        flooding = [
            asyncio.create_task(first_token(http, ready, flood, prompt(rng, 10), max_tokens=20))
            for _ in range(FLOOD)
        ]
        await asyncio.sleep(1)
        await first_token(http, ready, quiet, prompt(rng, 10), max_tokens=1)
        waiting = sum(not task.done() for task in flooding)
        await asyncio.gather(*flooding)
    figure(f"of {FLOOD} at once of another account, still waiting when a newcomer was served", waiting)
    assert waiting > FLOOD / 3
