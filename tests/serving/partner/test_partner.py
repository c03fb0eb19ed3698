"""A customer's request to a partner and back: what each of the three sees, and what is charged."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import aiohttp
import pytest

from serving.client import replicas as client
from serving.partner.breaker import MOST_FAILURES
from tests.fake_partner import CACHED_TOKENS, TEMPLATE_TOKENS
from tests.serving.partner.conftest import SECRET, Port, Started

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
PROMPT = 2 + TEMPLATE_TOKENS  # of "good morning"


def chunks_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def usage_of(text: str) -> tuple[int, int]:
    document = chunks_of(text)[-1] if text.startswith("data: ") else json.loads(text)
    return document["usage"]["prompt_tokens"], document["usage"].get("completion_tokens", 0)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, EMBEDDINGS])
@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_partner_bills_is_what_usage_says_and_what_is_metered(
    port: Port, path: str, stream: bool
) -> None:
    fields: dict[str, Any] = {"stream": stream, "stream_options": {"include_usage": True}} if stream else {}
    if path == EMBEDDINGS and stream:
        fields = {}
    response, text, meter = await port.post("good morning", path, **fields)
    assert response.status == 200
    assert meter is not None
    assert meter.ended == "complete"
    counted, bill = (meter.prompt_tokens, meter.completion_tokens), port.partner.bill
    assert counted == usage_of(text) == (bill["prompt_tokens"], bill["completion_tokens"])
    assert counted == (PROMPT, 0 if path == EMBEDDINGS else 8)
    assert meter.model == "big"
    assert "partner/big-1" not in text


async def test_the_usage_of_a_stream_is_demanded_and_shown_to_nobody_who_did_not_ask(port: Port) -> None:
    _, quiet, meter = await port.post("good morning", stream=True)
    assert port.partner.bodies[-1]["stream_options"] == {"include_usage": True}
    assert meter is not None
    assert meter.completion_tokens == 8
    assert all("usage" not in chunk for chunk in chunks_of(quiet))
    assert len(chunks_of(quiet)) == 8
    _, told, _ = await port.post("good morning", stream=True, stream_options={"include_usage": True})
    *chunks, last = chunks_of(told)
    assert [chunk["usage"] for chunk in chunks] == [None] * 8
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], PROMPT + 8)
    assert told.partition(": meter ")[0].endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("order", ["usage-early", "crlf", "no-done", "torn"])
async def test_streams_are_understood_as_partners_write_them(port: Port, order: str) -> None:
    response, text, meter = await port.post(f"order={order}", stream=True, stream_options={"include_usage": True})
    assert response.status == 200
    assert meter is not None
    assert (meter.prompt_tokens, meter.completion_tokens, meter.ended) == (1 + TEMPLATE_TOKENS, 8, "complete")
    assert usage_of(text) == (1 + TEMPLATE_TOKENS, 8)
    assert text.count("data: [DONE]\n\n: meter ") == 1


async def test_what_looks_like_a_meter_in_a_partners_stream_never_comes_through(port: Port) -> None:
    _, text, meter = await port.post("order=inject", stream=True, max_tokens=6)
    assert text.count(": meter") == 1
    assert meter is not None
    assert meter.completion_tokens == 6


async def test_nothing_of_who_asks_and_nothing_that_would_be_kept_reaches_the_partner(port: Port) -> None:
    private: dict[str, Any] = {
        "user": "u", "safety_identifier": "s", "metadata": {"a": "b"}, "prompt_cache_key": "k", "store": True,
        "service_tier": "flex", "cache_salt": "c", "priority": 1, "request_id": "r",
    }  # fmt: skip
    passed: dict[str, Any] = {
        "temperature": 0.5, "seed": 7, "stop": ["x"], "logprobs": True, "top_k": 3,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"const": 1e-7}}},
    }  # fmt: skip
    await port.post("good morning", **private, **passed)
    body, headers = port.partner.bodies[-1], port.partner.headers[-1]
    assert body == {
        "model": "partner/big-1", "messages": [{"role": "user", "content": "good morning"}], **passed,
    }  # fmt: skip
    known = {"host", "authorization", "content-type", "content-length", "accept", "accept-encoding", "user-agent"}
    assert headers.keys() <= known


@pytest.mark.parametrize(
    ("asked", "limits", "sent"),
    [
        ({"max_tokens": 5}, {"completion-limit": 100}, {"max_tokens": 5}),
        ({"max_tokens": 500}, {"completion-limit": 100}, {"max_tokens": 100}),
        ({"max_completion_tokens": 7}, {"completion-limit": 100}, {"max_tokens": 7}),
        ({}, {"completion-limit": 4096}, {}),  # the context is the limit
        ({}, {"completion-limit": 4000, "prompt-limit": 1000}, {"max_tokens": 3096}),
        ({}, {"completion-limit": 50, "prompt-limit": 4096}, {"max_tokens": 50}),
    ],
)
async def test_the_partner_is_never_asked_for_more_than_was_held(
    port: Port, asked: dict[str, Any], limits: dict[str, int], sent: dict[str, int]
) -> None:
    await port.post("order=status-400", limits=limits, **asked)
    body = port.partner.bodies[-1]
    assert {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body} == sent


async def test_the_limit_has_the_name_that_the_partner_knows(started: Started) -> None:
    async with started(limit_field="max_completion_tokens") as port:
        await port.post("good morning", max_tokens=5)
        assert port.partner.bodies[-1]["max_completion_tokens"] == 5
        assert "max_tokens" not in port.partner.bodies[-1]
        await port.post("good morning", COMPLETIONS, max_tokens=5)
        assert port.partner.bodies[-1]["max_tokens"] == 5


@pytest.mark.parametrize(
    "fields", [{"n": 2}, {"best_of": 3}, {"n": 1.5}, {"n": 0}, {"tools": [{"type": "web_search"}]}]
)
async def test_more_answers_than_were_held_for_are_refused_here(port: Port, fields: dict[str, Any]) -> None:
    response, text, meter = await port.post("good morning", COMPLETIONS, **fields)
    assert response.status == 400
    assert json.loads(text)["error"]["param"] in fields
    assert port.partner.bodies == []
    assert meter is not None
    assert meter.ended == "refused"


async def test_several_answers_are_counted_together(port: Port) -> None:
    _, text, meter = await port.post("good morning", n=3, max_tokens=4, limits={"sequences": 3})
    assert meter is not None
    assert (meter.prompt_tokens, meter.completion_tokens) == usage_of(text) == (PROMPT, 12)


async def test_a_partner_that_counts_more_than_was_held_for_is_the_operators_loss(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        _, text, meter = await port.post(
            "order=greedy", max_tokens=4, limits={"prompt-limit": 40, "completion-limit": 4}
        )
    assert meter is not None
    assert (meter.prompt_tokens, meter.completion_tokens) == usage_of(text) == (40, 4)
    assert "more than were held for" in caplog.text
    assert b"appliance_partner_tokens_over_hold_total 1.99" in port.running.guard.metrics()


@pytest.mark.parametrize("apart", [False, True])
async def test_what_a_partner_had_cached_is_told_only_if_it_keeps_tenants_apart(
    started: Started, apart: bool
) -> None:
    async with started(keeps_tenants_apart=apart) as port:
        _, text, meter = await port.post("good morning")
        cached = json.loads(text)["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert meter is not None
        assert meter.cached_tokens == cached == (CACHED_TOKENS if apart else 0)
        assert port.partner.bodies[-1].get("cache_salt") == ("tenant" if apart else None)


async def test_reasoning_has_both_of_its_names(port: Port) -> None:
    _, text, _ = await port.post("good morning")
    message = json.loads(text)["choices"][0]["message"]
    assert message["reasoning"] == message["reasoning_content"] == "because"
    _, text, _ = await port.post("good morning", stream=True)
    delta = chunks_of(text)[0]["choices"][0]["delta"]
    assert delta["reasoning"] == delta["reasoning_content"] == "hm"


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_is_wrong_with_the_request_is_told_with_our_name_for_the_model(port: Port, status: int) -> None:
    response, text, meter = await port.post(f"order=status-{status}")
    assert response.status == status
    error = json.loads(text)["error"]
    assert error["message"].startswith("big cannot do: ")
    assert error["param"] == "messages"
    assert meter is not None
    assert (meter.ended, meter.prompt_tokens) == ("refused", 0)
    assert not port.running.trouble


@pytest.mark.parametrize("order", ["status-401", "status-404", "status-429", "status-500", "garbage", "no-usage"])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_wrong_with_the_partner_is_somebody_elses_turn_and_costs_nothing(
    port: Port, order: str, stream: bool
) -> None:
    response, text, meter = await port.post(f"secret order={order}", stream=stream)
    assert meter is not None
    assert (meter.ended, meter.prompt_tokens, meter.completion_tokens) == ("failed", 0, 0)
    if order == "no-usage" and stream:  # it has begun
        assert text.endswith("<broken off>")
        assert "[DONE]" not in text
    else:
        assert (response.status, response.headers[client.HEADER_REFUSED]) == (503, "partner")
        assert "secret" not in text
    assert port.running.trouble
    assert "secret" not in port.running.trouble


async def test_what_was_thought_is_charged_where_only_the_total_tells(port: Port) -> None:
    _, text, meter = await port.post("order=thinks-apart", max_tokens=8)
    assert meter is not None
    assert meter.completion_tokens == usage_of(text)[1] == 58


async def test_nothing_else_of_the_partners_bookkeeping_comes_through(port: Port) -> None:
    for stream in (False, True):
        _, text, _ = await port.post("good morning", stream=stream, stream_options={"include_usage": True})
        assert "cost_details" not in text
        assert "cache_write" not in text
        assert "x_usage" not in text


async def test_what_a_customer_may_bring_about_shuts_nobody_else_out(port: Port) -> None:
    for order in ("status-402", "status-403", "status-404", "error-event", "garbage") * 2:
        await port.post(f"order={order}", stream=order == "error-event")
    response, _, _ = await port.post("good morning", stream="false")
    assert response.status == 200
    assert port.partner.bodies[-1]["stream"] is False


async def test_a_field_in_another_spelling_does_not_come_through(port: Port) -> None:
    await port.post("good morning", MODEL="other", N=8, Store=True, MAX_TOKENS=9, Temperature=1, max_tokens=0)
    body = port.partner.bodies[-1]
    assert body.keys() == {"model", "messages", "Temperature", "max_tokens"}
    assert body["max_tokens"] == 1


async def test_the_operators_own_trouble_is_told_to_no_customer(port: Port) -> None:
    response, text, _ = await port.post("order=status-400 broke")
    assert (response.status, response.headers[client.HEADER_REFUSED]) == (503, "partner")
    assert "broke" not in text
    assert port.running.trouble == "it answers 400, insufficient_quota"


async def test_many_prompts_are_bounded_as_many_and_take_one_seat(started: Started) -> None:
    async with started(at_once=3) as port:
        headers = {
            client.HEADER_SECRET: SECRET,
            client.HEADER_PATH: EMBEDDINGS,
            "content-type": "application/json",
        }
        document = {"model": "big", "input": ["x" * 5000] * 10}
        async with port.http.post(port.url + "/count", json=document, headers=headers) as response:
            assert (await response.json())["prompt_tokens"] == 10 * 4096
        port.partner.interval = 0.1
        slow = asyncio.create_task(port.post("good morning", max_tokens=20, limits={"sequences": 50}))
        await asyncio.sleep(0.1)
        await asyncio.wait_for(port.post("good morning", EMBEDDINGS), 1)  # beside it, though it has many answers
        assert not slow.done()
        await slow


async def test_half_a_usage_is_none(port: Port) -> None:
    response, _, meter = await port.post("order=half-usage")
    assert response.status == 503
    assert meter is not None
    assert (meter.ended, meter.prompt_tokens) == ("failed", 0)


@pytest.mark.parametrize(
    "broken", [b'"stream_options": "\xff"', b'"\xff": 1', b'"n": "\xff"', b'"n": [[[', b'"n": {}']
)
async def test_a_body_that_is_no_json_is_told_so(port: Port, broken: bytes) -> None:
    headers = {client.HEADER_SECRET: SECRET, client.HEADER_REQUEST: "r", "content-type": "application/json"}
    body = b'{"model": "big", "messages": [], "stream": true, ' + broken + b"}"
    async with port.http.post(port.url + CHAT, data=body, headers=headers) as response:
        assert response.status == 400
    assert port.partner.bodies == []


@pytest.mark.parametrize("order", ["die", "stall", "error-event", "stops"])
async def test_an_answer_that_breaks_off_ends_without_its_end_and_costs_nothing(
    started: Started, order: str
) -> None:
    async with started(idle_seconds=0.3) as port:
        _, text, meter = await port.post(f"order={order}", stream=True)
    assert len(chunks_of(text)) == 3
    assert text.endswith("<broken off>")
    assert "[DONE]" not in text
    assert meter is not None
    assert (meter.ended, meter.completion_tokens) == ("failed", 0)


@pytest.mark.parametrize(
    ("stream", "said"),
    [(True, {"first_seconds": 0.2, "total_seconds": 840}), (False, {"first_seconds": 3600, "total_seconds": 0.2})],
)
async def test_a_partner_that_does_not_answer_is_waited_for_as_long_as_was_said(
    stream: bool, said: dict[str, float], started: Started
) -> None:
    async with started(**said) as port:
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(60):
            response, _, _ = await port.post("order=hang", stream=stream)
        assert response.status == 503
        assert asyncio.get_running_loop().time() - began >= 0.2


async def test_a_customer_who_hangs_up_pays_what_the_partner_bills(port: Port) -> None:
    port.partner.interval = 0.02
    asking = asyncio.create_task(port.post("good morning", stream=True, max_tokens=40))
    while not port.partner.bodies:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    asking.cancel()
    await asyncio.wait([asking])
    while port.book.in_flight:
        await asyncio.sleep(0.05)
    (meter,) = [ended for _, ended in port.book._ended.values()]
    assert meter.ended == "cancelled"
    assert (meter.prompt_tokens, meter.completion_tokens) == (PROMPT, 40)
    assert port.partner.bill["completion_tokens"] == 40


async def test_a_partner_that_fails_again_and_again_is_left_alone_for_a_while(port: Port) -> None:
    port.partner.down = MOST_FAILURES
    for _ in range(MOST_FAILURES + 3):
        response, _, _ = await port.post("good morning")
        assert response.status == 503
    assert len(port.partner.bodies) == MOST_FAILURES
    assert b"appliance_partner_paused 1.0" in port.running.guard.metrics()


async def test_connections_are_used_again(port: Port) -> None:
    for stream in (True, False, True, False):
        await port.post("good morning", stream=stream)
    connector = port.running._client._session.connector
    assert connector is not None
    assert sum(map(len, connector._conns.values())) == 1


async def test_a_prompt_that_nobody_can_count_is_bounded(port: Port) -> None:
    document = {"model": "big", "messages": [{"role": "user", "content": "x" * 100}], "tools": [{"y": "z" * 50}]}
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    for message, images, least, most in (("x" * 100, 0, 662, 900), ([picture], 1, 4096, 4096)):
        document["messages"] = [{"role": "user", "content": message}]
        headers = {client.HEADER_SECRET: SECRET, client.HEADER_PATH: CHAT, "content-type": "application/json"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(port.url + "/count", json=document, headers=headers) as response,
        ):
            count = await response.json()
        assert least <= count["prompt_tokens"] <= most
        assert count["images"] == images
    assert port.partner.bodies == []
