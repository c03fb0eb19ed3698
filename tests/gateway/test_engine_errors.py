"""vLLM's refusals as OpenAI's clients expect them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.gateway.engine_errors import engine_error


@pytest.mark.parametrize(
    ("said", "param", "code"),
    [
        ({"error": {"message": "m", "param": "body.temperature", "code": 400}}, "temperature", None),
        ({"error": {"message": "m", "param": "body.messages.0.role", "code": 400}}, "messages", None),
        ({"error": {"message": "m", "param": "input_tokens", "code": 400}}, "messages", "context_length_exceeded"),
        ({"error": {"message": "m", "param": "max_tokens", "code": 400}}, "max_tokens", None),
        ({"error": {"message": "m", "param": "body", "code": 400}}, None, None),
        ({"detail": "m"}, None, None),
    ],
)  # fmt: skip
def test_the_field_is_named_as_the_client_wrote_it(said: object, param: str | None, code: str | None) -> None:
    error = engine_error(400, json.dumps(said).encode(), "messages")
    assert error.document()["error"] == {
        "message": "m", "type": "invalid_request_error", "param": param, "code": code,
    }  # fmt: skip


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()))
def test_whatever_the_engine_says_the_answer_has_the_shape(body: bytes) -> None:
    error = engine_error(422, body, "input").document()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
