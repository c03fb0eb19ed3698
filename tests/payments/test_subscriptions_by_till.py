"""Plans by the wiring of the system: signed webhooks in, and what the worker makes of them."""

import json
from datetime import timedelta
from unittest.mock import AsyncMock

import pytest

from appliance.doctor.asking import EVENTS
from appliance.stripe_sandbox.control import carry_out
from appliance.stripe_sandbox.hosted import Buyer as Payer
from appliance.till import Offer, till
from billing.customers.accounts import list_audit
from billing.errors import Conflict
from billing.payments import records
from billing.payments.subscribed import Subscription
from billing.plans.versions import publish
from tests.billing.conftest import Customer
from tests.payments.conftest import BACK, BOUNDS, CARD, Counter
from tests.payments.on_a_plan import LARGE, SMALL, orders_of
from tests.payments.test_refunds import refunded_at_stripe


async def offers(counter: Counter) -> None:
    """It sells plans too."""
    offer = Offer((SMALL, LARGE))
    counter.till = till(
        counter.database, counter.provider, counter.taxing, BOUNDS, counter.bank.clock, 30, None, offer
    )
    async with counter.database.begin() as connection:
        await publish(connection, offer.plans, counter.bank.clock)


async def on_a_plan(counter: Counter, card: str = CARD) -> tuple[Customer, Subscription]:
    ada, _ = await paid_for_a_plan(counter, card)
    await counter.hear()
    running = await counter.till.subscriptions.running(ada.account_id)
    assert running is not None
    return ada, running


async def paid_for_a_plan(counter: Counter, card: str = CARD) -> tuple[Customer, str]:
    """On Stripe's page, whose id it is, and nobody has looked yet."""
    await offers(counter)
    ada, plans = await counter.customer(), counter.till.subscriptions
    await plans.subscribe(ada.account_id, "small", back=BACK, email="ada@example.com")
    (ordered,) = await orders_of(counter.database, ada.account_id)
    assert ordered.checkout is not None
    counter.sandbox.pay_session(ordered.checkout, Payer(card))
    return ada, ordered.checkout


async def test_an_event_about_a_page_has_stripe_asked_for_it_once(counter: Counter) -> None:
    ada, page = await paid_for_a_plan(counter)
    asked = await counter.asked_about("checkout.session.")
    pages = [one.partition("?")[0] for one in asked if "/checkout/sessions/" in one]
    assert pages == [f"GET /v1/checkout/sessions/{page}"]
    assert await counter.till.subscriptions.running(ada.account_id) is not None


async def test_a_renewal_is_charged_when_the_period_ends_and_not_an_hour_later(counter: Counter) -> None:
    ada, running = await on_a_plan(counter)
    assert running.period_end is not None
    counter.bank.clock.now = running.period_end + timedelta(minutes=1)
    counter.sandbox.catch_up()
    await counter.hear()
    renewed = await counter.till.subscriptions.running(ada.account_id)
    assert renewed is not None
    assert renewed.period_start == running.period_end
    counter.bank.clock.turn(days=1)
    counter.sandbox.catch_up()
    await counter.hear()
    paid = [row["amount_paid"] for row in counter.sandbox.state.table("invoice").rows.values()]
    assert paid == [1000, 1000], "and once"
    assert await counter.errors() == []


async def test_a_renewal_that_is_declined_at_once_is_tried_again_by_stripe(counter: Counter) -> None:
    ada, running = await on_a_plan(counter)
    assert running.period_end is not None
    (customer,) = counter.sandbox.state.table("customer").rows
    carry_out(counter.sandbox, "decline", {"customer": customer, "count": "1"})
    for minutes in (1, 180):
        counter.bank.clock.now = running.period_end + timedelta(minutes=minutes)
        counter.sandbox.catch_up()
        await counter.hear()
        unpaid = await counter.till.subscriptions.running(ada.account_id)
        assert unpaid is not None
        assert unpaid.state == "past_due"
    (_, invoice) = counter.sandbox.state.table("invoice").rows.values()
    assert invoice["status"] == "open"
    assert invoice["next_payment_attempt"] is not None
    counter.bank.clock.turn(days=3)
    counter.sandbox.catch_up()
    await counter.hear()
    renewed = await counter.till.subscriptions.running(ada.account_id)
    assert renewed is not None
    assert (renewed.state, renewed.period_start) == ("active", running.period_end)
    assert await counter.errors() == []


