"""OpenAI's client library for Python: every method whose endpoint there is, each answer held against its types."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

CHAT, EMBEDDING = "smollm2", "minilm"
QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
PARAMETERS = {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"],
    "additionalProperties": False,
}  # fmt: skip
FUNCTION: Any = {
    "name": "weather",
    "description": "The weather of a city",
    "parameters": PARAMETERS,
    "strict": True,
}
TOOL: Any = {"type": "function", "function": FUNCTION}
CALL: Any = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}


class City(BaseModel):
    name: str
    inhabitants: int


@pytest.fixture
def client() -> OpenAI:
    return OpenAI(max_retries=0, _strict_response_validation=True)


@pytest.fixture
def lenient() -> OpenAI:
    """For what the library's own types have no place for, though OpenAI sends it."""
    return OpenAI(max_retries=0)


def test_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=QUESTION, temperature=0)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat_streamed_with_usage(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=CHAT, messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens


def test_chat_stream_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(model=CHAT, messages=QUESTION, temperature=0) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].finish_reason == "stop"


def test_chat_parsed(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=CHAT, messages=QUESTION, response_format=City, max_completion_tokens=200, temperature=0,
        frequency_penalty=0.5,
    )  # fmt: skip
    assert answer.choices[0].message.parsed


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_chat_tools(client: OpenAI, choice: Any) -> None:
    answer = client.chat.completions.create(
        model=CHAT, messages=QUESTION, tools=[TOOL], tool_choice=choice, max_tokens=200, temperature=0
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert set(json.loads(call.function.arguments)) == {"city"}
    assert answer.choices[0].finish_reason in ("tool_calls", "stop")


def test_chat_with_a_tools_result(client: OpenAI) -> None:
    history: list[Any] = [
        *QUESTION, {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]  # fmt: skip
    answer = client.chat.completions.create(model=CHAT, messages=history, tools=[TOOL], max_tokens=9)
    assert answer.choices[0].message.content


def test_chat_options(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT, messages=[{"role": "developer", "content": "Be brief."}, *QUESTION], n=2, logprobs=True,
        top_logprobs=2, seed=3, stop=["."], max_tokens=8, user="u", presence_penalty=0.1, frequency_penalty=0.1,
        logit_bias={"5": 1}, metadata={"a": "b"}, store=False, service_tier="auto", parallel_tool_calls=False,
        reasoning_effort="low",
    )  # fmt: skip
    assert len(answer.choices) == 2
    assert answer.choices[0].logprobs
    assert len((answer.choices[0].logprobs.content or [])[0].top_logprobs) == 2


def test_chat_seed(client: OpenAI) -> None:
    texts = {
        client.chat.completions.create(model=CHAT, messages=QUESTION, seed=7, temperature=1, max_tokens=9)
        .choices[0].message.content
        for _ in range(2)
    }  # fmt: skip
    assert len(texts) == 1


def test_completions(client: OpenAI, lenient: OpenAI) -> None:
    answer = client.completions.create(model=CHAT, prompt=["a", "b"], n=2, max_tokens=2, logprobs=1)
    assert len(answer.choices) == 4
    echoed = lenient.completions.create(model=CHAT, prompt="a", max_tokens=2, echo=True, logprobs=1)
    assert echoed.choices[0].logprobs  # of the first token null
    streamed = lenient.completions.create(model=CHAT, prompt="Once", max_tokens=5, stream=True)
    choices = [chunk.choices[0] for chunk in streamed]  # typed as if each were the last
    assert "".join(choice.text for choice in choices)
    assert {choice.finish_reason for choice in choices[:-1]} <= {None}
    assert choices[-1].finish_reason == "length"


@pytest.mark.parametrize("text", ["hi", ["hi", "you"], [1, 2], [[1, 2], [3]]])
def test_embeddings(lenient: OpenAI, text: Any) -> None:
    answer = lenient.embeddings.create(model=EMBEDDING, input=text)  # as base64, of which its types know nothing
    assert {len(one.embedding) for one in answer.data} == {384}
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


def test_embeddings_as_floats(client: OpenAI, lenient: OpenAI) -> None:
    (one,) = client.embeddings.create(model=EMBEDDING, input="hi", encoding_format="float").data
    (other,) = lenient.embeddings.create(model=EMBEDDING, input="hi").data
    assert one.embedding == pytest.approx(other.embedding, abs=1e-5)


def test_responses(client: OpenAI) -> None:
    answer = client.responses.create(model=CHAT, input="Hi", instructions="Be brief.", max_output_tokens=9)
    assert answer.output_text
    assert answer.usage
    assert answer.usage.output_tokens <= 9
    history: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"role": "assistant", "content": "hello"},
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city":"x"}'},
        {"type": "function_call_output", "call_id": "c", "output": "sun"},
    ]  # fmt: skip
    assert client.responses.create(model=CHAT, input=history, max_output_tokens=9, store=False).output_text


