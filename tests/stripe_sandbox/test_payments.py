"""Credit is bought, declined, confirmed, given back and disputed."""

from __future__ import annotations

import pytest
import stripe

from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.disputes import decide, open_dispute
from appliance.stripe_sandbox.hosted import Buyer
from appliance.stripe_sandbox.refunds import fail
from tests.stripe_sandbox.buying import (
    ASKS_ALWAYS,
    ASKS_ONCE,
    ATTACHES_ONLY,
    DECLINED,
    DISPUTED,
    PAYS,
    buy_credit,
    credit_session,
    kinds,
)
from tests.stripe_sandbox.conftest import DAY, Hands


@pytest.fixture
def customer(api: stripe.StripeClient) -> str:
    return api.v1.customers.create({"email": "buyer@example.com"}).id


def test_a_payment_is_there_with_its_charge_and_its_fee(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str
) -> None:
    session = credit_session(api, customer, 2000, payment_intent_data={"metadata": {"payment": "p1"}})
    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 2000)
    step = sandbox.pay_session(session.id, Buyer(PAYS))
    assert step.url == f"https://site.test/back?session={session.id}"
    paid = api.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["payment_intent.latest_charge.balance_transaction"]}
    )
    assert (paid.status, paid.payment_status) == ("complete", "paid")
    intent = paid.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert intent.metadata.to_dict() == intent.latest_charge.metadata.to_dict() == {"payment": "p1"}
    moved = intent.latest_charge.balance_transaction
    assert isinstance(moved, stripe.BalanceTransaction)
    assert (moved.amount, moved.fee, moved.net) == (2000, 88, 1912)  # 58 and 30
    assert kinds(api)[-3:] == ["charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"]


def test_two_clicks_pay_once(sandbox: Sandbox, api: stripe.StripeClient, customer: str) -> None:
    session = credit_session(api, customer)
    first, second = (sandbox.pay_session(session.id, Buyer(PAYS)) for _ in range(2))
    assert first.url
    assert second.url is None
    assert "paid already" in str(second.message)
    assert kinds(api).count("charge.succeeded") == 1


def test_a_declined_card_leaves_the_session_open_for_another(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str
) -> None:
    session = credit_session(api, customer)
    assert sandbox.pay_session(session.id, Buyer(DECLINED)).message == "Your card was declined."
    declined = api.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert isinstance(declined.payment_intent, stripe.PaymentIntent)
    assert declined.payment_intent.status == "requires_payment_method"
    assert declined.payment_intent.last_payment_error is not None
    assert declined.payment_intent.last_payment_error.decline_code == "generic_decline"
    assert sandbox.pay_session(session.id, Buyer(PAYS)).url
    assert kinds(api).count("payment_intent.payment_failed") == 1


def test_a_number_that_is_no_test_card_is_refused(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str
) -> None:
    session = credit_session(api, customer)
    assert "incorrect" in str(sandbox.pay_session(session.id, Buyer("4111111111111111")).message)
    assert api.v1.checkout.sessions.retrieve(session.id).payment_intent is None


@pytest.mark.parametrize("confirmed", [True, False])
def test_the_bank_asks_and_the_answer_counts(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, confirmed: bool
) -> None:
    session = credit_session(api, customer)
    assert "/3ds/pi_" in str(sandbox.pay_session(session.id, Buyer(ASKS_ALWAYS)).url)
    intent = str(api.v1.checkout.sessions.retrieve(session.id).payment_intent)
    assert api.v1.payment_intents.retrieve(intent).status == "requires_action"
    step = sandbox.answer_3ds(intent, confirmed=confirmed)
    assert ("site.test/back" in str(step.url)) == confirmed
    status = api.v1.payment_intents.retrieve(intent).status
    assert status == ("succeeded" if confirmed else "requires_payment_method")
    assert sandbox.answer_3ds(intent, confirmed=True).url is None, "it is answered once"


