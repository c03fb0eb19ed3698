"""The payments of all customers, what of them is in trouble, and what Stripe tells."""

from fastapi import Request
from fastapi.responses import Response

from appliance.console.customers import actor
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, read_form, uuid_of
from appliance.site.pages import NothingHere, Routes, go
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.till import Till
from billing.database.db import Database
from billing.errors import BillingError, NotFound
from billing.payments.listing import OPEN_DISPUTES, accounts_of, count_troubles, read_inbox
from billing.payments.records import disputes_in, newest_payments, payments_in, refunds_in

HERE, WEBHOOKS = "/console/payments", "/console/webhooks"
SHOWN = 100
PROBLEMS = ("failed", "unwanted")
"""Those that are payments; refunds and disputes are shown in the same place."""


class PaymentPages:
    """``till`` is None where nothing is sold."""

    def __init__(self, render: Render, database: Database, till: Till | None) -> None:
        self._render = render
        self._database = database
        self._refunds = None if till is None else till.refunds
        self._inbox = None if till is None else till.inbox

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.OPERATOR, self.payments),
            ("POST", f"{HERE}/refund", Audience.OPERATOR, self.mend_refund),
            ("GET", WEBHOOKS, Audience.OPERATOR, self.webhooks),
            ("POST", f"{WEBHOOKS}/replay", Audience.OPERATOR, self.replay),
        )

    async def payments(self, request: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor, request.query_params.get("show", ""))

    async def mend_refund(self, request: Request, visitor: Visitor) -> Response:
        """One that the bank would not have: once more, or it is paid by other means."""
        form = await read_form(request)
        refund_id = uuid_of(form["refund"])
        if self._refunds is None:
            raise NothingHere
        acts = {"again": self._refunds.again, "otherwise": self._refunds.otherwise}
        if form["outcome"] not in acts:
            raise BadForm
        try:
            await acts[form["outcome"]](refund_id, actor(visitor), form["reason"])
        except NotFound:
            raise BadForm from None
        except (BillingError, ValueError) as error:
            return await self._shown(visitor, "refunds", 400, str(error))
        return go(f"{HERE}?show=refunds")

    async def webhooks(self, _: Request, visitor: Visitor) -> Response:
        return await self._inbox_shown(visitor)

    async def replay(self, request: Request, visitor: Visitor) -> Response:
        if self._inbox is None:
            raise NothingHere
        try:
            await self._inbox.replay((await read_form(request))["event"], actor(visitor))
        except NotFound:
            raise BadForm from None
        return go(WEBHOOKS)

    async def _shown(self, visitor: Visitor, show: str, status: int = 200, error: str = "") -> Response:
        async with self._database.snapshot() as connection:
            troubles = await count_troubles(connection)
            payments = (
                await payments_in(connection, show, limit=SHOWN)
                if show in PROBLEMS
                else await newest_payments(connection, SHOWN)
            )
            refunds = await refunds_in(connection, "failed", limit=SHOWN)
            disputes = await disputes_in(connection, *OPEN_DISPUTES, limit=SHOWN)
            whose = await accounts_of(
                connection, [*(one.payment_id for one in refunds), *(one.payment_id for one in disputes)]
            )
        return self._render(
            visitor,
            "payments.html",
            status,
            chosen=show,
            troubles=troubles,
            payments=payments,
            refunds=refunds,
            disputes=disputes,
            whose=whose,
            error=error,
        )

    async def _inbox_shown(self, visitor: Visitor) -> Response:
        async with self._database.begin() as connection:
            state = await read_inbox(connection)
        inbox = self._inbox
        return self._render(
            visitor,
            "webhooks.html",
            state=state,
            waiting=() if inbox is None else await inbox.waiting(SHOWN),
            newest=() if inbox is None else await inbox.newest(SHOWN),
        )
