"""What most stories begin with: a customer, prices, a session that is paid."""

from __future__ import annotations

from typing import Any

import stripe

from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.hosted import Buyer

PAYS = "4242424242424242"
DECLINED = "4000000000000002"
ASKS_ONCE = "4000002500003155"
ASKS_ALWAYS = "4000002760003184"
ATTACHES_ONLY = "4000000000000341"
DISPUTED = "4000000000000259"
BACK = "https://site.test/back?session={CHECKOUT_SESSION_ID}"


def credit_session(
    api: stripe.StripeClient, customer: str | None = None, cents: int = 1000, **more: Any
) -> stripe.checkout.Session:
    line = {
        "quantity": 1,
        "price_data": {"currency": "usd", "unit_amount": cents, "product_data": {"name": "Credit"}},
    }
    params: Any = {"mode": "payment", "success_url": BACK, "line_items": [line], **more}
    if customer is not None:
        params["customer"] = customer
    return api.v1.checkout.sessions.create(params)


def buy_credit(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, cents: int = 1000, number: str = PAYS, **more: Any
) -> stripe.PaymentIntent:
    session = credit_session(api, customer, cents, **more)
    assert sandbox.pay_session(session.id, Buyer(number)).url
    paid = api.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]}).payment_intent
    assert isinstance(paid, stripe.PaymentIntent)
    return paid


def monthly(api: stripe.StripeClient, cents: int, name: str = "Pro", interval: str = "month") -> stripe.Price:
    product = api.v1.products.create({"name": name})
    params: Any = {
        "product": product.id,
        "currency": "usd",
        "unit_amount": cents,
        "recurring": {"interval": interval},
    }
    return api.v1.prices.create(params)


def subscribe(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, price: str, number: str = PAYS, **more: Any
) -> stripe.Subscription:
    params: Any = {
        "mode": "subscription",
        "customer": customer,
        "success_url": BACK,
        "line_items": [{"price": price, "quantity": 1}],
        **more,
    }
    session = api.v1.checkout.sessions.create(params)
    step = sandbox.pay_session(session.id, Buyer(number))
    assert step.url
    if "/3ds/" in step.url:
        assert sandbox.answer_3ds(session.id, confirmed=True).url
    made = api.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]}).subscription
    assert isinstance(made, stripe.Subscription)
    return made


def item_of(subscription: stripe.Subscription) -> stripe.SubscriptionItem:
    item: stripe.SubscriptionItem = subscription["items"].data[0]
    return item


def kinds(api: stripe.StripeClient) -> list[str]:
    """Of the last hundred events, the oldest first."""
    return [event.type for event in reversed(api.v1.events.list({"limit": 100}).data)]
