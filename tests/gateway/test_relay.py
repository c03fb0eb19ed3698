"""The way of a request, through the real gateway and PostgreSQL, with a stub for the engine."""

import asyncio
import dataclasses
import json
import time
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from appliance.gateway import asgi
from appliance.gateway.app import Gateway
from appliance.gateway.asgi import ClientGone, Exchange, Hangup
from billing.clock import system_clock
from billing.customers.keys import generate_key
from billing.customers.standing import Limits, Standings
from billing.database.db import execute
from billing.prices.rates import Prices, change_rate
from billing.store.postgres import PostgresStore
from serving.catalog.endpoints import ENDPOINTS
from serving.client.replicas import HEADER_PRIORITY
from tests.gateway.conftest import DOLLAR, House, publish, served
from tests.stub_engine import PROMPT_TOKENS

INPUT, OUTPUT = 100, 400  # nano-dollars per token of configs/models.yaml


async def error_of(response: object, status: int) -> dict[str, object]:
    assert response.status == status, await response.text()  # type: ignore[attr-defined]
    assert response.headers["x-request-id"]  # type: ignore[attr-defined]
    return (await response.json())["error"]  # type: ignore[attr-defined, no-any-return]


async def test_a_streamed_answer_is_relayed_and_charged_before_its_end(house: House) -> None:
    customer = await house.customer()
    async with customer.post(stream=True) as response:
        body = await response.read()
        assert (await customer.account()).open_holds == 0
    assert body.count(b"data: {") == 8
    assert body.endswith(b"data: [DONE]\n\n")
    assert b"meter" not in body
    (usage,) = await customer.usage()
    assert str(usage.request_id) == response.headers["x-request-id"]
    assert (usage.prompt_tokens, usage.completion_tokens, usage.ended) == (PROMPT_TOKENS, 8, "complete")
    assert usage.cost_nanodollars == PROMPT_TOKENS * INPUT + 8 * OUTPUT
    assert await house.discrepancies() == []


async def test_a_whole_answer_is_relayed_and_charged(house: House) -> None:
    customer = await house.customer()
    async with customer.post() as response:
        answer = await response.json()
    assert answer["usage"]["completion_tokens"] == 8
    assert not [name for name in response.headers if name.startswith("x-appliance")]
    (usage,) = await customer.usage()
    assert usage.cost_nanodollars == PROMPT_TOKENS * INPUT + 8 * OUTPUT


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_the_client_abandons_is_charged_to_the_token(house: House, stream: bool) -> None:
    customer = await house.customer()
    for stub in house.stubs:
        stub.interval = 0.25

    async def read_all() -> None:
        async with customer.post(stream=stream, max_tokens=1000) as response:
            await response.read()

    reading = asyncio.create_task(read_all())
    while not any(stub.meters for stub in house.stubs):
        await asyncio.sleep(0.01)
    reading.cancel()
    await customer.settled()
    (usage,) = await customer.usage()
    (meter,) = [meter for stub in house.stubs for meter in stub.meters.values()]
    assert usage.ended == meter["ended"] == "cancelled"
    assert usage.completion_tokens == meter["completion_tokens"] < 8
    assert await house.discrepancies() == []


async def test_a_broken_engine_ends_the_stream_with_an_error_and_charges_what_it_delivered(house: House) -> None:
    customer = await house.customer()
    async with customer.post(stream=True, user="die") as response:
        body = await response.read()
    assert b"[DONE]" not in body
    assert json.loads(body.strip().splitlines()[-1].removeprefix(b"data: "))["error"]["code"]
    await customer.settled()
    (usage,) = await customer.usage()
    assert usage.completion_tokens == 3


async def test_a_replica_that_refuses_is_replaced_by_another_and_when_all_do_nothing_is_charged(
    house: House,
) -> None:
    customer = await house.customer()
    async with customer.post(user="refuse") as response:
        error = await error_of(response, 503)
        assert response.headers["retry-after"] == "1"
    assert error["code"] == "service_unavailable"
    assert sum(len(stub.seen) for stub in house.stubs) == 2
    account = await customer.settled()
    assert account.balance_nanodollars == 10**9


