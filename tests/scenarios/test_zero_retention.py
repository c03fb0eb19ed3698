"""Zero retention: what a customer sends to the API or gets from it is written nowhere."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from serving.catalog.endpoints import ENDPOINTS
from tests.scenarios.nowhere import assert_nowhere, files_with
from tests.scenarios.system import System

pytestmark = [pytest.mark.engine, pytest.mark.scenario, pytest.mark.timeout(600)]

CANARY = "zqcanary7316"


def hostile_bodies() -> Iterator[tuple[str, bytes]]:
    """Every way in which a customer's text reaches the system, welcome or malformed."""
    good: dict[str, Any] = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": f"My secret is {CANARY}."}],
        "max_tokens": 8,
        "user": CANARY,
    }
    schema = {"type": "object", "properties": {CANARY: {"type": "string", "pattern": CANARY}}}
    tool = {"type": "function", "function": {"name": CANARY, "description": CANARY, "parameters": schema}}
    variants: list[dict[str, Any]] = [
        {},
        {"stream": True},
        {"stop": [CANARY]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": CANARY, "schema": schema}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": CANARY, "schema": {"type": CANARY}}}},
        {"tools": [tool]},
        {"tools": [tool], "tool_choice": {"type": "function", "function": {"name": CANARY}}},
        {"structured_outputs": {"regex": f"({CANARY}"}},
        {"structured_outputs": {"grammar": CANARY}},
        {"structured_outputs": {"choice": [CANARY]}},
        {"messages": [{"role": CANARY, "content": CANARY}]},
        {"messages": CANARY},
        {"messages": [{"role": "user", "content": [{"type": CANARY, CANARY: CANARY}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": CANARY}}]}]},
        {"messages": [{"role": "user", "content": f"{CANARY} " * 3000}]},
        {"temperature": CANARY},
        {"logit_bias": {CANARY: CANARY}},
        {"n": CANARY},
        {"model": CANARY},
        {"chat_template": "{{ " + CANARY + " }}"},
        {"chat_template_kwargs": {CANARY: CANARY}},
        {"vllm_xargs": {CANARY: CANARY}},
        {"cache_salt": CANARY},
        {"request_id": CANARY},
        {"kv_transfer_params": {CANARY: CANARY}},
        {"bad_words": [CANARY]},
        {CANARY: CANARY},
    ]
    for variant in variants:
        yield "/v1/chat/completions", json.dumps(good | variant).encode()
    for prompt in (CANARY, [CANARY, CANARY], [[CANARY]], {CANARY: 1}):
        document = {"model": "smollm2", "prompt": prompt, "max_tokens": 4, "suffix": CANARY}
        yield "/v1/completions", json.dumps(document).encode()
        del document["suffix"]
        yield "/v1/completions", json.dumps(document | {"stop": [CANARY]}).encode()
    for path, document in bodies_of_other_endpoints():
        yield path, json.dumps(document).encode()
        yield path, json.dumps(document | {"stream": True, CANARY: CANARY}).encode()
        yield path, json.dumps(document | {"model": CANARY}).encode()
        hostile = {name: {CANARY: [CANARY]} for name in document}
        yield path, json.dumps(hostile | {"model": "smollm2"}).encode()
    for path in (*ENDPOINTS, f"/v1/{CANARY}", f"/v1/models/{CANARY}", f"/v1/responses/{CANARY}"):
        yield path, b'{"model": "' + CANARY.encode()
        yield path, b"\xff" + CANARY.encode()
        yield path, CANARY.encode() * 10
        yield path, b"[" * 5000 + CANARY.encode()


def bodies_of_other_endpoints() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every endpoint but the two above, with the text wherever it may stand."""
    schema = {"type": "object", "properties": {CANARY: {"type": "string"}}, "required": [CANARY]}
    said = [{"role": "user", "content": f"My secret is {CANARY}."}]
    image = {"type": "image_url", "image_url": {"url": f"http://{CANARY}.invalid/{CANARY}"}}
    data = base64.b64encode(CANARY.encode()).decode()
    inline = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    generating = {"model": "smollm2", "max_tokens": 8, "max_output_tokens": 8}
    yield "/v1/chat/completions", generating | {"messages": [{"role": "user", "content": [image]}]}
    yield "/v1/chat/completions", generating | {"messages": [{"role": "user", "content": [inline]}]}
    tool = {"type": "function", "name": CANARY, "parameters": schema}
    yield "/v1/responses", generating | {"input": CANARY, "instructions": CANARY}
    yield "/v1/responses", generating | {"input": said, "tools": [tool], "tool_choice": "required"}
    yield "/v1/responses", generating | {"input": said, "metadata": {CANARY: CANARY}, "user": CANARY}
    yield "/v1/responses", generating | {"input": [{"type": CANARY, CANARY: CANARY}]}
    text = {"format": {"type": "json_schema", "name": CANARY, "schema": schema}}
    yield "/v1/responses", generating | {"input": CANARY, "text": text}
    yield "/v1/responses", generating | {"input": CANARY, "previous_response_id": CANARY}
    anthropic = {"name": CANARY, "description": CANARY, "input_schema": schema}
    yield "/v1/messages", generating | {"messages": said, "system": CANARY, "stop_sequences": [CANARY]}
    yield "/v1/messages", generating | {"messages": said, "tools": [anthropic], "tool_choice": {"type": "any"}}
    yield "/v1/messages", generating | {"messages": said, "metadata": {"user_id": CANARY}}
    yield "/v1/messages", generating | {"messages": [{"role": CANARY, "content": [{"type": CANARY}]}]}
    yield "/v1/messages/count_tokens", {"model": "smollm2", "messages": said, "tools": [anthropic]}
    for path in ("/tokenize", "/v1/tokenize"):
        yield path, {"model": "smollm2", "prompt": CANARY, "return_token_strs": True}
    for path in ("/detokenize", "/v1/detokenize"):
        yield path, {"model": "smollm2", "tokens": [CANARY]}
    yield "/v1/embeddings", {"model": "minilm", "input": [CANARY, f"{CANARY} " * 400], "user": CANARY}
    yield "/v1/embeddings", {"model": "minilm", "input": CANARY, "encoding_format": CANARY}
    yield "/v1/embeddings", {"model": "minilm", "input": CANARY}
    yield "/v2/embed", {"model": "minilm", "texts": [CANARY], "embedding_types": ["float"]}
    for path in ("/v1/score", "/score"):
        yield path, {"model": "minilm", "text_1": CANARY, "text_2": [CANARY, CANARY]}
    for path in ("/v1/rerank", "/v2/rerank", "/rerank"):
        yield path, {"model": "minilm", "query": CANARY, "documents": [CANARY, "x"]}
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        yield path, {"model": "smollm2", "file": CANARY, "prompt": CANARY}


async def hear(system: System) -> list[str]:
    """Some words of answers, long enough that nothing else says them."""
    demo = system.demo()
    headers = {"authorization": f"Bearer {demo['OPENAI_API_KEY']}"}
    body = {
        "model": "smollm2", "prompt": "Once upon a time", "max_tokens": 80, "ignore_eos": True, "n": 4,
        "temperature": 1.2,
    }  # fmt: skip
    async with (
        aiohttp.ClientSession() as http,
        http.post(system.url + "/v1/completions", json=body, headers=headers) as response,
    ):
        texts = [choice["text"] for choice in (await response.json())["choices"]]
    lines = [max(text.splitlines(), key=len) for text in texts]
    return [line[-40:] for line in lines if len(line) >= 40]


async def send_all(system: System) -> list[int]:
    demo = system.demo()
    headers = {
        "authorization": f"Bearer {demo['OPENAI_API_KEY']}",
        "x-request-id": CANARY,
        "x-canary": CANARY,
        "traceparent": CANARY,
        "user-agent": CANARY,
        "content-type": "application/json",
    }
    statuses = []
    async with aiohttp.ClientSession() as http:
        for path, body in hostile_bodies():
            async with http.post(system.url + path + f"?q={CANARY}", data=body, headers=headers) as response:
                await response.read()
                statuses.append(response.status)
        for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
            for model in ("smollm2", CANARY):
                form = aiohttp.FormData({"model": model, "prompt": CANARY})
                form.add_field("file", CANARY.encode() * 100_000, filename=CANARY)
                kept = {name: value for name, value in headers.items() if name != "content-type"}
                async with http.post(system.url + path, data=form, headers=kept) as response:
                    statuses.append(response.status)
        wrong = headers | {"authorization": f"Bearer sk-{CANARY}"}
        async with http.post(system.url + "/v1/completions", data=b"{}", headers=wrong) as response:
            statuses.append(response.status)
        for _ in range(3):
            body = json.dumps(
                {
                    "model": "smollm2", "prompt": CANARY, "max_tokens": 500, "stream": True, "ignore_eos": True,
                }
            ).encode()  # fmt: skip
            async with http.post(system.url + "/v1/completions", data=body, headers=headers) as response:
                await response.content.readany()
    return statuses


async def test_a_canary_is_found_in_no_file_no_table_no_metric_and_no_log(ready: System) -> None:
    planted = ready.home / "logs" / "planted"
    planted.write_text(CANARY)
    assert files_with(CANARY.encode(), ready.home) == [planted]
    planted.unlink()
    statuses = await send_all(ready)
    heard = await hear(ready)
    assert heard
    assert not [status for status in statuses if status >= 500], statuses
    assert statuses.count(200) >= 30
    await assert_nowhere(ready, CANARY, *heard)
