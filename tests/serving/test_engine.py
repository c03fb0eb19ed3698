"""The real engine behind its private port: what is counted, what is refused, what is kept apart."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from serving.metering.journal import meters_directory, read_journal
from serving.metering.marks import Mark, path_of, read_marks
from tests.serving.conftest import SEATS, SECRET, Node

pytestmark = pytest.mark.engine

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
CANARY = "xanthorrhoea"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
LONG = " ".join(f"{number} sheep" for number in range(60))
LONG_ANSWER = {"type": "json_schema", "schema": {"type": "string", "const": 2 * LONG}}
"""Where ``ignore_eos`` is unknown."""


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def document(self) -> dict[str, Any]:
        if not self.headers["content-type"].startswith("text/event-stream"):
            document: dict[str, Any] = json.loads(self.text)
            return document
        chunks = [json.loads(line[6:]) for line in self.text.splitlines() if line.startswith("data: {")]
        return next(chunk for chunk in reversed(chunks) if chunk.get("usage"))

    @property
    def usage(self) -> tuple[int, int, int]:
        usage = self.document["usage"]
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return usage["prompt_tokens"], cached, usage["completion_tokens"]

    @property
    def meter(self) -> dict[str, Any]:
        if "x-appliance-meter" in self.headers:
            found: dict[str, Any] = json.loads(self.headers["x-appliance-meter"])
            return found
        head, _, tail = self.text.rpartition("data: [DONE]\n\n: meter ")
        assert head, self.text[-300:]
        trailing: dict[str, Any] = json.loads(tail)
        return trailing

    @property
    def counted(self) -> tuple[int, int, int]:
        return self.meter["prompt_tokens"], self.meter["cached_tokens"], self.meter["completion_tokens"]


class Client:
    def __init__(self, session: aiohttp.ClientSession, node: Node) -> None:
        self.session = session
        self.node = node
        self.endpoint = node.endpoint()

    async def post(self, path: str, body: object, /, request: str = "", **headers: str) -> Reply:
        data = body if isinstance(body, str) else json.dumps(body)
        sent = {f"x-appliance-{name.replace('_', '-')}": value for name, value in headers.items()}
        sent["x-appliance-request"] = request or str(uuid.uuid4())
        async with self.session.post(self.endpoint + path, data=data, headers=sent) as answer:
            return Reply(
                answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.text()
            )

    async def chat(self, request: str = "", headers: dict[str, str] | None = None, **fields: Any) -> Reply:
        body = {"model": "smollm2", "messages": QUESTION, "max_tokens": 12, **fields}
        return await self.post(CHAT, body, request, **(headers or {}))

    async def running(self, request: str) -> dict[str, Any]:
        """The meter now; zeros before the replica heard of it."""
        async with self.session.get(f"{self.endpoint}/meter/{request}") as answer:
            found: dict[str, Any] = await answer.json()
            return found if answer.status == 200 else {"completion_tokens": 0}

    async def until_running(self, request: str) -> None:
        async with asyncio.timeout(60):
            while not (await self.running(request))["completion_tokens"]:
                await asyncio.sleep(0.05)

    async def until_waiting(self, requests: int) -> None:
        """Until so many wait for a seat of the engine."""
        async with asyncio.timeout(60):
            while await self._waiting() != requests:
                await asyncio.sleep(0.02)

    async def _waiting(self) -> int:
        async with self.session.get(f"{self.endpoint}/describe") as answer:
            described: dict[str, Any] = await answer.json()
            return int(described["replica"]["waiting"])

    async def meter(self, request: str, wait: float = 5) -> dict[str, Any]:
        async with self.session.get(f"{self.endpoint}/meter/{request}?wait={wait}") as answer:
            assert answer.status == 200
            document: dict[str, Any] = await answer.json()
            return document


@pytest.fixture
async def client(node: Node) -> AsyncIterator[Client]:
    headers = {"x-cluster-secret": SECRET, "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield Client(session, node)


async def test_the_chat_template_is_right(client: Client) -> None:
    reply = await client.chat(temperature=0)
    assert "Paris" in reply.document["choices"][0]["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"messages": QUESTION}),
        (CHAT, {"messages": QUESTION, "n": 3, "temperature": 1}),
        (CHAT, {"messages": QUESTION, "stop": ["capital", "Paris"], "temperature": 0}),
        (CHAT, {"messages": QUESTION, "logprobs": True, "top_logprobs": 2}),
        (CHAT, {"messages": [{"role": "user", "content": LONG}], "n": 2, "temperature": 1}),
        (COMPLETIONS, {"prompt": "Once"}),
        (COMPLETIONS, {"prompt": ["Once upon", "a b c d"], "n": 2, "temperature": 1}),
        (COMPLETIONS, {"prompt": [[1, 2, 3], [4]], "ignore_eos": True}),
        (COMPLETIONS, {"prompt": "Once", "echo": True, "logprobs": 1, "stop": ["e"]}),
    ],
)
async def test_meter_equals_usage(client: Client, path: str, fields: dict[str, Any], stream: bool) -> None:
    body: dict[str, Any] = {"model": "smollm2", "max_tokens": 9, **fields}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    reply = await client.post(path, body, salt=uuid.uuid4().hex)
    assert reply.status == 200, reply.text
    assert reply.counted == reply.usage
    assert reply.meter["ended"] == "complete"


async def test_stream_without_usage_is_metered(client: Client) -> None:
    reply = await client.chat(stream=True, temperature=0)
    assert '"usage"' not in reply.text
    assert reply.meter["completion_tokens"] == 8


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 2])
async def test_a_hung_up_answer_is_counted_to_the_token(client: Client, stream: bool, n: int) -> None:
    request = str(uuid.uuid4())
    body = {"model": "smollm2", "messages": QUESTION, "max_tokens": 1500, "ignore_eos": True, "n": n}
    chunks = 0

    async def ask() -> None:
        nonlocal chunks
        async with client.session.post(
            client.endpoint + CHAT,
            json={**body, "temperature": 1, "stream": stream},
            headers={"x-appliance-request": request},
        ) as answer:
            async for line in answer.content:
                chunks += b'"content"' in line and b'"role"' not in line

    asking = asyncio.create_task(ask())
    async with asyncio.timeout(60):
        while (await client.running(request))["completion_tokens"] < 20:
            await asyncio.sleep(0.05)
    asking.cancel()
    await asyncio.wait([asking])
    meter = await client.meter(request)
    assert meter["ended"] == "cancelled"
    assert 20 <= meter["completion_tokens"] < 1000
    # A chunk is at least one token; some show nothing, and a few were on their way when we hung up.
    assert not stream or chunks <= meter["completion_tokens"] <= chunks * 1.5 + 10 * n
    await asyncio.sleep(0.5)
    assert await client.meter(request) == meter
    kept = read_journal(meters_directory(client.node.home, "smollm2"), request)
    assert kept is not None
    assert kept.completion_tokens == meter["completion_tokens"]


async def test_limits_from_the_gateway(client: Client) -> None:
    cut = await client.chat(headers={"completion_limit": "3"}, max_tokens=None, min_tokens=9)
    assert cut.document["choices"][0]["finish_reason"] == "length"
    assert cut.counted[2] == 3
    for stream in (False, True):
        refused = await client.chat(headers={"prompt_limit": "36"}, stream=stream)
        assert (refused.status, refused.headers["x-appliance-refused"]) == (400, "prompt-limit")
        assert refused.meter == {
            "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "ended": "refused", "images": 0,
            "audio_seconds": 0, "model": "",
        }  # fmt: skip
    assert (await client.chat(headers={"prompt_limit": "37"})).status == 200
    body = {"model": "smollm2", "prompt": ["a", "b"], "max_tokens": 2}
    assert (await client.post(COMPLETIONS, body, prompt_limit="1")).status == 400
    assert (await client.post(COMPLETIONS, body, sequences="1")).status == 400


async def test_a_response_that_was_cut_off_ends_as_openais_does(client: Client) -> None:
    body = {"model": "smollm2", "input": LONG, "max_output_tokens": 5, "ignore_eos": True, "stream": True}
    reply = await client.post("/v1/responses", body)
    last = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")][-1]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "incomplete")
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_message_may_ask_for_more_than_the_context_has(client: Client, stream: bool) -> None:
    """As agents do, whatever the model."""
    body = {"model": "smollm2", "messages": QUESTION, "max_tokens": 32_000, "temperature": 0, "stream": stream}
    reply = await client.post("/v1/messages", body)
    assert (reply.status, "Paris" in reply.text) == (200, True)
    too_long = body | {"messages": [{"role": "user", "content": "sheep " * 5000}]}
    assert (await client.post("/v1/messages", too_long)).status == 400


async def test_count_is_exact(client: Client) -> None:
    counted = await client.post("/count", {"model": "smollm2", "messages": QUESTION}, path=CHAT)
    assert counted.document == {"prompt_tokens": 37, "images": 0, "audio_seconds": 0}
    body = {"model": "smollm2", "prompt": ["a b c", "hello"], "stream": True}
    assert (await client.post("/count", body, path=COMPLETIONS)).document["prompt_tokens"] == 4
    assert (await client.post("/count", {"model": "smollm2", "messages": []}, path=CHAT)).status == 400


async def test_tenants_do_not_share_cached_prompts(client: Client) -> None:
    body = {"model": "smollm2", "prompt": LONG, "max_tokens": 1}
    one, other = uuid.uuid4().hex, uuid.uuid4().hex

    async def cached(salt: str, **fields: str) -> int:
        return (await client.post(COMPLETIONS, {**body, **fields}, salt=salt)).counted[1]

    assert await cached(one) == 0
    mine = await cached(one)
    assert mine > 100
    assert await cached(other) == 0
    assert await cached(other, cache_salt=one) == 0
    assert await cached(one, cache_salt="own") == 0
    assert await cached(one, cache_salt="own") == mine


@pytest.mark.parametrize(
    "fields",
    [{"use_beam_search": True, "n": 2}, {"kv_transfer_params": {"remote_prefill_cached_tokens": 30}}],
)
async def test_what_cannot_be_metered_is_refused(client: Client, fields: dict[str, Any]) -> None:
    for stream in (False, True):
        reply = await client.chat(**fields, stream=stream)
        assert reply.status == 400
        assert reply.counted == (0, 0, 0)


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        _schema({"type": "array", "minItems": 10**9}),
        _schema({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        _schema({"$ref": "#"}),
        _schema({"properties": {f"k{number}": {} for number in range(3000)}}),
        {"structured_outputs": {"grammar": "root ::= root"}},
        {"structured_outputs": {"regex": r"(?=a)b"}},
        {"structured_outputs": {"choice": []}},
        {"top_k": 2**64},
        {"stream_interval": 10**30},
        {"vllm_xargs": {"a": 2**70}},
        {"structured_outputs": {"grammar": "root ::= root"}, "n": 2},
        {"structured_outputs": {"grammar": 'start: a\na: %json {"maxLength": 9} %regex {}'}},
        {"structured_outputs": {"regex": "a{1," + " " * 400_000}},
        _schema({"properties": {f"k{most}": {"type": "string", "maxLength": most} for most in range(200, 220)}}),
        {"allowed_token_ids": list(range(1025))},
        {"logit_bias": {str(token): 1 for token in range(1025)}},
        {"stop_token_ids": list(range(101)), "min_tokens": 1},
        {"stop": ["a"] * 65},
        {"bad_words": ["x" * 9000]},
        {"bad_words": [letter * 100 for letter in "abcdefghijklmnopqrstuvwxyz"]},
    ],
)
async def test_what_the_engine_cannot_do_is_refused_and_ends_nothing(
    client: Client, fields: dict[str, Any], stream: bool
) -> None:
    reply = await client.chat(**fields, stream=stream)
    assert reply.status == 400
    assert reply.document["error"]["message"]
    assert reply.counted == (0, 0, 0)
    assert (await client.chat(max_tokens=1)).status == 200


@pytest.mark.parametrize(("prompts", "status"), [(2, 200), (100, 400)])
async def test_a_grammar_goes_to_the_engine_with_each_prompt_and_has_a_size_with_all(
    client: Client, prompts: int, status: int
) -> None:
    schema = {"enum": [7], "description": "x" * 400_000}
    fields = {"prompt": ["a"] * prompts, "structured_outputs": {"json": schema}, "max_tokens": 2}
    reply = await client.post(COMPLETIONS, {"model": "smollm2", **fields})
    assert reply.status == status


async def test_a_grammar_that_comes_to_a_dead_end_is_refused_unless_its_beginning_is_out(client: Client) -> None:
    fields: dict[str, Any] = {
        "structured_outputs": {"grammar": 'root ::= "once upon a time " x\nx ::= x'},
        "max_tokens": 30,
    }
    reply = await client.chat(**fields)
    assert (reply.status, reply.counted) == (400, (0, 0, 0))
    reply = await client.chat(**fields, stream=True)
    assert reply.status == 200
    assert reply.counted[2] > 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"type": "array", "minItems": 10**9}])
async def test_a_schema_that_allows_no_answer_is_refused_of_responses_too(
    client: Client, schema: dict[str, Any], stream: bool
) -> None:
    shape = {"format": {"type": "json_schema", "name": "answer", "schema": schema}}
    reply = await client.post(
        "/v1/responses", {"model": "smollm2", "input": "Hi", "text": shape, "stream": stream}
    )
    assert reply.status == 400, reply.text


async def test_a_grammar_that_one_tenant_asks_for_changes_no_other_tenants(client: Client) -> None:
    """Of vLLM's backends the first request's would serve all; what only another one can is refused."""
    await client.chat(**_schema({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}))
    reply = await client.chat(**_schema({"enum": [7]}))
    assert reply.document["choices"][0]["message"]["content"] == "7"


async def test_a_grammar_that_takes_long_to_compile_keeps_nobody_waiting_and_is_given_up(client: Client) -> None:
    lengths = {f"k{most}": {"type": "string", "maxLength": most} for most in range(200, 210)}
    costly = asyncio.create_task(client.chat(**_schema({"properties": lengths}), headers={"salt": "costly"}))
    await asyncio.sleep(0.5)
    reply = await client.chat(**_schema({"enum": [7]}), headers={"salt": "plain"})
    assert reply.document["choices"][0]["message"]["content"] == "7"
    assert not costly.done()
    given_up = await costly
    assert (given_up.status, given_up.counted) == (400, (0, 0, 0))
    assert "in time" in given_up.document["error"]["message"]


async def test_a_request_is_served_once(client: Client) -> None:
    request = str(uuid.uuid4())
    assert (await client.chat(request, max_tokens=2)).status == 200
    again = await client.chat(request, max_tokens=2)
    assert (again.status, again.headers["x-appliance-refused"]) == (409, "duplicate")


async def test_a_full_queue_is_said_at_once(client: Client) -> None:
    answers = [asyncio.create_task(client.chat(max_tokens=60, ignore_eos=True)) for _ in range(12)]
    replies = [await answer for answer in asyncio.as_completed(answers)]
    assert [reply.status for reply in replies] == [503] * 4 + [200] * 8
    assert all(reply.headers["x-appliance-refused"] == "queue" for reply in replies[:4])


async def test_the_port_is_the_gateways(client: Client) -> None:
    async with client.session.get(f"{client.endpoint}/health", headers={"x-cluster-secret": "no"}) as answer:
        assert answer.status == 403
    for path in ("/v1/models", "/docs", "/tokenize", "/v1/responses/resp_1", "/health/"):
        async with client.session.get(client.endpoint + path) as answer:
            assert answer.status == 404


async def test_the_engines_own_metrics_are_for_the_gateway(client: Client) -> None:
    async with client.session.get(f"{client.endpoint}/metrics", headers={"x-cluster-secret": "no"}) as answer:
        assert answer.status == 403
    await client.chat(max_tokens=2)
    async with client.session.get(client.endpoint + "/metrics") as answer:
        text = await answer.text()
    assert 'vllm:generation_tokens_total{engine="0",model_name="smollm2"}' in text
    assert CANARY not in text


async def test_nothing_of_a_request_is_written(client: Client) -> None:
    said = [{"role": "user", "content": f"{CANARY} {LONG}"}]
    for fields in (
        {"messages": said},
        {"messages": CANARY},
        {"messages": said, "response_format": {"type": "json_schema", "json_schema": {"name": CANARY,
            "schema": {"type": CANARY}}}},
        {"messages": said, "structured_outputs": {"regex": f"([{CANARY}"}},
        {"messages": [{"role": CANARY, "content": [{"type": CANARY}]}]},
        {"messages": said, "tools": [{"type": "function", "function": {"name": CANARY}}]},
        {"messages": said, "stop": CANARY, "stream": True, "logit_bias": {CANARY: 1}},
        {"messages": said, "chat_template": "{{ " + CANARY},
    ):  # fmt: skip
        await client.chat(**fields)
    await client.post(CHAT, '{"messages": [{"' + CANARY)
    for folder in (client.node.home / "meters", client.node.home / "run", client.node.ray):
        for file in folder.rglob("*"):
            if file.is_file():
                assert CANARY.encode() not in file.read_bytes(), file


async def test_of_those_who_wait_for_a_full_engine_the_higher_priority_is_served_first(client: Client) -> None:
    requests = [str(uuid.uuid4()) for _ in range(SEATS)]
    priorities = [-1, *[0] * (SEATS - 1)]  # the seat that is kept for priorities is taken too
    filling = [
        asyncio.create_task(
            client.chat(request, max_tokens=1500, ignore_eos=True, headers={"priority": str(priority)})
        )
        for request, priority in zip(requests, priorities, strict=True)
    ]
    for request in requests:
        await client.until_running(request)
    served = []

    async def ask(who: str, priority: int) -> None:
        reply = await client.chat(max_tokens=1, headers={"priority": str(priority)})
        assert reply.status == 200, reply.text
        served.append(who)

    async with asyncio.TaskGroup() as waiting:
        waiting.create_task(ask("first come", 0))
        await client.until_waiting(1)
        waiting.create_task(ask("higher priority", -5))
        await client.until_waiting(2)
        assert not served
        filling.pop().cancel()
    assert served == ["higher priority", "first come"]
    assert not any(answer.done() for answer in filling)
    for answer in filling:
        answer.cancel()
    await asyncio.gather(*filling, return_exceptions=True)


def tokens_in(stream: bytes) -> int:
    """Of its whole events, each of which names its tokens."""
    events = [json.loads(event[6:]) for event in stream.split(b"\n\n")[:-1] if event.startswith(b"data: {")]
    return sum(len(choice.get("token_ids") or ()) for event in events for choice in event["choices"])


async def marked(client: Client, path: str, body: dict[str, Any]) -> tuple[Reply, list[Mark]]:
    """A streamed answer, and the marks that were there while it was written."""
    request = str(uuid.uuid4())
    file = path_of(meters_directory(client.node.home, "smollm2"), client.node.model()["replicas"][0]["id"])
    answering = asyncio.create_task(client.post(path, {"model": "smollm2", "stream": True, **body}, request))
    marks: list[Mark] = []
    while not answering.done():
        await asyncio.sleep(0.1)
        marks = read_marks(file, request) or marks
    return await answering, marks


@pytest.mark.parametrize(
    ("path", "fields", "withheld"),
    [
        (CHAT, {"messages": QUESTION}, 0),
        (CHAT, {"messages": QUESTION, "n": 3, "temperature": 1}, 0),
        (CHAT, {"messages": QUESTION, "stop": ["never said"]}, 4 * 9),
        (COMPLETIONS, {"prompt": "Once"}, 0),
    ],
)
async def test_a_mark_says_what_the_bytes_before_it_were_made_of(
    client: Client, path: str, fields: dict[str, Any], withheld: int
) -> None:
    body = {"max_tokens": 100, "ignore_eos": True, "return_token_ids": True, **fields}
    reply, marks = await marked(client, path, body)
    assert marks
    for mark in marks:
        assert mark.meter.prompt_tokens == reply.meter["prompt_tokens"]
        assert mark.meter.completion_tokens == tokens_in(reply.text.encode()[: mark.answer_bytes]) - withheld


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/responses", {"input": LONG, "max_output_tokens": 200, "ignore_eos": True}),
        ("/v1/messages", {"messages": QUESTION, "max_tokens": 200, "output_config": {"format": LONG_ANSWER}}),
    ],
)
async def test_answers_of_other_protocols_are_marked(client: Client, path: str, fields: dict[str, Any]) -> None:
    reply, marks = await marked(client, path, fields)
    assert marks
    for mark in marks:
        before = reply.text.encode()[: mark.answer_bytes]
        assert before.endswith(b"\n\n")
        assert 0 < mark.meter.completion_tokens <= 200
    assert json.loads(reply.text.rpartition("\n\n: meter ")[2])["completion_tokens"] == 200


async def test_answers_to_several_prompts_are_never_certain(client: Client) -> None:
    _, marks = await marked(
        client, COMPLETIONS, {"prompt": ["Once", "Twice"], "max_tokens": 60, "ignore_eos": True}
    )
    assert marks == []