async def test_a_dead_replica_is_skipped(house: House) -> None:
    customer = await house.customer()
    view = json.loads(house.settings.directory.read_text())["models"]["smollm2"]["replicas"]
    publish(house.settings.directory, ["http://127.0.0.1:9", view[0]["endpoint"]])
    await asyncio.sleep(0.15)
    for _ in range(4):
        async with customer.post() as response:
            assert response.status == 200


async def test_an_engine_error_is_told_in_openais_shape_and_costs_nothing(house: House) -> None:
    customer = await house.customer()
    async with customer.post(user="reject", stream=True) as response:
        error = await error_of(response, 400)
    assert error == {"message": "no", "type": "invalid_request_error", "param": "stop", "code": None}
    (usage,) = await customer.usage()
    assert (usage.ended, usage.cost_nanodollars) == ("refused", 0)


async def test_every_refusal_has_its_status_and_code(house: House) -> None:
    customer = await house.customer()
    poor = await house.customer(nanodollars=0)
    good = customer.key
    customer.key = "nonsense"
    async with customer.post() as response:
        assert (await error_of(response, 401))["code"] == "invalid_api_key"
    async with house.http.post(house.url + "/v1/chat/completions", data=b"{}") as response:
        assert (await error_of(response, 401))["code"] == "invalid_api_key"
    customer.key = good
    async with customer.post(model="gpt-9") as response:
        assert (await error_of(response, 404))["code"] == "model_not_found"
    async with poor.post() as response:
        assert (await error_of(response, 402))["code"] == "insufficient_quota"
    async with customer.post(n="many") as response:
        assert (await error_of(response, 400))["param"] == "n"
    async with customer.post_raw(b"{") as response:
        assert (await error_of(response, 400))["type"] == "invalid_request_error"
    async with customer.post(messages=[{"role": "user", "content": "x" * (33 << 20)}]) as response:
        assert (await error_of(response, 413))["code"] == "request_too_large"
    async with house.http.get(house.url + "/nowhere") as response:
        assert (await error_of(response, 404))["code"] == "not_found"
    async with house.http.get(house.url + "/v1/chat/completions") as response:
        assert (await error_of(response, 405))["code"] == "method_not_allowed"


async def test_a_rate_limited_client_is_told_when_to_come_back(house: House) -> None:
    customer = await house.customer(limits=Limits(requests_per_minute=1))
    async with customer.post() as response:
        assert response.status == 200
    async with customer.post() as response:
        assert (await error_of(response, 429))["code"] == "rate_limit_exceeded"
        assert 58 <= int(response.headers["retry-after"]) <= 60


async def test_an_answer_is_cut_to_what_the_account_can_pay(house: House) -> None:
    customer = await house.customer(nanodollars=PROMPT_TOKENS * INPUT + 3 * OUTPUT)
    async with customer.post(stream=True) as response:
        assert (await response.read()).count(b"data: {") == 3
    assert (await customer.settled()).balance_nanodollars == 0


async def test_the_balance_bounds_what_fifty_requests_at_once_can_spend(house: House) -> None:
    customer = await house.customer(nanodollars=100_000)

    async def ask() -> int:
        async with customer.post() as response:
            await response.read()
            return int(response.status)

    statuses = await asyncio.gather(*(ask() for _ in range(50)))
    assert set(statuses) == {200, 402}
    account = await customer.settled()
    charged = [usage.cost_nanodollars for usage in await customer.usage()]
    assert len(charged) == statuses.count(200)
    assert account.balance_nanodollars == 100_000 - sum(charged) >= 0
    assert await house.discrepancies() == []


async def test_tenants_do_not_share_a_cache_salt(house: House) -> None:
    one, other = await house.customer(), await house.customer()
    for customer in (one, one, other):
        async with customer.post() as response:
            assert response.status == 200
    salts = [headers["x-appliance-salt"] for stub in house.stubs for headers in stub.seen]
    assert len(salts) == 3
    assert len(set(salts)) == 2


