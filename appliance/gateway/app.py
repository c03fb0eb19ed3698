"""The only wiring of the gateway: settings in, ASGI application out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from appliance import secrets
from appliance.door.asgi import Message, Receive, Scope, Send
from appliance.errors import ApiError, InternalError, MethodNotAllowed, NotFound
from appliance.gateway import dialects
from appliance.gateway.bodies.aside import Aside
from appliance.gateway.books import Books
from appliance.gateway.caller import Callers, ChatAccess
from appliance.gateway.chat_words import Pages
from appliance.gateway.health import health_router
from appliance.gateway.metrics import GatewayMetrics
from appliance.gateway.models import models_router
from appliance.gateway.nearby import nearby
from appliance.gateway.observe import metrics_router
from appliance.gateway.openapi import openapi_router
from appliance.gateway.paths import meant
from appliance.gateway.refusals import Refusals
from appliance.gateway.relay import Relay
from appliance.gateway.sightings import Sightings
from appliance.gateway.usage import usage_router
from appliance.settings import Settings
from appliance.texts import LANGUAGES, speaker
from billing.charging.admission import Admission
from billing.charging.settlement import Settlement
from billing.clock import system_clock
from billing.database.db import Database
from billing.ids import request_id
from billing.store.postgres import PostgresStore
from serving.catalog.declared import Declared
from serving.catalog.endpoints import ENDPOINTS, Dialect, why_closed
from serving.client.published import Directory
from serving.client.replicas import EngineClient
from serving.client.wanted import Wanted

OPERATORS = ("/metrics", "/readyz", "/livez")
"""Paths that no page of somebody else has business with."""
LIMITS = tuple(
    f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")
)
EXPOSED = ("x-request-id", "request-id", "retry-after", *LIMITS)
PREFLIGHT_SECONDS = 7200
"""How long a browser need not ask again; as much as browsers take."""


class Gateway:
    """The endpoints that replicas serve go straight to the relay; everything else to FastAPI."""

    def __init__(self, settings: Settings, shared_metrics: Path | None) -> None:
        self._settings = settings
        self._shared_metrics = shared_metrics
        self._relay: Relay | None = None
        self._registry = CollectorRegistry()
        self.metrics = GatewayMetrics(self._registry)
        self._other = FastAPI(
            title="Appliance",
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            redirect_slashes=False,
            lifespan=self._lifespan,
        )
        self._for_browsers = CORSMiddleware(
            self._answer,
            allow_origins=(*settings.gateway.cors_origins, settings.site_url),
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("*",),
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_SECONDS,
        )
        for kind in (ApiError, HTTPException, Exception):
            self._other.add_exception_handler(kind, _answer_error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(OPERATORS):
            await self._for_browsers(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._relay is None:
            await self._other(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"] in ENDPOINTS:
            await self._relay(scope, receive, send)
        elif scope["method"] == "OPTIONS" or scope["path"] in ENDPOINTS:
            await self._tell_methods(scope)(scope, receive, _with_request_id(self._counted(send)))
        else:
            # The server leaves the body out: it knows that it was asked for the head alone.
            asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            await self._other(asked, receive, _with_request_id(self._counted(send)))

    def _tell_methods(self, scope: Scope) -> Response:
        path = scope["path"]
        methods = {"POST"} if path in ENDPOINTS else _methods(self._other, scope)
        if not methods:
            return _answer(_not_found(path), path)
        if scope["method"] == "OPTIONS":
            return Response(status_code=204, headers={"allow": ", ".join(sorted({*methods, "OPTIONS"}))})
        return _answer(MethodNotAllowed("POST"), path)

    def _counted(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.metrics.observe_other(message["status"])
            await send(message)

        return sending

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        settings = self._settings
        known = secrets.read(settings.secrets)
        metrics = self.metrics
        database = Database(settings.sqlalchemy_url, application_name="appliance-gateway")
        declared = Declared(settings.declared)
        engine_client = EngineClient(Directory(settings.directory), known.cluster_secret)
        store = PostgresStore(database)
        books = Books(
            database,
            Admission(store, system_clock, observe_batch=metrics.admission_batch.observe),
            Settlement(store, system_clock, observe_batch=metrics.settlement_batch.observe),
            engine_client,
            salt_secret=known.cache_salt,
            meters=settings.meters,
            metrics=metrics,
            clock=system_clock,
        )
        callers = Callers(known.key_pepper, _chat_of(settings))
        refusals = Refusals(database, Pages(settings.site_url, settings.sells))
        self._other.include_router(
            models_router(declared, engine_client.directory, database, callers, refusals, system_clock)
        )
        self._other.include_router(openapi_router(declared))
        self._other.include_router(usage_router(database, callers, refusals, system_clock))
        self._other.include_router(
            health_router(database, engine_client, nearby(settings.health_networks, itself=True))
        )
        self._other.include_router(
            metrics_router(
                self._registry,
                self._shared_metrics,
                engine_client,
                nearby(settings.metrics_networks),
            )
        )
        self._relay = Relay(
            callers,
            refusals,
            books,
            engine_client,
            declared,
            Wanted(settings.wanted),
            aside := Aside(),
            settings.gateway.body_limit_bytes,
            metrics,
            sightings := Sightings(database, metrics.sightings_dropped.inc, system_clock),
        )
        watching = asyncio.create_task(metrics.watch_loop())
        async with sightings.written():
            yield
            await books.drain(settings.gateway.shutdown_seconds)
        watching.cancel()
        aside.close()
        await engine_client.close()
        await database.close()


def _chat_of(settings: Settings) -> ChatAccess | None:
    """Raises SecretsError."""
    if not settings.chat.address:
        return None
    for language in LANGUAGES:
        speaker(language)  # it takes 50 ms to read one
    return ChatAccess(secrets.read_chat_service_key(settings.secrets), settings.chat_networks)


def _methods(routes: FastAPI, scope: Scope) -> set[str]:
    """What the path can be asked by, whatever method the scope has."""
    found: set[str] = set()
    for route in routes.routes:
        match, _ = route.matches(scope)
        if match is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return found | {"HEAD"} if "GET" in found else found


def _with_request_id(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-request-id", str(request_id(time())).encode())]
        await send(message)

    return sending


def _answer(error: ApiError, path: str) -> Response:
    headers = {name.decode(): value.decode() for name, value in error.headers()}
    dialect: Dialect = "anthropic" if path.startswith("/v1/messages") else "openai"
    return Response(dialects.error_body(dialect, error), error.status, headers, "application/json")


async def _answer_error(request: Request, error: Exception) -> Response:
    return _answer(_as_api_error(error, request.url.path), request.url.path)


def _not_found(path: str) -> NotFound:
    right = meant(path)
    told = f"There is nothing at this path. Did you mean {right}?" if right else "There is nothing at this path."
    return NotFound(why_closed(path) or told)


def _as_api_error(error: Exception, path: str) -> ApiError:
    match error:
        case ApiError():
            return error
        case HTTPException(status_code=405, headers=headers):
            return MethodNotAllowed((headers or {}).get("Allow", "another method"))
        case HTTPException():
            return _not_found(path)
    return InternalError("Something went wrong on our side.")
