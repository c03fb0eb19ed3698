"""Every endpoint's body with one thing wrong in it: what the engine says of it, a person understands."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from appliance.gateway.engine_errors import engine_error
from appliance.gateway.plain_words import python_in
from serving.catalog.endpoints import ENDPOINTS, Body
from tests.every_endpoint import AUDIO, BODIES, LONG
from tests.serving.conftest import SEATS, SECRET, Node

pytestmark = pytest.mark.engine

LONGEST = 500
"""Characters of a sentence that is still read."""
RICH: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        "stop": ["x"], "logit_bias": {"5": 1}, "stream_options": {"include_usage": True}, "temperature": 1,
    },
    "/v1/completions": {"prompt": ["Hi"], "structured_outputs": {"choice": ["a"]}, "logprobs": 1, "echo": False},
    "/v1/responses": {
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}], "tool_choice": "auto",
        "text": {"format": {"type": "text"}}, "reasoning": {"effort": "low"},
    },
    "/v1/messages": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "system": "Answer.",
        "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "auto"},
    },
}  # fmt: skip
WRONG: list[Any] = [None, -1, 2.5, "perhaps", [], {}, [None], [[]], {"type": "perhaps"}, {"role": 5}]
OF_EMBEDDINGS = (Body.EMBEDDINGS, Body.EMBED, Body.SCORE, Body.RERANK)


def each_with_something_wrong(value: Any) -> Iterator[Any]:
    """``value`` with each of its parts replaced by each wrong one, or left out."""
    yield from WRONG
    if isinstance(value, dict):
        for name, part in value.items():
            yield {other: value[other] for other in value if other != name}
            yield from (value | {name: wrong} for wrong in each_with_something_wrong(part))
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from ([*value[:index], wrong, *value[index + 1 :]] for wrong in each_with_something_wrong(part))


@pytest.mark.parametrize("path", sorted(BODIES.keys() - AUDIO))
async def test_what_is_wrong_with_a_body_is_told_as_to_a_person(node: Node, path: str) -> None:
    model = "minilm" if ENDPOINTS[path].body in OF_EMBEDDINGS else "smollm2"
    url = node.endpoint(model) + path
    fixed = {"model": model} | dict.fromkeys(LONG.get(path, {}), 1)
    right = {name: part for name, part in (BODIES[path] | RICH.get(path, {})).items() if name not in fixed}
    bodies = [fixed | body for body in each_with_something_wrong(right) if isinstance(body, dict)]
    seats = asyncio.Semaphore(SEATS)

    async def refused(session: aiohttp.ClientSession, body: dict[str, Any]) -> bool:
        headers = {"x-cluster-secret": SECRET, "x-appliance-request": str(uuid.uuid4())}
        async with seats, session.post(url, json=body, headers=headers) as reply:
            said = await reply.text()
        if reply.status == 200:
            return False
        error = json.loads(said)["error"]
        assert reply.status in (400, 404, 422), (body, said)
        assert python_in(error["message"]) is None, (body, said)
        assert len(error["message"]) <= LONGEST, (body, said)
        assert engine_error(reply.status, said.encode(), "input").message in error["message"], (body, said)
        return True

    async with aiohttp.ClientSession() as session:
        outcomes = await asyncio.gather(*(refused(session, body) for body in bodies))
    assert sum(outcomes) > len(bodies) / 4
