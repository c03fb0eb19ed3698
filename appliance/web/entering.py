"""Signing in, by a password, and by the second factor where there is one; signing out; a forgotten password."""

from fastapi import Request
from fastapi.responses import Response

from appliance.identity import sessions
from appliance.identity.credentials import Credentials
from appliance.identity.entering import Entered, Entering
from appliance.identity.errors import IdentityError
from appliance.identity.second import SecondFactor
from appliance.identity.sessions import Signed
from appliance.site.audience import Audience, Refusal
from appliance.site.cookies import Cookie, drop, keep, read
from appliance.site.forms import local, proof, read_form
from appliance.site.pages import Routes, go, on_the_way
from appliance.site.rendering import Render, status_of
from appliance.site.visitor import Visitor
from billing.clock import Clock
from billing.database.db import Database

AGAIN = "again"
"""In the address of the form: whoever is signed in is to prove it anew. The session before it ends."""


class EnteringPages:
    def __init__(
        self,
        render: Render,
        entering: Entering,
        credentials: Credentials,
        second: SecondFactor,
        database: Database,
        clock: Clock,
    ) -> None:
        self._render = render
        self._entering = entering
        self._credentials = credentials
        self._second = second
        self._database = database
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", "/sign-in", Audience.ANYBODY, self.sign_in_form),
            ("POST", "/sign-in", Audience.ANYBODY, self.sign_in),
            ("POST", "/sign-in/passkey", Audience.ANYBODY, self.sign_in_by_passkey),
            ("GET", "/second-factor", Audience.HALF, self.second_factor_form),
            ("POST", "/second-factor", Audience.HALF, self.second_factor),
            ("POST", "/sign-out", Audience.ANYBODY, self.sign_out),
            ("GET", "/forgot", Audience.ANYBODY, self.forgot_form),
            ("POST", "/forgot", Audience.ANYBODY, self.forgot),
            ("GET", "/reset", Audience.ANYBODY, self.reset_form),
            ("POST", "/reset", Audience.ANYBODY, self.reset),
        )

    async def sign_in_form(self, request: Request, visitor: Visitor) -> Response:
        if visitor.signed is not None and AGAIN not in request.query_params:
            return go(Refusal.IS_IN.value)
        then = local(request.query_params.get("next", "")) or ""
        return self._render(visitor, "sign-in.html", then=then, email="", error="")

    async def sign_in(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        then, device = local(form["next"]) or "", read(request, Cookie.DEVICE)
        try:
            entered = await self._entering.sign_in(form["email"], form["password"], visitor.origin, device)
        except IdentityError as error:
            said = error.said(visitor.say)
            return self._render(
                visitor, "sign-in.html", status_of(error), then=then, email=form["email"], error=said
            )
        return await self._entered(visitor, entered, then)

    async def sign_in_by_passkey(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        then, device = local(form["next"]) or "", read(request, Cookie.DEVICE)
        try:
            entered = await self._entering.by_passkey(form["passkey"], visitor.origin, device)
        except IdentityError as error:
            said = error.said(visitor.say)
            return self._render(visitor, "sign-in.html", status_of(error), then=then, email="", error=said)
        return await self._entered(visitor, entered, then)

    async def _entered(self, visitor: Visitor, entered: Entered, then: str) -> Response:
        if visitor.signed is not None:
            await self._end(visitor.signed)
        page = on_the_way(Refusal.SECOND_FACTOR.value, then) if entered.incomplete else then
        answer = go(page or Refusal.IS_IN.value)
        keep(answer, Cookie.SESSION, entered.session)
        keep(answer, Cookie.DEVICE, entered.device)
        return answer

    async def second_factor_form(self, request: Request, visitor: Visitor) -> Response:
        then = local(request.query_params.get("next", "")) or ""
        return self._render(visitor, "second-factor.html", then=then, error="")

    async def second_factor(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        then = local(form["next"]) or ""
        try:
            token = await self._second.enter(visitor.person, proof(form))
        except IdentityError as error:
            said = error.said(visitor.say)
            return self._render(visitor, "second-factor.html", status_of(error), then=then, error=said)
        answer = go(then or Refusal.IS_IN.value)
        keep(answer, Cookie.SESSION, token)
        return answer

    async def sign_out(self, _: Request, visitor: Visitor) -> Response:
        if visitor.signed is not None:
            await self._end(visitor.signed)
        answer = go("/")
        answer.headers["clear-site-data"] = '"cache", "storage"'
        drop(answer, Cookie.SESSION)
        return answer

    async def _end(self, signed: Signed) -> None:
        async with self._database.begin() as connection:
            await sessions.end(connection, signed.account_id, signed.session_id, self._clock())

    async def forgot_form(self, _: Request, visitor: Visitor) -> Response:
        return self._render(visitor, "forgot.html", email="", error="")

    async def forgot(self, request: Request, visitor: Visitor) -> Response:
        form, say = await read_form(request), visitor.say
        try:
            await self._credentials.forgot(form["email"], visitor.language, visitor.origin)
        except IdentityError as error:
            return self._render(
                visitor, "forgot.html", status_of(error), email=form["email"], error=error.said(say)
            )
        text = say("If there is an account with this address, a mail with a link is on its way to it.")
        return self._render(visitor, "message.html", title=say("Look into your mail"), text=text)

    async def reset_form(self, request: Request, visitor: Visitor) -> Response:
        return self._render(visitor, "reset.html", link=request.query_params.get("link", ""), error="")

    async def reset(self, request: Request, visitor: Visitor) -> Response:
        form, say = await read_form(request), visitor.say
        try:
            device = await self._credentials.reset(form["link"], form["password"], visitor.origin)
        except IdentityError as error:
            return self._render(visitor, "reset.html", status_of(error), link=form["link"], error=error.said(say))
        text = say("Your new password is good from now on. All sessions have ended.")
        answer = self._render(
            visitor, "message.html", title=say("That is done"), text=text, action=(say("Sign in"), "/sign-in")
        )
        keep(answer, Cookie.DEVICE, device)
        drop(answer, Cookie.SESSION)
        return answer
