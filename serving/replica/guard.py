"""What stands before vLLM's own app in a replica: who may ask what, how much, and what it used.

The gateway's decisions come as headers; none of a request's headers reaches vLLM but those on its body.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from serving.catalog.endpoints import ENDPOINTS, Endpoint
from serving.metering.meter import Limits, Meter, MeterBook
from serving.replica.answer import Answer, Engine, count_prompts
from serving.replica.asgi import App, Receive, Scope, Send, read_body, send_json, send_whole
from serving.replica.line import Line

PASSED_HEADERS = frozenset({b"content-type", b"content-length", b"transfer-encoding"})
MOST_WAIT_SECONDS = 60.0
MOST_COUNTS_AT_ONCE = 32
NOTHING = "There is nothing here."


class Guard:
    """The ASGI app of a replica's private port."""

    def __init__(
        self,
        app: App,
        *,
        engine: Engine,
        book: MeterBook,
        secret: str,
        queue_limit: int,
        seats: int,
        seat_each: bool = False,
    ) -> None:
        """``seats`` are for sequences, or with ``seat_each`` for requests."""
        self._app = app
        self._engine = engine
        self._book = book
        self._secret = secret.encode()
        self._queue_limit = queue_limit
        self._line = Line(seats)
        self._seat_each = seat_each
        self._counting = 0
        self.draining = False
        self.describe: Callable[[], dict[str, Any]] = dict
        """What ``serving`` asks a replica for."""
        self.left: Callable[[str, str, int], Meter | None] = lambda *_: None
        """What a replica that was killed on this node left of a request: by its id, the request's, and bytes."""
        self.metrics: Callable[[], bytes] = bytes
        """The engine's, in Prometheus's text format."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        if not hmac.compare_digest(headers.get(b"x-cluster-secret", b""), self._secret):
            await _error(send, 403, "This port is for the gateway.")
            return
        method, path = scope["method"], scope["path"]
        if method == "POST" and path in ENDPOINTS:
            await self._serve(ENDPOINTS[path], scope, headers, receive, send)
        elif method == "POST" and path == "/count":
            await self._count(headers, receive, send)
        elif method == "GET":
            await self._tell(path, scope["query_string"], send)
        else:
            await _error(send, 404, NOTHING)

    async def _tell(self, path: str, query: bytes, send: Send) -> None:
        if path == "/health":
            healthy = self._engine.is_healthy()
            await send_json(send, 200 if healthy else 503, {"healthy": healthy})
        elif path == "/describe":
            await send_json(send, 200, self.describe())
        elif path == "/metrics":
            await send_whole(send, 200, self.metrics(), b"text/plain; version=0.0.4; charset=utf-8")
        elif path.startswith("/meter/"):
            await self._meter(path.removeprefix("/meter/"), query, send)
        elif path.startswith("/left/"):
            await self._left(path.removeprefix("/left/"), query, send)
        else:
            await _error(send, 404, NOTHING)

    async def _serve(
        self, endpoint: Endpoint, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        try:
            request_id, limits = _decisions(headers)
        except ValueError as error:
            await _error(send, 400, str(error))
            return
        if await self._refused(send, full=self._book.in_flight >= self._queue_limit):
            return
        request = self._book.begin(request_id, limits)
        if request is None:
            await _error(send, 409, "This request was served before.", refused="duplicate")
            return
        line = self._line if endpoint.metered else None
        seats = 1 if self._seat_each else limits.sequences or 1
        answer = Answer(self._app, self._engine, self._book, line, seats, request, receive, send)
        await answer.run(_inner(scope, endpoint))

    async def _count(self, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        endpoint = ENDPOINTS.get(headers.get(b"x-appliance-path", b"").decode("latin-1"))
        if endpoint is None:
            await _error(send, 400, "x-appliance-path: expected the path of a metered request.")
            return
        if await self._refused(send, full=self._counting >= MOST_COUNTS_AT_ONCE):
            return
        self._counting += 1
        try:
            content_type = headers.get(b"content-type", b"application/json")
            request, messages = await count_prompts(
                self._app, endpoint.engine_path, await read_body(receive), content_type
            )
        finally:
            self._counting -= 1
        if request.asked:
            await send_json(send, 200, request.count())
            return
        for message in messages:
            await send(message)

    async def _refused(self, send: Send, *, full: bool) -> bool:
        if self.draining:
            await _error(send, 503, "This replica is being stopped.", refused="draining")
        elif full:
            await _error(send, 503, "The queue is full.", refused="queue")
        return self.draining or full

    async def _meter(self, request_id: str, query: bytes, send: Send) -> None:
        try:
            wait_seconds = float(dict(parse_qsl(query.decode("latin-1"))).get("wait", "0"))
        except ValueError:
            wait_seconds = 0.0
        meter = await self._book.find(request_id, min(wait_seconds, MOST_WAIT_SECONDS))
        if meter is None:
            await _error(send, 404, "No such request.")
            return
        state = "running" if meter.ended is None else "finished"
        await send_json(send, 200, {"request_id": request_id, "state": state, **meter.document()})

    async def _left(self, request_id: str, query: bytes, send: Send) -> None:
        asked = dict(parse_qsl(query.decode("latin-1")))
        delivered = asked.get("delivered", "")
        if not delivered.isdecimal():
            await _error(send, 400, "delivered: expected a number of bytes.")
            return
        meter = await asyncio.to_thread(self.left, asked.get("replica", ""), request_id, int(delivered))
        if meter is None:
            await _error(send, 404, "No such replica was here.")
            return
        await send_json(send, 200, {"request_id": request_id, **meter.document()})


def _decisions(headers: dict[bytes, bytes]) -> tuple[str, Limits]:
    """The gateway's decisions. Raises ValueError with what is wrong."""

    def number(name: str) -> int | None:
        raw = headers.get(name.encode())
        try:
            return None if raw is None else int(raw)
        except ValueError:
            raise ValueError(f"{name}: expected a whole number") from None

    request_id = headers.get(b"x-appliance-request", b"").decode("latin-1")
    if not request_id or len(request_id) > 128:
        raise ValueError("x-appliance-request: expected the request's id")
    return request_id, Limits(
        prompt_tokens=number("x-appliance-prompt-limit"),
        completion_tokens=number("x-appliance-completion-limit"),
        sequences=number("x-appliance-sequences"),
        images=number("x-appliance-images"),
        audio_seconds=number("x-appliance-audio-seconds"),
        model=headers.get(b"x-appliance-model", b"").decode("latin-1"),
        salt=headers.get(b"x-appliance-salt", b"").decode("latin-1"),
        priority=number("x-appliance-priority") or 0,
    )


def _inner(scope: Scope, endpoint: Endpoint) -> Scope:
    """What vLLM sees: its own path, and no header that it would obey but those that describe the body."""
    headers = [(name, value) for name, value in scope["headers"] if name in PASSED_HEADERS]
    path = endpoint.engine_path
    return {**scope, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers}


async def _error(send: Send, status: int, message: str, refused: str | None = None) -> None:
    document = {"error": {"message": message, "type": "replica_error", "param": None, "code": status}}
    headers = [(b"x-appliance-refused", refused.encode())] if refused is not None else None
    await send_json(send, status, document, headers)
