"""The main job: a developer asks, the engine answers, and the account is charged to the token."""

import asyncio
import random
import subprocess
from datetime import UTC, datetime
from typing import Any

import aiohttp
import openai
import pytest

from tests.conftest import Figure
from tests.scenarios.system import Answer, System, gather_limited, stream

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(600)]

MODEL = "smollm2"
PARIS = [{"role": "user", "content": "What is the capital of France?"}]
CITIES = ["Oslo", "Rome", "Lima", "Cairo", "Delhi", "Quito", "Paris", "Tokyo"]


def cost(usage: dict[str, Any]) -> int:
    """Nano-dollars at the rates of configs/models.yaml: 0.10, 0.02 and 0.40 dollars per million tokens."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return int((usage["prompt_tokens"] - cached) * 100 + cached * 20 + usage["completion_tokens"] * 400)


def test_the_official_client_configured_from_demo_env_alone_hears_of_paris(ready: System) -> None:
    demo = ready.demo()
    client: Any = openai.OpenAI(base_url=demo["OPENAI_BASE_URL"], api_key=demo["OPENAI_API_KEY"])
    answer = client.chat.completions.create(model=MODEL, messages=PARIS, temperature=0, max_tokens=30)
    assert "Paris" in (answer.choices[0].message.content or "")
    (row,) = ready.ask("usage", "list", "--limit", "1")
    assert row["request_id"] == answer._request_id
    assert answer.usage is not None
    assert row["prompt_tokens"] == answer.usage.prompt_tokens
    assert row["completion_tokens"] == answer.usage.completion_tokens
    assert row["cost_nanodollars"] == cost(answer.usage.model_dump())
    assert (ready.home / "demo.env").stat().st_mode & 0o777 == 0o600


def test_the_printed_curl_line_works_as_printed(ready: System) -> None:
    lines = ready.screen.read_text().replace("\\\n", "").splitlines()
    (line,) = [line.strip() for line in lines if line.strip().startswith("curl ")]
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=60)
    assert '"choices"' in done.stdout, done.stdout + done.stderr


FEATURES: dict[str, dict[str, Any]] = {
    "several choices": {"messages": PARIS, "n": 3, "temperature": 1.0},
    "stop": {"messages": PARIS, "stop": ["."]},
    "seed": {"messages": PARIS, "seed": 7, "temperature": 0.7},
    "logprobs": {"messages": PARIS, "logprobs": True, "top_logprobs": 3},
    "structured output": {
        "messages": PARIS,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "city",
                "schema": {"type": "object", "properties": {"c": {"enum": ["Paris"]}}, "required": ["c"]},
            },
        },
    },
    "json object": {"messages": PARIS, "response_format": {"type": "json_object"}, "max_tokens": 60},
    "a long conversation": {
        "messages": [{"role": role, "content": "Good day to you."} for role in ("user", "assistant") * 4]
        + [{"role": "user", "content": "And now?"}]
    },
    "ignore_eos": {"messages": PARIS, "ignore_eos": True, "min_tokens": 20},
    "one token": {"messages": PARIS, "max_completion_tokens": 1},
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("feature", FEATURES)
async def test_what_vllm_offers_is_answered_and_charged_as_its_usage_says(
    ready: System, feature: str, streamed: bool
) -> None:
    demo = ready.demo()
    client: Any = openai.AsyncOpenAI(base_url=demo["OPENAI_BASE_URL"], api_key=demo["OPENAI_API_KEY"])
    own = {"ignore_eos", "min_tokens"}
    fields = {"model": MODEL, "max_tokens": 20} | FEATURES[feature]
    if "max_completion_tokens" in fields:
        del fields["max_tokens"]
    extra = {name: fields.pop(name) for name in list(fields) if name in own}
    if streamed:
        fields["stream_options"] = {"include_usage": True}
    raw = await client.chat.completions.with_raw_response.create(**fields, stream=streamed, extra_body=extra)
    answer = raw.parse()
    if streamed:
        usages = [chunk.usage async for chunk in answer if chunk.usage is not None]
        usage = usages[-1]
    else:
        usage = answer.usage
    row = ready.usage("demo")[raw.headers["x-request-id"]]
    assert (row["prompt_tokens"], row["completion_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert row["cost_nanodollars"] == cost(usage.model_dump())
    assert row["ended"] == "complete"


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "Once upon a time"},
        {"prompt": ["Once", "Twice", "Three times"], "n": 2},
        {"prompt": [1, 2, 3, 4]},
        {"prompt": "One, two,", "echo": True, "logprobs": 1},
        {"prompt": "One, two,", "stop": [","], "stream": True, "stream_options": {"include_usage": True}},
    ],
)
async def test_completions_are_answered_and_charged_as_their_usage_says(
    ready: System, fields: dict[str, Any]
) -> None:
    demo = ready.demo()
    client: Any = openai.AsyncOpenAI(base_url=demo["OPENAI_BASE_URL"], api_key=demo["OPENAI_API_KEY"])
    raw = await client.completions.with_raw_response.create(model=MODEL, max_tokens=6, **fields)
    answer = raw.parse()
    if fields.get("stream"):
        usage = [chunk.usage async for chunk in answer if chunk.usage is not None][-1]
    else:
        usage = answer.usage
    row = ready.usage("demo")[raw.headers["x-request-id"]]
    assert (row["prompt_tokens"], row["completion_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert row["cost_nanodollars"] == cost(usage.model_dump())


async def test_two_hundred_streams_of_which_two_in_five_hang_up_are_charged_as_metered(
    ready: System, figure: Figure
) -> None:
    key = ready.customer("5.00", "hangups")
    rng = random.Random(2)

    def body() -> dict[str, Any]:
        words = " ".join(rng.choices(CITIES, k=rng.randint(1, 40)))
        content = f"Tell me a story about {words}."
        return {
            "model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": rng.randint(8, 48),
            "temperature": 0.8, "ignore_eos": rng.random() < 0.5,
        }  # fmt: skip

    async with aiohttp.ClientSession() as http:
        answers: list[Answer] = await gather_limited(
            [
                stream(http, ready.url, key, body(), hang_up_after=rng.randint(1, 24) if index % 5 < 2 else None)
                for index in range(200)
            ],
            at_once=16,
        )
    assert [answer.status for answer in answers] == [200] * 200
    figure("200 streams, seconds from the last answer until no hold was left", ready.wait_until_no_holds(5))
    rows, meters = ready.usage("hangups"), ready.meters()
    assert len(rows) == 200
    for answer in answers:
        assert answer.request_id is not None
        row, meter = rows[answer.request_id], meters[answer.request_id]
        for kind in ("prompt_tokens", "cached_tokens", "completion_tokens", "ended"):
            assert row[kind] == meter[kind]
        assert row["cost_nanodollars"] == (
            (row["prompt_tokens"] - row["cached_tokens"]) * 100
            + row["cached_tokens"] * 20
            + row["completion_tokens"] * 400
        )
        if answer.finished:
            assert answer.usage is not None
            assert row["completion_tokens"] == answer.usage["completion_tokens"]
            assert row["cost_nanodollars"] == cost(answer.usage)
    cut_off = sum(row["ended"] == "cancelled" for row in rows.values())
    assert cut_off > 40
    figure("200 streams, charged as the meter says (of these hung up)", f"{len(rows)} ({cut_off})")
    figure("200 streams, finished and charged as the client's usage says", sum(a.finished for a in answers))
    ready.appliance("ledger", "verify")
    said = ready.appliance("reconcile", "--day", f"{datetime.now(UTC):%Y-%m-%d}").stdout
    (agrees,) = [line for line in said.splitlines() if "requests agree" in line]
    figure("200 streams, reconciled with the replicas' journals", agrees)


async def test_fifty_requests_at_once_spend_no_more_than_a_tenth_of_a_cent(ready: System, figure: Figure) -> None:
    key = ready.customer("0.001", "tenth-of-a-cent")
    body = {"model": MODEL, "messages": PARIS, "max_tokens": 100, "ignore_eos": True}
    async with aiohttp.ClientSession() as http:
        answers = await asyncio.gather(*(stream(http, ready.url, key, body) for _ in range(50)))
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {200, 402}
    ready.wait_until_no_holds(5)
    account = ready.ask("account", "show", "tenth-of-a-cent")
    rows = ready.usage("tenth-of-a-cent")
    charged = sum(row["cost_nanodollars"] for row in rows.values())
    assert charged == 1_000_000 - account["balance_nanodollars"] <= 1_000_000
    assert len(rows) == statuses.count(200)
    figure(
        "0.001 dollars and 50 requests: answered, refused with 402, nano-dollars charged",
        f"{statuses.count(200)}, {statuses.count(402)}, {charged}",
    )
    ready.appliance("ledger", "verify")


def test_a_poor_account_gets_a_shorter_answer_that_says_so(ready: System) -> None:
    key = ready.customer("0.00001", "poor")
    client: Any = openai.OpenAI(base_url=ready.url + "/v1", api_key=key)
    answer = client.chat.completions.create(model=MODEL, messages=PARIS, extra_body={"ignore_eos": True})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens < 25
    with pytest.raises(openai.APIStatusError) as caught:
        client.with_options(max_retries=0).chat.completions.create(model=MODEL, messages=PARIS)
    assert caught.value.status_code == 402
    assert caught.value.code == "insufficient_quota"


def test_bad_input_is_an_answer_that_names_what_is_wrong(ready: System) -> None:
    demo = ready.demo()
    client: Any = openai.OpenAI(base_url=demo["OPENAI_BASE_URL"], api_key=demo["OPENAI_API_KEY"], max_retries=0)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"messages": [{"role": "user", "content": "word " * 5000}]}, "context"),
        ({"messages": PARIS, "temperature": "hot"}, "temperature"),
        ({"messages": PARIS, "temperature": -3}, "temperature"),
        ({"messages": PARIS, "n": "many"}, "n"),
        ({"messages": "hello"}, "messages"),
        ({"messages": PARIS, "max_tokens": 10_000}, "max_tokens"),
        ({"messages": PARIS, "response_format": {"type": "json_schema"}}, "json_schema"),
        ({"messages": PARIS, "logit_bias": {"x": "y"}}, "logit_bias"),
    ]
    for fields, named in bad:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=MODEL, **fields)
        assert named in caught.value.message or named in str(caught.value.param), fields
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=demo["OPENAI_BASE_URL"], api_key="sk-nothing").models.list()
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-9", messages=PARIS)
    assert missing.value.code == "model_not_found"
    ready.wait_until_no_holds(5)


def test_a_second_start_on_the_same_home_says_so_and_ends(ready: System) -> None:
    second = ready.appliance("up", check=False)
    assert second.returncode != 0
    assert str(ready.process.pid) in second.stdout + second.stderr
    assert ready.is_ready()
