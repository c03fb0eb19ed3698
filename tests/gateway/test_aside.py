"""Large bodies do not keep the gateway's thread."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from contextlib import suppress

import psutil
import pytest

from appliance.errors import InvalidRequest, Unavailable
from appliance.gateway.bodies import parse
from appliance.gateway.bodies.aside import LARGE_BYTES, Aside
from serving.catalog.endpoints import ENDPOINTS
from tests.gateway.conftest import House

CHAT = ENDPOINTS["/v1/chat/completions"]
COMPLETIONS = ENDPOINTS["/v1/completions"]
JSON = "application/json"


def ids(count: int) -> bytes:
    return json.dumps({"model": "smollm2", "prompt": [12345] * count}).encode()


def children() -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it may end while it is looked at
            found += [one] if "spawn_main" in " ".join(one.cmdline()) else []
    return found


async def test_a_large_body_is_judged_beside_the_thread_and_to_the_same_end() -> None:
    aside, large = Aside(), ids(3_000_000)
    assert len(large) > 20 * LARGE_BYTES
    assert await aside.parse(COMPLETIONS, ids(10), JSON) == parse(COMPLETIONS, ids(10), JSON)
    assert not children()
    await aside.parse(COMPLETIONS, large, JSON)  # begins the process
    own = time.thread_time()
    found = await aside.parse(COMPLETIONS, large, JSON)
    own = time.thread_time() - own
    alone = time.thread_time()
    assert parse(COMPLETIONS, large, JSON) == found
    assert own < (time.thread_time() - alone) / 4
    with pytest.raises(InvalidRequest) as refused:
        await aside.parse(CHAT, b'{"model": "smollm2", "messages": ' + b"[" * LARGE_BYTES, JSON)
    assert refused.value.message == "The body is not valid JSON."
    with pytest.raises(InvalidRequest) as named:
        await aside.parse(CHAT, b'{"messages": [], "pad": "' + b"x" * LARGE_BYTES + b'"}', JSON)
    assert named.value.param == "model"
    aside.close()
    await _all_gone()


async def test_the_process_that_judges_may_die_at_any_moment() -> None:
    aside = Aside()
    await aside.parse(COMPLETIONS, ids(100_000), JSON)
    (child,) = children()
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await _parse_for_ever(aside)
    await aside.parse(COMPLETIONS, ids(100_000), JSON)
    aside.close()
    await _all_gone()


async def _all_gone() -> None:
    async with asyncio.timeout(10):
        while children():
            await asyncio.sleep(0.05)


async def test_a_body_that_takes_too_long_is_refused_and_the_next_one_is_read() -> None:
    aside = Aside(seconds=0.1)
    with pytest.raises(InvalidRequest, match="too long"):
        await aside.parse(COMPLETIONS, ids(6_000_000), JSON)
    async with asyncio.timeout(30):
        while not await _is_read(aside, ids(50_000)):
            pass
    aside.close()


async def test_more_large_bodies_than_may_wait_are_told_to_come_again() -> None:
    aside = Aside(most_waiting=2)
    found = await asyncio.gather(
        *(aside.parse(COMPLETIONS, ids(100_000), JSON) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(one, Unavailable) for one in found) == 2
    assert not any(isinstance(one, Unavailable) for one in found[:2])
    assert await aside.parse(COMPLETIONS, ids(100_000), JSON)
    aside.close()


async def _is_read(aside: Aside, body: bytes) -> bool:
    """On a busy machine a short time may be over before anything was done."""
    try:
        return (await aside.parse(COMPLETIONS, body, JSON)).model == "smollm2"
    except InvalidRequest:
        return False


async def _parse_for_ever(aside: Aside) -> None:
    """Until it fails: that its process is gone may be noticed a moment later."""
    while True:
        await aside.parse(COMPLETIONS, ids(100_000), JSON)


async def test_too_many_fields_are_refused_beside_the_thread() -> None:
    aside = Aside()
    fields = {"model": "smollm2", "messages": [], **{f"f{number}": number for number in range(490_000)}}
    body = json.dumps(fields).encode()
    own = time.thread_time()
    json.loads(body)
    plain = time.thread_time() - own
    own = time.thread_time()
    with pytest.raises(InvalidRequest, match="more than 50000 values"):
        await aside.parse(CHAT, body, JSON)
    assert time.thread_time() - own < plain / 4
    aside.close()


async def test_a_large_image_goes_through(house: House) -> None:
    customer = await house.customer()
    url = "data:image/png;base64," + "A" * (2 * LARGE_BYTES)
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    async with customer.post(messages=[{"role": "user", "content": content}]) as answer:
        assert answer.status in (200, 400)
        await answer.read()
