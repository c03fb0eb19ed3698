"""Down the table of endpoints, on the real engines: whatever ``usage`` says, finished or hung up, is metered."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from serving.catalog.endpoints import CLOSED, ENDPOINTS
from tests.every_endpoint import AUDIO, BODIES, GENERATING, LONG, QUESTION, Reply
from tests.serving.conftest import SECRET, Node

pytestmark = pytest.mark.engine


class Client:
    def __init__(self, session: aiohttp.ClientSession, node: Node) -> None:
        self.session, self.node = session, node

    def model_for(self, path: str) -> str:
        return next(name for name in ("smollm2", "minilm") if path in self.node.model(name)["traits"]["endpoints"])

    async def post(self, path: str, request: str = "", /, **fields: Any) -> Reply:
        model = self.model_for(path)
        headers = {"x-appliance-request": request or str(uuid.uuid4()), "x-appliance-salt": uuid.uuid4().hex}
        body = {"model": model} | BODIES[path] | fields
        async with self.session.post(self.node.endpoint(model) + path, json=body, headers=headers) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, found, await answer.text())


@pytest.fixture
async def client(node: Node) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(headers={"x-cluster-secret": SECRET}) as session:
        yield Client(session, node)


NO_SCHEMA = {"type": "nope"}
TEXTS = 512
"""More than are embedded between two looks at the meter, however slow the machine looks."""
REJECTED: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": ["a", ""]},
    "/v1/chat/completions": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": NO_SCHEMA}}
    },
    "/v1/responses": {"text": {"format": {"type": "json_schema", "name": "n", "schema": NO_SCHEMA}}},
    "/v1/messages": {"tools": [{"name": "f", "input_schema": NO_SCHEMA}], "tool_choice": {"type": "any"}},
}


@pytest.mark.parametrize("path", REJECTED)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_engine_cannot_do_is_a_400_streamed_or_not(client: Client, path: str, stream: bool) -> None:
    reply = await client.post(path, stream=stream, **REJECTED[path])
    assert reply.status == 400, reply.text
    meter = reply.meter
    assert (meter["ended"], meter["prompt_tokens"], meter["completion_tokens"]) == ("refused", 0, 0)
    assert "pydantic" not in reply.text


def test_the_table_has_a_request_for_each_endpoint() -> None:
    assert BODIES.keys() | AUDIO == ENDPOINTS.keys()


@pytest.mark.parametrize(
    ("path", "stream"), [(path, False) for path in BODIES] + [(path, True) for path in GENERATING]
)
async def test_what_is_used_is_what_usage_says(client: Client, path: str, stream: bool) -> None:
    fields: dict[str, Any] = {"stream": True} if stream else {}
    if stream and path.endswith("completions"):
        fields["stream_options"] = {"include_usage": True}
    reply = await client.post(path, **fields)
    assert reply.status == 200, reply.text
    endpoint, meter = ENDPOINTS[path], reply.meter
    counted = meter["prompt_tokens"], meter["cached_tokens"], meter["completion_tokens"]
    assert counted == reply.usage(endpoint)
    assert meter["ended"] == "complete"
    assert (counted != (0, 0, 0)) == endpoint.metered
    if stream:
        *_, last, tail = reply.text.rstrip("\n").split("\n\n")
        assert tail.startswith(": meter ")
        assert last.startswith(tuple(end.decode() for end in endpoint.ends))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", GENERATING)
async def test_a_hung_up_answer_is_counted(client: Client, path: str, stream: bool) -> None:
    request = str(uuid.uuid4())
    asking = asyncio.create_task(
        client.post(path, request, stream=stream, temperature=1.5, ignore_eos=True, **LONG[path])
    )
    url = f"{client.node.endpoint()}/meter/{request}"
    async with asyncio.timeout(60):
        while True:
            async with client.session.get(url) as answer:
                found = await answer.json()
            if answer.status == 200 and (found["completion_tokens"] >= 10 or found["ended"]):
                break
            await asyncio.sleep(0.05)
    asking.cancel()
    await asyncio.wait([asking])
    async with client.session.get(url + "?wait=5") as answer:
        found = await answer.json()
    assert found["ended"] in ("cancelled", "complete")
    assert found["completion_tokens"] < 1000
    assert found["prompt_tokens"] > 5


async def test_an_embedding_that_nobody_waits_for_is_counted_or_free(client: Client) -> None:
    request, texts = str(uuid.uuid4()), ["word " * 200] * TEXTS
    asking = asyncio.create_task(client.post("/v1/embeddings", request, input=texts))
    url = f"{client.node.endpoint('minilm')}/meter/{request}"
    async with asyncio.timeout(30):
        while True:
            async with client.session.get(url) as answer:
                if answer.status == 200 and (await answer.json())["prompt_tokens"]:
                    break
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.wait([asking])
    async with client.session.get(url + "?wait=10") as answer:
        found = await answer.json()
    assert found["ended"] == "cancelled"
    assert 0 < found["prompt_tokens"] < TEXTS * 202
    assert found["prompt_tokens"] % 202 == 0


async def test_count_says_what_an_embedding_would_use(client: Client) -> None:
    path = "/v1/embeddings"
    body = {"model": "minilm", **BODIES[path]}
    url = client.node.endpoint("minilm") + "/count"
    async with client.session.post(url, json=body, headers={"x-appliance-path": path}) as answer:
        counted = await answer.json()
    assert counted["prompt_tokens"] == (await client.post(path)).meter["prompt_tokens"]


async def test_an_embedding_is_refused_beyond_what_was_held_for_it(client: Client) -> None:
    headers = {"x-appliance-request": str(uuid.uuid4()), "x-appliance-prompt-limit": "3"}
    body = {"model": "minilm", "input": QUESTION}
    url = client.node.endpoint("minilm") + "/v1/embeddings"
    async with client.session.post(url, json=body, headers=headers) as answer:
        assert (answer.status, answer.headers["x-appliance-refused"]) == (400, "prompt-limit")


async def test_tenants_do_not_meet_in_any_generating_endpoint(client: Client) -> None:
    story = " ".join(f"{number} sheep" for number in range(60))
    long: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": story}]},
        "/v1/completions": {"prompt": story},
        "/v1/responses": {"input": story},
        "/v1/messages": {"messages": [{"role": "user", "content": story}]},
    }
    for path in GENERATING:  # each of them with a salt of its own
        for _ in range(2):
            assert (await client.post(path, **long[path])).meter["cached_tokens"] == 0


def test_every_route_that_vllm_can_have_is_in_one_of_the_tables() -> None:
    census = subprocess.run(
        [sys.executable, Path(__file__).with_name("census.py")], capture_output=True, text=True, check=True
    )
    routes = set(census.stdout.split())
    assert len(routes) > 60
    opened = {endpoint.engine_path for endpoint in ENDPOINTS.values()}
    assert routes == opened | CLOSED.keys()
    assert not opened & CLOSED.keys()


async def test_what_is_closed_is_not_there(client: Client) -> None:
    for name in ("smollm2", "minilm"):
        for path in CLOSED.keys() - {"/health", "/metrics"}:
            for method in ("GET", "POST"):
                url = client.node.endpoint(name) + path.replace("{response_id}", "resp_1")
                async with client.session.request(method, url, json={"model": name}) as answer:
                    assert answer.status == 404, (method, path)


def test_reasoning_has_both_of_the_names_that_clients_look_for() -> None:
    program = [sys.executable, "-m", "tests.serving.reasoning"]
    thinking, speaking, whole = json.loads(subprocess.run(program, capture_output=True, check=True).stdout)
    assert thinking == {"reasoning": "because", "reasoning_content": "because"}
    assert speaking == {"content": "so"}
    assert whole["reasoning"] == whole["reasoning_content"] == "because"
