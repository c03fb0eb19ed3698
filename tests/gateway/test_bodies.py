"""What is read of a body, and what is said of a bad one."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import InvalidRequest
from appliance.gateway.bodies import parse
from appliance.gateway.bodies.modest import MOST_PARTS
from appliance.gateway.plain_words import python_in
from serving.catalog.endpoints import ENDPOINTS
from tests.clients.shapes import NAMES, shape

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
    ("fields", "param", "message"),
    [
        ({"model": 3}, "model", "`model` must be a text."),
        ({"model": None}, "model", "`model` must be a text."),
        ({"n": "many"}, "n", "`n` must be a whole number or null."),
        ({"n": 0}, "n", "`n` must be between 1 and 1024."),
        ({"n": 10**6}, "n", "`n` must be between 1 and 1024."),
        ({"n": 10**30}, "n", "`n` must be between 1 and 1024."),
        ({"max_tokens": "x"}, "max_tokens", "`max_tokens` must be a whole number or null."),
        ({"max_tokens": {}}, "max_tokens", "`max_tokens` must be a whole number or null."),
        ({"max_tokens": -1}, "max_tokens", "`max_tokens` must not be negative."),
        ({"stream": "perhaps"}, "stream", "`stream` must be true or false or null."),
        ({"messages": None}, "messages", "`messages` must be a list."),
        ({"messages": {}}, "messages", "`messages` must be a list."),
        ({"tools": 3}, "tools", "`tools` must be a list."),
        ({"use_beam_search": True}, "use_beam_search", "Beam search is not offered."),
    ],
)
def test_a_bad_field_is_named_and_told_what_it_must_be(fields: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    assert (caught.value.param, caught.value.message) == (param, message)
    assert python_in(caught.value.message) is None


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b"[]", None, "The body must be an object."),
        (b"{}", "model", "You must provide the field `model`."),
        (b"{", None, "The body is not valid JSON."),
    ],
)
def test_a_body_that_is_none_is_told_so(body: bytes, param: str | None, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(ENDPOINTS["/v1/chat/completions"], body)
    assert (caught.value.param, caught.value.message) == (param, message)


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    for endpoint in ENDPOINTS.values():
        with contextlib.suppress(InvalidRequest):
            assert parse(endpoint, body).model is not None


USER = {"role": "user", "content": "Hi"}
MANY = 100_000
LOGPROB = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": [{"token": "a", "bytes": [97]}]}
ECHO = {"type": "output_text", "text": "a", "logprobs": [LOGPROB] * 2500, "annotations": []}


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/v1/responses", {"input": [0] * MANY}, "input"),
        ("/v1/responses", {"input": [{"type": "message"}] * MANY}, "input"),
        ("/v1/chat/completions", {"messages": [USER] * MOST_PARTS}, None),
        ("/v1/chat/completions", {"messages": [USER] * MANY}, "messages"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "x"}] * MANY}]}, "messages"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a, b, " * MANY}]}, None),
        ("/v1/chat/completions", {"messages": [USER], "tools": [{}] * MANY}, "tools"),
        ("/v1/chat/completions", {"messages": [USER], "stop": [1] * MANY}, "stop"),
        ("/v1/chat/completions", {"messages": [USER], "allowed_token_ids": [1] * MANY}, "allowed_token_ids"),
        ("/v1/chat/completions", {"messages": [USER], "prompt": [1] * MANY}, "prompt"),
        ("/v1/chat/completions", {"messages": [USER], "x": [""] * MANY}, "x"),
        ("/v1/chat/completions", {"messages": [USER], "x": [[]] * MANY}, "x"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": '", \\" [{' * MANY}]}, None),
        (
            "/v1/chat/completions",
            {"messages": [USER], "logit_bias": {str(one): 1 for one in range(MANY)}},
            "logit_bias",
        ),
        ("/v1/messages", {"messages": [USER], "system": [{}] * MANY}, "system"),
        ("/v1/completions", {"prompt": [1] * MANY}, None),
        ("/v1/completions", {"prompt": [[1, 2] * MANY, [3]]}, None),
        ("/v1/completions", {"prompt": [0] + [None] * MANY}, "prompt"),
        ("/v1/completions", {"prompt": [[]] * MANY}, "prompt"),
        ("/v1/responses", {"input": [{"type": "message", "content": [ECHO]}]}, None),
        ("/v1/embeddings", {"input": [1] * MANY}, None),
        ("/v1/embeddings", {"input": [0] + [None] * MANY}, "input"),
        ("/tokenize", {"messages": [{}] * MANY}, "messages"),
    ],
)
def test_what_would_keep_others_waiting_to_be_judged_is_refused(
    path: str, fields: dict[str, Any], param: str | None
) -> None:
    body = json.dumps({"model": "m"} | fields).encode()
    if param is None:
        parse(ENDPOINTS[path], body)
        return
    with pytest.raises(InvalidRequest) as caught:
        parse(ENDPOINTS[path], body)
    assert caught.value.param == param


def test_no_body_keeps_the_gateway_waiting() -> None:
    """Many names for one value, or one name for many values, are counted before they are told apart."""
    for fields in (
        ",".join(f'"{one}":1' for one in range(MANY)),
        ",".join(f'"x":[{",".join("1" * 1000)}]' for _ in range(MANY // 1000)),
        ",".join(f'"prompt":[{",".join("1" * 1000)}]' for _ in range(MANY // 1000)),
    ):
        with pytest.raises(InvalidRequest, match="values"):
            parse(ENDPOINTS["/v1/completions"], f'{{"model":"m",{fields}}}'.encode())


def test_deep_nesting_is_refused() -> None:
    for body in (b"[" * 100_000, b'{"model":"m","messages":' + b"[" * 100_000):
        with pytest.raises(InvalidRequest):
            parse(ENDPOINTS["/v1/chat/completions"], body)


@pytest.mark.parametrize(
    ("path", "body", "prompts", "prompt_bytes"),
    [
        ("/v1/embeddings", {"input": "abc"}, 1, 5),
        ("/v1/embeddings", {"input": ["abc", "d"]}, 2, 11),
        ("/v1/embeddings", {"input": [[1, 2], [3]]}, 2, 11),
        ("/v1/embeddings", {"messages": [{"role": "user", "content": "x"}]}, 1, None),
        ("/v2/embed", {"texts": ["abc", "d"]}, 2, 4),
        ("/v1/rerank", {"query": "abc", "documents": ["d", "e"]}, 3, 8),
        ("/v1/score", {"text_1": "abc", "text_2": ["d", "e"]}, 3, 8),
        ("/v1/score", {"text_1": ["abc", "f"], "text_2": ["d", "e"]}, 4, 6),
        ("/v1/score", {"queries": "abc", "documents": [{"content": []}]}, 2, None),
        ("/v1/responses", {"input": "abc", "instructions": "d"}, 1, 8),
        ("/v1/responses", {"input": [{"role": "user", "content": "x"}]}, 1, None),
        ("/v1/messages", {"messages": [], "system": "abc", "max_tokens": 1}, 1, 7),
        ("/v1/messages", {"messages": [], "tools": [{}], "max_tokens": 1}, 1, None),
        ("/tokenize", {"prompt": "abc"}, 1, 0),
    ],
)
def test_what_bounds_a_prompt_on_every_endpoint(
    path: str, body: dict[str, Any], prompts: int, prompt_bytes: int | None
) -> None:
    parsed = parse(ENDPOINTS[path], json.dumps({"model": "m"} | body, separators=(",", ":")).encode())
    assert (parsed.prompts, parsed.prompt_bytes) == (prompts, prompt_bytes)


@pytest.mark.parametrize("empty", ["", [], [[]], [""], ["a", ""], [[1], []]])
def test_nothing_can_be_embedded_but_something(empty: Any) -> None:
    for indent in (None, 1):
        with pytest.raises(InvalidRequest, match="must not be empty") as caught:
            parse(ENDPOINTS["/v1/embeddings"], json.dumps({"model": "m", "input": empty}, indent=indent).encode())
        assert caught.value.param == "input"
    for some in ('""', "[]", ['a ""', "[]"], [1], [[1]]):
        parse(ENDPOINTS["/v1/embeddings"], json.dumps({"model": "m", "input": some}).encode())


@pytest.mark.parametrize("name", NAMES)
def test_what_the_replica_may_make_longer_is_held_for_as_a_whole_context(name: str) -> None:
    path, body = shape(name)
    assert parse(ENDPOINTS[path], json.dumps({"model": "m", "max_tokens": 1} | body).encode()).prompt_bytes is None


def test_images_are_counted_by_parts() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}
    content = [{"type": "text", "text": "an image"}, image, image]
    assert chat(messages=[{"role": "user", "content": content}]).images == 2
    assert chat(messages=[{"role": "user", "content": "an image_url"}]).images == 0


def test_a_form_is_read_up_to_its_file() -> None:
    boundary = b"--b"
    fields = {b"model": b"ear", b"stream": b"true"}
    body = b"".join(
        boundary + b'\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n"
        for name, value in fields.items()
    )
    file = boundary + b'\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 9999
    end = b"\r\n--b--\r\n"
    endpoint = ENDPOINTS["/v1/audio/transcriptions"]
    parsed = parse(endpoint, body + file + end, "multipart/form-data; boundary=b")
    assert (parsed.model, parsed.stream, parsed.recording) == ("ear", True, True)
    for bad, content_type in (
        (body + end, "multipart/form-data; boundary=b"),
        (file + end, "multipart/form-data; boundary=b"),
        (body + file + end, "multipart/form-data; boundary=other"),
        (body + file + end, "application/json"),
        (b"", "multipart/form-data"),
    ):
        with pytest.raises(InvalidRequest):
            parse(endpoint, bad, content_type)


def test_the_opening_of_a_conversation_stays_while_it_grows() -> None:
    system = {"role": "system", "content": "Be brief."}
    first, answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    turns = [[system, first], [system, first, answer, {"role": "user", "content": "And?"}]]
    openings = {_opening("/v1/chat/completions", messages=messages) for messages in turns}
    assert len(openings) == 1
    assert openings.isdisjoint({_opening("/v1/chat/completions", messages=[system, answer, first])})
    long = "x" * 1000
    assert _opening("/v1/completions", prompt=long) == _opening("/v1/completions", prompt=long + "more")
    assert len(_opening("/v1/completions", prompt=list(range(5000)))) < 1000
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:" + "A" * 100_000}}]}]
    assert len(_opening("/v1/chat/completions", messages=picture)) < 10_000
    assert _opening("/v1/chat/completions", messages=turns[0], prompt_cache_key="mine") == b"mine"


def _opening(path: str, **body: Any) -> bytes:
    return parse(ENDPOINTS[path], json.dumps({"model": "m", **body}).encode()).opening
