"""Subscriptions: what a change costs to the cent, when they renew, and what happens when nobody pays."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from appliance.stripe_sandbox.control import carry_out
from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.hosted import Buyer
from appliance.stripe_sandbox.periods import boundary, next_boundary
from appliance.stripe_sandbox.settings import AfterRetries
from tests.stripe_sandbox.buying import ASKS_ALWAYS, ASKS_ONCE, DECLINED, PAYS, item_of, kinds, monthly, subscribe
from tests.stripe_sandbox.conftest import DAY, Hands, at
from tests.stripe_sandbox.inprocess import client, settings

HOUR = 3600


@pytest.fixture
def customer(api: stripe.StripeClient) -> str:
    return api.v1.customers.create({"email": "reader@example.com"}).id


def latest(api: stripe.StripeClient, subscription: str) -> stripe.Invoice:
    found = api.v1.subscriptions.retrieve(subscription, {"expand": ["latest_invoice"]}).latest_invoice
    assert isinstance(found, stripe.Invoice)
    return found


def swap(
    api: stripe.StripeClient, subscription: stripe.Subscription, price: stripe.Price, **more: Any
) -> stripe.Subscription:
    params: Any = {"items": [{"id": item_of(subscription).id, "price": price.id}], **more}
    return api.v1.subscriptions.update(subscription.id, params)


def refuse(sandbox: Sandbox, customer: str, count: int) -> None:
    carry_out(sandbox, "decline", {"customer": customer, "count": str(count), "as": "insufficient_funds"})


def test_it_begins_paid_by_the_card_that_was_typed(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    made = subscribe(
        sandbox, api, customer, monthly(api, 2000).id, subscription_data={"metadata": {"account": "7"}}
    )
    assert (made.status, made.metadata.to_dict()) == ("active", {"account": "7"})
    assert item_of(made).current_period_start == int(hands())
    assert item_of(made).current_period_end == at(2027, 2, 10, 12)
    invoice = api.v1.invoices.retrieve(
        str(made.latest_invoice), {"expand": ["payments.data.payment.payment_intent"]}
    )
    assert (invoice.status, invoice.amount_paid, invoice.billing_reason) == ("paid", 2000, "subscription_create")
    assert invoice.parent is not None
    assert invoice.parent.subscription_details is not None
    assert invoice.parent.subscription_details.subscription == made.id
    assert invoice.payments is not None
    intent = invoice.payments.data[0].payment.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert intent.status == "succeeded"
    assert made.default_payment_method == intent.payment_method


@pytest.mark.parametrize("number", [ASKS_ONCE, ASKS_ALWAYS])
def test_nothing_is_there_before_the_bank_said_yes(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, number: str
) -> None:
    price = monthly(api, 2000).id
    session = api.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer": customer,
            "success_url": "https://site.test/",
            "line_items": [{"price": price, "quantity": 1}],
        }
    )
    assert "/3ds/cs_" in str(sandbox.pay_session(session.id, Buyer(number)).url)
    assert "failed" in str(sandbox.answer_3ds(session.id, confirmed=False).url)
    assert api.v1.subscriptions.list({"customer": customer}).data == []
    sandbox.pay_session(session.id, Buyer(number))
    sandbox.answer_3ds(session.id, confirmed=True)
    assert api.v1.subscriptions.list({"customer": customer}).data[0].status == "active"


# January from the 10th, noon, has 31 days: 2,678,400 seconds. After exactly 10 days 1,814,400 are left.
# 2000 * 1814400 / 2678400 = 1354.84 -> 1355; 6000 * 1814400 / 2678400 = 4064.52 -> 4065.
# After 10 days and one second 1,814,399 are left: 2000 -> 1354.8379 -> 1355; 6000 -> 4064.5139 -> 4065.
# After 13 days, 7 hours and 19 seconds 1,529,981 are left: 2000 -> 1142.46 -> 1142; 6000 -> 3427.38 -> 3427.
@pytest.mark.parametrize(
    ("seconds", "credit", "charge"),
    [
        (10 * DAY, -1355, 4065),
        (10 * DAY + 1, -1355, 4065),
        (13 * DAY + 7 * HOUR + 19, -1142, 3427),
        (0, -2000, 6000),
    ],
)
def test_a_dearer_price_is_charged_for_the_rest_to_the_second(
    sandbox: Sandbox,
    api: stripe.StripeClient,
    customer: str,
    hands: Hands,
    seconds: int,
    credit: int,
    charge: int,
) -> None:
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    dear = monthly(api, 6000, "Max")
    began = int(hands())
    hands.go_to(began + seconds)
    preview = api.v1.invoices.create_preview(
        {
            "subscription": made.id,
            "subscription_details": {
                "items": [{"id": item_of(made).id, "price": dear.id}],
                "proration_behavior": "always_invoice",
                "proration_date": began + seconds,
            },
        }
    )
    assert [line.amount for line in preview.lines.data] == [credit, charge]
    hands.go_to(began + seconds + 40)  # the person thinks; the date of the preview holds
    swap(api, made, dear, proration_behavior="always_invoice", proration_date=began + seconds)
    invoice = latest(api, made.id)
    assert [line.amount for line in invoice.lines.data] == [credit, charge]
    assert (invoice.amount_paid, invoice.status) == (credit + charge, "paid")
    assert invoice.lines.data[0].parent is not None
    assert invoice.lines.data[0].parent.invoice_item_details is not None
    assert invoice.lines.data[0].parent.invoice_item_details.proration
    assert "Unused time on Pro" in str(invoice.lines.data[0].description)
    hands.go_to(at(2027, 2, 10, 13))
    assert [line.amount for line in latest(api, made.id).lines.data] == [6000], "renews at the new price"


def test_a_cheaper_price_gives_credit_that_the_next_invoices_use(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    made = subscribe(sandbox, api, customer, monthly(api, 6000, "Max").id)
    hands.pass_days(1)
    swap(api, made, monthly(api, 2000), proration_behavior="always_invoice")
    invoice = latest(api, made.id)
    # 30 of 31 days are left: -5806.45 and 1935.48
    assert [line.amount for line in invoice.lines.data] == [-5806, 1935]
    assert (invoice.total, invoice.amount_due, invoice.status, invoice.ending_balance) == (-3871, 0, "paid", -3871)
    assert api.v1.customers.retrieve(customer).balance == -3871
    hands.go_to(at(2027, 2, 10, 13))
    invoice = latest(api, made.id)
    assert (invoice.starting_balance, invoice.total, invoice.amount_due, invoice.ending_balance) == (
        -3871,
        2000,
        0,
        -1871,
    )
    hands.go_to(at(2027, 3, 10, 13))
    assert (latest(api, made.id).amount_paid, api.v1.customers.retrieve(customer).balance) == (129, 0)


def test_without_proration_the_new_price_comes_with_the_next_period(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    made = subscribe(sandbox, api, customer, monthly(api, 6000, "Max").id)
    before = made.latest_invoice
    hands.pass_days(10)
    changed = swap(api, made, monthly(api, 2000), proration_behavior="none")
    assert changed.latest_invoice == before
    assert item_of(changed).price.unit_amount == 2000
    hands.go_to(at(2027, 2, 10, 13))
    assert latest(api, made.id).amount_paid == 2000


def test_credit_is_a_share_of_what_was_really_charged(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    """Down without proration and up again: 6000 were paid for this month, so nothing is due."""
    dear, cheap = monthly(api, 6000, "Max"), monthly(api, 2000)
    made = subscribe(sandbox, api, customer, dear.id)
    hands.pass_days(10)
    swap(api, made, cheap, proration_behavior="none")
    swap(api, made, dear, proration_behavior="always_invoice")
    invoice = latest(api, made.id)
    assert [line.amount for line in invoice.lines.data] == [-4065, 4065]


def test_prorations_can_wait_for_the_next_invoice(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    hands.pass_days(10)
    swap(api, made, monthly(api, 6000, "Max"))
    assert [one.amount for one in api.v1.invoice_items.list({"pending": True}).data] == [4065, -1355]
    upcoming = api.v1.invoices.create_preview({"subscription": made.id})
    assert [line.amount for line in upcoming.lines.data] == [-1355, 4065, 6000]
    hands.go_to(at(2027, 2, 10, 13))
    assert [line.amount for line in latest(api, made.id).lines.data] == [-1355, 4065, 6000]
    assert latest(api, made.id).amount_paid == 8710


def test_a_yearly_price_begins_a_new_period_at_once(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    hands.pass_days(10)
    changed = swap(api, made, monthly(api, 20000, "Pro yearly", "year"), proration_behavior="create_prorations")
    assert item_of(changed).current_period_end == at(2028, 1, 20, 12)
    assert [line.amount for line in latest(api, made.id).lines.data] == [-1355, 20000]
    hands.go_to(at(2027, 3, 1))
    assert latest(api, made.id).billing_reason == "subscription_update", "the old period's end is nothing any more"


def test_a_change_that_is_not_paid_changes_nothing_if_asked_so(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    dear = monthly(api, 6000, "Max")
    refuse(sandbox, customer, 1)
    with pytest.raises(stripe.CardError) as refused:
        swap(api, made, dear, proration_behavior="always_invoice", payment_behavior="error_if_incomplete")
    assert refused.value.http_status == 402
    same = api.v1.subscriptions.retrieve(made.id)
    assert (item_of(same).price.unit_amount, same.latest_invoice) == (2000, made.latest_invoice)


@pytest.mark.parametrize("paid", [True, False])
def test_a_pending_change_waits_for_its_invoice(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands, paid: bool
) -> None:
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    refuse(sandbox, customer, 1)
    waiting = swap(
        api,
        made,
        monthly(api, 6000, "Max"),
        proration_behavior="always_invoice",
        payment_behavior="pending_if_incomplete",
    )
    assert (waiting.status, item_of(waiting).price.unit_amount) == ("active", 2000)
    assert waiting.pending_update is not None
    invoice = str(waiting.latest_invoice)
    if paid:
        assert sandbox.pay_invoice(invoice, Buyer(PAYS)).url
    else:
        hands.pass_days(1)
    after = api.v1.subscriptions.retrieve(made.id)
    assert after.pending_update is None
    assert item_of(after).price.unit_amount == (6000 if paid else 2000)
    assert api.v1.invoices.retrieve(invoice).status == ("paid" if paid else "void")
    applied = "applied" if paid else "expired"
    assert f"customer.subscription.pending_update_{applied}" in kinds(api)


def test_a_pending_change_takes_nothing_else(sandbox: Sandbox, api: stripe.StripeClient, customer: str) -> None:
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    with pytest.raises(stripe.InvalidRequestError, match="pending_if_incomplete"):
        swap(api, made, monthly(api, 6000), payment_behavior="pending_if_incomplete", metadata={"a": "b"})


def test_renewal_is_an_hour_of_draft_then_paid(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    hands.go_to(at(2027, 2, 10, 12))
    draft = latest(api, made.id)
    assert (draft.status, draft.billing_reason) == ("draft", "subscription_cycle")
    assert item_of(api.v1.subscriptions.retrieve(made.id)).current_period_end == at(2027, 3, 10, 12)
    hands.go_to(at(2027, 2, 10, 13))
    paid = latest(api, made.id)
    assert (paid.id, paid.status, paid.status_transitions.paid_at) == (draft.id, "paid", at(2027, 2, 10, 13))


def test_the_31st_renews_on_the_last_day_of_short_months() -> None:
    anchor = at(2027, 1, 31, 9)
    ends = [datetime.fromtimestamp(boundary(anchor, "month", 1, n), UTC) for n in range(1, 14)]
    assert [(one.month, one.day) for one in ends] == [
        (2, 28), (3, 31), (4, 30), (5, 31), (6, 30), (7, 31), (8, 31), (9, 30), (10, 31), (11, 30), (12, 31),
        (1, 31), (2, 29),
    ]  # fmt: skip
    leap = at(2028, 2, 29)
    assert boundary(leap, "year", 1, 1) == at(2029, 2, 28)
    assert boundary(leap, "year", 1, 4) == at(2032, 2, 29)
    assert next_boundary(anchor, "month", 1, at(2027, 2, 28, 9)) == at(2027, 3, 31, 9)


def test_a_subscription_of_the_31st_lives_through_a_leap_year(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    hands.go_to(at(2027, 12, 31, 9))
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    hands.go_to(at(2028, 6, 1))
    found = api.v1.invoices.list({"subscription": made.id, "limit": 100}).data
    begins = [datetime.fromtimestamp(one.lines.data[0].period.start, UTC) for one in reversed(found)]
    assert [(one.month, one.day) for one in begins] == [(12, 31), (1, 31), (2, 29), (3, 31), (4, 30), (5, 31)]
    assert all(one.status == "paid" for one in found)


def test_a_renewal_is_tried_again_and_paid_in_the_end(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    refuse(sandbox, customer, 2)
    first = at(2027, 2, 10, 13)
    hands.go_to(first)
    invoice = latest(api, made.id)
    assert (invoice.status, invoice.attempt_count) == ("open", 1)
    assert invoice.next_payment_attempt == first + DAY
    assert api.v1.subscriptions.retrieve(made.id).status == "past_due"
    assert api.v1.customers.retrieve(customer).delinquent
    hands.go_to(first + DAY)
    assert latest(api, made.id).next_payment_attempt == first + 3 * DAY
    hands.go_to(first + 3 * DAY)
    assert (latest(api, made.id).status, latest(api, made.id).attempt_count) == ("paid", 3)
    assert api.v1.subscriptions.retrieve(made.id).status == "active"


@pytest.mark.parametrize("in_the_end", list(AfterRetries))
def test_what_becomes_of_a_subscription_that_nobody_pays(hands: Hands, in_the_end: AfterRetries) -> None:
    sandbox = Sandbox(settings(after_retries=in_the_end), clock=hands)
    api = client(sandbox)
    customer = api.v1.customers.create().id
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    refuse(sandbox, customer, 99)
    hands.go_to(at(2027, 2, 10, 13))
    hands.pass_days(8)
    assert api.v1.subscriptions.retrieve(made.id).status == in_the_end
    assert (latest(api, made.id).status, latest(api, made.id).attempt_count) == ("open", 5)


def test_an_owner_pays_what_is_open_with_another_card(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id, ASKS_ALWAYS)
    hands.go_to(at(2027, 2, 10, 13))
    assert "invoice.payment_action_required" in kinds(api)
    assert api.v1.subscriptions.retrieve(made.id).status == "past_due"
    invoice = latest(api, made.id)
    assert sandbox.pay_invoice(invoice.id, Buyer(DECLINED)).message == "Your card was declined."
    step = sandbox.pay_invoice(invoice.id, Buyer(ASKS_ALWAYS))
    assert sandbox.answer_3ds(str(step.url).rsplit("/", 1)[1], confirmed=True).url == invoice.hosted_invoice_url
    assert latest(api, made.id).status == "paid"
    assert api.v1.subscriptions.retrieve(made.id).status == "active"
    assert sandbox.pay_invoice(invoice.id, Buyer(PAYS)).message is not None, "nobody pays twice"


def test_it_ends_at_the_end_of_what_was_paid_or_at_once(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    price = monthly(api, 2000).id
    later, now = (subscribe(sandbox, api, customer, price) for _ in range(2))
    asked = api.v1.subscriptions.update(later.id, {"cancel_at_period_end": True})
    assert (asked.status, asked.cancel_at) == ("active", at(2027, 2, 10, 12))
    gone = api.v1.subscriptions.cancel(now.id)
    assert (gone.status, gone.ended_at) == ("canceled", int(hands()))
    hands.go_to(at(2027, 2, 11))
    over = api.v1.subscriptions.retrieve(later.id)
    assert (over.status, over.ended_at) == ("canceled", at(2027, 2, 10, 12))
    assert len(api.v1.invoices.list({"customer": customer}).data) == 2, "no renewal of either"
    assert api.v1.subscriptions.list({"customer": customer}).data == []
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.subscriptions.cancel(now.id)


def test_a_first_payment_that_fails_leaves_it_incomplete_for_23_hours(
    api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    method = api.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer}).id
    price = monthly(api, 2000).id
    made = api.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": price}], "default_payment_method": method}
    )
    assert made.status == "incomplete"
    hands.pass_days(1)
    assert api.v1.subscriptions.retrieve(made.id).status == "incomplete_expired"
    assert latest(api, made.id).status == "void"
    with pytest.raises(stripe.CardError):
        api.v1.subscriptions.create(
            {
                "customer": customer,
                "items": [{"price": price}],
                "default_payment_method": method,
                "payment_behavior": "error_if_incomplete",
            }
        )


def test_tax_is_on_the_renewals_too(sandbox: Sandbox, api: stripe.StripeClient, hands: Hands) -> None:
    customer = api.v1.customers.create({"address": {"country": "NO"}}).id
    rate = api.v1.tax_rates.create({"display_name": "VAT", "percentage": 25, "inclusive": False}).id
    price = monthly(api, 2000).id
    by_hand = subscribe(sandbox, api, customer, price, subscription_data={"default_tax_rates": [rate]})
    by_itself = subscribe(sandbox, api, customer, price, automatic_tax={"enabled": True})
    hands.go_to(at(2027, 2, 10, 13))
    for made in (by_hand, by_itself):
        invoice = latest(api, made.id)
        assert (invoice.subtotal, invoice.total, invoice.amount_paid) == (2000, 2500, 2500)
        assert invoice.total_taxes is not None
        assert invoice.total_taxes[0].amount == 500


def test_an_invoice_by_hand(api: stripe.StripeClient, customer: str) -> None:
    api.v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    method = api.v1.customers.payment_methods.list(customer).data[0].id
    api.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method}})
    draft = api.v1.invoices.create({"customer": customer, "metadata": {"ours": "1"}})
    api.v1.invoice_items.create({"customer": customer, "invoice": draft.id, "amount": 1234, "currency": "usd"})
    finalized = api.v1.invoices.finalize_invoice(draft.id)
    assert (finalized.status, finalized.amount_due) == ("open", 1234)
    assert api.v1.invoices.pay(draft.id).status == "paid"
    payments = api.v1.invoice_payments.list({"invoice": draft.id}).data
    assert [(one.status, one.amount_paid) for one in payments] == [("paid", 1234)]
    other = api.v1.invoices.create({"customer": customer})
    api.v1.invoice_items.create({"customer": customer, "invoice": other.id, "amount": 900, "currency": "usd"})
    api.v1.invoices.finalize_invoice(other.id)
    assert api.v1.invoices.void_invoice(other.id).status == "void"
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.invoices.pay(other.id)
