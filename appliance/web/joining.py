"""Signing up: the form, the link of the mail; and the operator's own first way in."""

from fastapi import Request
from fastapi.responses import Response

from appliance.identity.errors import IdentityError
from appliance.identity.first import PATH as FIRST
from appliance.identity.first import First
from appliance.identity.joining import Form, Joining
from appliance.settings import SiteSettings
from appliance.site.audience import Audience, Refusal
from appliance.site.cookies import Cookie, drop, keep, read
from appliance.site.forms import read_form
from appliance.site.pages import Routes, go
from appliance.site.rendering import Render, status_of
from appliance.site.visitor import Visitor
from appliance.web.legal import LegalTexts


class JoiningPages:
    def __init__(
        self, render: Render, joining: Joining, first: First, legal: LegalTexts, site: SiteSettings
    ) -> None:
        self._render = render
        self._joining = joining
        self._first = first
        self._version = legal.terms.version
        self._site = site

    def routes(self) -> Routes:
        return (
            ("GET", "/sign-up", Audience.ANYBODY, self.sign_up_form),
            ("POST", "/sign-up", Audience.ANYBODY, self.sign_up),
            ("GET", "/confirm", Audience.ANYBODY, self.confirm_form),
            ("POST", "/confirm", Audience.ANYBODY, self.confirm),
            ("GET", FIRST, Audience.ANYBODY, self.first_form),
            ("POST", FIRST, Audience.ANYBODY, self.take_first),
        )

    async def sign_up_form(self, request: Request, visitor: Visitor) -> Response:
        if visitor.signed is not None:
            return go(Refusal.IS_IN.value)
        if self._site.sign_up == "closed":
            return self._closed(visitor)
        link = request.query_params.get("link", "")
        if self._site.sign_up == "invitation" and not link:
            return self._closed(visitor)
        return self._render(visitor, "sign-up.html", version=self._version, name="", email="", link=link, error="")

    async def sign_up(self, request: Request, visitor: Visitor) -> Response:
        if self._site.sign_up == "closed":
            return self._closed(visitor)
        form, say = await read_form(request), visitor.say
        filled = {"version": self._version, "name": form["name"], "email": form["email"], "link": form["link"]}
        if form["terms"] != self._version:
            return self._render(
                visitor, "sign-up.html", 400, **filled, error=say("Please read and accept the terms.")
            )
        asked = Form(form["name"], form["email"], form["password"], visitor.language, self._version, form["link"])
        try:
            browser = await self._joining.apply(asked, visitor.origin)
        except IdentityError as error:
            return self._render(visitor, "sign-up.html", status_of(error), **filled, error=error.said(say))
        text = say("We have sent you a mail. Follow the link in it, in this browser, within a day.")
        answer = self._render(visitor, "message.html", title=say("Look into your mail"), text=text)
        keep(answer, Cookie.APPLIED, browser)
        return answer

    async def confirm_form(self, request: Request, visitor: Visitor) -> Response:
        """A mail program may look at a link before its reader does: only the button confirms."""
        link, applied = request.query_params.get("link", ""), read(request, Cookie.APPLIED)
        return self._render(visitor, "confirm.html", link=link, with_password=applied is None, error="")

    async def confirm(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        link, password, browser = form["link"], form["password"], read(request, Cookie.APPLIED)
        try:
            token = await self._joining.confirm(link, visitor.origin, browser=browser, password=password or None)
        except IdentityError as error:
            said = error.said(visitor.say)
            return self._render(
                visitor, "confirm.html", status_of(error), link=link, with_password=True, error=said
            )
        answer = go(Refusal.IS_IN.value)
        keep(answer, Cookie.SESSION, token)
        drop(answer, Cookie.APPLIED)
        return answer

    async def first_form(self, request: Request, visitor: Visitor) -> Response:
        link = request.query_params.get("link", "")
        return self._render(visitor, "first.html", link=link, name="", email="", error="")

    async def take_first(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        filled = {name: form[name] for name in ("link", "name", "email")}
        try:
            token = await self._first.take(
                **filled, password=form["password"], language=visitor.language, origin=visitor.origin
            )
        except IdentityError as error:
            return self._render(visitor, "first.html", status_of(error), **filled, error=error.said(visitor.say))
        answer = go(Refusal.SET_UP_SECOND_FACTOR.value)
        keep(answer, Cookie.SESSION, token)
        return answer

    def _closed(self, visitor: Visitor) -> Response:
        text = visitor.say("Please write to us if you want an account.")
        return self._render(
            visitor, "message.html", 403, title=visitor.say("Accounts are by agreement here"), text=text
        )
