"""What one customer buys: payments, refunds, disputes, the plan, documents; and what the operator may do."""

import uuid

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.console.customers import account_of, actor
from appliance.papers.papers import Papers
from appliance.papers.wording import standing_of
from appliance.site.audience import Audience
from appliance.site.countries import country_name
from appliance.site.forms import BadForm, number, read_form, uuid_of
from appliance.site.kept import why_kept
from appliance.site.pages import NothingHere, Routes, go
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.till import Till
from billing.clock import Clock
from billing.customers.accounts import Account, get_account
from billing.database.db import Database
from billing.documents.buyers import buyer_of
from billing.documents.reading import documents_of, read_document
from billing.documents.settled import invoices_of
from billing.errors import BillingError, NotFound
from billing.ids import new_id
from billing.payments.records import disputes_of_account, payment, payments_of, refunds_of_account, wallet
from billing.payments.subscribed import subscriptions_of
from billing.prices.money import parse_cents

HERE = "/console/customers/{account_id}/billing"
SHOWN = 100


class CustomerBillingPages:
    """``till`` is None where nothing is sold."""

    def __init__(
        self,
        render: Render,
        database: Database,
        papers: Papers,
        till: Till | None,
        refund_days: int,
        clock: Clock,
    ) -> None:
        self._render = render
        self._database = database
        self._papers = papers
        self._refund_days = refund_days
        self._clock = clock
        self._refunds = None if till is None else till.refunds
        self._subscriptions = None if till is None else till.subscriptions

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.OPERATOR, self.billing),
            ("GET", f"{HERE}/refund", Audience.OPERATOR, self.refund_form),
            ("POST", f"{HERE}/refund", Audience.OPERATOR, self.refund),
            ("POST", f"{HERE}/plan", Audience.OPERATOR, self.end_plan),
            ("GET", "/console/documents/{document_id}", Audience.OPERATOR, self.document),
        )

    async def billing(self, request: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor, account_of(request), done=request.query_params.get("done", ""))

    async def refund_form(self, request: Request, visitor: Visitor) -> Response:
        """How much can go back now, which is more than the rule of the terms gives."""
        return await self._refund_page(visitor, account_of(request), request.query_params.get("payment", ""))

    async def refund(self, request: Request, visitor: Visitor) -> Response:
        account_id, form = account_of(request), await read_form(request)
        found = await self._payment_of(account_id, form["payment"])
        if self._refunds is None:
            raise NothingHere
        try:
            cents = parse_cents(form["amount"])
            await self._refunds.by_operator(found, actor(visitor), form["reason"], cents, uuid_of(form["refund"]))
        except (BillingError, ValueError) as error:
            return await self._refund_page(visitor, account_id, form["payment"], 400, str(error))
        return go(f"{_path(account_id)}?done=yes")

    async def end_plan(self, request: Request, visitor: Visitor) -> Response:
        account_id, form = account_of(request), await read_form(request)
        if self._subscriptions is None:
            raise NothingHere
        try:
            if not form["reason"].strip():
                raise ValueError("a reason is needed")
            await self._subscriptions.end_now(account_id, actor(visitor), form["reason"])
        except (BillingError, ValueError) as error:
            return await self._shown(visitor, account_id, 400, str(error))
        return go(f"{_path(account_id)}?done=yes")

    async def document(self, request: Request, visitor: Visitor) -> Response:
        """As its customer has it."""
        document_id = number(request.path_params["document_id"])
        try:
            async with self._database.begin() as connection:
                document = await read_document(connection, document_id or 0)
                paper = await self._papers.paper(connection, document.id)
        except NotFound:
            raise NothingHere from None
        return self._render(visitor, "console-document.html", account_id=document.account_id, paper=paper)

    async def _refund_page(
        self, visitor: Visitor, account_id: int, named: str, status: int = 200, error: str = ""
    ) -> Response:
        payment_id = await self._payment_of(account_id, named)
        if self._refunds is None:
            raise NothingHere
        async with self._database.begin() as connection:
            found = await payment(connection, payment_id)
            account = await self._account(connection, account_id)
        most = await self._refunds.most(payment_id)
        return self._render(
            visitor,
            "console-refund.html",
            status,
            account=account,
            payment=found,
            most=most,
            refund=new_id(self._clock()),
            why_not=why_kept(await self._refunds.why_not(account_id, payment_id), self._refund_days, visitor.say),
            error=error,
        )

    async def _payment_of(self, account_id: int, named: str) -> uuid.UUID:
        """One of the account's own. Raises BadForm."""
        try:
            async with self._database.begin() as connection:
                found = await payment(connection, uuid.UUID(named))
        except (NotFound, ValueError):
            raise BadForm from None
        if found.account_id != account_id:
            raise BadForm
        return found.id

    async def _account(self, connection: AsyncConnection, account_id: int) -> Account:
        try:
            return await get_account(connection, account_id)
        except NotFound:
            raise NothingHere from None

    async def _shown(
        self, visitor: Visitor, account_id: int, status: int = 200, error: str = "", done: str = ""
    ) -> Response:
        async with self._database.snapshot() as connection:
            account = await self._account(connection, account_id)
            buyer = await buyer_of(connection, account_id)
            kept = await wallet(connection, account_id)
            payments = await payments_of(connection, account_id, SHOWN)
            refunds = await refunds_of_account(connection, account_id, SHOWN)
            disputes = await disputes_of_account(connection, account_id, SHOWN)
            plans = await subscriptions_of(connection, account_id, SHOWN)
            documents = await documents_of(connection, account_id, SHOWN)
            invoices = await invoices_of(connection, account_id)
        return self._render(
            visitor,
            "customer-billing.html",
            status,
            account=account,
            buyer=buyer,
            country="" if buyer is None else country_name(buyer.country, visitor.language),
            wallet=kept,
            payments=payments,
            refunds=refunds,
            disputes=disputes,
            plans=[one for one in plans if one.state != "ordered"],
            documents=documents,
            invoices=invoices,
            standing={id_: standing_of(state, visitor.say) for id_, state in invoices.items()},
            error=error,
            done=bool(done),
        )


def _path(account_id: int) -> str:
    return HERE.format(account_id=account_id)
