"""The way of a request to a partner, top to bottom: what stands in a replica where others have vLLM's app.

    read the body -> translate -> ask -> rewrite what comes, as it comes -> its usage to the meter -> the end

Only the end says what is charged, so that an answer is read to its end though its customer may have hung up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from serving.catalog.endpoints import ENDPOINTS, Body
from serving.catalog.models import Model
from serving.catalog.partners import Partner
from serving.metering.meter import Request
from serving.partner import answers, requests
from serving.partner.answers import Stream, Unusable, Usage
from serving.partner.client import CLIENTS_FAULT, PartnerAway, PartnerClient
from serving.partner.events import EventReader, EventTooLarge
from serving.partner.metrics import PartnerMetrics
from serving.partner.requests import Asked, Refused
from serving.replica.answer import current_request
from serving.replica.asgi import Receive, Scope, Send, live, read_body, send_json, send_whole

logger = logging.getLogger(__name__)

MOST_ANSWER_BYTES = 16 << 20
MOST_EMBEDDINGS_BYTES = 128 << 20
MOST_ERROR_BYTES = 64 << 10
LAST_BYTES_SECONDS = 0.1
"""For what comes behind the last event, so that the connection can be used again."""
EVENTS = b"text/event-stream; charset=utf-8"


class BrokenOff(Exception):
    """The answer has begun for the customer and cannot be finished; the connection to the gateway ends."""


@dataclass
class PartnerSequence:
    """``serving.metering.meter.Sequence`` of all answers to a request: nothing is known of them before the end."""

    id: str
    prompt: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    images: int = 0
    prefilled: bool = True
    given_up: bool = False

    def count(self, usage: Usage, images: int) -> None:
        self.prompt_tokens, self.cached_tokens = usage.prompt, usage.cached
        self.completion_tokens, self.images = usage.completion, images


class PartnerApp:
    """An ASGI application behind ``serving.replica.guard.Guard``."""

    def __init__(self, model: Model, partner: Partner, client: PartnerClient, metrics: PartnerMetrics) -> None:
        self._model = model
        self._partner = partner
        self._client = client
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        request = current_request.get()
        if request is None:
            raise RuntimeError("an answer without a meter")
        body, kind = await read_body(receive), ENDPOINTS[scope["path"]].body
        try:
            if scope["path"] not in self._partner.endpoints:
                raise Refused(f"The model does not support {scope['path']}.", "model")
            self._bound(request, body)
            asked = requests.translate(body, kind, self._partner, request.limits, self._model.context_length)
        except Refused as refusal:
            await send_json(send, 400, {"error": {"message": str(refusal), "param": refusal.param}})
            return
        if request.count_only:
            return
        watching = asyncio.create_task(_until_gone(receive))
        try:
            await self._ask(scope["path"], kind, asked, request, send)
        finally:
            watching.cancel()

    def _bound(self, request: Request, body: bytes) -> None:
        """What the prompt comes to at most: nobody here can count it."""
        media = requests.media_in(body)
        prompts = requests.prompts_in(body)
        most = self._model.context_length * prompts
        bound = most if media else min(most, len(body) + self._partner.template_tokens * prompts)
        request.asked_prompt_tokens, request.asked_sequences, request.is_bound = bound, prompts, True
        request.asked_images = media.count("image_url")

    async def _ask(self, path: str, kind: Body, asked: Asked, request: Request, send: Send) -> None:
        sequence = PartnerSequence(request.id)
        request.sequences.append(sequence)
        began = time.monotonic()
        answering = _Answering(self._model, self._partner, request, sequence, send)
        outcome = "failed"
        try:
            async with self._client.asking(path, asked.body, stream=asked.stream) as response:
                if response.status in CLIENTS_FAULT:
                    outcome = "refused"
                    await answering.refuse(response)
                elif asked.stream:
                    await answering.stream(response, Stream(self._model.id, wants_usage=asked.wants_usage))
                    outcome = "complete"
                else:
                    await answering.whole(response, generates=kind is not Body.EMBEDDINGS)
                    outcome = "complete"
        except PartnerAway:
            request.broken = True
            if answering.begun:
                raise BrokenOff from None
            refused = [(b"x-appliance-refused", b"partner")]
            await send_json(send, 503, {"error": {"message": "The partner is away."}}, refused)
        finally:
            self._metrics.observe(outcome, time.monotonic() - began, answering.over, paused=self._client.is_paused)
        if answering.finish is not None:
            await answering.finish()


class _Answering:
    """One answer, from the partner's connection to the gateway's. ``begun``: the gateway has some of it."""

    def __init__(
        self, model: Model, partner: Partner, request: Request, sequence: PartnerSequence, send: Send
    ) -> None:
        self._model = model
        self._partner = partner
        self._request = request
        self._sequence = sequence
        self._send = send
        self.finish: Callable[[], Awaitable[None]] | None = None
        """Sends what is left once the partner has done its part."""
        self.begun = False
        self.over = 0

    async def refuse(self, response: aiohttp.ClientResponse) -> None:
        body = bytearray()
        while len(body) < MOST_ERROR_BYTES and (piece := await response.content.read(MOST_ERROR_BYTES)):
            body += piece
        error = answers.error_of(bytes(body), self._partner, self._model.id)
        if error["code"] in answers.OPERATORS_FAULT:
            raise PartnerAway(f"it answers {response.status}, {error['code']}")
        status = response.status
        self.finish = lambda: send_json(self._send, status, {"error": error})

    async def whole(self, response: aiohttp.ClientResponse, *, generates: bool) -> None:
        body = bytearray()
        most = MOST_ANSWER_BYTES if generates else MOST_EMBEDDINGS_BYTES
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > most:
                raise PartnerAway("its answer is too large", is_down=False)
        try:
            fields = answers.fields_of(bytes(body))
            usage = self._usage(answers.value_of(fields, "usage"), generates=generates)
            document = answers.whole(fields, self._model.id, usage, generates=generates)
        except Unusable as error:
            raise PartnerAway(f"its answer cannot be used: {error}", is_down=False) from None
        self._count(usage)
        self.finish = lambda: send_whole(self._send, 200, document, b"application/json")

    async def stream(self, response: aiohttp.ClientResponse, stream: Stream) -> None:
        reader = EventReader()
        try:
            async for piece in response.content.iter_any():
                events = reader.feed(piece)
                is_over = answers.DONE in events
                data = b"".join(stream.event(event) for event in events[: _end_of(events)])
                if data:
                    await self._write(data)
                if is_over:
                    break
            else:
                stream.require_end()
            usage = self._usage(stream.said, generates=True)
            end = stream.end(usage)
        except (Unusable, EventTooLarge) as error:
            why = f"its answer cannot be used: {error or 'an event is too large'}"
            raise PartnerAway(why, is_down=False) from None
        self._count(usage)
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(LAST_BYTES_SECONDS):
                await response.content.readany()
        self.finish = lambda: self._write(end, more=False)

    def _usage(self, said: object, *, generates: bool) -> Usage:
        return answers.usage_of(said, self._partner, self._request.limits, generates=generates)

    def _count(self, usage: Usage) -> None:
        self._sequence.count(usage, min(self._request.asked_images, self._request.limits.images or 0))
        self.over = usage.over
        if usage.over:
            logger.error("%s: the partner counted %d tokens more than were held for", self._model.id, usage.over)

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        if not self.begun:
            self.begun = True
            headers = [(b"content-type", EVENTS)]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


def _end_of(events: list[bytes]) -> int:
    return events.index(answers.DONE) if answers.DONE in events else len(events)


async def _until_gone(receive: Receive) -> None:
    """So that the meter knows of a customer who did."""
    while (await receive())["type"] != "http.disconnect":
        pass
