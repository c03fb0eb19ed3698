"""What stands before every page: no request of another site changes anything, no body is large, and every answer
tells the browser what it may do with it.

A form is only taken from a page of ours. Browsers say whose page sent it (``Sec-Fetch-Site``, or ``Origin`` where
there is no TLS), and no page can make them say otherwise; so there is no token to be stolen. What says neither is
no browser, and has no business with a form. (OWASP, "Cross-Site Request Forgery Prevention", fetch metadata.)
"""

from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any

from fastapi.responses import PlainTextResponse

from appliance.door.asgi import App, Message, Receive, Send
from appliance.door.headers import Headers
from appliance.identity.origin import Origin
from appliance.logs import note

READS = ("GET", "HEAD")
BODY_BYTES = 64 << 10


class Guard:
    """``api`` is the origin that the playground's page asks; ``leads_to`` are those to which a form may lead: the
    pages to pay on, and the chat.

    ``transport`` says how browsers are to come.
    """

    def __init__(self, app: App, api: str, leads_to: Sequence[str], transport: Headers) -> None:
        self._app = app
        self._headers = security_headers(api, leads_to, transport)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answering = self._with_headers(send)
        headers = dict(scope["headers"])
        if scope["method"] not in READS and not is_own(headers):
            _note_refused(scope, 403)
            refusal = PlainTextResponse("This form was sent by another site, or not by a browser.\n", 403)
            await refusal(scope, receive, answering)
            return
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers or not length.isdigit() or int(length) > BODY_BYTES:
            _note_refused(scope, 413)
            await PlainTextResponse("This is too much for a form.\n", 413)(scope, receive, answering)
            return
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        await self._app(asked, receive, answering)

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in self._headers if name not in there]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        return sending


def _note_refused(scope: Any, status: int) -> None:
    address, _ = scope.get("client") or ("", 0)
    note("form-refused", bad=True, status=status, network=Origin(address, "").network)


def is_own(headers: MutableMapping[bytes, bytes]) -> bool:
    """Whether a page of this site sent it."""
    fetched = headers.get(b"sec-fetch-site")
    if fetched is not None:
        return fetched == b"same-origin"
    host = headers.get(b"host", b"")
    return host != b"" and headers.get(b"origin") in (b"https://" + host, b"http://" + host)


def security_headers(api: str, leads_to: Sequence[str], transport: Headers) -> Iterable[tuple[bytes, bytes]]:
    """Nothing runs and nothing is loaded but from this site; what a page shows is kept by nobody.

    Browsers hold a redirect after a form to the same rule as the form.
    """
    policy = (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'",
        f"connect-src 'self' {api}",
        " ".join(("form-action 'self'", *leads_to)), "base-uri 'none'", "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )  # fmt: skip
    headers = {
        "content-security-policy": "; ".join(policy),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
        "cache-control": "no-store",
    }
    return [(name.encode(), value.encode()) for name, value in (*headers.items(), *transport)]
