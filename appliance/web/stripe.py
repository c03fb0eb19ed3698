"""Where Stripe's webhooks come in: beside the pages, before the rule that a form is of a page of ours.

Stripe is no browser. What it sends is believed for its signature alone, which is over the very bytes of the body.
"""

import asyncio
from typing import Any

from fastapi.responses import PlainTextResponse

from appliance.door.asgi import App, Receive, Send
from appliance.door.headers import NO_PAGE, Headers
from appliance.identity.origin import Origin
from appliance.logs import note
from appliance.settings import STRIPE_WEBHOOK_PATH
from appliance.web.metrics import SiteMetrics
from billing.errors import DatabaseUnavailable
from billing.payments.inbox import Inbox
from billing.payments.provider import BadSignature

BODY_BYTES = 1 << 20
BODY_SECONDS = 10.0
"""So long a body may be on its way: whoever sends slowly must not keep a place from Stripe."""
MOST_AT_ONCE = 8
RETRY_SECONDS = 5
SIGNATURE_BYTES = 4096


class StripeWebhook:
    """Answers its path, and leaves all else to ``app``. What it cannot take now, Stripe sends again."""

    def __init__(
        self,
        app: App,
        inbox: Inbox,
        metrics: SiteMetrics,
        transport: Headers,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._app = app
        self._body_seconds = body_seconds
        self._inbox = inbox
        self._metrics = metrics
        self._headers = dict((*NO_PAGE, *transport))
        self._here = 0

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != STRIPE_WEBHOOK_PATH:
            await self._app(scope, receive, send)
            return
        if self._here >= MOST_AT_ONCE:
            status, told = 503, "too many at once"
        else:
            self._here += 1
            try:
                status, told = await self._take(scope, receive)
            finally:
                self._here -= 1
        self._metrics.webhooks.labels(str(status)).inc()
        headers = self._headers | ({"retry-after": str(RETRY_SECONDS)} if status == 503 else {})
        await PlainTextResponse(f"{told}\n", status, headers)(scope, receive, send)

    async def _take(self, scope: Any, receive: Receive) -> tuple[int, str]:
        """A status, and a word."""
        if scope["method"] != "POST":
            return 405, "POST is expected"
        signature = dict(scope["headers"]).get(b"stripe-signature", b"")[:SIGNATURE_BYTES].decode("latin-1")
        if not signature:
            return _refused(scope)
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await _body(receive)
        except TimeoutError:
            return 408, "this took too long"
        if body is None:
            return 413, "this is too much for an event"
        try:
            await self._inbox.receive(body, signature)
        except BadSignature:
            return _refused(scope)
        except DatabaseUnavailable:
            return 503, "please send it again"
        return 200, "taken"


def _refused(scope: Any) -> tuple[int, str]:
    address, _ = scope.get("client") or ("", 0)
    note("webhook-refused", bad=True, network=Origin(address, "").network)
    return 400, "this is not signed by Stripe"


async def _body(receive: Receive) -> bytes | None:
    """None if there is more of it than an event has."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_BYTES:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)
