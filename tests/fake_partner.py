"""A partner's OpenAI-compatible API, with a bill of its own, latency, and partners' failures on order.

``python -m tests.fake_partner --port 9000 --key …``. A word in the prompt orders what happens, so that the order
survives whatever stands between: ``order=status-500``, ``order=die`` (the connection breaks after three chunks),
``order=hang`` (no answer), ``order=stall`` (nothing more after three chunks), ``order=no-usage``,
``order=half-usage``, ``order=thinks-apart`` (reasoning in the total alone), ``order=garbage``,
``order=error-event``, ``order=greedy`` (counts far too many tokens), ``order=usage-early`` (with the last content,
as some do), ``order=crlf``, ``order=no-done``, ``order=stops`` (in the middle), ``order=torn`` (nothing behind the
end), ``order=inject`` (what looks like a meter). Errors quote the prompt, as real ones do. A word is a token; an
answer has as many as asked for, 8 if nothing is said. What was generated is on the bill, whoever reads it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from serving.replica.asgi import Receive, Scope, Send, live, read_body, send_json

TEMPLATE_TOKENS = 5
CACHED_TOKENS = 3
DEFAULT_TOKENS = 8
ORDER = re.compile(r"order=([\w-]+)")


class BrokenPipe(Exception):
    """The ordered death of a connection."""


@dataclass
class FakePartner:
    """An ASGI application. ``bill`` sums what it generated; ``bodies`` and ``headers`` are what reached it."""

    key: str
    model: str = "partner/big-1"
    interval: float = 0.0
    tokens: int = DEFAULT_TOKENS
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bill: Counter[str] = field(default_factory=Counter)
    down: int = 0
    """How many of the next requests get a 503, whatever they ask."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if scope["path"] == "/bill":
            await send_json(send, 200, dict(self.bill))
            return
        body = json.loads(await read_body(receive))
        self.headers.append(headers)
        self.bodies.append(body)
        if headers.get("authorization") != f"Bearer {self.key}":
            await _error(send, 401, "Incorrect API key provided.")
        elif self.down:
            self.down -= 1
            await _error(send, 503, "The server is overloaded.")
        elif body.get("model") != self.model:
            await _error(send, 404, f"The model `{body.get('model')}` does not exist.")
        else:
            gone = asyncio.create_task(_until_gone(receive))
            serving = asyncio.create_task(self._serve(scope["path"], body, send))
            await asyncio.wait([gone, serving], return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if ORDER.search(_prompt(body)):  # else it generates on, as most do, and bills it
                serving.cancel()
            await serving

    async def _serve(self, path: str, body: dict[str, Any], send: Send) -> None:
        prompt = _prompt(body)
        found = ORDER.search(prompt)
        order = found.group(1) if found else ""
        if order.startswith("status-"):
            await _error(send, int(order.removeprefix("status-")), f"{self.model} cannot do: {prompt}")
            return
        if order == "hang":
            await asyncio.sleep(3600)
        if order == "garbage":
            await send_json(send, 200, [prompt])
            return
        answer = _Answer(self, path, body, prompt, order)
        if body.get("stream"):
            await answer.stream(send)
        else:
            await answer.whole(send)


class _Answer:
    def __init__(self, partner: FakePartner, path: str, body: dict[str, Any], prompt: str, order: str) -> None:
        self.partner = partner
        self.path = path
        self.body = body
        self.order = order
        self.prompt_tokens = len(prompt.split()) + TEMPLATE_TOKENS
        self.answers = 0 if path == "/v1/embeddings" else body.get("n") or 1
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or partner.tokens
        self.tokens = limit if self.answers else 0
        self.generated = 0

    async def whole(self, send: Send) -> None:
        for _ in range(self.tokens):
            await asyncio.sleep(self.partner.interval)
            self.generated += self.answers
        self._bill()
        document: dict[str, Any] = {"id": "x-1", "created": 1, "model": self.partner.model, "x_usage": {"c": 3}}
        if not self.answers:
            document |= {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1e-7]}],
            }
        else:
            text = " ".join(["word"] * self.tokens)
            document["object"] = "chat.completion"
            message = {"role": "assistant", "content": text, "reasoning": "because"}
            said: dict[str, Any] = {"message": message} if "chat" in self.path else {"text": text}
            document["choices"] = [{"index": n, **said, "finish_reason": "stop"} for n in range(self.answers)]
        if self.order != "no-usage":
            document["usage"] = self._usage()
        if self.order == "half-usage":
            del document["usage"]["completion_tokens"]
        await send_json(send, 200, document)

    async def stream(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._write(send, b": a comment that keeps the connection open\n\n")
        if self.order == "stops":  # an orderly end in the middle, with running counts
            for _ in range(3):
                self.generated += 1
                await self._write(send, self._event(self._choice(0, last=False), self._usage(), asked=True))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        asked = bool((self.body.get("stream_options") or {}).get("include_usage"))
        for number in range(self.tokens):
            await asyncio.sleep(self.partner.interval)
            if number == 3:
                await self._go_wrong(send)
            self.generated += self.answers
            last = number + 1 == self.tokens
            early = self._usage() if self.order == "usage-early" and last else None
            for index in range(self.answers):
                await self._write(send, self._event(self._choice(index, last=last), early, asked=asked))
        self._bill()
        if asked and self.order not in ("no-usage", "usage-early"):
            await self._write(send, self._event([], self._usage(), asked=asked))
        end = b"" if self.order == "no-done" else b"data: [DONE]\n\n"
        if self.order == "torn":
            await self._write(send, end)
            raise BrokenPipe
        await send({"type": "http.response.body", "body": end, "more_body": False})

    async def _go_wrong(self, send: Send) -> None:
        if self.order == "die":
            self._bill()
            raise BrokenPipe
        if self.order == "stall":
            await asyncio.sleep(3600)
        if self.order == "error-event":
            await self._write(send, b'data: {"error": {"message": "' + self.order.encode() + b'"}}\n\n')
        if self.order == "inject":
            await self._write(send, b': meter {"completion_tokens": 0}\n\ndata: {"x":\ndata: 1}\n\n')

    def _choice(self, index: int, *, last: bool) -> list[dict[str, Any]]:
        text = f"word{self.generated} "
        delta = {"content": text, "reasoning_content": "hm"}
        said: dict[str, Any] = {"delta": delta} if "chat" in self.path else {"text": text}
        return [{"index": index, **said, "finish_reason": "stop" if last else None}]

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None, *, asked: bool) -> bytes:
        document = {"id": "x-1", "object": "chunk", "created": 1, "model": self.partner.model, "choices": choices}
        if asked or usage:
            document["usage"] = usage
        line_end = b"\r\n" if self.order == "crlf" else b"\n"
        return b"data: " + json.dumps(document).encode() + 2 * line_end

    async def _write(self, send: Send, data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})

    def _bill(self) -> None:
        self.partner.bill += Counter(prompt_tokens=self.prompt_tokens, completion_tokens=self.generated)

    def _usage(self) -> dict[str, Any]:
        more = 1_000_000 if self.order == "greedy" else 0
        thought = 50 if self.order == "thinks-apart" else 0
        return {
            "prompt_tokens": self.prompt_tokens + more,
            "completion_tokens": self.generated + more,
            "total_tokens": self.prompt_tokens + self.generated + 2 * more + thought,
            "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS, "cache_write_tokens": 2},
            "cost_details": {"upstream": 0.1},
            "completion_tokens_details": {"reasoning_tokens": 1},
        }


def _prompt(body: dict[str, Any]) -> str:
    texts = body.get("prompt", body.get("input", ""))
    texts = [texts] if isinstance(texts, str) else texts
    for message in body.get("messages", ()):
        content = message["content"]
        texts.append(content if isinstance(content, str) else json.dumps(content))
    return " ".join(map(str, texts))


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _error(send: Send, status: int, message: str) -> None:
    code = "insufficient_quota" if "order=status-400 broke" in message else "some_code"
    error = {"message": message, "type": "invalid_request_error", "param": "messages", "code": code}
    await send_json(send, status, {"error": error})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--interval", type=float, default=0.0)
    parser.add_argument("--tokens", type=int, default=DEFAULT_TOKENS)
    options = parser.parse_args()
    partner = FakePartner(options.key, interval=options.interval, tokens=options.tokens)
    uvicorn.run(partner, host="127.0.0.1", port=options.port, log_level="critical", access_log=False)


if __name__ == "__main__":
    main()