async def test_who_has_a_higher_priority_stands_first_in_the_engines_queue(house: House) -> None:
    customer, other = await house.customer(), await house.customer()
    standings = Standings(PostgresStore(house.database), system_clock)
    await standings.set_terms(customer.account_id, "kari", credit_limit=None, priority=7, reason="contract")
    for one in (customer, other):
        async with one.post() as response:
            assert response.status == 200
    sent = sorted(int(headers[HEADER_PRIORITY]) for stub in house.stubs for headers in stub.seen)
    assert sent == [-7, 0]


async def test_limits_are_told_with_each_answer_as_openai_tells_them(house: House) -> None:
    customer = await house.customer(limits=Limits(requests_per_minute=2, tokens_per_minute=1000))
    seen = []
    for _ in range(3):
        async with customer.post() as response:
            await response.read()
            seen.append((response.status, response.headers))
    assert [status for status, _ in seen] == [200, 200, 429]
    first, second, refused = (headers for _, headers in seen)
    assert (first["x-ratelimit-limit-requests"], first["x-ratelimit-remaining-requests"]) == ("2", "1")
    assert (second["x-ratelimit-remaining-requests"], refused["x-ratelimit-remaining-requests"]) == ("0", "0")
    assert first["x-ratelimit-limit-tokens"] == first["x-ratelimit-remaining-tokens"] == "1000"
    assert int(second["x-ratelimit-remaining-tokens"]) < 1000
    assert first["x-ratelimit-reset-requests"].endswith("s")
    assert 15 <= int(refused["retry-after"]) <= 30


async def test_the_model_list_announces_the_next_price(house: House) -> None:
    on = system_clock() + timedelta(days=20)
    dearer = Prices(200_000, 40_000, 800_000, request=1_500_000, image=0, audio_second=10_000)
    async with house.database.begin() as connection:
        await change_rate(connection, "smollm2", dearer, on, system_clock, notice_days=14, actor="kari")
    async with house.http.get(house.url + "/v1/models/smollm2") as response:
        pricing = (await response.json())["pricing"]
    assert (pricing["output"], "request" in pricing) == ("0.40", False)
    assert pricing["next"] == {
        "effective_at": on.isoformat(), "input": "0.20", "cached_input": "0.04", "output": "0.80",
        "request": "0.0015", "audio_second": "0.00001",
    }  # fmt: skip


async def test_the_model_list_shows_prices_and_a_wrong_key_is_refused(house: House) -> None:
    async with house.http.get(house.url + "/v1/models") as response:
        model, embedding = (await response.json())["data"]
    assert [model["id"], embedding["id"]] == ["smollm2", "minilm"]
    assert (model["object"], model["type"], model["lifecycle"]) == ("model", "model", "active")
    assert time.time() - 600 < model["created"] <= time.time()
    assert datetime.fromisoformat(model["created_at"]).timestamp() == model["created"]
    assert model["pricing"]["output"] == "0.40"
    async with house.http.get(house.url + "/v1/models/smollm2") as response:
        assert (await response.json()) == model
    async with house.http.get(house.url + "/v1/models/none") as response:
        assert (await error_of(response, 404))["code"] == "model_not_found"
    customer = await house.customer()
    headers = {"authorization": f"Bearer {customer.key[:-1]}?"}
    async with house.http.get(house.url + "/v1/models", headers=headers) as response:
        assert (await error_of(response, 401))["code"] == "invalid_api_key"


