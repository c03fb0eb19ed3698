"""Any process may die at any moment: the system recovers by itself; nothing is lost, nothing charged twice."""

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from serving.metering.marks import INTERVAL_SECONDS
from tests.conftest import Figure
from tests.scenarios.system import Answer, System, stream
from tests.scenarios.test_main_job import cost

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(600)]

MODEL = "smollm2"
RECOVERY_SECONDS = 60


def body(number: int) -> dict[str, Any]:
    content = f"Count from {number} upwards, slowly."
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 120,
        "ignore_eos": True,
        "return_token_ids": True,
        "temperature": 0,
    }


async def serves(system: System, key: str) -> bool:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        try:
            answer = await stream(http, system.url, key, body(1) | {"max_tokens": 2})
        except TimeoutError:
            return False
    return answer.finished and answer.usage is not None


def _since(moment: float) -> float:
    return time.monotonic() - moment


def charged_what_came(answers: list[Answer], rows: dict[str, dict[str, Any]], figure: Figure) -> None:
    """Of answers whose replica was killed: not a token too many, and none missing but those of one interval."""
    missing = []
    for answer in answers:
        if not answer.arrivals or answer.finished:
            continue
        assert answer.request_id is not None
        row = rows[answer.request_id]
        late = answer.arrivals[-1] - INTERVAL_SECONDS
        missing.append(len(answer.arrivals) - row["completion_tokens"])
        assert 0 <= missing[-1] <= sum(arrival > late for arrival in answer.arrivals)
        assert row["ended"] == "failed"
        assert bool(row["prompt_tokens"]) == bool(row["completion_tokens"])
    assert missing
    figure("kill -9 of the replica, answers that were cut off", len(missing))
    figure("kill -9 of the replica, tokens delivered and not charged, an answer, at most", max(missing))
    figure(
        "kill -9 of the replica, tokens delivered and not charged, an answer, mean", sum(missing) / len(missing)
    )


@pytest.mark.parametrize("part", ["worker", "serving", "gateway", "database", "replica"])
async def test_kill_9_in_the_middle_of_twenty_streams(ready: System, part: str, figure: Figure) -> None:
    account = f"kill-{part}"
    key = ready.customer("5.00", account)
    rng = random.Random(part)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        streams = [asyncio.create_task(stream(http, ready.url, key, body(number))) for number in range(20)]
        await asyncio.sleep(rng.uniform(2.0, 4.0) if part == "replica" else rng.uniform(0.5, 2.0))
        ready.kill(part)
        killed_at = time.monotonic()
        answers: list[Answer] = await asyncio.gather(*streams)
    while not await serves(ready, key):
        assert _since(killed_at) < RECOVERY_SECONDS, "it does not serve again"
        await asyncio.sleep(0.5)
    figure(
        f"kill -9 of the {part}, seconds until it serves again (its 20 streams' end included)", _since(killed_at)
    )
    ready.wait_until_no_holds(RECOVERY_SECONDS - _since(killed_at))
    figure(f"kill -9 of the {part}, seconds until no hold is left", _since(killed_at))
    rows = ready.usage(account)
    finished = [answer for answer in answers if answer.finished]
    figure(f"kill -9 of the {part}, answers finished of 20", len(finished))
    for answer in finished:
        assert answer.request_id is not None
        assert answer.usage is not None
        row = rows[answer.request_id]
        assert row["prompt_tokens"] == answer.usage["prompt_tokens"]
        assert row["completion_tokens"] == answer.usage["completion_tokens"]
        assert row["cost_nanodollars"] == cost(answer.usage)
        assert row["ended"] == "complete"
    meters = ready.meters()
    for request_id, row in rows.items():
        if row["ended"] == "lost":
            assert part == "replica" or request_id not in meters
        elif request_id in meters or row["completion_tokens"]:
            assert row["completion_tokens"] == meters[request_id]["completion_tokens"]
    if part == "replica":
        charged_what_came(answers, rows, figure)
    if part in ("worker", "serving", "database"):
        assert len(finished) == 20
    spent = 5 * 10**9 - ready.ask("account", "show", account)["balance_nanodollars"]
    assert spent == sum(row["cost_nanodollars"] for row in rows.values())
    ready.appliance("ledger", "verify")
    ready.appliance("reconcile", "--day", f"{datetime.now(UTC):%Y-%m-%d}")
