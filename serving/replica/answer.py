"""One request on its way through vLLM's app, and the count behind its last byte.

Pure ASGI, so that an answer's bytes pass untouched. The engine's side (serving.engine) finds the request, with
the gateway's decisions on it, in a context variable.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from http import HTTPStatus
from typing import Protocol

from serving.metering.meter import Ended, Limits, Meter, MeterBook, Rejection, Request
from serving.replica.asgi import App, Headers, Message, Receive, Scope, Send, send_json
from serving.replica.line import Line, Ticket

UNGRAMMATICAL = Rejection("The grammar or schema cannot be compiled in time, or allows no answer.")
ERROR_EVENTS = (b'data: {"error"', b"event: error")

current_request: ContextVar[Request | None] = ContextVar("current_request", default=None)


class Engine(Protocol):
    """What the guard needs of the engine."""

    def is_healthy(self) -> bool: ...

    def unfinished(self, request: Request) -> list[str]:
        """The ids of its sequences that the engine still works on."""
        ...

    async def abort(self, sequence_ids: list[str]) -> None: ...


class Answer:
    """One request on its way through vLLM's app, from its first byte to its final count."""

    def __init__(
        self,
        app: App,
        engine: Engine,
        book: MeterBook,
        line: Line | None,
        seats: int,
        request: Request,
        receive: Receive,
        send: Send,
    ) -> None:
        """``line`` is None for what the engine has no part in; ``seats`` is how many it takes there."""
        self._app = app
        self._engine = engine
        self._book = book
        self._line = line
        self._seats = seats
        self._request = request
        self._receive_outer = receive
        self._send_outer = send
        self._unread: deque[Message] = deque()
        self._hung_up = False
        self._status = 0
        self._meter: Meter | None = None
        self._streams = False
        self._held: list[Message] | None = None
        """What came of a stream while the request may still be rejected."""
        self._replaced = False

    async def run(self, scope: Scope) -> None:
        """Ends the meter whatever happens; tokens that nobody will read are not generated further."""
        mark = current_request.set(self._request)
        try:
            if self._line is None:
                await self._app(scope, self._receive, self._send)
            else:
                await self._in_turn(self._line, scope)
        except Exception:
            if self._held is None:
                self._status = self._status or 500
                raise
            rejection = self._request.rejection or self._ungrammatical(failed=True)
            await (self._fail() if rejection is None else self._reject(rejection))
        except BaseException:
            self._status = self._status or 500
            raise
        finally:
            current_request.reset(mark)
            if self._meter is None:
                await asyncio.shield(self._end(interrupted=True))

    async def _in_turn(self, line: Line, scope: Scope) -> None:
        limits = self._request.limits
        ticket = line.join(limits.salt, limits.priority, self._seats)
        try:
            if not ticket.turn.done():
                await self._wait(ticket)
        except BaseException:
            line.leave(ticket)
            raise
        if self._hung_up:
            line.leave(ticket)
            return
        with line.seated(ticket):
            await self._app(scope, self._receive, self._send)

    async def _wait(self, ticket: Ticket) -> None:
        """For its turn, or until the client hangs up; what it sends meanwhile is kept for the app."""
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({ticket.turn, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
        if not self._hung_up:
            await ticket.turn

    async def _watch(self) -> None:
        while not self._hung_up:
            message = await self._receive_outer()
            self._unread.append(message)
            self._hung_up = message["type"] == "http.disconnect"

    async def _receive(self) -> Message:
        message = self._unread.popleft() if self._unread else await self._receive_outer()
        if message["type"] == "http.disconnect":
            self._hung_up = True
        return message

    async def _send(self, message: Message) -> None:
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            await self._begin_response(message)
            return
        if not self._streams:
            await self._send_outer(message)
            return
        self._request.sent_bytes += len(message.get("body", b""))
        if not message.get("more_body", False):
            await self._end_stream(message)
        elif self._held is None:
            await self._send_outer(message)
        else:
            self._held.append(message)
            if self._has_begun():
                await self._release()

    def _has_begun(self) -> bool:
        """Whether the engine took the request, and can do what was asked."""
        request = self._request
        if request.rejection is not None or not request.sequences:
            return False
        if not request.has_grammar:
            return True
        unfinished = set(self._engine.unfinished(request))
        return any(one.completion_tokens for one in request.sequences if one.id in unfinished)

    async def _end_stream(self, message: Message) -> None:
        if self._held is not None:
            failed = any(held.get("body", b"").startswith(ERROR_EVENTS) for held in self._held)
            rejection = self._request.rejection or self._ungrammatical(failed=failed)
            if rejection is not None:
                await self._reject(rejection)
                return
            if failed:
                await self._fail()
                return
        await self._release()
        await self._send_outer({**message, "more_body": True})
        meter = await self._end()
        tail = b": meter " + json.dumps(meter.document()).encode() + b"\n\n"
        await self._send_outer({"type": "http.response.body", "body": tail, "more_body": False})

    async def _release(self) -> None:
        held, self._held = self._held, None
        for message in held or ():
            await self._send_outer(message)

    def _ungrammatical(self, *, failed: bool) -> Rejection | None:
        """vLLM finds out when no token is left that may follow, and calls it its own failure."""
        request = self._request
        given_up = request.has_grammar and any(sequence.given_up for sequence in request.sequences)
        return UNGRAMMATICAL if failed and given_up and self._engine.is_healthy() else None

    async def _reject(self, rejection: Rejection) -> None:
        error = {"message": rejection.message, "param": rejection.param}
        await self._replace(HTTPStatus.BAD_REQUEST, error)

    async def _fail(self) -> None:
        await self._replace(HTTPStatus.INTERNAL_SERVER_ERROR, {"message": "The engine failed."})

    def _refused(self) -> Headers:
        reason: str | None = self._request.refused
        if self._status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            reason = "failed" if self._engine.is_healthy() else None
        return [(b"x-appliance-refused", reason.encode())] if reason is not None else []

    async def _replace(self, status: int, error: Mapping[str, str | None]) -> None:
        """Instead of an answer that has nothing to tell but that."""
        self._held, self._status, self._replaced = None, status, True
        meter = (b"x-appliance-meter", json.dumps((await self._end()).document()).encode())
        await send_json(self._send_outer, status, {"error": error}, [*self._refused(), meter])

    async def _begin_response(self, message: Message) -> None:
        if message["status"] == HTTPStatus.NOT_IMPLEMENTED:  # a wish that cannot be met is no fault of ours
            message = {**message, "status": HTTPStatus.BAD_REQUEST}
        self._status = message["status"]
        headers: Headers = list(message.get("headers", []))
        self._streams = any(
            name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers
        )
        if self._streams:
            self._held = [{**message, "headers": headers}]
            return
        failed = self._status == HTTPStatus.INTERNAL_SERVER_ERROR
        if (rejection := self._ungrammatical(failed=failed)) is not None:
            await self._reject(rejection)
            return
        meter = await self._end()
        headers.append((b"x-appliance-meter", json.dumps(meter.document()).encode()))
        if all(name != b"x-appliance-refused" for name, _ in headers):
            headers += self._refused()
        await self._send_outer({**message, "headers": headers})

    async def _end(self, *, interrupted: bool = False) -> Meter:
        unfinished = self._engine.unfinished(self._request)
        if unfinished:
            with suppress(Exception):  # an engine that is dead generates nothing more
                await self._engine.abort(unfinished)
        self._meter = self._book.end(self._request, self._ended(interrupted or bool(unfinished)))
        return self._meter

    def _ended(self, cut_off: bool) -> Ended:
        if self._hung_up:
            return "cancelled"
        if self._request.broken or not self._engine.is_healthy() or self._status >= 500:
            return "failed"
        if self._status >= 400:
            return "refused"
        return "cancelled" if cut_off else "complete"


async def count_prompts(
    app: App, path: str, body: bytes, content_type: bytes = b"application/json"
) -> tuple[Request, list[Message]]:
    """Takes a request as far as its prompts' tokens, and no further.

    The request has ``asked`` nothing if vLLM refused it; the messages are then its answer.
    """
    request = Request("", Limits(), count_only=True)
    messages: list[Message] = []
    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if unread:
            return unread.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        messages.append(message)

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", content_type), (b"content-length", str(len(body)).encode())],
    }
    mark = current_request.set(request)
    try:
        await app(scope, receive, send)
    finally:
        current_request.reset(mark)
    return request, messages
