"""The saved card, and credit that is bought by itself with it."""

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from appliance.site.audience import Audience
from appliance.site.forms import read_form
from appliance.site.pages import Routes, go, on_the_way
from appliance.site.visitor import Visitor
from appliance.web import buyer
from appliance.web.credit import HERE, CreditPage
from appliance.web.ordering import Ordering
from billing.errors import Conflict
from billing.payments.provider import BuyerRefused
from billing.payments.shop import NoBuyer, NotForSale
from billing.payments.top_up import TopUps
from billing.prices.money import parse_cents, parse_dollars

CARD, TOP_UP = f"{HERE}/card", f"{HERE}/top-up"


class TopUpPages:
    """``page`` shows what there is and what is wrong; ``back`` is this site's own address."""

    def __init__(self, page: CreditPage, top_ups: TopUps, ordering: Ordering, back: str) -> None:
        self._page = page
        self._top_ups = top_ups
        self._ordering = ordering
        self._back = back

    def routes(self) -> Routes:
        return (
            ("POST", CARD, Audience.CUSTOMER, self.save_card),
            ("GET", CARD, Audience.CUSTOMER, self.card_saved),
            ("POST", f"{CARD}/remove", Audience.CUSTOMER, self.remove_card),
            ("POST", TOP_UP, Audience.CUSTOMER, self.set_rule),
            ("POST", f"{TOP_UP}/stop", Audience.CUSTOMER, self.stop),
            ("POST", f"{TOP_UP}/resume", Audience.CUSTOMER, self.resume),
        )

    async def save_card(self, _: Request, visitor: Visitor) -> Response:
        signed = visitor.person
        await self._ordering.count(signed.account_id)
        try:
            url = await self._top_ups.save_card(signed.account_id, back=f"{self._back}{CARD}", email=signed.email)
        except NoBuyer:
            return go(on_the_way(buyer.HERE, HERE))
        return RedirectResponse(url, 303)

    async def card_saved(self, _: Request, visitor: Visitor) -> Response:
        """Where Stripe sends people back to, whether they saved one or not."""
        await self._ordering.count_question(visitor.person.account_id)
        wallet = await self._top_ups.find_card(visitor.person.account_id)
        return go(f"{HERE}?done={'card' if wallet.card else 'no-card'}")

    async def remove_card(self, _: Request, visitor: Visitor) -> Response:
        await self._ordering.count_question(visitor.person.account_id)
        await self._top_ups.forget_card(visitor.person.account_id, _actor(visitor))
        return go(f"{HERE}?done=removed")

    async def set_rule(self, request: Request, visitor: Visitor) -> Response:
        form, say = await read_form(request), visitor.say
        await self._ordering.count_question(visitor.person.account_id)
        try:
            below = parse_dollars(form["below"])
            amount, ceiling = (parse_cents(form[name]) for name in ("amount", "ceiling"))
        except ValueError:
            return await self._page.shown(visitor, 400, say("An amount is in dollars, such as 10.50."))
        try:
            await self._top_ups.set_rule(
                visitor.person.account_id,
                _actor(visitor),
                below_nanodollars=below,
                top_up_cents=amount,
                ceiling_cents=ceiling,
            )
        except (NotForSale, ValueError):
            wrong = say("These amounts do not fit: a top-up must be for sale, and within what a month may cost.")
            return await self._page.shown(visitor, 400, wrong)
        except NoBuyer:
            return go(on_the_way(buyer.HERE, HERE))
        except BuyerRefused:
            return buyer.put_right(HERE)
        except Conflict:
            return await self._page.shown(visitor, 400, say("Save a card first."))
        return go(f"{HERE}?done=rule")

    async def stop(self, _: Request, visitor: Visitor) -> Response:
        await self._top_ups.stop(visitor.person.account_id, _actor(visitor))
        return go(f"{HERE}?done=stopped")

    async def resume(self, _: Request, visitor: Visitor) -> Response:
        await self._ordering.count(visitor.person.account_id)
        await self._top_ups.resume(visitor.person.account_id, _actor(visitor))
        return go(f"{HERE}?done=rule")


def _actor(visitor: Visitor) -> str:
    return f"account {visitor.person.account_id}"
