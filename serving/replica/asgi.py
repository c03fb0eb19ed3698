"""The few words of ASGI that a replica's port needs. Source: the ASGI specification, HTTP and lifespan."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


async def read_body(receive: Receive) -> bytes:
    """What there is of it, if the sender is gone."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def send_json(send: Send, status: int, document: object, headers: Headers | None = None) -> None:
    await send_whole(send, status, json.dumps(document).encode(), b"application/json", headers)


async def send_whole(
    send: Send, status: int, body: bytes, content_type: bytes, headers: Headers | None = None
) -> None:
    start: Headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": start + (headers or [])})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def live(receive: Receive, send: Send) -> None:
    """The lifespan of an application that has nothing to begin and nothing to end."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