@pytest.mark.parametrize(
    ("number", "code"), [(PAYS, None), (ASKS_ONCE, None), (ASKS_ALWAYS, "authentication_required")]
)
def test_a_saved_card_is_charged_while_its_owner_is_away(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, number: str, code: str | None
) -> None:
    session = credit_session(api, customer, payment_intent_data={"setup_future_usage": "off_session"})
    step = sandbox.pay_session(session.id, Buyer(number))
    if "/3ds/" in str(step.url):
        sandbox.answer_3ds(str(step.url).rsplit("/", 1)[1], confirmed=True)
    method = api.v1.customers.payment_methods.list(customer).data[0].id

    def charge() -> stripe.PaymentIntent:
        return api.v1.payment_intents.create(
            {
                "amount": 700,
                "currency": "usd",
                "customer": customer,
                "payment_method": method,
                "off_session": True,
                "confirm": True,
            }
        )

    if code is None:
        assert charge().status == "succeeded"
        return
    with pytest.raises(stripe.CardError) as refused:
        charge()
    assert refused.value.code == code
    assert refused.value.http_status == 402
    assert refused.value.error is not None
    assert refused.value.error.payment_intent is not None
    assert refused.value.error.payment_intent.status == "requires_payment_method"


def test_a_card_that_can_only_be_saved(sandbox: Sandbox, api: stripe.StripeClient, customer: str) -> None:
    session = api.v1.checkout.sessions.create(
        {"mode": "setup", "customer": customer, "currency": "usd", "success_url": "https://site.test/"}
    )
    assert sandbox.pay_session(session.id, Buyer(ATTACHES_ONLY)).url
    method = api.v1.customers.payment_methods.list(customer).data[0].id
    with pytest.raises(stripe.CardError):
        api.v1.payment_intents.create(
            {
                "amount": 700,
                "currency": "usd",
                "customer": customer,
                "payment_method": method,
                "off_session": True,
                "confirm": True,
            }
        )
    api.v1.payment_methods.detach(method)
    assert api.v1.customers.payment_methods.list(customer).data == []