async def test_a_plan_begins_renews_and_ends_by_webhooks_alone(counter: Counter) -> None:
    ada, running = await on_a_plan(counter)
    plans = counter.till.subscriptions
    assert running.period_end is not None
    await plans.cancel(ada.account_id, "kari")
    await plans.resume(ada.account_id)
    counter.bank.clock.now = running.period_end
    counter.bank.clock.turn(hours=2)
    counter.sandbox.catch_up()
    await counter.hear()
    renewed = await plans.running(ada.account_id)
    assert renewed is not None
    assert renewed.period_start == running.period_end
    await plans.cancel(ada.account_id)
    await plans.cancel(ada.account_id)
    counter.bank.clock.turn(days=32)
    counter.sandbox.catch_up()
    await counter.hear()
    assert await plans.running(ada.account_id) is None
    assert await counter.errors() == []
    async with counter.database.begin() as connection:
        trail = await list_audit(connection, ada.account_id)
    asked = [one.actor for one in trail if one.action == "plan cancellation asked"]
    assert asked == ["kari", "customer"], "and once for each time"


async def test_no_refunds_are_issued_for_unused_portions_of_the_subscription_period(counter: Counter) -> None:
    ada, _ = await on_a_plan(counter)
    async with counter.database.begin() as connection:
        (paid,) = await records.payments_of(connection, ada.account_id)
    await counter.till.subscriptions.cancel(ada.account_id)
    with pytest.raises(Conflict):
        await counter.till.refunds.ask(ada.account_id, paid.id)
    counter.bank.clock.turn(days=32)
    counter.sandbox.catch_up()
    await counter.hear()
    assert await counter.till.subscriptions.running(ada.account_id) is None
    assert counter.sandbox.state.table("refund").rows == {}


async def test_a_renewal_needs_no_other_events_than_the_doctor_asks_for(counter: Counter) -> None:
    ada, running = await on_a_plan(counter)
    assert running.period_end is not None
    counter.bank.clock.now = running.period_end + timedelta(minutes=1)
    counter.sandbox.catch_up()
    for _ in range(3):
        for delivery in counter.sandbox.deliveries():
            if json.loads(delivery.body)["type"] in EVENTS:
                await counter.till.inbox.receive(delivery.body, delivery.headers["stripe-signature"])
            counter.sandbox.delivered(delivery.id, 200)
        await counter.till.inbox.run_once()
    renewed = await counter.till.subscriptions.running(ada.account_id)
    assert renewed is not None
    assert renewed.period_start == running.period_end


async def test_of_two_plans_that_are_paid_in_two_windows_one_is_paid_back(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await offers(counter)
    ada, plans = await counter.customer(), counter.till.subscriptions
    monkeypatch.setattr(counter.provider, "expire_checkout", AsyncMock())
    for plan in ("small", "large"):
        await plans.subscribe(ada.account_id, plan, back=BACK, email="ada@example.com")
        counter.bank.clock.turn(seconds=1)
    for one in reversed(await orders_of(counter.database, ada.account_id)):
        assert one.checkout is not None
        counter.sandbox.pay_session(one.checkout, Payer(CARD))
    await counter.hear()
    await counter.till.refunds.run_once()
    running = await plans.running(ada.account_id)
    assert running is not None
    assert await refunded_at_stripe(counter) == [4000 if running.version.plan == "small" else 1000]
    assert "refunded" in await counter.told()
    assert await counter.errors() == []


async def test_a_renewal_that_was_paid_on_a_closed_account_is_paid_back(counter: Counter) -> None:
    ada, running = await on_a_plan(counter)
    assert running.period_end is not None
    counter.bank.clock.now = running.period_end + timedelta(hours=2)
    counter.sandbox.catch_up()
    await counter.bank.standings.terminate(ada.account_id, "operator", "a reason")
    await counter.hear()
    for _ in range(2):
        await counter.till.refunds.run_once()
        await counter.hear()
    assert await refunded_at_stripe(counter) == [1000]
    assert await counter.moved("plan") == 10 * 10**9, "of the first month"
    assert await counter.errors() == []


async def test_the_operator_gives_back_a_part_of_what_was_paid_for_a_plan(counter: Counter) -> None:
    ada, running = await on_a_plan(counter)
    refunds = counter.till.refunds
    async with counter.database.begin() as connection:
        (payment,) = await records.payments_of(connection, ada.account_id)
    assert await refunds.most(payment.id) == 1000
    assert (await refunds.by_operator(payment.id, "operator", "a gesture", 400)).state == "done"
    assert (await refunds.by_operator(payment.id, "operator", "a gesture")).gross_cents == 600
    assert await refunded_at_stripe(counter) == [400, 600]
    assert await counter.moved("plan_refund") == 10 * 10**9
    assert (await ada.account()).balance_nanodollars == SMALL.allowance
    assert await counter.till.subscriptions.running(ada.account_id) == running
