"""Buying credit: an amount, a summary with the tax, Stripe's page, and the way back from it."""

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from appliance.settings import PaymentsSettings
from appliance.site.audience import Audience
from appliance.site.forms import BadForm, read_form, uuid_of
from appliance.site.pages import Routes, go, on_the_way
from appliance.site.rendering import Render
from appliance.site.visitor import Visitor
from appliance.texts import Say
from appliance.web import buyer
from appliance.web.credit import HERE, CreditPage
from appliance.web.ordering import Ordering
from appliance.web.own_payment import own_payment
from billing.clock import Clock
from billing.database.db import Database
from billing.documents.buyers import buyer_of
from billing.errors import Conflict
from billing.ids import new_id
from billing.payments.provider import BuyerRefused, CheckoutStatus, Gone, Provider
from billing.payments.records import wallet
from billing.payments.settling import OF_CREDIT, Mismatch
from billing.payments.shop import NoBuyer, NotForSale, Shop
from billing.prices.money import parse_cents

MOST_DIGITS = 9


class BuyingPages:
    """``page`` shows what is wrong; ``back`` is this site's own address, for Stripe to send people back to."""

    def __init__(
        self,
        render: Render,
        database: Database,
        page: CreditPage,
        provider: Provider,
        shop: Shop,
        ordering: Ordering,
        payments: PaymentsSettings,
        back: str,
        clock: Clock,
    ) -> None:
        self._render = render
        self._database = database
        self._page = page
        self._provider = provider
        self._shop = shop
        self._ordering = ordering
        self._payments = payments
        self._back = back
        self._clock = clock

    def routes(self) -> Routes:
        return (
            ("POST", HERE, Audience.CUSTOMER, self.choose),
            ("GET", f"{HERE}/buy/{{cents}}", Audience.CUSTOMER, self.summary),
            ("POST", f"{HERE}/buy", Audience.CUSTOMER, self.buy),
            ("GET", f"{HERE}/paid", Audience.CUSTOMER, self.paid),
        )

    async def choose(self, request: Request, visitor: Visitor) -> Response:
        """What somebody typed or pressed, as a page of its own: it is there after the buyer's details too."""
        form = await read_form(request)
        try:
            cents = parse_cents(form["amount"])
        except ValueError:
            cents = 0
        if not self._payments.least * 100 <= cents <= self._payments.most * 100:
            return await self._page.shown(visitor, 400, error=self._bounds(visitor.say))
        return go(f"{HERE}/buy/{cents}")

    async def summary(self, request: Request, visitor: Visitor) -> Response:
        """What is paid for what, with the tax of this buyer, before Stripe's page."""
        cents, account_id = _cents(request.path_params["cents"]), visitor.person.account_id
        await self._ordering.count_question(account_id)
        try:
            quote = await self._shop.quote(account_id, cents)
        except NoBuyer:
            return go(on_the_way(buyer.HERE, f"{HERE}/buy/{cents}"))
        except BuyerRefused:
            return buyer.put_right(f"{HERE}/buy/{cents}")
        except NotForSale:
            return await self._page.shown(visitor, 400, error=self._why_not_for_sale(visitor.say, cents))
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
        except BuyerRefused:
            return buyer.put_right(f"{HERE}/buy/{cents}")
        except NotForSale:
            return await self._page.shown(visitor, 400, error=self._why_not_for_sale(visitor.say, cents))
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

    def _bounds(self, say: Say) -> str:
        least, most = self._payments.least, self._payments.most
        return say("Between ${least} and ${most} can be bought at once, in whole cents.", least=least, most=most)

    def _why_not_for_sale(self, say: Say, cents: int) -> str:
        if not self._payments.least * 100 <= cents <= self._payments.most * 100:
            return self._bounds(say)
        return say("That is more than ${most} in 24 hours. Try less, or tomorrow.", most=self._payments.most_a_day)


def _cents(text: str) -> int:
    """Raises BadForm."""
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise BadForm
    return int(text)
