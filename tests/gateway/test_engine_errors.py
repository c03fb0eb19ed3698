"""vLLM's refusals as OpenAI's clients expect them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.gateway.engine_errors import engine_error
from appliance.gateway.plain_words import python_in


@pytest.mark.parametrize(
    ("said", "param", "code"),
    [
        ({"error": {"message": "m", "param": "body.temperature", "code": 400}}, "temperature", None),
        ({"error": {"message": "m", "param": "messages[0].role", "code": 400}}, "messages[0].role", None),
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


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("Value error, `n` must be at least 1.", "`n` must be at least 1."),
        ("22 validation errors:\n  {'type': 'missing', 'loc': 'body.tools'}", "`tools[0].name` cannot be used."),
        ("ValueError('x')", "`tools[0].name` cannot be used."),
        ("It is too large. (parameter=max_tokens, value=9)", "It is too large."),
        ("There is no model `__not_here__`.", "There is no model `__not_here__`."),
        ("There is no such tool.", "There is no such tool."),
    ],
)
def test_nobody_is_told_in_the_words_of_a_program(said: str, message: str) -> None:
    document = {"error": {"message": said, "param": "tools[0].name", "code": 400}}
    error = engine_error(400, json.dumps(document).encode(), "messages")
    assert error.message == message
    assert python_in(error.message) is None


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()))
def test_whatever_the_engine_says_the_answer_has_the_shape(body: bytes) -> None:
    error = engine_error(422, body, "input").document()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
