"""Anthropic's client library for Python on messages, each answer held against its types."""

import json
import os
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

MODEL = "smollm2"
QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
SCHEMA = {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"],
    "additionalProperties": False,
}  # fmt: skip
TOOL: Any = {"name": "weather", "description": "The weather of a city", "input_schema": SCHEMA}


@pytest.fixture
def client() -> Anthropic:
    return Anthropic(max_retries=0, _strict_response_validation=True)


def test_a_message(client: Anthropic) -> None:
    answer = client.messages.create(model=MODEL, max_tokens=20, messages=QUESTION, extra_body={"temperature": 0})
    assert "Paris" in answer.content[0].text  # type: ignore[union-attr]
    assert (answer.role, answer.usage.output_tokens > 0) == ("assistant", True)
    assert answer.id.startswith("msg_")
    assert "stop_sequence" in answer.model_fields_set


def test_a_system_prompt_and_stops(client: Anthropic) -> None:
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    answer = client.messages.create(
        model=MODEL,
        max_tokens=40,
        messages=QUESTION,
        system=system,
        stop_sequences=["a"],
        metadata={"user_id": "x"},
    )
    assert answer.stop_reason in ("stop_sequence", "end_turn", "max_tokens")


def test_a_stream(client: Anthropic) -> None:
    likeliest = {"temperature": 0}  # left to chance, it may end sooner
    with client.messages.stream(model=MODEL, max_tokens=5, messages=QUESTION, extra_body=likeliest) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text  # type: ignore[union-attr]
    assert final.usage.output_tokens == 5
    events = list(client.messages.create(model=MODEL, max_tokens=5, messages=QUESTION, stream=True))
    assert (events[0].type, events[-1].type) == ("message_start", "message_stop")


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_tools(client: Anthropic, choice: Any) -> None:
    answer = client.messages.create(
        model=MODEL, max_tokens=200, messages=QUESTION, tools=[TOOL], tool_choice=choice,
        extra_body={"temperature": 0},
    )  # fmt: skip
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert set(call.input) == {"city"}
    used: Any = {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    history: list[Any] = [
        *QUESTION,
        {"role": "assistant", "content": [used]},
        {"role": "user", "content": [result]},
    ]
    assert client.messages.create(model=MODEL, max_tokens=9, messages=history, tools=[TOOL]).content


SHAPES = ["anthropic-typed-tools", "claude-code-first-turn", "claude-code-later-turn"]


def shape(name: str) -> dict[str, Any]:
    """What an agent sends."""
    document = json.loads((Path(os.environ["SHAPES"]) / f"{name}.json").read_text())
    body: dict[str, Any] = document["body"]
    return body


@pytest.mark.parametrize("name", SHAPES)
def test_what_claude_code_sends_is_answered(client: Anthropic, name: str) -> None:
    body = shape(name) | {"model": MODEL, "max_tokens": 24}
    options: Any = {"extra_headers": {"anthropic-beta": "claude-code-20250219"}, "extra_query": {"beta": "true"}}
    fields: Any = {"model": MODEL, "max_tokens": 24, "messages": body["messages"], "extra_body": body} | options
    answer = client.messages.create(**fields)
    assert answer.content
    events: Any = list(client.messages.create(**fields, stream=True))
    assert events[0].message.id.startswith("msg_")
    (delta,) = [event for event in events if event.type == "message_delta"]
    assert "stop_sequence" in delta.delta.model_fields_set
    counted = {name: body[name] for name in ("system", "messages", "tools") if name in body}
    tokens = client.messages.count_tokens(model=MODEL, **counted).input_tokens
    usage = answer.usage
    read = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0) + usage.input_tokens
    assert tokens == read


def test_a_tool_without_a_schema_is_called(client: Anthropic) -> None:
    body = shape("anthropic-typed-tools") | {"tool_choice": {"type": "tool", "name": "bash"}, "temperature": 0}
    fields: Any = {"model": MODEL, "max_tokens": 200, "messages": body["messages"]}
    (call,) = client.messages.create(**fields, extra_body=body | {"max_tokens": 200}).content
    assert call.type == "tool_use"
    assert (call.name, call.id.startswith("toolu_")) == ("bash", True)
    assert call.input.keys() <= {"command", "restart"}
    (cut,) = client.messages.create(**fields, extra_body=body | {"max_tokens": 30}).content
    assert cut.type == "tool_use"


def test_a_tool_that_is_not_offered_is_named(client: Anthropic) -> None:
    body = shape("anthropic-typed-tools") | {"tool_choice": {"type": "tool", "name": "web_search"}}
    with pytest.raises(anthropic.BadRequestError, match="web_search"):
        client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION, extra_body=body)


def test_tokens_are_counted(client: Anthropic) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=QUESTION, system="Be brief.")
    answer = client.messages.create(model=MODEL, messages=QUESTION, system="Be brief.", max_tokens=1)
    read = (answer.usage.cache_read_input_tokens or 0) + answer.usage.input_tokens
    assert counted.input_tokens == read


def test_models(client: Anthropic) -> None:
    assert MODEL in [model.id for model in client.models.list()]
    model = client.models.retrieve(MODEL)
    assert (model.display_name, model.lifecycle) == (MODEL, "active")
    assert model.created_at.year > 2000


def test_errors_are_the_ones_that_the_library_knows(client: Anthropic) -> None:
    def create(**fields: Any) -> object:
        return client.messages.create(**({"model": MODEL, "max_tokens": 1, "messages": QUESTION} | fields))

    with pytest.raises(anthropic.NotFoundError) as unknown:
        create(model="other")
    assert unknown.value.request_id
    with pytest.raises(anthropic.AuthenticationError):
        Anthropic(api_key="no", max_retries=0).messages.create(model=MODEL, max_tokens=1, messages=QUESTION)
    with pytest.raises(anthropic.BadRequestError):
        create(max_tokens=0)
    with pytest.raises(anthropic.BadRequestError):
        create(messages=[{"role": "user", "content": [{"type": "document"}]}])
    with pytest.raises(anthropic.BadRequestError):
        create(messages=[{"role": "user", "content": "word " * 5000}])
