"""What agents send, on the real engine: answered, metered, its tools called as they want them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from serving.agents.lark import lark_grammar
from serving.catalog.endpoints import ENDPOINTS
from tests.clients.shapes import NAMES, shape
from tests.every_endpoint import QUESTION, Reply
from tests.serving.conftest import SECRET, Node
from tests.serving.test_endpoints import Client

pytestmark = pytest.mark.engine

RESPONSES, CHAT, MESSAGES = "/v1/responses", "/v1/chat/completions", "/v1/messages"
STEADY = {"temperature": 0, "frequency_penalty": 0.5}


@pytest.fixture
async def client(node: Node) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(headers={"x-cluster-secret": SECRET}) as session:
        yield Client(session, node)


def most(path: str, tokens: int) -> dict[str, int]:
    return {"max_output_tokens" if path == RESPONSES else "max_tokens": tokens}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", NAMES)
async def test_an_agent_is_answered_and_metered(client: Client, name: str, stream: bool) -> None:
    path, body = shape(name)
    usage = {"stream_options": {"include_usage": True}} if stream and path == CHAT else {}
    reply = await client.post(
        path, **body, **usage, **({} if "max_tokens" in body else most(path, 8)), stream=stream
    )
    assert reply.status == 200, reply.text
    meter = reply.meter
    counted = meter["prompt_tokens"], meter["cached_tokens"], meter["completion_tokens"]
    assert counted == reply.usage(ENDPOINTS[path])
    assert meter["ended"] == "complete"


async def custom_call(client: Client, path: str, stream: bool, definition: str) -> tuple[str, Reply]:
    """The text that the model gives to a tool with this grammar."""
    grammar = {"syntax": "lark", "definition": definition}
    limit: dict[str, Any] = most(path, 120)
    if path == RESPONSES:
        tool: Any = {"type": "custom", "name": "t", "format": {"type": "grammar", **grammar}}
        choice: Any = {"type": "custom", "name": "t"}
        reply = await client.post(
            path, input=QUESTION, tools=[tool], tool_choice=choice, stream=stream, **limit, **STEADY
        )
        if not stream:
            return json.loads(reply.text)["output"][0]["input"], reply
        deltas = [one for one in reply.events if one["type"] == "response.custom_tool_call_input.delta"]
        return "".join(one["delta"] for one in deltas), reply
    tool = {"type": "custom", "custom": {"name": "t", "format": {"type": "grammar", "grammar": grammar}}}
    choice = {"type": "custom", "custom": {"name": "t"}}
    reply = await client.post(path, tools=[tool], tool_choice=choice, stream=stream, **limit, **STEADY)
    if not stream:
        return json.loads(reply.text)["choices"][0]["message"]["tool_calls"][0]["custom"]["input"], reply
    calls = [call for one in reply.events for call in one["choices"][0]["delta"].get("tool_calls") or ()]
    return "".join(call["custom"]["input"] for call in calls), reply


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [RESPONSES, CHAT])
async def test_a_custom_tools_text_obeys_its_grammar(client: Client, path: str, stream: bool) -> None:
    text, reply = await custom_call(
        client, path, stream, 'start: "say \\"" /[a-f]{3}/ "\\"" LF\n%import common.LF\n'
    )
    assert reply.status == 200
    assert text[:5] == 'say "'
    assert set(text[5:8]) <= set("abcdef")
    assert text[8:] == '"\n'


async def test_a_grammar_that_takes_too_long_is_a_400(client: Client) -> None:
    definition = "start: " + " ".join(f"/[a-z]{{1,{190 + n}}}/" for n in range(12))
    lark_grammar(definition)
    grammar = {"type": "grammar", "syntax": "lark", "definition": definition}
    tool = {"type": "custom", "name": "t", "format": grammar}
    reply = await client.post(RESPONSES, tools=[tool], tool_choice="required")
    assert reply.status == 400
    assert "patterns" in reply.text


LONG_NAME = " ".join(["Llanfair"] * 30)  # more than the limit of tokens leaves room for
WEATHER = {"type": "object", "properties": {"city": {"enum": [LONG_NAME]}}, "required": ["city"]}
CALLS: dict[str, dict[str, Any]] = {
    RESPONSES: {"tools": [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}]},
    CHAT: {"tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]},
    MESSAGES: {"tools": [{"name": "weather", "input_schema": WEATHER}]},
}


@pytest.mark.parametrize("path", CALLS)
async def test_a_call_that_is_cut_off_is_a_call_streamed_or_not(client: Client, path: str) -> None:
    choice: Any = {"type": "any"} if path == MESSAGES else "required"
    fields = CALLS[path] | {"tool_choice": choice} | most(path, 48) | {"temperature": 0}
    whole = json.loads((await client.post(path, **fields)).text)
    events = (await client.post(path, stream=True, **fields)).events
    match path:
        case "/v1/chat/completions":
            (call,) = whole["choices"][0]["message"]["tool_calls"]
            streamed = "".join(
                piece["function"].get("arguments") or ""
                for event in events if event["choices"]
                for piece in event["choices"][0]["delta"].get("tool_calls") or ()
            )  # fmt: skip
            assert call["function"]["arguments"] == streamed
            assert streamed.startswith("{")
            assert not whole["choices"][0]["message"]["content"]
            assert whole["choices"][0]["finish_reason"] == "length"
        case "/v1/responses":
            (item,) = whole["output"]
            (done,) = [event["item"] for event in events if event["type"] == "response.output_item.done"]
            assert item["arguments"] == done["arguments"]
            assert item["arguments"].startswith("{")
            assert (item["status"], done["status"], whole["status"]) == ("incomplete",) * 3
        case _:
            (block,) = whole["content"]
            assert (block["type"], block["name"], block["input"]) == ("tool_use", "weather", {})
            assert whole["stop_reason"] == "max_tokens"


async def test_half_a_name_is_no_call_and_no_text(client: Client) -> None:
    fields = CALLS[CHAT] | {"tool_choice": "required", "max_tokens": 10, "temperature": 0}
    (choice,) = json.loads((await client.post(CHAT, **fields)).text)["choices"]
    assert not choice["message"]["content"]
    assert not choice["message"].get("tool_calls")
