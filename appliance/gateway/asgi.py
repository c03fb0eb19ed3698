"""One exchange with a client over ASGI: what was sent of the answer, and whether the client is still there."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from uuid import UUID

from appliance.errors import ApiError
from serving.meter import Meter

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]


class ClientGone(Exception):
    """The client hung up."""


class Hangup:
    """Interrupts its block when the client hangs up, and raises ClientGone from it. To be entered once.

    Costs one task for an exchange and nothing for a chunk.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._inside: asyncio.Task[Any] | None = None
        self._watch: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._inside = asyncio.current_task()
        self._watch = asyncio.create_task(self._wait())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._inside = self._inside, None
        if self._watch is not None:
            self._watch.cancel()
        if self._gone and task is not None and task.uncancel() == 0:
            raise ClientGone from None

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._inside is not None:
            self._gone = True
            self._inside.cancel()


@dataclass(slots=True)
class Exchange:
    """One request and what became of it. Times are ``time.perf_counter()``; ``model`` is "" if not offered."""

    id: UUID
    endpoint: str
    send: Send
    model: str = ""
    status: int | None = None
    cut_off: bool = False
    meter: Meter | None = None
    begun_at: float = field(default_factory=time.perf_counter)
    admitted_at: float | None = None
    first_chunk_at: float | None = None
    last_chunk_at: float | None = None
    relayed_at: float | None = None
    settled_at: float | None = None

    def saw_chunk(self, now: float) -> None:
        if self.first_chunk_at is None:
            self.first_chunk_at = now
        self.last_chunk_at = now

    async def start(self, status: int, headers: Headers) -> None:
        self.status = status
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, (b"x-request-id", str(self.id).encode())],
            }
        )

    async def write(self, data: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def finish(self, status: int | None, headers: Headers, body: bytes) -> None:
        """The end of an answer that has begun, or, with a status, the whole of one that has not."""
        if status is not None:
            await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.write(body, more=False)

    async def fail(self, error: ApiError) -> None:
        """A stream that has begun ends with the error as its last event, as vLLM does it, and without [DONE]."""
        if self.status is None:
            headers = [(b"content-type", b"application/json"), *error.headers()]
            await self.finish(error.status, headers, error.body())
        else:
            await self.write(b"data: " + error.body() + b"\n\n", more=False)
