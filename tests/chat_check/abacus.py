"""A partner's model that uses a tool when it has one, which the sample model is too small for.

``python -m tests.chat_check.abacus --port 9000``. It has the calculator work out a sum, and says what came out.
Asked to count, it counts for half a minute: time for something to happen meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from aiohttp import web

MODEL = "abacus"
KEY = "sk-of-the-abacus"
SUM = "6*7"
COUNT, COUNTED, COUNT_SECONDS = "Count slowly.", 120, 0.25
PROMPT_TOKENS, COMPLETION_TOKENS = 20, 10


async def complete(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    last = body["messages"][-1]
    if body.get("tools") and last["role"] == "user":
        function = {"name": "calculator", "arguments": json.dumps({"input": SUM})}
        said: dict[str, Any] = {
            "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]
        }
        reason = "tool_calls"
    else:
        said, reason = {"content": f"It is {last['content']}." if last["role"] == "tool" else "A sum"}, "stop"
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS}
    usage["total_tokens"] = PROMPT_TOKENS + COMPLETION_TOKENS
    common = {"id": "x-1", "created": 1, "model": MODEL}
    message = {"role": "assistant", **said}
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return web.json_response({**common, "object": "chat.completion", "choices": [choice], "usage": usage})
    answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await answer.prepare(request)
    chunk = {**common, "object": "chat.completion.chunk"}
    for delta, finish in ((message, None), *_counted(last), ({}, reason)):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        await _write(answer, {**chunk, "choices": [choice]})
        await asyncio.sleep(COUNT_SECONDS if "content" in delta else 0)
    await _write(answer, {**chunk, "choices": [], "usage": usage})
    await answer.write(b"data: [DONE]\n\n")
    return answer


def _counted(last: dict[str, Any]) -> list[tuple[dict[str, Any], None]]:
    if COUNT not in str(last["content"]):
        return []
    return [({"content": f" {number}"}, None) for number in range(1, COUNTED + 1)]


async def _write(answer: web.StreamResponse, event: dict[str, Any]) -> None:
    await answer.write(b"data: " + json.dumps(event).encode() + b"\n\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    web.run_app(app, host="127.0.0.1", port=parser.parse_args().port, print=None)
