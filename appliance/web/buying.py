"""Credit: what there is, buying more of it, and getting back what was bought and not touched."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from appliance.settings import PaymentsSettings
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, read_form, uuid_of
from appliance.site.kept import why_kept
from appliance.site.pages import Routes, go, on_the_way
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.texts import Say
from appliance.web import buyer
from appliance.web.ordering import Ordering
from billing.clock import Clock
from billing.customers.accounts import LotRecord, get_account, list_lots
from billing.database.db import Database
from billing.documents.buyers import buyer_of
from billing.errors import Conflict, NotFound
from billing.ids import new_id
from billing.payments.listing import refunds_of_account
from billing.payments.provider import CheckoutStatus, Gone, Provider
from billing.payments.records import Payment, Refund, payment, payments_of, wallet
from billing.payments.refunds import Refunds
from billing.payments.settling import OF_CREDIT, Mismatch
from billing.payments.shop import NoBuyer, NotForSale, Shop
from billing.payments.top_up import TopUps
from billing.prices.money import parse_cents

HERE = "/credit"
SHOWN = 20
MOST_DIGITS = 9
UNDER_WAY, BACK = ("asked", "taken", "sent", "failed"), ("done", "otherwise")
"""Of refunds."""


@dataclass(frozen=True, slots=True)
class Bought:
    """A lot of credit. ``payment`` can be asked back; otherwise ``why_not`` says why, if it was bought."""

    lot: LotRecord
    payment: UUID | None
    why_not: str


class CreditPages:
    """``back`` is this site's own address, for Stripe to send people back to."""

    def __init__(
        self,
        render: Render,
        database: Database,
        provider: Provider,
        shop: Shop,
        refunds: Refunds,
        top_ups: TopUps,
        ordering: Ordering,
        payments: PaymentsSettings,
        refund_days: int,
        back: str,
        clock: Clock,
    ) -> None:
        self._render = render
        self._database = database
        self._provider = provider
        self._shop = shop
        self._refunds = refunds
        self._top_ups = top_ups
        self._ordering = ordering
        self._payments = payments
        self._refund_days = refund_days
        self._back = back
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("GET", HERE, Audience.CUSTOMER, self.credit),
            ("POST", HERE, Audience.CUSTOMER, self.choose),
            ("GET", f"{HERE}/buy/{{cents}}", Audience.CUSTOMER, self.summary),
            ("POST", f"{HERE}/buy", Audience.CUSTOMER, self.buy),
            ("GET", f"{HERE}/paid", Audience.CUSTOMER, self.paid),
            ("GET", f"{HERE}/refund", Audience.CUSTOMER, self.refund_form),
            ("POST", f"{HERE}/refund", Audience.CUSTOMER, self.refund),
        )

    async def credit(self, request: Request, visitor: Visitor) -> Response:
        return await self.shown(visitor, done=request.query_params.get("done", ""))

    async def choose(self, request: Request, visitor: Visitor) -> Response:
        """What somebody typed or pressed, as a page of its own: it is there after the buyer's details too."""
        form = await read_form(request)
        try:
            cents = parse_cents(form["amount"])
        except ValueError:
            cents = 0
        if not self._payments.least * 100 <= cents <= self._payments.most * 100:
            return await self.shown(visitor, 400, error=self._bounds(visitor.say))
        return go(f"{HERE}/buy/{cents}")

    async def summary(self, request: Request, visitor: Visitor) -> Response:
        """What is paid for what, with the tax of this buyer, before Stripe's page."""
        cents, account_id = _cents(request.path_params["cents"]), visitor.person.account_id
        try:
            quote = await self._shop.quote(account_id, cents)
        except NoBuyer:
            return go(on_the_way(buyer.HERE, f"{HERE}/buy/{cents}"))
        except NotForSale:
            return await self.shown(visitor, 400, error=self._why_not_for_sale(visitor.say, cents))
        async with self._database.begin() as connection:
            buying = await buyer_of(connection, account_id)
            kept = await wallet(connection, account_id)
        return self._render(
            visitor,
            "buy.html",
            quote=quote,
            cents=cents,
            order=new_id(self._clock()),
            buyer=buying,
            has_card=bool(kept.card),
        )

    async def buy(self, request: Request, visitor: Visitor) -> Response:
        """To Stripe's page. The same form a second time is the same payment."""
        form, signed = await read_form(request), visitor.person
        cents, order = _cents(form["cents"]), uuid_of(form["order"])
        await self._ordering.count(signed.account_id)
        try:
            url = await self._shop.order_credit(
                signed.account_id,
                cents,
                order_id=order,
                back=f"{self._back}{HERE}/paid",
                email=signed.email,
                save_card=form["save_card"] == "yes",
            )
        except NoBuyer:
            return go(on_the_way(buyer.HERE, f"{HERE}/buy/{cents}"))
        except NotForSale:
            return await self.shown(visitor, 400, error=self._why_not_for_sale(visitor.say, cents))
        except Conflict:
            return go(f"{HERE}/paid?payment={order}")
        return RedirectResponse(url, 303)

    async def paid(self, request: Request, visitor: Visitor) -> Response:
        """Where Stripe sends people back to, paid or not."""
        found = await own_payment(self._database, request.query_params.get("payment", ""), visitor)
        if found.kind not in OF_CREDIT:
            raise BadForm
        await self._ordering.count_question(visitor.person.account_id)
        try:
            found = await self._shop.look(found.id)
        except Mismatch:
            return self._render(visitor, "paid.html", payment=found, state="looked at", url="")
        state, url = found.state, ""
        if state in ("ordered", "open") and found.checkout is not None:
            state, url = await self._of_checkout(found.checkout)
        return self._render(visitor, "paid.html", payment=found, state=state, url=url)

    async def _of_checkout(self, id_: str) -> tuple[str, str]:
        """Of a payment that is open: whether its payer went through with it, or can still."""
        try:
            seen = await self._provider.checkout(id_)
        except Gone:
            return "expired", ""
        match seen.status:
            case CheckoutStatus.COMPLETE:
                return "processing", ""
            case CheckoutStatus.OPEN:
                return "open", seen.url or ""
        return "expired", ""

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
        why_not = visitor.say("It was not bought.") if lot is None else await self._why_kept(own, visitor)
        return self._render(visitor, "refund.html", status, payment=own, why_not=why_not)

    async def shown(self, visitor: Visitor, status: int = 200, error: str = "", done: str = "") -> Response:
        account_id, say = visitor.person.account_id, visitor.say
        async with self._database.begin() as connection:
            account = await get_account(connection, account_id)
            lots = [lot for lot in await list_lots(connection, account_id) if lot.remaining_nanodollars]
            payments = await payments_of(connection, account_id, SHOWN)
            refunds = await refunds_of_account(connection, account_id, SHOWN)
            kept = await wallet(connection, account_id)
        by_lot = {one.lot_id: one for one in payments if one.lot_id is not None}
        return self._render(
            visitor,
            "credit.html",
            status,
            account=account,
            bought=[await self._bought(lot, by_lot.get(lot.id), visitor) for lot in lots],
            payments=[(one, _said(one, refunds, say)) for one in payments if one.kind in OF_CREDIT],
            refunds=[one for one in refunds if one.state in UNDER_WAY],
            wallet=kept,
            paused=why_paused(kept.paused, say),
            spent=await self._top_ups.spent_this_month(account_id) if kept.ceiling_cents else 0,
            offer=self._payments,
            error=error,
            done=_done(say).get(done, ""),
        )

    async def _bought(self, lot: LotRecord, paid: Payment | None, visitor: Visitor) -> Bought:
        if lot.source != "purchase" or paid is None:
            return Bought(lot, None, "")
        why_not = await self._why_kept(paid, visitor)
        return Bought(lot, None if why_not else paid.id, why_not)

    async def _why_kept(self, paid: Payment, visitor: Visitor) -> str:
        """Why a purchase cannot be asked back; "" if it can."""
        kept = await self._refunds.why_not(visitor.person.account_id, paid.id)
        return why_kept(kept, self._refund_days, visitor.say)

    def _bounds(self, say: Say) -> str:
        least, most = self._payments.least, self._payments.most
        return say("Between ${least} and ${most} can be bought at once, in whole cents.", least=least, most=most)

    def _why_not_for_sale(self, say: Say, cents: int) -> str:
        if not self._payments.least * 100 <= cents <= self._payments.most * 100:
            return self._bounds(say)
        return say("That is more than ${most} in 24 hours. Try less, or tomorrow.", most=self._payments.most_a_day)


