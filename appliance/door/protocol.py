"""uvicorn's protocol for a connection, held to the limits of the door.

Whatever is counted is counted as bytes come, before httptools keeps them: one header may be all of a stream.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from appliance.door.address import NAMED, Address, counted_as, forwarded_for, is_in, parsed
from appliance.door.answers import answers
from appliance.door.census import Census, Refusal
from appliance.door.headers import Headers
from appliance.door.limits import Limits

LINGER_SECONDS = 1.0
"""How long a connection is kept behind its last answer while its client still sends.

One that is closed with unread bytes is reset, and the answer with it.
"""
MOST_LINGERING = 256
LINGER_BYTES = 1 << 20
"""How much of what comes then is thrown away before it is reset all the same."""
PROXYS_LINGER_BYTES = 64 << 20
"""The same of a trusted proxy, which lets no body through that is larger. It takes a reset for a failure, and its
client tries again."""
MOST_PIPELINED = 16
CHUNK_FRAME_BYTES = 16
"""What a chunk's size, its line ends and a reasonable extension take."""


class Door:
    """Of one process: what its connections have in common."""

    def __init__(
        self, limits: Limits, headers: Headers, refused: Callable[[str], None], opened: Callable[[int], None]
    ) -> None:
        """Its refusals have ``headers``. ``refused`` is told each, ``opened`` how many connections are open."""
        self.limits = limits
        self.census = Census(limits)
        self.answers = answers(limits, headers)
        self.refused = refused
        self.opened = opened
        self.is_closing = False
        """Whether the process is to end, so that each request is its connection's last."""
        self.lingering = 0
        self.waiting: OrderedDict[Guarded, None] = OrderedDict()
        """Connections without a request, the longest first."""

    def make_room(self) -> Refusal | None:
        """For one connection more: who has waited longest without a request gives way to who comes."""
        if self.census.open >= self.limits.connections and self.waiting:
            oldest, _ = self.waiting.popitem(last=False)
            oldest.give_way()
        return self.census.enter()

    def protocol(self, *arguments: Any, **options: Any) -> asyncio.Protocol:
        """uvicorn's factory."""
        return Guarded(self, *arguments, **options)


