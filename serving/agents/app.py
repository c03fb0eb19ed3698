"""Between guard and vLLM's app: a request goes on in the engine's words, its answer comes back in the client's.

Bytes that nothing has to be changed in pass as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from serving.agents import chat, messages, responses
from serving.agents.bodies import UNREADABLE, Answer, Body, dumped
from serving.agents.tools import Refused, Toolbox, enforced
from serving.replica.asgi import App, Headers, Message, Receive, Scope, Send, read_body, send_json

Translate = Callable[[Body], tuple[Toolbox, Answer | None]]
TRANSLATIONS: Mapping[str, Translate] = {
    "/v1/chat/completions": chat.translate,
    "/v1/responses": responses.translate,
    "/v1/messages": messages.translate,
    "/v1/messages/count_tokens": messages.translate,
}
BLANK = b"\n\n"


class Agents:
    """An ASGI application around vLLM's."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        translate = TRANSLATIONS.get(scope["path"]) if scope["type"] == "http" else None
        if translate is None:
            await self._app(scope, receive, send)
            return
        raw = await read_body(receive)
        answer: Answer | None = None
        try:
            body = Body(raw)
            toolbox, answer = translate(body)
            raw = body.written(raw)
            enforced.set(toolbox.grammars)
        except Refused as refusal:
            await send_json(send, 400, {"error": {"message": str(refusal), "param": refusal.param}})
            return
        except UNREADABLE:
            pass
        back = send if answer is None else _Back(answer, send).send
        await self._app(_sized(scope, len(raw)), _again(raw, receive), back)


def _sized(scope: Scope, length: int) -> Scope:
    headers = [
        (name, value) for name, value in scope["headers"] if name not in (b"content-length", b"transfer-encoding")
    ]
    return {**scope, "headers": [*headers, (b"content-length", str(length).encode())]}


def _again(raw: bytes, receive: Receive) -> Receive:
    """The body once more, and then whatever the client does."""
    unread: list[Message] = [{"type": "http.request", "body": raw, "more_body": False}]

    async def receive_again() -> Message:
        return unread.pop() if unread else await receive()

    return receive_again


class _Back:
    """What vLLM's app sends, on its way to the client."""

    def __init__(self, answer: Answer, send: Send) -> None:
        self._answer = answer
        self._send = send
        self._start: Message | None = None
        """Of an answer that is whole: it goes out with its new length."""
        self._streams = False
        self._rest = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = dict(message.get("headers", ())).get(b"content-type", b"")
            self._streams = kind.startswith(b"text/event-stream")
            if message["status"] != 200 or self._streams:
                await self._send(message)
            else:
                self._start = message
            return
        if self._streams:
            await self._send({**message, "body": self._events(message.get("body", b""), message)})
        elif self._start is None:
            await self._send(message)
        else:
            self._rest += message.get("body", b"")
            if not message.get("more_body", False):
                await self._whole(self._start)

    async def _whole(self, start: Message) -> None:
        document = json.loads(self._rest)
        self._answer.whole(document)
        body = dumped(document)
        headers: Headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        await self._send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _events(self, data: bytes, message: Message) -> bytes:
        """vLLM's app sends whole events; what comes in parts waits for the rest."""
        *whole, self._rest = (self._rest + data).split(BLANK)
        if not message.get("more_body", False):
            whole, self._rest = [*whole, self._rest] if self._rest else whole, b""
        return b"".join(self._event(event) for event in whole)

    def _event(self, event: bytes) -> bytes:
        name, _, data = event.partition(b"data: ")
        if not data.startswith(b"{") or not self._answer.concerns(event):
            return event + BLANK
        event_name = name.removeprefix(b"event: ").strip().decode()
        return b"".join(_written(*one) for one in self._answer.event(event_name, json.loads(data)))


def _written(name: str, document: dict[str, object]) -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + dumped(document) + BLANK
