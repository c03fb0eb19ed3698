"""Stripe Tax: who pays how much and why, what is on record of it, and what happens where nobody knows where."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.refunds import FAIL_NEXT
from appliance.stripe_sandbox.tax_settings import PENDING
from tests.stripe_sandbox.buying import PAYS, buy_credit, monthly, subscribe
from tests.stripe_sandbox.conftest import Hands, at

SWEDISH = {"type": "eu_vat", "value": "SE556703748501"}


def customer_in(api: stripe.StripeClient, country: str, tax_id: dict[str, str] | None = None) -> str:
    params: Any = {
        "address": {"country": country, "postal_code": "11122"},
        "tax": {"validate_location": "immediately"},
    }
    return api.v1.customers.create(params | ({"tax_id_data": [tax_id]} if tax_id else {})).id


def calculated(api: stripe.StripeClient, customer: str, cents: int, behavior: str) -> stripe.tax.Calculation:
    line: Any = {"amount": cents, "reference": "credit", "tax_behavior": behavior, "tax_code": "txcd_10103001"}
    params: Any = {"currency": "usd", "customer": customer, "line_items": [line], "expand": ["line_items"]}
    return api.v1.tax.calculations.create(params)


@pytest.mark.parametrize(
    ("country", "tax_id", "on_top", "within", "reason"),
    [
        ("NO", None, 250, 200, "standard_rated"),
        ("NO", {"type": "no_vat", "value": "923609016MVA"}, 250, 200, "standard_rated"),
        ("SE", None, 250, 200, "standard_rated"),
        ("SE", SWEDISH, 0, 0, "reverse_charge"),
        ("US", None, 0, 0, "not_collecting"),
    ],
)
def test_who_pays_how_much(
    api: stripe.StripeClient, country: str, tax_id: dict[str, str] | None, on_top: int, within: int, reason: str
) -> None:
    customer = customer_in(api, country, tax_id)
    above, inside = (calculated(api, customer, 1000, one) for one in ("exclusive", "inclusive"))
    assert (above.amount_total, above.tax_amount_exclusive) == (1000 + on_top, on_top)
    assert (inside.amount_total, inside.tax_amount_inclusive) == (1000, within)
    assert [one.taxability_reason for one in above.tax_breakdown] == [reason]


def test_a_payment_with_a_calculation_has_its_transaction_and_refunds_take_it_back(
    sandbox: Sandbox, api: stripe.StripeClient
) -> None:
    customer = customer_in(api, "NO")
    buy_credit(sandbox, api, customer, payment_intent_data={"setup_future_usage": "off_session"})
    card = api.v1.customers.payment_methods.list(customer).data[0].id
    calculation = calculated(api, customer, 999, "exclusive")
    params: Any = {
        "amount": calculation.amount_total,
        "currency": "usd",
        "customer": customer,
        "payment_method": card,
        "confirm": True,
        "off_session": True,
        "hooks": {"inputs": {"tax": {"calculation": calculation.id}}},
    }
    intent = api.v1.payment_intents.create(params)
    assert recorded(api, sandbox) == [(999, 250)]
    for cents in (100, 333):
        api.v1.refunds.create({"payment_intent": intent.id, "amount": cents})
    sandbox.state.keep(FAIL_NEXT, 1)
    api.v1.refunds.create({"payment_intent": intent.id})
    sandbox.catch_up()
    assert sum(net + tax for net, tax in recorded(api, sandbox)) == intent.amount - 433
    api.v1.refunds.create({"payment_intent": intent.id})
    assert [sum(part) for part in zip(*recorded(api, sandbox), strict=True)] == [0, 0]


def recorded(api: stripe.StripeClient, sandbox: Sandbox) -> list[tuple[int, int]]:
    """Net and tax of each transaction."""
    names = list(sandbox.state.table("tax.transaction").rows)
    found = [api.v1.tax.transactions.retrieve(name, {"expand": ["line_items"]}) for name in names]
    return [
        (line.amount, line.amount_tax) for one in found for line in (one.line_items or stripe.ListObject()).data
    ]


def test_a_transaction_by_hand(api: stripe.StripeClient) -> None:
    calculation = calculated(api, customer_in(api, "SE"), 1000, "inclusive")
    made = api.v1.tax.transactions.create_from_calculation(
        {"calculation": str(calculation.id), "reference": "one"}
    )
    with pytest.raises(stripe.InvalidRequestError, match="already"):
        api.v1.tax.transactions.create_from_calculation({"calculation": str(calculation.id), "reference": "two"})
    back = api.v1.tax.transactions.create_reversal(
        {"mode": "full", "original_transaction": made.id, "reference": "back"}
    )
    assert [(one.amount, one.amount_tax) for one in api.v1.tax.transactions.line_items.list(back.id).data] == [
        (-1000, -200)
    ]


def test_an_address_that_is_nowhere_is_refused(api: stripe.StripeClient) -> None:
    nowhere: Any = {"address": {"country": "US", "postal_code": "0"}, "tax": {"validate_location": "immediately"}}
    with pytest.raises(stripe.InvalidRequestError, match="location") as refused:
        api.v1.customers.create(nowhere)
    assert refused.value.code == "customer_tax_location_invalid"
    customer = customer_in(api, "NO")
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.customers.update(customer, nowhere)
    assert calculated(api, customer, 1000, "exclusive").tax_amount_exclusive == 250


def test_a_tax_number_can_be_taken_back(api: stripe.StripeClient) -> None:
    customer = customer_in(api, "SE", SWEDISH)
    (known,) = api.v1.customers.tax_ids.list(customer).data
    api.v1.customers.tax_ids.delete(customer, known.id)
    assert api.v1.customers.tax_ids.list(customer).data == []
    assert calculated(api, customer, 1000, "exclusive").tax_amount_exclusive == 250
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.customers.tax_ids.create(customer, {"type": "eu_vat", "value": "556703-7485"})
    assert refused.value.code == "tax_id_invalid"


def test_a_renewal_of_a_customer_who_is_nowhere_goes_on_without_tax_after_an_hour(
    sandbox: Sandbox, api: stripe.StripeClient, hands: Hands
) -> None:
    customer = customer_in(api, "NO")
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id, PAYS, automatic_tax={"enabled": True})
    api.v1.customers.update(customer, {"address": ""})
    hands.go_to(at(2027, 2, 10, 12) + 60)
    sandbox.catch_up()
    draft = api.v1.invoices.retrieve(str(api.v1.subscriptions.retrieve(made.id).latest_invoice))
    assert (draft.status, draft.automatic_tax.status) == ("draft", "requires_location_inputs")
    with pytest.raises(stripe.InvalidRequestError, match="location"):
        api.v1.invoices.finalize_invoice(draft.id)
    hands.go_to(at(2027, 2, 10, 14))
    sandbox.catch_up()
    paid = api.v1.invoices.retrieve(draft.id)
    assert (paid.status, paid.total, paid.automatic_tax.enabled) == ("paid", 2000, False)
    assert api.v1.subscriptions.retrieve(made.id).automatic_tax.disabled_reason == "requires_location_inputs"
    api.v1.customers.update(customer, {"address": {"country": "SE"}})
    api.v1.subscriptions.update(made.id, {"automatic_tax": {"enabled": True}})
    hands.go_to(at(2027, 3, 10, 14))
    sandbox.catch_up()
    assert latest(api, made.id).total == 2500


def latest(api: stripe.StripeClient, subscription: str) -> stripe.Invoice:
    return api.v1.invoices.retrieve(str(api.v1.subscriptions.retrieve(subscription).latest_invoice))


def test_what_is_missing_for_stripe_tax(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    assert api.v1.tax.settings.retrieve().status == "active"
    sandbox.state.keep(PENDING, ["head_office"])
    lacks = api.v1.tax.settings.retrieve()
    assert lacks.status == "pending"
    assert lacks.status_details.pending is not None
    assert lacks.status_details.pending.missing_fields == ["head_office"]
