"""Receipts, invoices and credit notes: the list, and each as a page and a PDF. Their owner always reads them."""

import asyncio
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from appliance.papers.papers import Papers
from appliance.papers.wording import standing_of, title_of
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, number, read_form, uuid_of
from appliance.site.pages import NothingHere, Routes, go
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.till import Till
from appliance.web.ordering import Ordering
from appliance.web.own_payment import own_payment
from billing.clock import Clock
from billing.database.db import Database
from billing.documents.document import Document
from billing.documents.reading import documents_of, read_document, related
from billing.documents.settled import InvoiceState, invoice_state, invoices_of
from billing.errors import Conflict, NotFound
from billing.ids import new_id
from billing.payments.settling import Mismatch

HERE = "/documents"
SHOWN = 500


@dataclass(frozen=True, slots=True)
class Listed:
    """``state`` is an invoice's, ``stands`` says it in words; ``is_late``: its day is over."""

    document: Document
    title: str
    state: InvoiceState | None
    stands: str
    is_late: bool


class DocumentPages:
    """Where nothing is sold, ``till`` is None. ``back`` is this site's own address."""

    def __init__(
        self,
        render: Render,
        database: Database,
        papers: Papers,
        till: Till | None,
        ordering: Ordering,
        back: str,
        clock: Clock,
    ) -> None:
        self._render = render
        self._database = database
        self._papers = papers
        self._till = till
        self._ordering = ordering
        self._back = back
        self._clock = clock
        self._one_at_a_time = asyncio.Semaphore(1)

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.PERSON, self.documents),
            ("GET", f"{HERE}/paid", Audience.PERSON, self.paid),
            ("GET", f"{HERE}/{{document_id}}", Audience.PERSON, self.document),
            ("POST", f"{HERE}/{{document_id}}/pay", Audience.PERSON, self.pay),
            ("GET", f"{HERE}/{{document_id}}/pdf", Audience.PERSON, self.pdf),
        )

    async def documents(self, _: Request, visitor: Visitor) -> Response:
        account_id = visitor.person.account_id
        async with self._database.begin() as connection:
            found = await documents_of(connection, account_id, SHOWN)
            invoices = await invoices_of(connection, account_id)
        listed = [self._listed(one, invoices.get(one.id), visitor) for one in found]
        return self._render(visitor, "documents.html", listed=listed)

    async def document(self, request: Request, visitor: Visitor) -> Response:
        document_id, account_id = _number(request), visitor.person.account_id
        try:
            async with self._database.begin() as connection:
                document = await read_document(connection, document_id, account_id)
                paper = await self._papers.paper(connection, document_id, account_id)
                state = await invoice_state(connection, document_id)
                others = await related(connection, document_id)
        except NotFound:
            raise NothingHere from None
        listed = self._listed(document, state, visitor)
        order = new_id(self._clock())
        return self._render(visitor, "document.html", paper=paper, listed=listed, others=others, order=order)

    async def pay(self, request: Request, visitor: Visitor) -> Response:
        """An invoice, on Stripe's page: also by somebody whose account is closed because it was not paid.

        The same form a second time is the same payment.
        """
        document_id, signed = _number(request), visitor.person
        try:
            async with self._database.begin() as connection:
                await read_document(connection, document_id, signed.account_id)
        except NotFound:
            raise NothingHere from None
        if self._till is None:
            raise BadForm
        order = uuid_of((await read_form(request))["order"])
        await self._ordering.count(signed.account_id)
        try:
            url = await self._till.invoices.order(
                signed.account_id,
                document_id,
                order_id=order,
                back=f"{self._back}{HERE}/paid",
                email=signed.email,
            )
        except NotFound:
            raise BadForm from None
        except Conflict:
            return go(f"{HERE}/{document_id}")
        return RedirectResponse(url, 303)

    async def paid(self, request: Request, visitor: Visitor) -> Response:
        """Where Stripe sends people back to who paid an invoice, or did not."""
        if self._till is None:
            raise BadForm
        own = await own_payment(self._database, request.query_params.get("payment", ""), visitor)
        await self._ordering.count_question(visitor.person.account_id)
        try:
            found = await self._till.shop.look(own.id)
        except Mismatch:
            return self._render(visitor, "paid.html", payment=own, state="looked at", url=None)
        return self._render(visitor, "invoice-paid.html", payment=found)

    async def pdf(self, request: Request, visitor: Visitor) -> Response:
        try:
            async with self._database.begin() as connection:
                paper = await self._papers.paper(connection, _number(request), visitor.person.account_id)
        except NotFound:
            raise NothingHere from None
        async with self._one_at_a_time:
            content = await asyncio.to_thread(self._papers.pdf, paper)
        named = {"content-disposition": f"attachment; filename={paper.file_name}"}
        return Response(content, 200, named, "application/pdf")

    def _listed(self, one: Document, state: InvoiceState | None, visitor: Visitor) -> Listed:
        stands = "" if state is None else standing_of(state, visitor.say)
        is_late = state is not None and state.left_cents > 0 and state.due_on < self._clock().date()
        return Listed(one, title_of(one.kind, visitor.say), state, stands, is_late)


def _number(request: Request) -> int:
    """Raises NothingHere."""
    found = number(request.path_params["document_id"])
    if found is None:
        raise NothingHere
    return found
