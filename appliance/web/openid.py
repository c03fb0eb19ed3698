"""Signing on to the chat, and out of it again: what its program asks of a browser that it sends here.

Whoever is signed in is sent back at once; whoever is not signs in first, as for any page. What the chat asks by
itself is in `openid_endpoints`.
"""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from appliance.identity import sessions
from appliance.identity.openid.asking import Asked, NotTheChat, Refused, answer, parse
from appliance.identity.openid.client import CLIENT_ID
from appliance.identity.openid.provider import OpenIdProvider
from appliance.site.audience import Audience, Refusal, refusal
from appliance.site.cookies import Cookie, drop
from appliance.site.forms import read_form
from appliance.site.pages import SEE_OTHER, Routes, go, on_the_way
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.web.entering import AGAIN
from billing.clock import Clock
from billing.database.db import Database

AUTHORIZE, END_SESSION = "/openid/authorize", "/openid/end-session"
COMES_BACK = (Refusal.SIGN_IN, Refusal.SECOND_FACTOR, Refusal.TERMS)
"""Pages after which the browser goes on to the chat."""
SIGNING_IN_LASTS = timedelta(days=1)
"""What the chat asked longer ago is asked anew."""


@dataclass(frozen=True, slots=True)
class _Coming:
    """What the chat asked, as it came, and when the browser came with it first."""

    query: str
    since: datetime

    @property
    def later(self) -> str:
        """The path by which it comes again."""
        told = f"{int(self.since.timestamp())}:{self.query}".encode()
        return f"{AUTHORIZE}?request={base64.urlsafe_b64encode(told).decode().rstrip('=')}"


class OpenIdPages:
    """``terms`` is the version that customers are to have accepted."""

    def __init__(
        self, render: Render, provider: OpenIdProvider, terms: str, database: Database, clock: Clock
    ) -> None:
        self._render = render
        self._provider = provider
        self._terms = terms
        self._database = database
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", AUTHORIZE, Audience.ANYBODY, self.authorize),
            ("GET", END_SESSION, Audience.ANYBODY, self.end_session),
            ("POST", END_SESSION, Audience.ANYBODY, self.end_session_here),
        )

    async def authorize(self, request: Request, visitor: Visitor) -> Response:
        try:
            coming = _coming(request, self._clock())
            asked = parse(coming.query, self._provider.client, coming.since)
        except NotTheChat:
            return self._not_the_chat(visitor)
        except Refused as refused:
            return self._back(refused.state, error=refused.error, error_description=refused.description)
        signed, refused_for = visitor.signed, refusal(Audience.CUSTOMER, visitor.signed, self._terms)
        if signed is None or refused_for is not None:
            return self._first(asked, coming, refused_for or Refusal.SIGN_IN)
        if asked.fresh_since is not None and signed.began_at < asked.fresh_since:
            return self._again(asked, coming)
        code = await self._provider.begin(signed, asked)
        if code is None:
            return self._first(asked, coming, Refusal.SIGN_IN)
        return self._back(asked.state, code=code)

    async def end_session(self, request: Request, visitor: Visitor) -> Response:
        """At once if the chat says by an ID token whose session it is; else the person is asked."""
        given = request.query_params
        there, hint = (
            self._after(given.get("post_logout_redirect_uri"), given.get("state")),
            given.get("id_token_hint"),
        )
        is_the_chat = given.get("client_id", CLIENT_ID) == CLIENT_ID
        if hint and is_the_chat and await self._provider.sign_out(visitor.signed, hint):
            return self._signed_out(visitor, there)
        if visitor.signed is None:
            return self._signed_out(visitor, there)
        kept = {"uri": given.get("post_logout_redirect_uri", ""), "state": given.get("state", "")}
        return self._render(visitor, "end-session.html", action=END_SESSION, **kept)

    async def end_session_here(self, request: Request, visitor: Visitor) -> Response:
        """The person was asked, on a page of ours."""
        form = await read_form(request)
        if visitor.signed is not None:
            async with self._database.begin() as connection:
                mine = visitor.signed.account_id, visitor.signed.session_id
                await sessions.end(connection, *mine, self._clock())
        return self._signed_out(visitor, self._after(form["uri"], form["state"] or None))

    def _first(self, asked: Asked, coming: _Coming, refused: Refusal) -> Response:
        """To whatever has to be done before."""
        if asked.silent:
            can_sign_in = refused in (Refusal.SIGN_IN, Refusal.SECOND_FACTOR)
            return self._back(asked.state, error="login_required" if can_sign_in else "interaction_required")
        return go(on_the_way(refused.value, coming.later) if refused in COMES_BACK else refused.value)

    def _again(self, asked: Asked, coming: _Coming) -> Response:
        """Signed in, but too long ago for what was asked."""
        if asked.silent:
            return self._back(asked.state, error="login_required")
        return go(f"{on_the_way(Refusal.SIGN_IN.value, coming.later)}&{AGAIN}=1")

    def _back(self, state: str | None, **parameters: str) -> Response:
        told = {name: text for name, text in parameters.items() if text}
        return RedirectResponse(answer(self._provider.client, self._provider.issuer, state, **told), SEE_OTHER)

    def _after(self, uri: str | None, state: str | None) -> str | None:
        """Where whoever has signed out goes: to the chat's own page or nowhere."""
        if uri != self._provider.client.after_sign_out:
            return None
        return uri if state is None else f"{uri}?{urlencode({'state': state})}"

    def _signed_out(self, visitor: Visitor, there: str | None) -> Response:
        say = visitor.say
        gone: Response
        if there is None:
            nobody = Visitor(visitor.origin, visitor.language, say, None)
            gone = self._render(
                nobody, "message.html", title=say("You are signed out"), text=say("Here, and in the chat.")
            )
        else:
            gone = RedirectResponse(there, SEE_OTHER)
        gone.headers["clear-site-data"] = '"cache", "storage"'
        drop(gone, Cookie.SESSION)
        return gone

    def _not_the_chat(self, visitor: Visitor) -> Response:
        say = visitor.say
        text = say("The page that sent you here did not ask as our chat does. Please go to the chat again.")
        return self._render(visitor, "message.html", 400, title=say("You cannot be signed on"), text=text)


def _coming(request: Request, now: datetime) -> _Coming:
    """As the chat sent it, or as it was kept while its browser signed in. Raises NotTheChat."""
    kept = request.query_params.get("request")
    if kept is None or "client_id" in request.query_params:
        return _Coming(request.url.query, now)
    try:
        since, _, query = base64.urlsafe_b64decode(kept.encode("ascii") + b"==").decode("ascii").partition(":")
        first = datetime.fromtimestamp(int(since), UTC)
    except (ValueError, OverflowError, OSError):
        raise NotTheChat from None
    if first < now - SIGNING_IN_LASTS:
        raise NotTheChat
    return _Coming(query, min(now, first))
