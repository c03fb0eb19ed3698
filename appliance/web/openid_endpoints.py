"""What the chat's program asks by itself: beside the pages, before the rule that a form is of a page of ours.

It is no browser, has no cookie, and is believed for its secret or for a token of ours. (RFC 6749, RFC 6750; OpenID
Connect Core and Discovery.)
"""

import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from appliance.door.asgi import App, Receive, Send
from appliance.door.headers import NO_PAGE, Headers
from appliance.identity.openid.asking import SCOPES, Refused
from appliance.identity.openid.client import CLIENT_ID
from appliance.identity.openid.provider import OpenIdProvider
from appliance.identity.openid.signing import ALGORITHM, published
from appliance.identity.openid.tokens import LAST, Tokens
from appliance.identity.origin import Origin
from appliance.logs import note
from appliance.site.forms import BadForm, read_form
from appliance.web.metrics import SiteMetrics
from appliance.web.openid import AUTHORIZE, END_SESSION
from billing.clock import Clock
from billing.errors import DatabaseUnavailable

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/openid/keys"
TOKEN, USERINFO = "/openid/token", "/openid/userinfo"
BODY_BYTES = 16 << 10
KEPT_SECONDS = 300
"""By a client, of the keys: a new one is published a day before it signs."""
RETRY_SECONDS = 5
CLAIMS = (
    "iss", "aud", "exp", "iat", "auth_time", "nonce", "sid",
    "sub", "name", "email", "email_verified", "preferred_username", "locale",
)  # fmt: skip


class OpenIdEndpoints:
    """Answers its paths, and leaves all else to ``app``."""

    def __init__(
        self, app: App, provider: OpenIdProvider, metrics: SiteMetrics, transport: Headers, clock: Clock
    ) -> None:
        self._app = app
        self._provider = provider
        self._metrics = metrics
        self._clock = clock
        self._headers = dict((*NO_PAGE, ("cache-control", "no-store"), *transport))
        self._answers: Mapping[str, tuple[frozenset[str], Callable[[Request], Awaitable[Response]]]] = {
            DISCOVERY: (frozenset({"GET"}), self._configuration),
            KEYS: (frozenset({"GET"}), self._keys),
            TOKEN: (frozenset({"POST"}), self._token),
            USERINFO: (frozenset({"GET", "POST"}), self._userinfo),
        }

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self._answers:
            await self._app(scope, receive, send)
            return
        began, (methods, answered_by) = time.perf_counter(), self._answers[scope["path"]]
        if scope["method"] not in methods:
            answer: Response = _error(405, "invalid_request")
        else:
            answer = await self._answered(Request(scope, receive), answered_by)
        for name, text in self._headers.items():
            answer.headers.setdefault(name, text)
        self._metrics.observe(answer.status_code, time.perf_counter() - began)
        await answer(scope, receive, send)

    async def _answered(self, request: Request, by: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            return await by(request)
        except Refused as refused:
            _note(request, refused.error, refused.description)
            return _error(400, refused.error, refused.description)
        except BadForm:
            return _error(400, "invalid_request")
        except DatabaseUnavailable:
            again = {"retry-after": str(RETRY_SECONDS)}
            return JSONResponse({"error": "temporarily_unavailable"}, 503, again)

    async def _configuration(self, _: Request) -> Response:
        issuer = self._provider.issuer
        return _kept({
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}{AUTHORIZE}",
            "token_endpoint": f"{issuer}{TOKEN}",
            "userinfo_endpoint": f"{issuer}{USERINFO}",
            "jwks_uri": f"{issuer}{KEYS}",
            "end_session_endpoint": f"{issuer}{END_SESSION}",
            "scopes_supported": SCOPES,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "claims_supported": CLAIMS,
            "ui_locales_supported": ["en", "nb"],
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
            "claims_parameter_supported": False,
            "authorization_response_iss_parameter_supported": True,
        })  # fmt: skip

    async def _keys(self, _: Request) -> Response:
        return _kept(published(await self._provider.keys.known(self._clock())))

    async def _token(self, request: Request) -> Response:
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers or not length.isdigit() or int(length) > BODY_BYTES:
            return _error(413, "invalid_request")
        form = await read_form(request)
        client_id, secret = _credentials(request, form)
        if not self._provider.client.is_it(client_id, secret):
            _note(request, "invalid_client", "")
            refused = _error(401, "invalid_client")
            if "authorization" in request.headers:
                refused.headers["www-authenticate"] = 'Basic realm="openid"'
            return refused
        match form["grant_type"]:
            case "authorization_code":
                made = await self._provider.redeem(form["code"], form["code_verifier"], form["redirect_uri"])
            case "refresh_token":
                made = await self._provider.refresh(form["refresh_token"])
            case _:
                raise Refused("unsupported_grant_type")
        return JSONResponse(_told(made))

    async def _userinfo(self, request: Request) -> Response:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        told = await self._provider.who(token) if kind.lower() == "bearer" and token else None
        if told is not None:
            return JSONResponse(told)
        refused = _error(401, "invalid_token")
        refused.headers["www-authenticate"] = 'Bearer error="invalid_token"' if token else "Bearer"
        return refused


def _told(made: Tokens) -> Mapping[str, object]:
    return {
        "access_token": made.access,
        "token_type": "Bearer",
        "expires_in": int(LAST.total_seconds()),
        "refresh_token": made.refresh,
        "id_token": made.id,
        "scope": made.scope,
    }


def _credentials(request: Request, form: Mapping[str, str]) -> tuple[str, str]:
    """The program's name and its secret, by its header or in the form, never by both."""
    kind, _, encoded = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return form["client_id"], form["client_secret"]
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    if form["client_secret"] or form["client_id"] not in ("", CLIENT_ID):
        raise BadForm
    return unquote_plus(client_id), unquote_plus(secret)


def _kept(document: Mapping[str, object]) -> Response:
    return JSONResponse(document, headers={"cache-control": f"public, max-age={KEPT_SECONDS}"})


def _error(status: int, error: str, description: str = "") -> Response:
    return JSONResponse({"error": error} | ({"error_description": description} if description else {}), status)


def _note(request: Request, error: str, why: str) -> None:
    """Never what was sent."""
    address = request.client.host if request.client else ""
    about = {"network": Origin(address, "").network, "error": error, "why": why.replace(" ", "-") or None}
    note("openid-refused", bad=True, **about)
