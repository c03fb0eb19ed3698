"""A replica without a model: the private port's protocol, honest about the meter, with time and faults on order.

``python -m tests.stub_engine --port 9000 --secret … --chunks 64 --interval 0.01``. The body's ``user`` may order a
fault: ``refuse`` (queue full), ``fail`` (a 500 before any answer), ``reject`` (a 400), ``die`` (the connection
breaks after three chunks), ``slow`` (100 times the interval); or ``count`` (an answer that used nothing). Every
prompt is ten tokens, every chunk is one.
"""

import argparse
import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from serving.client import replicas as client

PROMPT_TOKENS = 10
COUNTS_AT_ONCE = 8
CHUNKS = {
    "/v1/responses": b'event: response.output_text.delta\ndata: {"delta":"word"}\n\n',
    "/v1/messages": b'event: content_block_delta\ndata: {"delta":{"text":"word"}}\n\n',
}
ENDS = {
    "/v1/responses": b'event: response.completed\ndata: {"response":{"text":"word word"}}\n\n',
    "/v1/messages": b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
}
DONE = b"data: [DONE]\n\n"
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"smollm2",'
    b'"choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}\n\n'
)


class BrokenPipe(Exception):
    """The ordered death of a connection."""


@dataclass
class Stub:
    """An ASGI application. ``meters`` is by request id, as the real one keeps it."""

    secret: str
    chunks: int = 8
    interval: float = 0.0
    meters: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: list[dict[str, str]] = field(default_factory=list)
    counting: int = 0

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        path = scope["path"]
        if headers.get(client.HEADER_SECRET) != self.secret:
            await _json(send, 403, {})
        elif path.startswith("/meter/"):
            meter = await self._ended(path.removeprefix("/meter/"))
            await _json(send, 404 if meter is None else 200, meter or {})
        elif path == "/health":
            await _json(send, 200, {})
        elif path == "/metrics":
            await _json(send, 200, {"vllm:num_requests_running": 0})
        else:
            body = await _read(receive)
            if path == "/count":
                await self._count(send)
            elif body:
                await self._generate(path, headers, json.loads(body), receive, send)

    async def _count(self, send: Any) -> None:
        if self.counting == COUNTS_AT_ONCE:
            await _json(send, 503, {}, {client.HEADER_REFUSED: "queue"})
            return
        self.counting += 1
        await asyncio.sleep(0.01)
        self.counting -= 1
        await _json(send, 200, {"prompt_tokens": PROMPT_TOKENS, "images": 0, "audio_seconds": 0})

    async def _ended(self, request_id: str) -> dict[str, Any] | None:
        for _ in range(100):
            meter = self.meters.get(request_id)
            if meter is None or meter["ended"]:
                return meter
            await asyncio.sleep(0.01)
        return meter

    async def _generate(
        self, path: str, headers: dict[str, str], body: dict[str, Any], receive: Any, send: Any
    ) -> None:
        request_id = headers.get(client.HEADER_REQUEST) or str(uuid.uuid4())
        self.seen.append(headers)
        order = body.get("user")
        if order == "count":
            nothing = {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "ended": "complete"}
            await _json(send, 200, {"count": PROMPT_TOKENS}, {client.HEADER_METER: json.dumps(nothing)})
            return
        if order == "refuse":
            await _json(send, 503, {}, {client.HEADER_REFUSED: "queue"})
            return
        meter = self.meters[request_id] = {
            "request_id": request_id, "prompt_tokens": PROMPT_TOKENS, "cached_tokens": 0, "completion_tokens": 0,
            "ended": None, "state": "running",
        }  # fmt: skip
        if order == "fail":
            meter |= {"completion_tokens": 5, "ended": "failed"}
            await _json(send, 500, {"error": {"message": "dead"}}, {client.HEADER_METER: json.dumps(meter)})
            return
        if order == "reject":
            meter |= {"prompt_tokens": 0, "ended": "refused"}
            await _json(
                send,
                400,
                {"error": {"message": "no", "param": "body.stop"}},
                {client.HEADER_METER: json.dumps(meter)},
            )
            return
        limit = int(headers.get(client.HEADER_COMPLETION_LIMIT, self.chunks))
        count = min(self.chunks, limit, body.get("max_tokens") or self.chunks)
        interval = self.interval * (100 if order == "slow" else 1)
        gone = asyncio.create_task(_until_gone(receive))
        ended = "cancelled"
        try:
            if body.get("stream"):
                await self._stream(path, meter, count, interval, order, gone, send)
            else:
                for _ in range(count):
                    await asyncio.sleep(interval)
                    if gone.done():
                        return
                    meter["completion_tokens"] += 1
                meter["ended"] = ended = "complete"
                usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": count}
                await _json(
                    send,
                    200,
                    {"object": "chat.completion", "usage": usage},
                    {client.HEADER_METER: json.dumps(meter)},
                )
            ended = meter["ended"] or "cancelled"
        finally:
            meter |= {"ended": ended, "state": "finished"}
            gone.cancel()

    async def _stream(
        self,
        path: str,
        meter: dict[str, Any],
        count: int,
        interval: float,
        order: str | None,
        gone: Any,
        send: Any,
    ) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number in range(count):
            await asyncio.sleep(interval)
            if gone.done():
                return
            if order == "die" and number == 3:
                raise BrokenPipe
            meter["completion_tokens"] += 1
            await send({"type": "http.response.body", "body": CHUNKS.get(path, CHUNK), "more_body": True})
        await send({"type": "http.response.body", "body": ENDS.get(path, DONE), "more_body": True})
        meter["ended"] = "complete"
        tail = b": meter " + json.dumps(meter).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": tail, "more_body": False})


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _read(receive: Any) -> bytes:
    """Empty if the client is gone."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _json(send: Any, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
    body = json.dumps(document).encode()
    fields = {"content-type": "application/json", "content-length": str(len(body))} | (headers or {})
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--chunks", type=int, default=64)
    parser.add_argument("--interval", type=float, default=0.01)
    options = parser.parse_args()
    stub = Stub(options.secret, options.chunks, options.interval)
    uvicorn.run(stub, host="127.0.0.1", port=options.port, log_level="critical", access_log=False)


if __name__ == "__main__":
    main()