async def test_an_account_sees_its_own_usage_and_nobody_elses(house: House) -> None:
    customer, other = await house.customer(), await house.customer()
    for one in (customer, customer, other):
        async with one.post() as response:
            await response.read()
    cost = sum(row.cost_nanodollars for row in await customer.usage())
    headers = {"authorization": f"Bearer {customer.key}"}

    def ask(query: str = "") -> Any:
        return house.http.get(house.url + "/v1/usage" + query, headers=headers)

    async with ask() as response:
        found = await response.json()
        assert (response.status, response.headers["cache-control"]) == (200, "no-store")
    (line,) = found["data"]
    assert (line["model"], line["requests"]) == ("smollm2", 2)
    assert Decimal(line["cost"]) * 10**9 == cost
    assert Decimal(found["balance"]) * 10**9 == DOLLAR - cost
    assert "key" not in line
    today = system_clock().date()
    async with ask(f"?group_by=key,channel&group_by=endpoint&start_date={today}&end_date={today}") as response:
        (line,) = (await response.json())["data"]
    assert (line["key"]["name"], line["endpoint"], line["channel"]) == ("k", "/v1/chat/completions", "api")
    for query, param in (
        ("?start_date=yesterday", "start_date"), ("?group_by=colour", "group_by"), ("?days=3", "days"),
        ("?start_date=2026-02-01&end_date=2026-01-01", "end_date"), ("?start_date=0001-01-01", "start_date"),
    ):  # fmt: skip
        async with ask(query) as response:
            assert (await error_of(response, 400))["param"] == param
    async with ask("?start_date=2020-01-01&end_date=2026-01-01") as response:
        assert "at most 366" in str((await error_of(response, 400))["message"])
    async with house.http.get(house.url + "/v1/usage") as response:
        assert (await error_of(response, 401))["code"] == "invalid_api_key"


async def test_readiness_tells_the_truth(house: House) -> None:
    async with house.http.get(house.url + "/readyz") as response:
        assert response.status == 200, await response.text()
    publish(house.settings.directory, ["http://127.0.0.1:9"])
    await asyncio.sleep(0.15)
    async with house.http.get(house.url + "/readyz") as response:
        assert response.status == 503
        assert (await response.json())["models"] == {"smollm2": False}
    async with house.http.get(house.url + "/livez") as response:
        assert response.status == 200


async def test_a_model_without_replicas_is_refused_at_once(house: House) -> None:
    customer = await house.customer()
    publish(house.settings.directory, [])
    await asyncio.sleep(0.15)
    async with customer.post() as response:
        assert (await error_of(response, 503))["code"] == "service_unavailable"
        assert response.headers["retry-after"]


async def test_metrics_are_for_near_networks_alone(house: House) -> None:
    customer = await house.customer()
    async with customer.post(stream=True) as response:
        await response.read()
    async with house.http.get(house.url + "/metrics") as response:
        text = await response.text()
    labels = 'endpoint="/v1/chat/completions",model="smollm2",status="200"'
    assert f"appliance_requests_total{{{labels}}} 1.0" in text
    assert 'appliance_tokens_total{kind="completion",model="smollm2"} 8.0' in text
    for family in ("time_to_first_token", "time_per_output_token", "admission", "settlement", "request"):
        assert f"appliance_{family}_seconds_count" in text
    async with house.http.get(house.url + "/metrics", headers={"x-forwarded-for": "203.0.113.9"}) as response:
        assert response.status == 404


@pytest.mark.parametrize("how", ["hangs up", "does not read"])
async def test_a_client_that_is_gone_or_does_not_read_interrupts_its_block_alone(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disconnected = asyncio.Event()
    monkeypatch.setattr(asgi, "STALL_SECONDS", 0.1)

    async def receive() -> dict[str, str]:
        await disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        await asyncio.sleep(10)

    async def serve() -> str:
        exchange = Exchange(uuid4(), ENDPOINTS["/v1/completions"], send)
        try:
            with Hangup(receive, exchange):
                if how == "hangs up":
                    disconnected.set()
                await exchange.write(b"data")
        except ClientGone:
            await asyncio.sleep(0)
            return "gone"
        return "done"

    assert await asyncio.wait_for(serve(), 1) == "gone"


async def test_the_end_of_an_answer_waits_until_its_charge_is_durable(house: House) -> None:
    customer = await house.customer()
    for stub in house.stubs:
        stub.interval = 0.02
    async with customer.post(stream=True) as response:
        async with house.database.begin() as connection:
            await execute(connection, "LOCK TABLE account IN ACCESS EXCLUSIVE MODE")
            seen = bytearray()

            async def read_all() -> None:
                async for data in response.content.iter_any():
                    seen.extend(data)

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read_all(), 1)
            assert seen.count(b"data: {") == 8
            assert b"[DONE]" not in seen
        assert (await response.content.read()).endswith(b"data: [DONE]\n\n")


