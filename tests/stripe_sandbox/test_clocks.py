"""Test clocks: what a customer of one lives through, by the API alone."""

from __future__ import annotations

import pytest
import stripe

from tests.stripe_sandbox.buying import item_of, kinds, monthly
from tests.stripe_sandbox.conftest import DAY, Hands


def subscribed(api: stripe.StripeClient, clock: str) -> stripe.Subscription:
    customer = api.v1.customers.create({"email": "a@example.com", "test_clock": clock}).id
    card = api.v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    return api.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": monthly(api, 2000).id}], "default_payment_method": card}
    )


def test_an_advance_renews_what_its_customers_subscribe_to(api: stripe.StripeClient, hands: Hands) -> None:
    clocks, now = api.v1.test_helpers.test_clocks, int(hands())
    clock = clocks.create({"frozen_time": now, "name": "a year"})
    assert (clock.status, clock.frozen_time, clock.name) == ("ready", now, "a year")
    made = subscribed(api, clock.id)
    assert made.test_clock == clock.id
    renewal = item_of(made).current_period_end
    advancing = clocks.advance(clock.id, {"frozen_time": renewal + 2 * 3600})
    assert (advancing.status, advancing.frozen_time) == ("advancing", now)
    assert advancing.status_details.advancing is not None
    assert advancing.status_details.advancing.target_frozen_time == renewal + 2 * 3600
    seen = clocks.retrieve(clock.id)
    assert (seen.status, seen.frozen_time) == ("ready", renewal + 2 * 3600)
    invoices = api.v1.invoices.list({"subscription": made.id}).data
    assert [(one.status, one.billing_reason, one.test_clock) for one in invoices] == [
        ("paid", "subscription_cycle", clock.id),
        ("paid", "subscription_create", clock.id),
    ]


def test_a_clock_tells_where_it_is(api: stripe.StripeClient, hands: Hands) -> None:
    clocks = api.v1.test_helpers.test_clocks
    clock = clocks.create({"frozen_time": int(hands())}).id
    clocks.advance(clock, {"frozen_time": int(hands()) + DAY})
    assert kinds(api) == [f"test_helpers.test_clock.{what}" for what in ("created", "advancing", "ready")]


def test_a_clock_goes_with_its_customers(api: stripe.StripeClient, hands: Hands) -> None:
    clocks = api.v1.test_helpers.test_clocks
    clock, other = (clocks.create({"frozen_time": int(hands())}).id for _ in range(2))
    made, stays = subscribed(api, clock), subscribed(api, other)
    assert clocks.delete(clock).deleted
    assert [api.v1.subscriptions.retrieve(one.id).status for one in (made, stays)] == ["canceled", "active"]
    for gone in (
        lambda: clocks.advance(clock, {"frozen_time": int(hands()) + DAY}),
        lambda: subscribed(api, clock),
    ):
        with pytest.raises(stripe.InvalidRequestError, match="No such test clock"):
            gone()


@pytest.mark.parametrize("days", [0, -1, 3 * 366])
def test_a_clock_goes_on_and_not_too_far(api: stripe.StripeClient, hands: Hands, days: int) -> None:
    clocks, now = api.v1.test_helpers.test_clocks, int(hands())
    clock = clocks.create({"frozen_time": now}).id
    with pytest.raises(stripe.InvalidRequestError, match="later time"):
        clocks.advance(clock, {"frozen_time": now + days * DAY})


def test_money_of_one_card_can_be_paid_out_at_once(api: stripe.StripeClient) -> None:
    for card, status in (("pm_card_visa", "pending"), ("pm_card_bypassPending", "available")):
        api.v1.payment_intents.create({"amount": 900, "currency": "usd", "payment_method": card, "confirm": True})
        assert api.v1.balance_transactions.list({"limit": 1}).data[0].status == status
