"""Getting back what was bought and not touched."""

from fastapi import Request
from fastapi.responses import Response

from appliance.site.audience import Audience
from appliance.site.forms import read_form
from appliance.site.pages import Routes, go
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.web.credit import HERE, SHOWN, CreditPage
from appliance.web.ordering import Ordering
from appliance.web.own_payment import own_payment
from billing.customers.accounts import list_lots
from billing.database.db import Database
from billing.errors import Conflict
from billing.payments.records import refunds_of_account
from billing.payments.refunds import Refunds


class RefundPages:
    """``page`` knows why a purchase is kept."""

    def __init__(
        self, render: Render, database: Database, page: CreditPage, refunds: Refunds, ordering: Ordering
    ) -> None:
        self._render = render
        self._database = database
        self._page = page
        self._refunds = refunds
        self._ordering = ordering

    def routes(self) -> Routes:
        return (
            ("GET", f"{HERE}/refund", Audience.CUSTOMER, self.refund_form),
            ("POST", f"{HERE}/refund", Audience.CUSTOMER, self.refund),
        )

    async def refund_form(self, request: Request, visitor: Visitor) -> Response:
        return await self._refund_page(request.query_params.get("payment", ""), visitor)

    async def refund(self, request: Request, visitor: Visitor) -> Response:
        """A second time finds the credit gone already."""
        named = (await read_form(request))["payment"]
        own = await own_payment(self._database, named, visitor)
        await self._ordering.count(visitor.person.account_id)
        try:
            await self._refunds.ask(visitor.person.account_id, own.id)
        except Conflict:
            async with self._database.begin() as connection:
                asked = await refunds_of_account(connection, visitor.person.account_id, SHOWN)
            if own.id not in [one.payment_id for one in asked]:
                return await self._refund_page(named, visitor, 409)
        return go(f"{HERE}?done=refund")

    async def _refund_page(self, named: str, visitor: Visitor, status: int = 200) -> Response:
        own = await own_payment(self._database, named, visitor)
        async with self._database.begin() as connection:
            lots = {lot.id: lot for lot in await list_lots(connection, visitor.person.account_id)}
        lot = lots.get(own.lot_id or 0)
        why_not = visitor.say("It was not bought.") if lot is None else await self._page.why_kept(own, visitor)
        return self._render(visitor, "refund.html", status, payment=own, why_not=why_not)
