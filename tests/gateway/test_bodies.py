"""What is read of a body, and what is said of a bad one."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import InvalidRequest
from appliance.gateway.bodies import parse
from serving.endpoints import ENDPOINTS

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def chat(**fields: Any) -> Any:
    return parse(ENDPOINTS["/v1/chat/completions"], json.dumps(CHAT | fields).encode())


def completions(**fields: Any) -> Any:
    return parse(ENDPOINTS["/v1/completions"], json.dumps({"model": "m", "prompt": "Hi"} | fields).encode())


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_the_bound_of_a_prompt_is_at_least_its_bytes(texts: list[str]) -> None:
    parsed = chat(messages=[{"role": "user", "content": text} for text in texts])
    assert parsed.prompt_bytes >= sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        {"messages": [{"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}]},
        {"chat_template_kwargs": {"a": 1}},
        {"messages": 3},
    ],
)
def test_where_the_template_may_write_more_than_was_sent_there_is_no_bound(fields: dict[str, Any]) -> None:
    assert chat(**fields).prompt_bytes is None


@pytest.mark.parametrize(
    ("prompt", "prompts"), [("a", 1), ([1, 2, 3], 1), ([[1], [2]], 2), (["a", "b", "c"], 3), ([], 1)]
)
def test_prompts_are_counted(prompt: Any, prompts: int) -> None:
    assert completions(prompt=prompt).prompts == prompts


def test_the_newer_of_the_two_limits_counts() -> None:
    assert chat(max_tokens=5).completion_limit == 5
    assert chat(max_tokens=5, max_completion_tokens=7).completion_limit == 7
    assert chat().completion_limit is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 3}, "model"),
        ({"n": "many"}, "n"),
        ({"n": 0}, "n"),
        ({"n": 10**6}, "n"),
        ({"max_tokens": "x"}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stream": "perhaps"}, "stream"),
        ({"use_beam_search": True}, "use_beam_search"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    assert caught.value.param == param


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    for endpoint in ENDPOINTS.values():
        with contextlib.suppress(InvalidRequest):
            assert parse(endpoint, body).model is not None


def test_deep_nesting_is_refused() -> None:
    for body in (b"[" * 100_000, b'{"model":"m","messages":' + b"[" * 100_000):
        with pytest.raises(InvalidRequest):
            parse(ENDPOINTS["/v1/chat/completions"], body)
