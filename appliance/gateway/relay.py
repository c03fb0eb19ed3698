"""The way of a request, top to bottom.

    read the body once -> admission -> a replica -> its bytes to the client, as they come -> settlement -> the end

The client sees the end of its answer only when its charge is durable. An answer that was cut off is charged by
what the replica's meter says.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from msgspec.structs import replace

from appliance.door.asgi import Receive, Scope, Send
from appliance.errors import ApiError, InternalError, InvalidRequest, Unavailable
from appliance.gateway.asgi import (
    CLIENT_CLOSED,
    ENGINE_BROKE,
    ClientGone,
    Exchange,
    Hangup,
    Headers,
)
from appliance.gateway.bodies.aside import Aside
from appliance.gateway.bodies.parsed import Parsed
from appliance.gateway.books import Books
from appliance.gateway.caller import Caller, Callers
from appliance.gateway.cold import Cold
from appliance.gateway.engine_errors import engine_error
from appliance.gateway.metrics import GatewayMetrics
from appliance.gateway.priority import priority_of
from appliance.gateway.reading import read_body
from appliance.gateway.refusals import Refusals, limit_headers
from appliance.gateway.sightings import Sightings
from appliance.gateway.sse import StreamTail
from billing.charging.admission import Admitted, Refusal, Request
from billing.charging.batch import QueueFull
from billing.charging.settlement import Ended
from billing.errors import BillingError, DatabaseUnavailable
from billing.ids import request_id as new_request_id
from serving.catalog.declared import Declared
from serving.catalog.endpoints import ENDPOINTS, Body
from serving.catalog.traits import Traits
from serving.client import replicas as engine
from serving.client.published import ModelView, Replica
from serving.client.replicas import EngineClient, NoReplica, ReplicaUnreachable
from serving.client.wanted import Wanted
from serving.metering.meter import Meter

log = logging.getLogger(__name__)

EVENT_STREAM: Headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
JSON = "application/json"
COUNTS_AT_ONCE = 4
NO_FAULT = (402, 404)
"""Refusals that need be no fault of whoever asked: credit is used up, a model was taken away."""


class AnswerCutOff(Exception):
    """The replica's connection broke in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The client's request: its body as it came, and what was read of it."""

    body: bytes
    content_type: str
    parsed: Parsed


@dataclass(frozen=True, slots=True)
class End:
    """What is left to send when the charge is durable. ``status`` is None if the answer has begun."""

    meter: Meter
    body: bytes
    status: int | None = None
    headers: Headers = ()


class Relay:
    """An ASGI application for the endpoints of ``serving.catalog.endpoints``, on the models that are declared."""

    def __init__(
        self,
        callers: Callers,
        refusals: Refusals,
        books: Books,
        engine_client: EngineClient,
        declared: Declared,
        wanted: Wanted,
        aside: Aside,
        body_limit_bytes: int,
        metrics: GatewayMetrics,
        sightings: Sightings,
    ) -> None:
        self._callers = callers
        self._refusals = refusals
        self._books = books
        self._aside = aside
        self._engine = engine_client
        self._declared = declared
        self._cold = Cold(engine_client.directory, wanted)
        self._body_limit_bytes = body_limit_bytes
        self._metrics = metrics
        self._sightings = sightings
        self._counting = asyncio.Semaphore(COUNTS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(new_request_id(time.time()), ENDPOINTS[scope["path"]], send)
        try:
            await self._serve(exchange, scope, receive)
        except ClientGone:
            pass
        except ApiError as error:
            await exchange.fail(error)
        except Exception:
            log.exception("request %s failed", exchange.id)
            await exchange.fail(InternalError("Something went wrong on our side."))
        finally:
            self._metrics.observe(exchange)
            self._note(exchange, scope)

    def _note(self, exchange: Exchange, scope: Scope) -> None:
        """Where a key is used from that may be one. The chat's own address says nothing of whoever uses it."""
        status, caller = exchange.status or 0, exchange.caller
        if caller is not None:
            address = scope["client"][0] if scope["client"] and not caller.in_chat else ""
            refused = 400 <= status < 500 and status not in NO_FAULT
            self._sightings.saw(caller.digest, address, known=exchange.caller_is_known, refused=refused)

    async def _serve(self, exchange: Exchange, scope: Scope, receive: Receive) -> None:
        caller = self._callers.require(scope, anthropic=exchange.endpoint.dialect == "anthropic")
        exchange.caller = caller
        body = await read_body(
            scope, receive, self._body_limit_bytes, lambda: self._require_known(exchange, caller)
        )
        content_type = _content_type(scope) if exchange.endpoint.body is Body.AUDIO else JSON
        asked = Asked(body, content_type, await self._aside.parse(exchange.endpoint, body, content_type))
        exchange.model = asked.parsed.model if asked.parsed.model in self._declared.models() else ""
        admitted = await self._admit(exchange, caller, asked)
        await self._answer(exchange, receive, admitted, asked)

    async def _require_known(self, exchange: Exchange, caller: Caller) -> None:
        try:
            known = await self._books.knows(caller.digest)
        except DatabaseUnavailable:
            raise Unavailable("Accounts cannot be read at the moment.") from None
        if not known:
            exchange.caller = None
            raise await self._refusals.unknown(caller)

    async def _admit(self, exchange: Exchange, caller: Caller, asked: Asked) -> Admitted:
        """A model that is not offered has no rate: admission refuses it, once it has looked at the key."""
        parsed, view = asked.parsed, await self._view(exchange, caller)
        if not view.can(exchange.endpoint.path):
            await self._require_known(exchange, caller)
            raise InvalidRequest(
                f"The model `{exchange.model}` does not support {exchange.endpoint.path}.", param="model"
            )
        request = Request(
            id=exchange.id,
            key_digest=caller.digest,
            model=exchange.model,
            endpoint=exchange.endpoint.path,
            prompt_limit=_prompt_limit(parsed, view, len(asked.body)),
            completion_limit=_completion_limit(parsed, view),
            sequences=max(1, parsed.prompts * parsed.answers),
            counted=parsed.free,
            images=parsed.images,
            audio_seconds=view.traits.audio_seconds if parsed.recording else 0,
        )
        try:
            decision = await self._books.admit(request)
            if not isinstance(decision, Admitted) and decision.reason is Refusal.COUNT_NEEDED:
                decision = await self._books.admit(await self._counted(request, asked, view))
        except (DatabaseUnavailable, QueueFull):
            raise Unavailable("Accounts cannot be read at the moment.") from None
        exchange.caller_is_known = isinstance(decision, Admitted) or decision.reason is not Refusal.INVALID_KEY
        exchange.limit_headers = limit_headers(decision.limits)
        if isinstance(decision, Admitted):
            return decision
        if not exchange.caller_is_known:
            exchange.caller = None
        raise await self._refusals.of(caller, decision, parsed.model)

    async def _view(self, exchange: Exchange, caller: Caller) -> ModelView:
        """Who is to answer, as it runs; a stranger's request wakes no model."""
        model, path = exchange.model, exchange.endpoint.path
        if not model:
            return ModelView("unknown", "", context_length=1, traits=Traits(), replicas=())
        view = self._engine.directory.answering(model, path)
        own = self._engine.directory.model(model)
        if view is not None and own is not None and own.answers:
            return view
        await self._require_known(exchange, caller)
        if view is None:
            return await self._cold.wait(self._declared.models()[model])
        self._cold.wake(model)
        return view

    async def _counted(self, request: Request, asked: Asked, view: ModelView) -> Request:
        """The same request with the exact numbers of its prompt, from a replica."""
        try:
            async with self._counting:
                replica = self._engine.pick(request.model, request.endpoint)
                if replica is None:
                    raise ReplicaUnreachable(request.model)
                body = engine.addressed(asked.body, request.model, replica)
                status, answer = await self._engine.count(replica, request.endpoint, body, asked.content_type)
        except ReplicaUnreachable:
            raise Unavailable("The model did not answer.") from None
        if status >= 500:
            raise Unavailable("The model is busy.")
        if status != 200:
            raise engine_error(status, answer, ENDPOINTS[request.endpoint].body.prompt_field)
        exact = json.loads(answer)
        room = max(1, view.context_length - exact["prompt_tokens"] // asked.parsed.prompts)
        if exact.get("is_bound"):  # what is left beside the prompt is then anybody's guess
            room = view.context_length
        return replace(
            request,
            prompt_limit=exact["prompt_tokens"],
            completion_limit=min(request.completion_limit, room),
            images=exact["images"],
            audio_seconds=exact["audio_seconds"],
            counted=True,
        )

    async def _answer(self, exchange: Exchange, receive: Receive, admitted: Admitted, asked: Asked) -> None:
        tried: list[Replica] = []
        try:
            with Hangup(receive, exchange):
                end = await self._relay(exchange, admitted, asked, tried)
        except NoReplica:
            self._books.release(admitted, Ended.LOST)
            raise Unavailable("Every replica of the model is busy or away.") from None
        except (ClientGone, AnswerCutOff) as cause:
            exchange.cut_off = CLIENT_CLOSED if isinstance(cause, ClientGone) else ENGINE_BROKE
            if isinstance(cause, AnswerCutOff) and exchange.status is None:
                self._books.release(admitted, Ended.FAILED)
            else:
                self._books.settle_cut_off(admitted, tried, exchange.passed_bytes)
            if isinstance(cause, ClientGone):
                raise
            raise Unavailable("The engine failed in the middle of the answer.") from None
        try:
            await self._books.settle(admitted, end.meter)
        except DatabaseUnavailable:
            raise Unavailable("The answer could not be charged.") from None
        except BillingError as error:
            log.error("request %s could not be settled: %s", exchange.id, error)
            raise InternalError("The answer could not be charged.") from None
        exchange.meter = end.meter
        exchange.settled_at = time.perf_counter()
        if end.status is not None and end.status >= 400:
            raise engine_error(end.status, end.body, exchange.endpoint.body.prompt_field)
        await exchange.finish(end.status, end.headers, end.body)

    async def _relay(self, exchange: Exchange, admitted: Admitted, asked: Asked, tried: list[Replica]) -> End:
        """Everything but the end is with the client when this returns."""
        headers = _decisions(admitted, asked.parsed) | {
            "content-type": asked.content_type,
            engine.HEADER_REQUEST: str(exchange.id),
            engine.HEADER_MODEL: exchange.model,
            engine.HEADER_SALT: self._books.salt(admitted.account_id),
        }
        while True:
            try:
                return await self._relay_once(exchange, asked, headers, tried)
            except AnswerCutOff:
                if exchange.status is not None:
                    raise
                left = self._engine.pick(exchange.model, exchange.endpoint.path, tried)
                if left is None and len(tried) >= engine.MOST_ATTEMPTS:
                    raise  # else the client has seen nothing, and another replica may do it
            except NoReplica:
                if not await self._cold.woken(self._declared.models().get(exchange.model)):
                    raise

    async def _relay_once(
        self, exchange: Exchange, asked: Asked, headers: Mapping[str, str], tried: list[Replica]
    ) -> End:
        path = exchange.endpoint.path
        session = headers[engine.HEADER_SALT].encode() + asked.parsed.opening if asked.parsed.opening else b""
        async with self._engine.reach(exchange.model, path, asked.body, headers, tried, session) as response:
            try:
                if response.content_type == "text/event-stream":
                    return await _stream(exchange, response)
                return await _whole(exchange, response)
            except (aiohttp.ClientError, OSError) as error:
                raise AnswerCutOff from error


async def _stream(exchange: Exchange, response: aiohttp.ClientResponse) -> End:
    """The answer begins for the client with its first bytes: until then it can be asked for again elsewhere."""
    tail = StreamTail(exchange.endpoint.ends)
    async for chunk in response.content.iter_any():
        exchange.saw_chunk(time.perf_counter())
        if exchange.status is None:
            await exchange.start(response.status, EVENT_STREAM)
        if data := tail.feed(chunk):
            await exchange.write(data)
    if tail.meter is None:
        raise AnswerCutOff
    if exchange.status is None:
        await exchange.start(response.status, EVENT_STREAM)
    return End(engine.parse_meter(tail.meter), tail.end)


async def _whole(exchange: Exchange, response: aiohttp.ClientResponse) -> End:
    body = await response.read()
    meter = response.headers.get(engine.HEADER_METER)
    if meter is None:
        raise AnswerCutOff
    exchange.saw_chunk(time.perf_counter())
    content_type = response.headers.get("content-type", "application/json").encode()
    return End(engine.parse_meter(meter), body, response.status, [(b"content-type", content_type)])


def _content_type(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return str(value, "latin-1")
    return ""


def _decisions(admitted: Admitted, parsed: Parsed) -> dict[str, str]:
    """What admission decided, for the replica to enforce."""
    request = admitted.request
    headers = {
        engine.HEADER_PROMPT_LIMIT: str(request.prompt_limit),
        engine.HEADER_IMAGES: str(request.images),
        engine.HEADER_AUDIO_SECONDS: str(request.audio_seconds),
        # vLLM takes the lowest number first.
        engine.HEADER_PRIORITY: str(-priority_of(parsed.tier, admitted.priority)),
    }
    if not parsed.recording:
        headers[engine.HEADER_SEQUENCES] = str(parsed.prompts * max(1, parsed.answers))
    if parsed.answers:
        headers[engine.HEADER_COMPLETION_LIMIT] = str(admitted.completion_limit)
    return headers


def _prompt_limit(parsed: Parsed, view: ModelView, body_bytes: int) -> int:
    if parsed.free or parsed.recording:
        return 0
    most = view.context_length * parsed.prompts
    if parsed.prompt_bytes is None:
        return most
    traits = view.traits
    read_bytes = body_bytes if traits.reads_whole_body else parsed.prompt_bytes
    bound = read_bytes * traits.tokens_per_byte + traits.template_tokens * parsed.prompts
    return min(most, bound)


def _completion_limit(parsed: Parsed, view: ModelView) -> int:
    """At least one where anything is generated: vLLM does so even when it is asked for none."""
    if not parsed.answers:
        return 0
    if parsed.completion_limit is None:
        return view.context_length
    return max(1, min(parsed.completion_limit, view.context_length))
