"""What a person can see and change of their own account: the name, the email, the password, the sessions."""

from collections.abc import Mapping

from fastapi import Request
from fastapi.responses import Response

from appliance.identity import profile, sessions
from appliance.identity.credentials import Credentials
from appliance.identity.errors import IdentityError
from appliance.site.audience import Audience
from appliance.site.cookies import Cookie, keep
from appliance.site.forms import BadForm, number, proof, read_form
from appliance.site.pages import Routes, go
from appliance.site.rendering import Render, status_of
from appliance.site.visitor import Visitor
from appliance.texts import LANGUAGES, Say
from billing.clock import Clock
from billing.database.db import Database

HERE = "/account"


class AccountPages:
    def __init__(self, render: Render, credentials: Credentials, database: Database, clock: Clock) -> None:
        self._render = render
        self._credentials = credentials
        self._database = database
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.PERSON, self.account),
            ("POST", f"{HERE}/name", Audience.PERSON, self.name),
            ("POST", f"{HERE}/language", Audience.PERSON, self.language),
            ("POST", f"{HERE}/password", Audience.PERSON, self.password),
            ("POST", f"{HERE}/email", Audience.PERSON, self.email),
            ("GET", f"{HERE}/email", Audience.PERSON, self.confirm_email_form),
            ("POST", f"{HERE}/email/confirm", Audience.PERSON, self.confirm_email),
            ("POST", f"{HERE}/sessions", Audience.PERSON, self.end_sessions),
        )

    async def _shown(self, visitor: Visitor, status: int = 200, done: str = "", **errors: str) -> Response:
        async with self._database.begin() as connection:
            open_ones = await sessions.of(connection, visitor.person.account_id, self._clock())
        return self._render(
            visitor, "account.html", status, sessions=open_ones, errors=errors, done=_done(visitor.say).get(done)
        )

    async def account(self, request: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor, done=request.query_params.get("done", ""))

    async def name(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            async with self._database.begin() as connection:
                await profile.rename(connection, visitor.person, form["name"])
        except IdentityError as error:
            return await self._shown(visitor, status_of(error), name=error.said(visitor.say))
        return go(f"{HERE}?done=name")

    async def language(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        if form["language"] not in LANGUAGES:
            raise BadForm
        async with self._database.begin() as connection:
            await profile.speak(connection, visitor.person, form["language"])
        return go(f"{HERE}?done=language")

    async def password(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            given = proof(form)
            device = await self._credentials.change_password(visitor.person, form["old"], form["new"], given)
        except IdentityError as error:
            return await self._shown(visitor, status_of(error), password=error.said(visitor.say))
        answer = go(f"{HERE}?done=password")
        keep(answer, Cookie.DEVICE, device)
        return answer

    async def email(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            given = proof(form)
            await self._credentials.change_email(visitor.person, form["password"], form["email"], given)
        except IdentityError as error:
            return await self._shown(visitor, status_of(error), email=error.said(visitor.say))
        return go(f"{HERE}?done=email")

    async def confirm_email_form(self, request: Request, visitor: Visitor) -> Response:
        link = request.query_params.get("link", "")
        return self._render(visitor, "confirm-email.html", link=link, error="")

    async def confirm_email(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            await self._credentials.confirm_email(visitor.person, form["link"])
        except IdentityError as error:
            said = error.said(visitor.say)
            return self._render(visitor, "confirm-email.html", status_of(error), link=form["link"], error=said)
        return go(f"{HERE}?done=confirmed")

    async def end_sessions(self, request: Request, visitor: Visitor) -> Response:
        """One of them, or without its number all but this one."""
        signed, session = visitor.person, number((await read_form(request))["session"])
        async with self._database.begin() as connection:
            if session is not None:
                await sessions.end(connection, signed.account_id, session, self._clock())
            else:
                await sessions.end_all(connection, signed.account_id, but=signed.session_id)
        return go(f"{HERE}?done=sessions")


def _done(say: Say) -> Mapping[str, str]:
    return {
        "name": say("Your name was changed."),
        "language": say("Your language was changed."),
        "password": say("Your password was changed, and all other sessions have ended."),
        "email": say(
            "A mail with a link is on its way to the new address. Until you follow it, the old one stays."
        ),
        "confirmed": say("Your email address was changed."),
        "sessions": say("That has ended."),
    }