async def own_payment(database: Database, named: str, visitor: Visitor) -> Payment:
    """Another's is as if it were not there. Raises BadForm."""
    try:
        async with database.begin() as connection:
            found = await payment(connection, uuid_of(named))
    except NotFound:
        raise BadForm from None
    if found.account_id != visitor.person.account_id:
        raise BadForm
    return found


def _cents(text: str) -> int:
    """Raises BadForm."""
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise BadForm
    return int(text)


def _said(one: Payment, refunds: Sequence[Refund], say: Say) -> str:
    """What has become of a payment."""
    back = sum(refund.gross_cents for refund in refunds if refund.payment_id == one.id and refund.state in BACK)
    if back:
        return say("Paid back") if back == one.gross_cents else say("Paid, and a part of it paid back")
    return {
        "credited": say("Paid"),
        "failed": say("Not paid: the card was declined"),
        "expired": say("Not paid"),
        "unwanted": say("Paid back"),
    }.get(one.state, say("Not paid yet"))


def why_paused(reason: str | None, say: Say) -> str:
    """Why a card is not charged by itself any more, and what to do."""
    if reason is None:
        return ""
    if reason == "authentication_required":
        return say("Your bank wants you to confirm each payment. Buy credit here yourself, or save another card.")
    if reason == "no_buyer":
        return say("Your billing details are missing. Fill them in, and go on.")
    return say("Your card was declined. Save another card, or ask your bank, and go on.")


def _done(say: Say) -> dict[str, str]:
    return {
        "refund": say("The credit is taken back, and the money is on its way to your card."),
        "card": say("Your card is saved."),
        "no-card": say("No card was saved."),
        "removed": say("Your card is removed. Nothing is charged by itself any more."),
        "rule": say("Automatic top-up is on."),
        "stopped": say("Automatic top-up is off."),
    }
