"""OpenAI's client library for Python: every method whose endpoint there is."""

import asyncio
import json
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


def test_completions(client: OpenAI) -> None:
    answer = client.completions.create(model=CHAT, prompt=["a", "b"], n=2, max_tokens=2, echo=True, logprobs=1)
    assert len(answer.choices) == 4
    streamed = client.completions.create(model=CHAT, prompt="Once", max_tokens=5, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed)


@pytest.mark.parametrize("text", ["hi", ["hi", "you"], [1, 2], [[1, 2], [3]]])
def test_embeddings(client: OpenAI, text: Any) -> None:
    answer = client.embeddings.create(model=EMBEDDING, input=text)
    assert {len(one.embedding) for one in answer.data} == {384}
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


def test_embeddings_as_floats(client: OpenAI) -> None:
    (one,) = client.embeddings.create(model=EMBEDDING, input="hi", encoding_format="float").data
    (other,) = client.embeddings.create(model=EMBEDDING, input="hi").data
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
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    with client.responses.stream(model=CHAT, input="Hi", max_output_tokens=9) as stream:
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


def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [CHAT, EMBEDDING]
    assert client.models.retrieve(CHAT).id == CHAT


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
        async with AsyncOpenAI(max_retries=0) as client:
            stream = await client.chat.completions.create(model=CHAT, messages=QUESTION, max_tokens=5, stream=True)
            return len([chunk async for chunk in stream])

    assert asyncio.run(ask()) > 2
