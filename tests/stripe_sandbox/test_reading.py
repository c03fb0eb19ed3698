"""Whatever was made can be read by itself and in its list: the same object, through the SDK."""

from __future__ import annotations

import pytest
import stripe

from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.hosted import Buyer
from tests.stripe_sandbox.buying import BACK, PAYS, buy_credit, credit_session, monthly, subscribe
from tests.stripe_sandbox.conftest import Hands


@pytest.fixture
def customer(sandbox: Sandbox, api: stripe.StripeClient, hands: Hands) -> str:
    """Has bought, got money back, subscribed and saved a card; and the money was paid out."""
    name = api.v1.customers.create({"email": "a@example.com"}).id
    rate = api.v1.tax_rates.create({"display_name": "VAT", "percentage": 25, "inclusive": False}).id
    intent = buy_credit(sandbox, api, name)
    api.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
    subscribe(sandbox, api, name, monthly(api, 2000).id, subscription_data={"default_tax_rates": [rate]})
    session = api.v1.checkout.sessions.create(
        {"mode": "setup", "customer": name, "currency": "usd", "success_url": BACK}
    )
    sandbox.pay_session(session.id, Buyer(PAYS))
    api.v1.invoice_items.create({"customer": name, "amount": 5, "currency": "usd"})
    hands.pass_days(4)
    return name


def test_each_is_what_its_list_says(api: stripe.StripeClient, customer: str) -> None:
    v1 = api.v1
    for service in (
        v1.customers, v1.products, v1.prices, v1.tax_rates, v1.checkout.sessions, v1.payment_intents,
        v1.setup_intents, v1.charges, v1.refunds, v1.subscriptions, v1.invoices, v1.invoice_items,
        v1.invoice_payments, v1.balance_transactions, v1.payouts, v1.events,
    ):  # fmt: skip
        listed = service.list().data
        assert listed, service
        for one in listed:
            assert service.retrieve(one.id).to_dict() == one.to_dict()
        assert len(service.list({"limit": 1}).data) == 1


def test_the_methods_of_a_customer(api: stripe.StripeClient, customer: str) -> None:
    (saved, other) = api.v1.payment_methods.list({"customer": customer, "type": "card"}).data
    assert [one.id for one in api.v1.customers.payment_methods.list(customer).data] == [saved.id, other.id]
    assert api.v1.payment_methods.retrieve(saved.id).customer == customer
    assert api.v1.customers.payment_methods.retrieve(customer, saved.id).card is not None
    stranger = api.v1.customers.create().id
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.customers.payment_methods.retrieve(stranger, saved.id)
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.customers.update(stranger, {"invoice_settings": {"default_payment_method": saved.id}})
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.payment_methods.attach(saved.id, {"customer": stranger})


def test_the_lines_of_a_session_and_a_refunds_metadata(api: stripe.StripeClient, customer: str) -> None:
    session = credit_session(api, customer, 1234)
    (line,) = api.v1.checkout.sessions.line_items.list(session.id).data
    assert (line.description, line.amount_total) == ("Credit", 1234)
    assert line.price is not None
    assert not line.price.active, "a price made for one session is no one else's"
    refund = api.v1.refunds.list().data[0].id
    changed = api.v1.refunds.update(refund, {"metadata": {"seen": "1"}})
    assert changed.metadata is not None
    assert changed.metadata.to_dict() == {"seen": "1"}
