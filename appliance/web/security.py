"""The second factor: set up with an authenticator, proven by a code, kept as recovery codes, turned off."""

import segno
from fastapi import Request
from fastapi.responses import Response
from markupsafe import Markup

from appliance.identity.errors import IdentityError
from appliance.identity.second import SecondFactor
from appliance.settings import SiteSettings
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, read_form
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
        )

    async def _shown(self, visitor: Visitor, status: int = 200, error: str = "") -> Response:
        left = await self._second.codes_left(visitor.person) if visitor.person.second else 0
        return self._render(visitor, "security.html", status, codes_left=left, error=error)

    async def security(self, _: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor)

    async def set_up(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            setup = await self._second.set_up(visitor.person, form["password"], self._site.name, form["code"])
        except IdentityError as error:
            return await self._shown(visitor, status_of(error), error.said(visitor.say))
        code = segno.make(setup.uri, error="m", micro=False).svg_inline(scale=QR_SCALE, omitsize=True)
        return self._render(visitor, "authenticator.html", secret=setup.secret, code=Markup(code), error="")  # noqa: S704

    async def begin(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            codes = await self._second.begin(visitor.person, form["code"])
        except IdentityError as error:
            return await self._shown(visitor, status_of(error), error.said(visitor.say))
        return self._render(visitor, "recovery-codes.html", codes=codes)

    async def turn_off(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        if visitor.person.role == "operator":
            raise BadForm
        try:
            await self._second.turn_off(visitor.person, form["password"], form["code"])
        except IdentityError as error:
            return await self._shown(visitor, status_of(error), error.said(visitor.say))
        return go(HERE)
