"""The second factor, set up and taken away: an authenticator, passkeys, recovery codes."""

import segno
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from markupsafe import Markup

from appliance.identity.errors import IdentityError
from appliance.identity.second import SecondFactor
from appliance.settings import SiteSettings
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, number, proof, read_form
from appliance.site.pages import Routes, go
from appliance.site.rendering import Render, status_of
from appliance.site.visitor import Visitor

HERE = "/account/second-factor"
QR_SCALE = 4


class SecurityPages:
    def __init__(self, render: Render, second: SecondFactor, site: SiteSettings) -> None:
        self._render = render
        self._second = second
        self._site = site

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.SETTING_UP, self.security),
            ("POST", f"{HERE}/set-up", Audience.SETTING_UP, self.set_up),
            ("POST", f"{HERE}/begin", Audience.SETTING_UP, self.begin),
            ("POST", f"{HERE}/off", Audience.PERSON, self.turn_off),
            ("POST", "/passkey", Audience.ANYBODY, self.ask_passkey),
            ("POST", f"{HERE}/new-passkey", Audience.SETTING_UP, self.ask_new_passkey),
            ("POST", f"{HERE}/passkeys", Audience.SETTING_UP, self.add_passkey),
            ("POST", f"{HERE}/passkeys/remove", Audience.PERSON, self.remove_passkey),
        )

    async def _shown(self, visitor: Visitor, status: int = 200, error: str = "") -> Response:
        factors = await self._second.factors(visitor.person)
        return self._render(visitor, "security.html", status, factors=factors, error=error)

    async def _refused(self, visitor: Visitor, error: IdentityError) -> Response:
        return await self._shown(visitor, status_of(error), error.said(visitor.say))

    async def security(self, _: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor)

    async def set_up(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            given = proof(form)
            setup = await self._second.set_up(visitor.person, form["password"], self._site.name, given)
        except IdentityError as error:
            return await self._refused(visitor, error)
        code = segno.make(setup.uri, error="m", micro=False).svg_inline(scale=QR_SCALE, omitsize=True)
        return self._render(visitor, "authenticator.html", secret=setup.secret, code=Markup(code), error="")  # noqa: S704

    async def begin(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            codes = await self._second.begin(visitor.person, form["code"])
        except IdentityError as error:
            return await self._refused(visitor, error)
        return self._render(visitor, "recovery-codes.html", codes=codes)

    async def turn_off(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            given = proof(form)
            await self._second.turn_off(visitor.person, form["password"], given)
        except IdentityError as error:
            return await self._refused(visitor, error)
        return go(HERE)

    async def ask_passkey(self, _: Request, visitor: Visitor) -> Response:
        """For the page's script: what the browser gives to the passkey."""
        try:
            return _json(await self._second.ask_passkey(visitor.signed, visitor.origin))
        except IdentityError as error:
            return _said(visitor, error)

    async def ask_new_passkey(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            given = proof(form)
            return _json(await self._second.ask_new_passkey(visitor.person, form["password"], given))
        except IdentityError as error:
            return _said(visitor, error)

    async def add_passkey(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            codes = await self._second.add_passkey(visitor.person, form["name"], form["made"])
        except IdentityError as error:
            return await self._refused(visitor, error)
        return self._render(visitor, "recovery-codes.html", codes=codes) if codes else go(HERE)

    async def remove_passkey(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        passkey_id, given = number(form["id"]), proof(form)
        if passkey_id is None:
            raise BadForm
        try:
            await self._second.remove_passkey(visitor.person, passkey_id, form["password"], given)
        except IdentityError as error:
            return await self._refused(visitor, error)
        return go(HERE)


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")


def _said(visitor: Visitor, error: IdentityError) -> Response:
    return JSONResponse({"error": error.said(visitor.say)}, status_of(error))