async def test_without_a_database_a_request_is_refused_with_a_time_to_come_back(house: House) -> None:
    away = dataclasses.replace(house.settings, database_url="postgresql://nobody@127.0.0.1:9/nothing")
    customer = await house.customer()
    async with served(Gateway(away, None)) as port:
        house.url = f"http://127.0.0.1:{port}"
        async with customer.post() as response:
            assert (await error_of(response, 503))["code"] == "service_unavailable"
            assert response.headers["retry-after"] == "1"
        async with house.http.get(house.url + "/readyz") as response:
            assert (await response.json())["database"] is False


async def test_a_key_that_does_not_exist_cannot_make_the_gateway_hold_a_large_body(house: House) -> None:
    customer = await house.customer()
    customer.key = generate_key()
    sent = 0

    async def body() -> object:
        nonlocal sent
        for _ in range(60):
            sent += 1
            yield b" " * 65536
            await asyncio.sleep(0.02)

    headers = {"authorization": f"Bearer {customer.key}"}
    url = house.url + "/v1/chat/completions"
    async with house.http.post(url, data=body(), headers=headers) as response:
        assert (await error_of(response, 401))["code"] == "invalid_api_key"
    assert sent < 60


async def test_an_answer_of_which_the_client_got_nothing_is_not_charged(house: House) -> None:
    customer = await house.customer()
    async with customer.post(user="fail") as response:
        assert (await error_of(response, 503))["code"] == "service_unavailable"
        assert response.headers["retry-after"]
    assert sum(len(stub.seen) for stub in house.stubs) == 2
    assert (await customer.settled()).balance_nanodollars == 10**9


async def test_metrics_are_not_for_networks_that_were_not_named(house: House) -> None:
    strict = dataclasses.replace(house.settings, metrics_networks=())
    async with (
        served(Gateway(strict, None)) as port,
        house.http.get(f"http://127.0.0.1:{port}/metrics") as response,
    ):
        assert response.status == 404


async def test_tokens_of_answers_that_were_cut_off_are_in_the_metrics(house: House) -> None:
    customer = await house.customer()
    async with customer.post(stream=True, user="die") as response:
        await response.read()
    await customer.settled()
    async with house.http.get(house.url + "/metrics") as response:
        text = await response.text()
    assert 'appliance_tokens_total{kind="completion",model="smollm2"} 3.0' in text
    assert 'appliance_requests_total{endpoint="/v1/chat/completions",model="smollm2",status="502"} 1.0' in text


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/v1/responses", b"event: response.completed"),
        ("/v1/messages", b"event: message_stop"),
        ("/v1/chat/completions", b"data: [DONE]"),
    ],
)
async def test_every_dialects_end_waits_until_its_charge_is_durable(house: House, path: str, end: bytes) -> None:
    customer = await house.customer()
    async with customer.post(path, stream=True) as response:
        body = await response.read()
        assert (await customer.account()).open_holds == 0
    assert body.count(b"word") >= 8
    assert body.split(b"\n\n")[-2].startswith(end)
    assert b": meter" not in body
    (usage,) = await customer.usage()
    assert (usage.endpoint, usage.completion_tokens) == (path, 8)
    assert await house.discrepancies() == []


async def test_anthropics_clients_find_their_key_header_their_errors_and_their_request_id(house: House) -> None:
    customer = await house.customer()
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
    url = house.url + "/v1/messages"
    async with house.http.post(url, json=body, headers={"x-api-key": customer.key}) as response:
        assert response.status == 200
        assert response.headers["request-id"] == response.headers["x-request-id"]
    for headers, fields, status, kind in (
        ({}, {}, 401, "authentication_error"),
        ({"x-api-key": "nonsense"}, {}, 401, "authentication_error"),
        ({"x-api-key": customer.key}, {"model": "claude"}, 404, "not_found_error"),
        ({"x-api-key": customer.key}, {"user": "reject"}, 400, "invalid_request_error"),
        ({"x-api-key": customer.key}, {"user": "refuse"}, 503, "overloaded_error"),
    ):
        async with house.http.post(url, json=body | fields, headers=headers) as response:
            document = await response.json()
            assert (response.status, document["type"], document["error"]["type"]) == (status, "error", kind)
    async with house.http.get(url, headers={"x-api-key": customer.key}) as response:
        assert (response.status, (await response.json())["type"]) == (405, "error")
    async with house.http.post(
        url, json=body | {"stream": True, "user": "die"}, headers={"x-api-key": customer.key}
    ) as response:
        last = (await response.read()).strip().split(b"\n\n")[-1]
    assert last.startswith(b"event: error\ndata: ")
    chat = house.url + "/v1/chat/completions"
    async with house.http.post(chat, json=body, headers={"x-api-key": customer.key}) as response:
        assert response.status == 401