def test_money_goes_back_in_parts_and_no_more_than_there_is(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str
) -> None:
    intent = buy_credit(sandbox, api, customer, 1000).id
    first = api.v1.refunds.create({"payment_intent": intent, "amount": 400, "metadata": {"for": "us"}})
    assert (first.status, first.amount) == ("succeeded", 400)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        api.v1.refunds.create({"payment_intent": intent, "amount": 601})
    api.v1.refunds.create({"payment_intent": intent})
    charge = api.v1.charges.retrieve(str(api.v1.payment_intents.retrieve(intent).latest_charge))
    assert (charge.amount_refunded, charge.refunded) == (1000, True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.refunds.create({"payment_intent": intent})
    assert refused.value.code == "charge_already_refunded"
    assert [one.amount for one in api.v1.refunds.list({"payment_intent": intent}).data] == [600, 400]


def test_a_refund_may_fail_and_the_money_is_ours_again(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str
) -> None:
    intent = buy_credit(sandbox, api, customer, 1000).id
    refund = api.v1.refunds.create({"payment_intent": intent}).id
    sandbox.control(lambda world: fail(world, refund))
    failed = api.v1.refunds.retrieve(refund)
    assert (failed.status, failed.failure_reason) == ("failed", "unknown")
    charge = api.v1.charges.retrieve(str(api.v1.payment_intents.retrieve(intent).latest_charge))
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    amounts = [one.amount for one in api.v1.balance_transactions.list().data]
    assert amounts == [1000, -1000, 1000]
    assert kinds(api)[-2:] == ["refund.updated", "refund.failed"]


@pytest.mark.parametrize("won", [True, False])
def test_a_dispute_takes_the_money_and_may_give_it_back(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, won: bool
) -> None:
    intent = buy_credit(sandbox, api, customer, 1000)
    sandbox.control(lambda world: open_dispute(world, str(intent.latest_charge)))
    dispute = api.v1.disputes.list({"payment_intent": intent.id}).data[0]
    assert (dispute.status, dispute.amount, dispute.balance_transactions[0].net) == ("needs_response", 1000, -2500)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"
    sandbox.control(lambda world: decide(world, dispute.id, won=won))
    assert api.v1.disputes.retrieve(dispute.id).status == ("won" if won else "lost")
    assert ("charge.dispute.funds_reinstated" in kinds(api)) == won


def test_one_card_is_always_disputed(sandbox: Sandbox, api: stripe.StripeClient, customer: str) -> None:
    intent = buy_credit(sandbox, api, customer, number=DISPUTED)
    assert api.v1.disputes.list({"payment_intent": intent.id}).data[0].reason == "fraudulent"
    assert kinds(api)[-3:] == [
        "checkout.session.completed",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
    ]


def test_a_session_expires_by_the_clock_or_on_request(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    first, second = credit_session(api, customer), credit_session(api, customer)
    assert api.v1.checkout.sessions.expire(first.id).status == "expired"
    hands.pass_days(1)
    assert api.v1.checkout.sessions.retrieve(second.id).status == "expired"
    assert sandbox.pay_session(second.id, Buyer(PAYS)).url is None
    expired = api.v1.events.list({"type": "checkout.session.expired"}).data
    assert expired[0].created == second.expires_at, "at its own time"


def test_what_came_in_is_paid_out_two_days_later(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands
) -> None:
    intent = buy_credit(sandbox, api, customer, 1000).id
    api.v1.refunds.create({"payment_intent": intent, "amount": 300})
    hands.pass_days(4)
    (payout,) = api.v1.payouts.list().data
    assert payout.amount == 1000 - 59 - 300
    assert payout.created % DAY == 0
    rows = api.v1.balance_transactions.list({"payout": payout.id}).data
    assert sum(row.net for row in rows) == 0
    assert sorted(row.type for row in rows) == ["charge", "payout", "refund"]


def test_tax_is_on_top_or_within(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    customer = api.v1.customers.create({"address": {"country": "NO"}}).id
    for behavior, total, tax in (("exclusive", 1250, 250), ("inclusive", 1000, 200)):
        session = api.v1.checkout.sessions.create(
            {
                "mode": "payment",
                "customer": customer,
                "success_url": "https://site.test/",
                "automatic_tax": {"enabled": True},
                "line_items": [
                    {
                        "quantity": 1,
                        "price_data": {
                            "currency": "usd",
                            "unit_amount": 1000,
                            "tax_behavior": behavior,
                            "product_data": {"name": "Credit"},
                        },
                    }
                ],
            }
        )
        assert session.total_details is not None
        assert (session.amount_total, session.total_details.amount_tax) == (total, tax)


@pytest.mark.parametrize(("number", "succeeds"), [("000123456789", True), ("000111111116", False)])
def test_a_debit_of_a_bank_account_takes_days(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str, hands: Hands, number: str, succeeds: bool
) -> None:
    session = credit_session(api, customer, allowed_payment_method_types=["card", "us_bank_account"])
    assert sandbox.pay_session(session.id, Buyer(number)).url
    waiting = api.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert isinstance(waiting.payment_intent, stripe.PaymentIntent)
    assert (waiting.status, waiting.payment_status) == ("complete", "unpaid")
    assert waiting.payment_intent.status == "processing"
    hands.pass_days(4)
    told = api.v1.events.list({"type": "checkout.session.async_*"}).data
    assert [one.type for one in told] == [
        f"checkout.session.async_payment_{'succeeded' if succeeds else 'failed'}"
    ]
    assert api.v1.checkout.sessions.retrieve(session.id).payment_status == ("paid" if succeeds else "unpaid")
    status = api.v1.payment_intents.retrieve(waiting.payment_intent.id).status
    assert status == ("succeeded" if succeeds else "requires_payment_method")


def test_a_bank_account_is_taken_only_where_it_was_offered(
    sandbox: Sandbox, api: stripe.StripeClient, customer: str
) -> None:
    session = credit_session(api, customer)
    assert "incorrect" in str(sandbox.pay_session(session.id, Buyer("000123456789")).message)


def test_whoever_was_deleted_pays_nothing(sandbox: Sandbox, api: stripe.StripeClient, customer: str) -> None:
    session = credit_session(api, customer)
    draft = api.v1.invoices.create({"customer": customer})
    api.v1.customers.delete(customer)
    assert "deleted" in str(sandbox.pay_session(session.id, Buyer(PAYS)).message)
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.invoices.pay(draft.id)
