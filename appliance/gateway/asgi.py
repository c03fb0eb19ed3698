"""One exchange with a client over ASGI: what was sent of the answer, and whether the client is still there."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from uuid import UUID

from appliance.door.asgi import Receive, Send
from appliance.errors import ApiError
from appliance.gateway import dialects
from appliance.gateway.caller import Caller
from serving.catalog.endpoints import Endpoint
from serving.metering.meter import Meter

Headers = Sequence[tuple[bytes, bytes]]


STALL_SECONDS = 60.0
CLIENT_CLOSED = "499"
ENGINE_BROKE = "502"


class ClientGone(Exception):
    """The client hung up, or has not read anything for ``STALL_SECONDS``."""


class Hangup:
    """Interrupts its block when the client hangs up, or does not read, and raises ClientGone. To be entered once.

    Costs one task and one timer for an exchange, and nothing for a chunk.
    """

    def __init__(self, receive: Receive, exchange: "Exchange") -> None:
        self._receive = receive
        self._exchange = exchange
        self._gone = False
        self._inside: asyncio.Task[Any] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._inside = asyncio.current_task()
        self._watch = asyncio.create_task(self._wait())
        self._look_later()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._inside = self._inside, None
        if self._watch is not None:
            self._watch.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._gone and task is not None and task.uncancel() == 0:
            raise ClientGone from None

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._hang_up()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(STALL_SECONDS / 2, self._look)

    def _look(self) -> None:
        if self._exchange.stalled_seconds(time.perf_counter()) > STALL_SECONDS:
            self._hang_up()
        else:
            self._look_later()

    def _hang_up(self) -> None:
        if self._inside is not None and not self._gone:
            self._gone = True
            self._inside.cancel()


@dataclass(slots=True)
class Exchange:
    """One request and what became of it. Times are ``time.perf_counter()``; ``model`` is "" if not offered.

    ``caller`` is who asks, unless that is nobody; admission says whether it is somebody who is known.

    ``passed_bytes`` are those of the answer's body that are on their way to the client.
    """

    id: UUID
    endpoint: Endpoint
    send: Send
    model: str = ""
    caller: Caller | None = None
    caller_is_known: bool = False
    status: int | None = None
    cut_off: str | None = None
    writing_since: float | None = None
    passed_bytes: int = 0
    meter: Meter | None = None
    begun_at: float = field(default_factory=time.perf_counter)
    limit_headers: Headers = ()
    first_chunk_at: float | None = None
    last_chunk_at: float | None = None
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
                "headers": [*headers, *self.limit_headers, *dialects.id_headers(self.endpoint.dialect, self.id)],
            }
        )

    @property
    def outcome(self) -> str:
        """The status, or what cut the answer off."""
        return self.cut_off or str(self.status or CLIENT_CLOSED)

    def stalled_seconds(self, now: float) -> float:
        return 0.0 if self.writing_since is None else now - self.writing_since

    async def write(self, data: bytes, *, more: bool = True) -> None:
        self.writing_since = time.perf_counter()
        await self.send({"type": "http.response.body", "body": data, "more_body": more})
        self.writing_since = None
        self.passed_bytes += len(data)

    async def finish(self, status: int | None, headers: Headers, body: bytes) -> None:
        """The end of an answer that has begun, or, with a status, the whole of one that has not."""
        if status is not None:
            await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.write(body, more=False)

    async def fail(self, error: ApiError) -> None:
        """A stream that has begun ends with the error as its last event, without the end that clients expect."""
        if self.status is None:
            headers = [(b"content-type", b"application/json"), *error.headers()]
            await self.finish(error.status, headers, dialects.error_body(self.endpoint.dialect, error))
        else:
            await self.write(b"\n\n" + dialects.error_event(self.endpoint, error), more=False)