async def test_what_only_counts_tokens_is_admitted_and_free(house: House) -> None:
    poor = await house.customer(nanodollars=0)
    async with poor.post("/v1/tokenize", user="count") as response:
        assert response.status == 200
    (usage,) = await poor.usage()
    assert (usage.endpoint, usage.cost_nanodollars, usage.prompt_tokens) == ("/v1/tokenize", 0, 0)
    limited = await house.customer(limits=Limits(requests_per_minute=1))
    for status in (200, 429):
        async with limited.post("/v1/messages/count_tokens", user="count") as response:
            assert response.status == status


async def test_a_model_says_which_endpoints_it_has(house: House) -> None:
    customer = await house.customer()
    publish(house.settings.directory, house.replicas(), endpoints=["/v1/embeddings"])
    await asyncio.sleep(0.15)
    async with customer.post() as response:
        error = await error_of(response, 400)
    assert (error["param"], "does not support" in str(error["message"])) == ("model", True)
    async with house.http.get(house.url + "/v1/models/smollm2") as response:
        model = await response.json()
    assert model["endpoints"] == ["/v1/embeddings"]
    assert model["modalities"] == {"input": ["text"], "output": ["text"]}
    customer.key = generate_key()
    async with customer.post() as response:
        assert (await error_of(response, 401))["code"] == "invalid_api_key"


async def test_stored_responses_are_not_offered_and_it_says_so(house: House) -> None:
    customer = await house.customer()
    for param, value in (("background", True), ("previous_response_id", "resp_1")):
        async with customer.post("/v1/responses", **{param: value}) as response:
            assert (await error_of(response, 400))["param"] == param
    async with house.http.get(house.url + "/v1/responses/resp_1") as response:
        assert "not stored" in str((await error_of(response, 404))["message"])


async def test_a_service_tier_lowers_the_priority_of_the_plan_and_never_raises_it(house: House) -> None:
    customer, other = await house.customer(), await house.customer()
    standings = Standings(PostgresStore(house.database), system_clock)
    await standings.set_terms(customer.account_id, "kari", credit_limit=None, priority=7, reason="contract")
    for one, tier, sent in (
        (customer, "auto", -7), (customer, "priority", -7), (customer, "default", 0), (customer, "flex", 1),
        (other, "priority", 0), (other, "flex", 1),
    ):  # fmt: skip
        for stub in house.stubs:
            stub.seen.clear()
        async with one.post(service_tier=tier) as response:
            assert response.status == 200
        (headers,) = [headers for stub in house.stubs for headers in stub.seen]
        assert int(headers[HEADER_PRIORITY]) == sent, tier


async def test_a_model_that_the_plan_does_not_include_is_refused_in_both_shapes(house: House) -> None:
    customer = await house.customer()
    async with house.database.begin() as connection:
        await execute(connection, "UPDATE account SET models = '{other}' WHERE id = $1", customer.account_id)
    async with customer.post() as response:
        refused = (await response.json())["error"]
        assert (response.status, refused["type"], refused["code"]) == (
            403,
            "permission_error",
            "model_not_in_plan",
        )
        assert (refused["param"], "does not include the model `smollm2`" in refused["message"]) == ("model", True)
    async with customer.post("/v1/messages", max_tokens=5) as response:
        answer = await response.json()
        assert (response.status, answer["type"]) == (403, "error")
        assert answer["error"]["type"] == "permission_error"
        assert "does not include the model `smollm2`" in answer["error"]["message"]
    async with customer.post(model="unknown") as response:
        assert (await response.json())["error"]["code"] == "model_not_found"