def test_responses_streamed(client: OpenAI) -> None:
    kinds = [
        event.type for event in client.responses.create(model=CHAT, input="Hi", max_output_tokens=9, stream=True)
    ]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.incomplete")
    question = "What is the capital of France?"  # the library knows no final response of an answer that is cut off
    with client.responses.stream(model=CHAT, input=question, max_output_tokens=60, temperature=0) as stream:
        assert "response.output_text.delta" in {event.type for event in stream}
        assert stream.get_final_response().usage


def test_responses_parsed(client: OpenAI) -> None:
    answer = client.responses.parse(
        model=CHAT,
        input="Paris",
        text_format=City,
        max_output_tokens=200,
        temperature=0,
        extra_body={"frequency_penalty": 0.5},
    )
    assert answer.output_parsed


def test_responses_tools(client: OpenAI) -> None:
    tool: Any = {"type": "function", **FUNCTION}
    answer = client.responses.create(
        model=CHAT, input="Paris?", tools=[tool], tool_choice="required", max_output_tokens=200, temperature=0
    )
    (call,) = [item for item in answer.output if item.type == "function_call"]
    assert set(json.loads(call.arguments)) == {"city"}


def shape(name: str) -> dict[str, Any]:
    """What an agent sends."""
    document = json.loads((Path(os.environ["SHAPES"]) / f"{name}.json").read_text())
    body: dict[str, Any] = document["body"]
    return body


@pytest.mark.parametrize(
    "name", ["codex-first-turn", "codex-later-turn", "codex-local-shell", "responses-typed-tools"]
)
def test_what_codex_sends_is_answered(client: OpenAI, name: str) -> None:
    body = shape(name)
    fields: Any = {"model": CHAT, "input": body["input"], "extra_body": body, "max_output_tokens": 24}
    answer = client.responses.create(**fields)
    assert answer.usage
    assert len(answer.tools) == len(body["tools"])
    events: Any = list(client.responses.create(**fields, stream=True))
    assert events[0].type == "response.created"
    assert events[-1].type in ("response.completed", "response.incomplete")


ONLY_SEARCH = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "tool_search"}]}


@pytest.mark.parametrize(
    ("name", "choice", "kind"),
    [
        ("codex-first-turn", {"type": "custom", "name": "apply_patch"}, "custom_tool_call"),
        ("codex-first-turn", {"type": "function", "name": "create_issue"}, "function_call"),
        ("codex-first-turn", ONLY_SEARCH, "tool_search_call"),
        ("responses-typed-tools", {"type": "shell"}, "shell_call"),
    ],
)
def test_codexs_tools_are_called_as_it_wants_them(client: OpenAI, name: str, choice: Any, kind: str) -> None:
    body = shape(name) | {"tool_choice": choice, "frequency_penalty": 0.5, "temperature": 0}
    fields: Any = {"model": CHAT, "input": body["input"], "extra_body": body, "max_output_tokens": 200}
    (item,) = client.responses.create(**fields).output
    events: Any = list(client.responses.create(**fields, stream=True))
    (streamed,) = [event.item for event in events if event.type == "response.output_item.done"]
    for call in (item, streamed):
        assert call.type == kind
        if call.type == "custom_tool_call":
            assert call.input.startswith("*** Begin Patch\n*** ")
        if call.type == "function_call":
            assert (call.namespace, call.name) == ("mcp__github", "create_issue")