class Parting:
    """What an answer is written to. Whoever closes it is asked to part as its connection does."""

    def __init__(self, transport: asyncio.Transport, part: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = part


class Guarded(HttpToolsProtocol):
    def __init__(self, door: Door, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._door = door
        self._limits = door.limits
        self._inside = False
        self._over = False
        self._trusts_peer = False
        self._counted: str | None = None
        self._head = True
        self._head_bytes = 0
        self._to_be_upgraded = False
        self._frame_bytes = 0
        self._thrown_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._parting = Parting(transport, self._part)
        refusal = self._enter()
        if refusal is not None:
            self._refuse(refusal)
        else:
            self._wait_for_head()

    def _enter(self) -> Refusal | None:
        refusal = self._door.make_room()
        if refusal is not None:
            return refusal
        self._inside = True
        self._door.waiting[self] = None
        self._door.opened(self._door.census.open)
        peer = parsed(self.client[0]) if self.client else None
        self._trusts_peer = is_in(peer, self._limits.trusted_proxies)
        return None if peer is None or self._trusts_peer else self._claim(peer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting_for_head()
        self._stop_waiting_for_reader()
        self._release()
        self._go()
        super().connection_lost(exc)

    def _go(self) -> None:
        self._door.waiting.pop(self, None)
        if self._inside:
            self._inside = False
            self._door.census.leave()
            self._door.opened(self._door.census.open)

    def give_way(self) -> None:
        self._refuse(Refusal.CROWDED)
        self._go()

    def data_received(self, data: bytes) -> None:
        if self._over:
            self._throw_away(len(data))
            return
        if self._head_timer is None and self._idle:
            self._wait_for_head()
        while self._head and self._head_bytes + len(data) > self._limits.head_bytes:
            room = self._limits.head_bytes - self._head_bytes
            if not room:
                self._refuse(Refusal.LARGE)
                return
            self._feed(data[:room])
            data = data[room:]
            if self._over or not data:
                return
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        if self._head:
            self._head_bytes += len(data)
        else:
            self._frame_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if not self._head and self._frame_bytes > self._limits.head_bytes and not self._over:
            self._refuse(Refusal.LARGE)

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(Refusal.MALFORMED)
        except httptools.HttpParserUpgrade as met:
            self._go_on_without_upgrade(data[met.args[0] :])

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Java's client offers HTTP/2 with each request. Behind such a head the parser stops: it gets another."""
        self._to_be_upgraded = False
        fields = b"".join(b"%s: %s\r\n" % field for field in self.headers if field[0] != b"upgrade")
        version = self.parser.get_http_version().encode()
        self._parse(b"%s %s HTTP/%s\r\n%s\r\n" % (self.parser.get_method(), self.url, version, fields))
        if rest and not self._over:
            self._feed(rest)

    @property
    def _idle(self) -> bool:
        """Between requests, or before the first."""
        return self.cycle is None or self.cycle.response_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Behind a body it is a trailer, which nobody here reads."""
        if not self._head:
            return
        super().on_header(name, value)
        if len(self.headers) > self._limits.head_fields:
            self._refuse(Refusal.LARGE)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._to_be_upgraded = True
            return
        self._head = False
        self._frame_bytes = 0
        self._stop_waiting_for_head()
        self._door.waiting.pop(self, None)
        if self._over:
            return
        if len(self.pipeline) >= MOST_PIPELINED:
            self._refuse(Refusal.PIPELINED)
            return
        if self._trusts_peer and not self._known_by_name():
            self._refuse(Refusal.ADDRESS)
            return
        super().on_headers_complete()
        self.cycle.transport = self._parting  # type: ignore[assignment]
        if self._door.is_closing:
            self.cycle.keep_alive = False

    def _known_by_name(self) -> bool:
        """Whether whom the proxy names may have one more request."""
        self._release()
        named = forwarded_for(self.headers, self._limits.trusted_proxies)
        if named is None:
            return True
        self.scope["client"] = (str(named), 0)
        self.scope[NAMED] = True  # type: ignore[literal-required]
        return self._claim(named) is None

    def on_body(self, body: bytes) -> None:
        if self._over:
            return
        self._frame_bytes -= len(body)
        super().on_body(body)

    def on_chunk_header(self) -> None:
        self._frame_bytes = max(0, self._frame_bytes - CHUNK_FRAME_BYTES)

    def on_message_complete(self) -> None:
        if self._over or self._to_be_upgraded:
            return
        self._head, self._head_bytes = True, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._trusts_peer:
            self._release()
        super().on_response_complete()
        if self._idle and self._inside and not self._over:
            self._door.waiting[self] = None
        if self._idle and self._door.is_closing:
            self._wait_for_the_last_request()
        self._see_it_closed()

    def shutdown(self) -> None:
        """The process is to end. Nothing is closed yet that its client may take for open.

        A request may be on its way, and an answer that has begun has promised to keep the connection: one more
        request is taken from each, and its answer says that it is the last.
        """
        self._door.is_closing = True
        if self._idle:
            self._wait_for_the_last_request()
        elif self.pipeline:
            self.pipeline[0][0].keep_alive = False
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False

    def _wait_for_the_last_request(self) -> None:
        self._unset_keepalive_if_required()
        if self._over or self._head_bytes or self.transport.is_closing():
            return  # it is being refused, has begun to ask, or goes
        self.timeout_keep_alive_task = self.loop.call_later(
            self._limits.last_request_seconds, self.timeout_keep_alive_handler
        )

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._see_it_closed()

    def _see_it_closed(self) -> None:
        """A connection is closed when its client has read what was written, which may be never."""
        if self.transport.is_closing():
            self._wait_for_reader()

    def pause_writing(self) -> None:
        self._wait_for_reader()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stop_waiting_for_reader()
        super().resume_writing()

    def _claim(self, address: Address) -> Refusal | None:
        if is_in(address, self._limits.shared_by_many):
            return None
        counted = counted_as(address)
        refusal = self._door.census.claim(counted)
        if refusal is None:
            self._counted = counted
        return refusal

    def _release(self) -> None:
        if self._counted is not None:
            self._door.census.release(self._counted)
            self._counted = None

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self._limits.head_seconds, self._too_slow)

    def _stop_waiting_for_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _wait_for_reader(self) -> None:
        self._stop_waiting_for_reader()
        self._stall_timer = self.loop.call_later(self._limits.stalled_seconds, self._stalled)

    def _stop_waiting_for_reader(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _too_slow(self) -> None:
        """Behind an answer, what drips may be the rest of a body that nobody reads: that is not worth a word."""
        self._refuse(Refusal.SLOW if self._head and self._head_bytes else Refusal.SILENT)

    def _stalled(self) -> None:
        self._over = True
        self._door.refused(Refusal.STALLED)
        self.transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        """Says why, if there is somebody to tell and no answer has begun; whatever comes now is not looked at."""
        if self._over:
            return
        self._over = True
        self._door.refused(refusal)
        self._stop_waiting_for_head()
        self._unset_keepalive_if_required()
        answer = self._door.answers.get(refusal)
        if answer is None or not self._idle:
            self.transport.abort()
            return
        self.transport.write(answer)
        self._linger()

    def _part(self) -> None:
        """Behind the last answer. It may have come before all of its request."""
        if self.cycle.more_body and not self._over:
            self._over = True
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        if self._door.lingering >= MOST_LINGERING or self.transport.is_closing():
            self.transport.close()
            return
        self._door.lingering += 1
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self._leave)

    def _throw_away(self, count: int) -> None:
        self._thrown_bytes += count
        if self._thrown_bytes > (PROXYS_LINGER_BYTES if self._trusts_peer else LINGER_BYTES):
            self.transport.abort()

    def _leave(self) -> None:
        self._door.lingering -= 1
        self.transport.abort()
