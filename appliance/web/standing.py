"""An account that is closed: why, an appeal, and the way back; and how its owner closes it for good."""

from fastapi import Request
from fastapi.responses import Response

from appliance.identity import sessions
from appliance.identity.credentials import Credentials
from appliance.identity.errors import IdentityError
from appliance.inbox.messages import Inbox, may_appeal, open_appeal
from appliance.news.letters import reason_of
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, read_form
from appliance.site.pages import Routes, go
from appliance.site.rendering import Render, status_of
from appliance.site.visitor import Visitor
from billing.clock import Clock
from billing.customers.accounts import get_account, why_closed
from billing.customers.standing import DELETION_DELAY, Standings
from billing.database.db import Database
from billing.errors import Conflict
from billing.payments.reminding import stopped_for

STANDING, DELETE = "/standing", "/account/delete"


class StandingPages:
    def __init__(
        self,
        render: Render,
        database: Database,
        inbox: Inbox,
        standings: Standings,
        credentials: Credentials,
        clock: Clock,
    ) -> None:
        self._render = render
        self._database = database
        self._inbox = inbox
        self._standings = standings
        self._credentials = credentials
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", STANDING, Audience.PERSON, self.standing),
            ("POST", f"{STANDING}/appeal", Audience.PERSON, self.appeal),
            ("POST", f"{STANDING}/restore", Audience.PERSON, self.restore),
            ("GET", DELETE, Audience.PERSON, self.delete_form),
            ("POST", DELETE, Audience.PERSON, self.delete),
        )

    async def standing(self, _: Request, visitor: Visitor) -> Response:
        return go("/dashboard") if visitor.person.status == "active" else await self._shown(visitor)

    async def appeal(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        try:
            await self._inbox.appeal(visitor.person, form["text"])
        except IdentityError as error:
            return await self._shown(visitor, status_of(error), error.said(visitor.say), form["text"])
        return go(STANDING)

    async def restore(self, _: Request, visitor: Visitor) -> Response:
        """Within the 30 days. Who was suspended before is suspended again."""
        try:
            await self._standings.restore(visitor.person.account_id, _actor(visitor), "asked for by its owner")
        except Conflict:
            raise BadForm from None
        return go(STANDING)

    async def delete_form(self, _: Request, visitor: Visitor) -> Response:
        return self._delete_form(visitor)

    async def delete(self, request: Request, visitor: Visitor) -> Response:
        """The account is closed at once; all its other sessions end."""
        form, signed = await read_form(request), visitor.person
        if signed.role == "operator":
            return self._delete_form(visitor)
        try:
            await self._credentials.confirm(signed, form["password"])
            await self._standings.mark_for_deletion(signed.account_id, _actor(visitor), "asked for by its owner")
        except IdentityError as error:
            return self._delete_form(visitor, status_of(error), error.said(visitor.say))
        except Conflict:
            return go(STANDING)
        async with self._database.begin() as connection:
            await sessions.end_all(connection, signed.account_id, but=signed.session_id)
        return go(STANDING)

    def _delete_form(self, visitor: Visitor, status: int = 200, error: str = "") -> Response:
        if visitor.person.role == "operator":
            title, text = visitor.say("Delete the account"), visitor.say("An operator's account stays.")
            return self._render(visitor, "message.html", 409, title=title, text=text)
        return self._render(visitor, "delete.html", status, days=DELETION_DELAY.days, error=error)

    async def _shown(self, visitor: Visitor, status: int = 200, error: str = "", said: str = "") -> Response:
        signed, standing = visitor.person, visitor.person.status
        async with self._database.begin() as connection:
            account = await get_account(connection, signed.account_id)
            why = await why_closed(connection, signed.account_id, standing)
            appealed = await open_appeal(connection, signed.account_id)
            open_to_appeal = await may_appeal(connection, signed, self._clock())
        return self._render(
            visitor,
            "standing.html",
            status,
            standing=standing,
            why=why,
            unpaid=why is not None and stopped_for(why.reason) is not None,
            reason=None if why is None else reason_of(why.reason, visitor.say),
            delete_at=account.delete_at,
            may_appeal=open_to_appeal and appealed is None,
            appealed=appealed,
            said=said,
            error=error,
        )


def _actor(visitor: Visitor) -> str:
    return f"account {visitor.person.account_id}"
