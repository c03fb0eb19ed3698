"""The sandbox on a port of this machine: its API, its pages, and whoever sends its webhooks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from appliance import logs
from appliance.door.asgi import App, Receive, Scope, Send
from appliance.door.limits import Limits
from appliance.door.protocol import Door
from appliance.door.server import serve as serve_behind
from appliance.stripe_sandbox.core import Answer, Sandbox
from appliance.stripe_sandbox.pages import SandboxPages
from appliance.stripe_sandbox.settings import SandboxSettings

LOOPBACK = "127.0.0.1"
"""Whoever reaches the port can do everything: no other machine may."""
SHUTDOWN_SECONDS = 2
TICK_SECONDS = 0.2
WEBHOOK_TIMEOUT_SECONDS = 10.0
MOST_BODY_BYTES = 1 << 20
LIVE = ("sk_live_", "rk_live_")
TEST = ("sk_test_", "rk_test_")
PAGE_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_log = logging.getLogger(__name__)


class SandboxRefused(Exception):
    """It does not start; the message says why in one sentence."""


def refuse_live(*keys: str) -> None:
    """Raises SandboxRefused where real money is near."""
    for key in keys:
        if key.startswith(LIVE):
            raise SandboxRefused(
                "STRIPE_API_KEY is a live key of Stripe's, which moves real money: the sandbox does not start "
                "beside it."
            )


def check(settings: SandboxSettings) -> None:
    """Raises SandboxRefused where real money is near, or a key or a secret is missing."""
    refuse_live(settings.api_key)
    if not settings.api_key.startswith(TEST):
        raise SandboxRefused("The sandbox needs an API key that begins with sk_test_: make one up.")
    if settings.webhook_url is not None and not settings.webhook_secret:
        raise SandboxRefused("The sandbox needs the secret that its webhooks are signed with.")


def serve(
    settings: SandboxSettings,
    *,
    port: int,
    fd: int | None = None,
    path: Path | None = None,
) -> None:
    """Until SIGTERM or SIGINT, on ``port`` of the loopback interface or on the inherited socket ``fd``.

    Its state is in the file ``path``. Raises SandboxRefused.
    """
    check(settings)
    logs.configure()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    sandbox = Sandbox(settings, path=path)
    door = Door(Limits(), (), lambda _: None, lambda _: None)
    try:
        serve_behind(
            sandbox_app(sandbox),
            door,
            (),
            fds=() if fd is None else (fd,),
            host=LOOPBACK,
            port=port,
            shutdown_seconds=SHUTDOWN_SECONDS,
        )
    finally:
        sandbox.close()


def sandbox_app(sandbox: Sandbox) -> App:
    """One process's ASGI application; it sends the webhooks while it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        sending = asyncio.create_task(send_for_ever(sandbox))
        try:
            yield
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    pages = Starlette(routes=SandboxPages(sandbox).routes(), lifespan=lifespan)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await pages(scope, receive, send)
        elif scope["path"].startswith("/v1/"):
            await _api(sandbox, scope, receive, send)
        elif not _ours(sandbox, scope):
            await PlainTextResponse("Not from here.", 403)(scope, receive, send)
        else:
            await pages(scope, receive, _with_headers(send))

    return app


async def send_for_ever(sandbox: Sandbox) -> None:
    """The webhooks, each in its turn; and what falls due while nobody asks."""
    async with httpx.AsyncClient(timeout=WEBHOOK_TIMEOUT_SECONDS, follow_redirects=False) as client:
        while True:
            sandbox.catch_up()
            for delivery in sandbox.deliveries():
                try:
                    answer = await client.post(delivery.url, content=delivery.body, headers=delivery.headers)
                    status = answer.status_code
                except httpx.HTTPError:
                    status = 0
                sandbox.delivered(delivery.id, status)
            await asyncio.sleep(TICK_SECONDS)


async def _api(sandbox: Sandbox, scope: Scope, receive: Receive, send: Send) -> None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        body += message.get("body", b"")
        if len(body) > MOST_BODY_BYTES:
            await PlainTextResponse("Too large.", 413)(scope, receive, send)
            return
        if not message.get("more_body"):
            break
    headers = dict(Headers(raw=scope["headers"]))
    target = scope["path"] + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
    await _give(sandbox.request(scope["method"], target, headers, body.decode("utf-8", "replace")), send)


async def _give(answer: Answer, send: Send) -> None:
    told = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    size = (b"content-length", str(len(answer.body)).encode())
    await send({"type": "http.response.start", "status": answer.status, "headers": [*told, size]})
    if not answer.lost:  # else the server closes the connection, as the body is not complete
        await send({"type": "http.response.body", "body": answer.body})


def _ours(sandbox: Sandbox, scope: Scope) -> bool:
    """A page that another site opens may not act here, nor a name of another site that points to this machine."""
    headers = Headers(raw=scope["headers"])
    host = headers.get("host", "")
    if (
        host.rsplit(":", 1)[0] not in ("127.0.0.1", "localhost")
        and host != urlsplit(sandbox.settings.address).netloc
    ):
        return False
    origin = headers.get("origin")
    return scope["method"] == "GET" or origin is None or urlsplit(origin).netloc == host


def _with_headers(send: Send) -> Send:
    async def sending(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *PAGE_HEADERS]  # type: ignore[misc]
        await send(message)

    return sending  # type: ignore[return-value]
