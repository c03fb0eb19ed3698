"""The only wiring of the gateway: settings in, ASGI application out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from appliance import secrets
from appliance.errors import ApiError, InternalError, MethodNotAllowed, NotFound
from appliance.gateway import dialects
from appliance.gateway.asgi import Message, Receive, Scope, Send
from appliance.gateway.books import Books
from appliance.gateway.health import health_router
from appliance.gateway.metrics import GatewayMetrics
from appliance.gateway.models import models_router
from appliance.gateway.nearby import nearby
from appliance.gateway.observe import metrics_router
from appliance.gateway.openapi import openapi_router
from appliance.gateway.relay import Relay
from appliance.gateway.usage import usage_router
from appliance.settings import Settings
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
        for kind in (ApiError, HTTPException, Exception):
            self._other.add_exception_handler(kind, _answer_error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in ENDPOINTS or self._relay is None:
            await self._other(scope, receive, _with_request_id(self._counted(send)))
        elif scope["method"] == "POST":
            await self._relay(scope, receive, send)
        else:
            await _answer(MethodNotAllowed("POST"), scope["path"])(scope, receive, _with_request_id(send))

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
            pepper=known.key_pepper,
            salt_secret=known.cache_salt,
            meters=settings.meters,
            metrics=metrics,
        )
        self._other.include_router(models_router(declared, engine_client.directory, database, books, system_clock))
        self._other.include_router(openapi_router(declared))
        self._other.include_router(usage_router(database, books, system_clock))
        self._other.include_router(health_router(database, engine_client, nearby(settings.health_networks)))
        self._other.include_router(
            metrics_router(
                self._registry,
                self._shared_metrics,
                engine_client,
                nearby(settings.metrics_networks),
            )
        )
        self._relay = Relay(
            books,
            engine_client,
            declared,
            Wanted(settings.wanted),
            settings.gateway.body_limit_bytes,
            metrics,
        )
        yield
        await books.drain(settings.gateway.shutdown_seconds)
        await engine_client.close()
        await database.close()


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


def _as_api_error(error: Exception, path: str) -> ApiError:
    match error:
        case ApiError():
            return error
        case HTTPException(status_code=405, headers=headers):
            return MethodNotAllowed((headers or {}).get("Allow", "another method"))
        case HTTPException():
            return NotFound(why_closed(path) or "There is nothing at this path.")
    return InternalError("Something went wrong on our side.")
