"""One field of a hostile value at a time: it is answered or refused, and so is what everybody else asks."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from plain_words import python_in

BASE = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
HEADERS = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "content-type": "application/json"}
USER = {"role": "user", "content": "Hi"}
PLAIN: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "smollm2", "messages": [USER], "max_tokens": 3},
    "/v1/completions": {"model": "smollm2", "prompt": "Hi", "max_tokens": 3},
    "/v1/responses": {"model": "smollm2", "input": "Hi", "max_output_tokens": 3},
    "/v1/messages": {"model": "smollm2", "messages": [USER], "max_tokens": 3},
    "/v1/embeddings": {"model": "minilm", "input": "Hi"},
    "/v1/rerank": {"model": "minilm", "query": "a", "documents": ["a", "b"]},
    "/v1/score": {"model": "minilm", "text_1": "a", "text_2": "b"},
    "/tokenize": {"model": "smollm2", "prompt": "Hi"},
    "/detokenize": {"model": "smollm2", "tokens": [1]},
}
TEXT = tuple(PLAIN)[:4]
ERROR = re.compile(r'^(event: error|event: response.failed|data: {"error")', re.MULTILINE)
INFINITE, NOT_A_NUMBER = "\u0001", "\u0002"  # JSON of Python's kind, written by `text`
VALUES: list[Any] = [-1, 0, 2**31, 2**63, 2**64, 10**30, 1e308, 1e-320, INFINITE, NOT_A_NUMBER, "5", {}]
NUMBERS = (
    "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty",
    "length_penalty", "seed", "min_tokens", "max_tokens", "max_completion_tokens", "max_output_tokens", "n",
    "best_of", "logprobs", "top_logprobs", "prompt_logprobs", "truncate_prompt_tokens", "priority", "cache_salt",
    "thinking_token_budget", "kv_transfer_params", "request_id", "stream_interval", "max_tool_calls", "dimensions",
    "top_n",
)  # fmt: skip
IDS: list[Any] = [
    [], [0], [-1], [49151], [49152], [2**31], [2**63], [-(2**63)], list(range(49152)), [0] * 100_000, [[0]], ["a"],
    [None], [1.5], [True], [0] + [None] * 100_000, [{}] * 100_000, [USER] * 100_000,
]  # fmt: skip
LISTS: dict[str, list[Any]] = {
    "stop_token_ids": IDS, "allowed_token_ids": IDS, "logprob_token_ids": IDS, "prompt": IDS, "tokens": IDS,
    "input": IDS, "bad_words": [["a"], [""], ["\0"], ["x" * 10_000], ["a"] * 5000, ["x" * 250_000] * 128],
    "stop": [[""], "", ["\0"], ["a"] * 1000, "x" * 100_000],
    "logit_bias": [
        {"0": 1}, {"-1": 1}, {"49152": 1}, {"9" * 20: 1}, {"a": 1}, {"0": 1e308}, {"0": INFINITE}, {"1.5": 1},
        {"0": NOT_A_NUMBER}, {str(number): 100 for number in range(5000)},
    ],
    "messages": [
        [], [{}], [{"role": "x", "content": "y"}], [{"role": "user"}], [{"role": "user", "content": {}}],
        [USER] * 400, [{"role": "tool", "content": "x", "tool_call_id": "y"}],
        [{"role": "user", "content": "<|im_start|>" * 300}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}],
        [{"role": "user", "content": [{"type": "image_embeds", "image_embeds": "AAAA"}]}],
    ],
    "x": [[[]] * 1_000_000, [{}] * 1_000_000, [""] * 1_000_000],
    "documents": [[], [""], ["a"] * 1000], "system": IDS, "tools": IDS, "prompt_embeds": ["AAAA", ["gAN9cQAu"]],
    "chat_template": ["{% for i in range(10**9) %}{% endfor %}"], "vllm_xargs": [{"a": 2**70}, {"a": [1] * 1000}],
}  # fmt: skip


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def properties(number: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"k{one}": {"type": "string"} for one in range(number)}}


SCHEMAS: list[Any] = [
    {"type": "foo"}, {"$ref": "#"}, {"$ref": "#/nowhere"}, True, False, [], "x", 1, nested(50), nested(300),
    {"type": "string", "pattern": "("}, {"type": "string", "pattern": "(a{1,1000}){1,1000}"},
    {"type": "array", "minItems": 10**9}, {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
    {"type": "string", "minLength": 10**9}, {"type": "object", "minProperties": 10**9}, properties(250),
    properties(3000), {"enum": [str(number) for number in range(20_000)]}, {"const": "x" * 100_000},
    {"allOf": [{"type": "string"}, {"type": "integer"}]}, {"type": "number", "multipleOf": 0}, {"not": {}},
    {"type": "integer", "minimum": -(10**30)}, {"patternProperties": {"(": {}}}, {"oneOf": [{"$ref": "#"}] * 2},
    {"properties": {f"k{most}": {"type": "string", "maxLength": most} for most in range(1000, 1250)}},
    {"type": "string", "pattern": "[a-z0-9 ]" * 10_000}, {"patternProperties": {"^.{0,200}$": {"maxLength": 200}}},
    {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
]  # fmt: skip
EXPRESSIONS = ("(", "(a+)+$", "(a{1,1000}){1,1000}", "\\p{L}+", "(?=a)b", "a{99999999}", "", "\0")
STRUCTURED: list[Any] = [
    *({"json": schema} for schema in SCHEMAS),
    *({"regex": one} for one in EXPRESSIONS),
    *({"choice": one} for one in ([], [""], ["a"] * 10_000, ["\0"], [1], None, "x")),
    *({"grammar": f"root ::= {one}"} for one in ("root", "root root", "(", '"a"*', "[^", '"a"{1000000000}', '""')),
    {"grammar": "root ::= " + "|".join(f'"{one}" [a-z]{{{one},{one}}}' for one in range(1, 120))},
    {"grammar": 'root ::= "once upon a time " x\nx ::= x'}, {"regex": "a{1," + " " * 1_000_000},
    {"json": '{"x":[' + "[]," * 1_000_000 + "[]]}"}, {"json": {"const": {"title": "x" * 1_000_000}}},
    {"grammar": "start: r0\n" + "\n".join(f'r{one}: %json {{"maxLength": {1000 + one}}}' for one in range(300))},
    {"grammar": "root ::= " + "(" * 500 + '"a"' + ")" * 500}, {"structural_tag": "{"}, {},
]  # fmt: skip


def hostile() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in PLAIN:
        some = VALUES if path == TEXT[0] else VALUES[::2] if path in TEXT else [2**64]
        yield from ((path, {field: value}) for field in NUMBERS for value in some)
        yield from ((path, {field: value}) for field, values in LISTS.items() for value in values)
    for path in TEXT[:2]:
        yield from ((path, {"structured_outputs": one}) for one in STRUCTURED)
    for schema in SCHEMAS:
        function = {"name": "f", "parameters": schema}
        yield TEXT[0], {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
        yield TEXT[0], {"response_format": {"type": "json_schema", "json_schema": {"name": "f", "schema": schema}}}
        yield TEXT[2], {"text": {"format": {"type": "json_schema", "name": "f", "schema": schema}}}
        yield TEXT[3], {"tools": [{"name": "f", "input_schema": schema}], "tool_choice": {"type": "any"}}


def text(body: dict[str, Any]) -> str:
    return json.dumps(body).replace(json.dumps(INFINITE), "1e999").replace(json.dumps(NOT_A_NUMBER), "NaN")


@pytest.mark.parametrize(
    ("path", "stream"), [*((path, False) for path in PLAIN), *((path, True) for path in TEXT)]
)
def test_hostile_values(path: str, stream: bool, record_testsuite_property: Callable[[str, object], None]) -> None:
    statuses: Counter[int] = Counter()
    unreadable: dict[str, str] = {}
    with httpx.Client(headers=HEADERS, timeout=120) as http:
        for number, (_, fields) in enumerate(one for one in hostile() if one[0] == path):
            if stream and number % 4:
                continue
            body = text(PLAIN[path] | {"stream": stream} | fields)
            answer = http.post(BASE + path, content=body)
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, (body[:500], answer.text[:500])
            broken = stream and answer.is_success and ERROR.search(answer.text)
            assert not broken, (body[:500], answer.text[-500:])
            if answer.is_client_error:
                message = answer.json()["error"]["message"]
                if (word := python_in(message)) is not None:
                    unreadable[word] = f"{body[:300]}: {message[:300]}"
        plain = http.post(BASE + path, json=PLAIN[path])
        assert plain.status_code == 200, plain.text
    record_testsuite_property(f"{path}{' streamed' * stream}", dict(sorted(statuses.items())))
    assert not unreadable, unreadable
