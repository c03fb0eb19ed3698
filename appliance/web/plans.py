"""Plans: what is offered, what one costs before it is agreed to, and the way from one to another and out."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.site.audience import Audience
from appliance.site.forms import BadForm, read_form
from appliance.site.pages import NothingHere, Routes, go, on_the_way
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.texts import Say
from appliance.web import buyer
from appliance.web.ordering import Ordering
from billing.customers.accounts import list_lots
from billing.database.db import Database
from billing.documents.buyers import Buyer, buyer_of
from billing.documents.vat import Taxing, quote
from billing.payments.provider import BuyerRefused, Declined, Provider
from billing.payments.shop import NoBuyer
from billing.payments.subscribed import Subscription, last_of, running_of
from billing.payments.subscriptions.changes import NotPossible, Preview, PreviewOld
from billing.payments.subscriptions.service import Subscriptions
from billing.plans.catalog import Plan

HERE = "/plan"


@dataclass(frozen=True, slots=True)
class Card:
    """A plan as this visitor sees it: ``cents`` are what they pay each month, tax included.

    Where Stripe reckons the tax and it comes on top, they are without it: the preview asks Stripe.
    """

    plan: Plan
    cents: int
    is_current: bool
    is_next: bool


class PlanPages:
    """``back`` is this site's own address, for Stripe to send people back to."""

    def __init__(
        self,
        render: Render,
        database: Database,
        provider: Provider,
        subscriptions: Subscriptions,
        ordering: Ordering,
        plans: Sequence[Plan],
        taxing: Taxing,
        back: str,
    ) -> None:
        self._render = render
        self._database = database
        self._provider = provider
        self._subscriptions = subscriptions
        self._ordering = ordering
        self._plans = {plan.id: plan for plan in plans}
        self._taxing = taxing
        self._back = back

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.CUSTOMER, self.plan),
            ("GET", f"{HERE}/choose/{{plan}}", Audience.CUSTOMER, self.choose),
            ("POST", f"{HERE}/subscribe", Audience.CUSTOMER, self.subscribe),
            ("GET", f"{HERE}/subscribed", Audience.CUSTOMER, self.subscribed),
            ("POST", f"{HERE}/upgrade", Audience.CUSTOMER, self.upgrade),
            ("POST", f"{HERE}/downgrade", Audience.CUSTOMER, self.downgrade),
            ("POST", f"{HERE}/take-back", Audience.CUSTOMER, self.take_back),
            ("GET", f"{HERE}/cancel", Audience.CUSTOMER, self.cancel_form),
            ("POST", f"{HERE}/cancel", Audience.CUSTOMER, self.cancel),
            ("POST", f"{HERE}/resume", Audience.CUSTOMER, self.resume),
            ("GET", f"{HERE}/pay", Audience.CUSTOMER, self.pay),
        )

    async def plan(self, request: Request, visitor: Visitor) -> Response:
        return await self._shown(visitor, done=request.query_params.get("done", ""))

    async def choose(self, request: Request, visitor: Visitor) -> Response:
        """What it costs now and from then on, before anybody agrees."""
        plan = self._plans.get(request.path_params["plan"])
        if plan is None:
            raise NothingHere
        await self._ordering.count_question(visitor.person.account_id)
        return await self._previewed(visitor, plan)

    async def _previewed(self, visitor: Visitor, plan: Plan, status: int = 200, error: str = "") -> Response:
        account_id = visitor.person.account_id
        try:
            preview = await self._subscriptions.preview(account_id, plan.id)
        except NoBuyer:
            return go(on_the_way(buyer.HERE, f"{HERE}/choose/{plan.id}"))
        except BuyerRefused:
            return buyer.put_right(f"{HERE}/choose/{plan.id}")
        except NotPossible:
            return await self._shown(visitor, 409, visitor.say("You cannot change to this plan now."))
        async with self._database.begin() as connection:
            buying = await buyer_of(connection, account_id)
        return self._render(
            visitor,
            "plan-preview.html",
            status,
            plan=plan,
            name=plan.name(visitor.language),
            preview=preview,
            prorated=self._subscriptions.prorated,
            carried=msgspec.json.encode(preview).decode(),
            running=await self._subscriptions.running(account_id),
            buyer=buying,
            error=error,
        )

    async def subscribe(self, request: Request, visitor: Visitor) -> Response:
        plan, signed = self._named((await read_form(request))["plan"]), visitor.person
        await self._ordering.count(signed.account_id)
        try:
            url = await self._subscriptions.subscribe(
                signed.account_id, plan.id, back=f"{self._back}{HERE}/subscribed", email=signed.email
            )
        except NoBuyer:
            return go(on_the_way(buyer.HERE, f"{HERE}/choose/{plan.id}"))
        except BuyerRefused:
            return buyer.put_right(f"{HERE}/choose/{plan.id}")
        except NotPossible:
            return await self._shown(visitor, 409, visitor.say("You have a plan already."))
        return RedirectResponse(url, 303)

    async def subscribed(self, _: Request, visitor: Visitor) -> Response:
        """Where Stripe sends people back to, paid or not."""
        await self._ordering.count_question(visitor.person.account_id)
        found = await self._subscriptions.look(visitor.person.account_id)
        if found is not None:
            return go(f"{HERE}?done=subscribed")
        return self._render(visitor, "subscribed.html")

    async def upgrade(self, request: Request, visitor: Visitor) -> Response:
        """Charges what the page showed. The same form a second time finds the plan changed already."""
        form = await read_form(request)
        plan = self._named(form["plan"])
        try:
            preview = msgspec.json.decode(form["preview"], type=Preview)
        except msgspec.DecodeError:
            raise BadForm from None
        await self._ordering.count(visitor.person.account_id)
        try:
            await self._subscriptions.upgrade(visitor.person.account_id, plan.id, preview)
        except BuyerRefused:
            return buyer.put_right(f"{HERE}/choose/{plan.id}")
        except PreviewOld:
            changed = visitor.say("The amount has changed. Nothing was charged: please look again.")
            return await self._previewed(visitor, plan, 409, changed)
        except Declined:
            declined = visitor.say("The card was declined. Nothing was charged, and your plan is as it was.")
            return await self._previewed(visitor, plan, 402, declined)
        except NotPossible:
            running = await self._subscriptions.running(visitor.person.account_id)
            if running is None or running.version.plan != plan.id:
                return await self._shown(visitor, 409, visitor.say("You cannot change to this plan now."))
        return go(f"{HERE}?done=upgraded")

    async def downgrade(self, request: Request, visitor: Visitor) -> Response:
        plan = self._named((await read_form(request))["plan"])
        account_id = visitor.person.account_id
        return await self._acted(
            visitor, "planned", lambda: self._subscriptions.plan_downgrade(account_id, plan.id)
        )

    async def take_back(self, _: Request, visitor: Visitor) -> Response:
        account_id = visitor.person.account_id
        return await self._acted(visitor, "kept", lambda: self._subscriptions.take_back_change(account_id))

    async def cancel_form(self, _: Request, visitor: Visitor) -> Response:
        running = await self._subscriptions.running(visitor.person.account_id)
        if running is None or running.cancels:
            return go(HERE)
        return self._render(
            visitor, "plan-cancel.html", running=running, name=running.version.name(visitor.language)
        )

    async def cancel(self, _: Request, visitor: Visitor) -> Response:
        account_id = visitor.person.account_id
        return await self._acted(visitor, "cancelled", lambda: self._subscriptions.cancel(account_id))

    async def resume(self, _: Request, visitor: Visitor) -> Response:
        account_id = visitor.person.account_id
        return await self._acted(visitor, "kept", lambda: self._subscriptions.resume(account_id))

    async def pay(self, _: Request, visitor: Visitor) -> Response:
        """To Stripe's page of the renewal that is not paid."""
        await self._ordering.count_question(visitor.person.account_id)
        running = await self._subscriptions.running(visitor.person.account_id)
        if running is None or running.state != "past_due" or running.stripe_id is None:
            return go(HERE)
        seen = await self._provider.subscription(running.stripe_id)
        invoice = None if seen.latest_invoice is None else await self._provider.invoice(seen.latest_invoice)
        return (
            go(HERE)
            if invoice is None or invoice.hosted_url is None
            else RedirectResponse(invoice.hosted_url, 303)
        )

    async def _acted(self, visitor: Visitor, done: str, act: Callable[[], Awaitable[object]]) -> Response:
        await self._ordering.count_question(visitor.person.account_id)
        try:
            await act()
        except NotPossible:
            return await self._shown(visitor, 409, visitor.say("That is not possible with your plan now."))
        return go(f"{HERE}?done={done}")

    def _named(self, id_: str) -> Plan:
        """Raises BadForm."""
        if id_ not in self._plans:
            raise BadForm
        return self._plans[id_]

    async def _shown(self, visitor: Visitor, status: int = 200, error: str = "", done: str = "") -> Response:
        account_id = visitor.person.account_id
        async with self._database.begin() as connection:
            running = await running_of(connection, account_id)
            ended = None if running is not None else await last_of(connection, account_id)
            buying = await buyer_of(connection, account_id)
            left = await _left_of_allowance(connection, account_id)
        return self._render(
            visitor,
            "plan.html",
            status,
            running=running,
            pays=None if running is None else self._pays(running.version.cents, buying),
            next_pays=None if running is None or running.next_version is None
            else self._pays(running.next_version.cents, buying),
            left=left,
            ended=ended,
            cards=[self._card(plan, running, buying) for plan in self._plans.values()],
            tax_on_top=not self._taxing.included and (buying is None or self._taxing.by_stripe),
            error=error,
            done=_done(visitor.say).get(done, ""),
        )  # fmt: skip

    def _card(self, plan: Plan, running: Subscription | None, buying: Buyer | None) -> Card:
        current = running is not None and running.version.plan == plan.id
        following = (
            running is not None and running.next_version is not None and running.next_version.plan == plan.id
        )
        return Card(plan, self._pays(plan.cents, buying), current, following)

    def _pays(self, cents: int, buying: Buyer | None) -> int:
        if buying is None or self._taxing.by_stripe:
            return cents
        return quote(cents, buying, self._taxing, is_credit=False).gross


async def _left_of_allowance(connection: AsyncConnection, account_id: int) -> int:
    lots = await list_lots(connection, account_id)
    return sum(lot.remaining_nanodollars for lot in lots if lot.source == "allowance")


def _done(say: Say) -> dict[str, str]:
    return {
        "subscribed": say("Your plan runs. The receipt comes by mail, and stands among your documents."),
        "upgraded": say("Your plan is changed."),
        "planned": say("Your plan changes at its next renewal."),
        "kept": say("Your plan goes on as it is."),
        "cancelled": say("Your plan is cancelled."),
    }