def test_custom_tools(client: OpenAI, lenient: OpenAI) -> None:
    choice = {"type": "custom", "custom": {"name": "calc"}}
    body = shape("chat-custom-tools") | {"tool_choice": choice, "frequency_penalty": 0.5, "temperature": 0}
    fields: Any = {"model": CHAT, "messages": body["messages"], "extra_body": body, "max_tokens": 60}
    (call,) = client.chat.completions.create(**fields).choices[0].message.tool_calls or []
    assert call.type == "custom"
    assert set(call.custom.input) <= set("0123456789 +")
    chunks: Any = list(lenient.chat.completions.create(**fields, stream=True))
    calls = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []]
    assert {call.type for call in calls} == {"custom"}
    assert set("".join(call.custom["input"] for call in calls)) <= set("0123456789 +")


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call_that_was_cut_off_is_one(client: OpenAI, stream: bool) -> None:
    city = {"enum": ["Llanfair " * 30]}
    function = FUNCTION | {"parameters": {"type": "object", "properties": {"city": city}, "required": ["city"]}}
    tool: Any = {"type": "function", "function": function}
    answer: Any = client.chat.completions.create(
        model=CHAT,
        messages=QUESTION,
        tools=[tool],
        tool_choice="required",
        max_tokens=48,
        temperature=0,
        stream=stream,
    )
    if stream:
        choices = [chunk.choices[0] for chunk in answer if chunk.choices]
        calls = [call for choice in choices for call in choice.delta.tool_calls or []]
        arguments, finish = "".join(call.function.arguments or "" for call in calls), choices[-1].finish_reason
    else:
        (call,) = answer.choices[0].message.tool_calls
        arguments, finish = call.function.arguments, answer.choices[0].finish_reason
    assert finish == "length"
    assert arguments.startswith("{")
    assert not arguments.endswith("}")


@pytest.mark.parametrize("tool", ["web_search", "image_generation"])
def test_a_tool_that_is_not_offered_is_named(client: OpenAI, tool: str) -> None:
    body = shape("codex-first-turn") | {"tool_choice": {"type": tool}}
    with pytest.raises(openai.BadRequestError, match=tool) as refused:
        client.responses.create(model=CHAT, input="x", extra_body=body)
    assert refused.value.param == "tool_choice"


@pytest.mark.parametrize("empty", ["", [], [""], [[]]])
def test_nothing_is_not_embedded(client: OpenAI, empty: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=EMBEDDING, input=empty)
    assert refused.value.param == "input"


def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [CHAT, EMBEDDING]
    assert client.models.retrieve(CHAT).created > 1_700_000_000


def test_errors_are_the_ones_that_the_library_knows(client: OpenAI) -> None:
    def create(**fields: Any) -> object:
        return client.chat.completions.create(**({"model": CHAT, "messages": QUESTION} | fields))

    with pytest.raises(openai.NotFoundError) as unknown:
        create(model="other")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.AuthenticationError):
        OpenAI(api_key="sk-no", max_retries=0).models.list()
    with pytest.raises(openai.BadRequestError) as hot:
        create(temperature=9)
    assert hot.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        create(messages=[{"role": "user", "content": "word " * 5000}])
    assert long.value.code == "context_length_exceeded"
    assert long.value.request_id
    with pytest.raises(openai.NotFoundError, match="not stored"):
        client.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError):
        client.files.list()
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(model=CHAT, file=("a.wav", b"RIFF"))


def test_raw_responses_carry_the_request_id(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=CHAT, messages=QUESTION, max_tokens=1)
    assert raw.headers["x-request-id"]


def test_async() -> None:
    async def ask() -> int:
        async with AsyncOpenAI(max_retries=0, _strict_response_validation=True) as client:
            stream = await client.chat.completions.create(model=CHAT, messages=QUESTION, max_tokens=5, stream=True)
            return len([chunk async for chunk in stream])

    assert asyncio.run(ask()) > 2
