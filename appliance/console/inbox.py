"""What was written to the operator: questions to be answered by mail, appeals to be decided here."""

from fastapi import Request
from fastapi.responses import Response

from appliance.console.customers import actor
from appliance.inbox.messages import Inbox, list_messages
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, number, read_form
from appliance.site.pages import Routes, go
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from billing.database.db import Database
from billing.errors import BillingError

HERE = "/console/inbox"
SHOWN = 100


class InboxPages:
    def __init__(self, render: Render, database: Database, inbox: Inbox) -> None:
        self._render = render
        self._database = database
        self._inbox = inbox

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.OPERATOR, self.messages),
            ("POST", HERE, Audience.OPERATOR, self.answer),
        )

    async def messages(self, _: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor)

    async def answer(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        message, outcome = number(form["message"]), form["outcome"]
        if message is None or outcome not in ("answered", "granted", "denied"):
            raise BadForm
        try:
            if outcome == "answered":
                await self._inbox.close(message, form["answer"])
            elif outcome == "granted":
                await self._inbox.grant(message, actor(visitor), form["answer"])
            else:
                await self._inbox.deny(message, form["answer"])
        except (BillingError, ValueError) as error:
            return await self._shown(visitor, 400, str(error))
        return go(HERE)

    async def _shown(self, visitor: Visitor, status: int = 200, error: str = "") -> Response:
        async with self._database.begin() as connection:
            waiting = await list_messages(connection, closed=False, limit=SHOWN)
            closed = await list_messages(connection, closed=True, limit=SHOWN)
        return self._render(visitor, "inbox.html", status, waiting=waiting, closed=closed, error=error)
