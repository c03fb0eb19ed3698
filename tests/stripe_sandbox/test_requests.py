"""What every request has to do with: keys, the same request twice, pages of lists, what is refused and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import stripe

from appliance.stripe_sandbox.control import carry_out
from appliance.stripe_sandbox.core import Answer, Sandbox
from appliance.stripe_sandbox.form import parsed
from appliance.stripe_sandbox.hosted import Buyer
from tests.stripe_sandbox.buying import PAYS, buy_credit, credit_session, item_of, kinds, monthly, subscribe
from tests.stripe_sandbox.conftest import Hands
from tests.stripe_sandbox.inprocess import KEY, client, settings


def post(sandbox: Sandbox, path: str, body: str, **headers: str) -> Answer:
    given = {
        "authorization": f"Bearer {KEY}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return sandbox.request("POST", path, given, body)


def test_brackets_nest() -> None:
    text = "a[b][]=1&a[b][]=2&items[0][price]=p&items[0][quantity]=3&plain=%C3%A6"
    assert parsed(text) == {
        "a": {"b": {"0": "1", "1": "2"}},
        "items": {"0": {"price": "p", "quantity": "3"}},
        "plain": "æ",
    }


@pytest.mark.parametrize("key", ["", "sk_test_other", "sk_live_x"])
def test_another_key_is_refused(sandbox: Sandbox, key: str) -> None:
    answer = sandbox.request("GET", "/v1/customers", {"authorization": f"Bearer {key}"})
    assert answer.status == 401
    assert KEY not in answer.body.decode()


def test_a_key_that_stripe_refuses_is_the_sdks_error(sandbox: Sandbox) -> None:
    wrong = client(sandbox)
    with pytest.raises(stripe.AuthenticationError):
        wrong.v1.customers.list(options={"api_key": "sk_test_wrong"})


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"emial": "a@example.com"}, "parameter_unknown", "emial"),
        ({"address": {"planet": "Mars"}}, "parameter_unknown", "address[planet]"),
        ({"balance": "much"}, "parameter_invalid_integer", "balance"),
        ({"invoice_settings": {"default_payment_method": "pm_none"}}, "resource_missing", None),
    ],
)
def test_what_stripe_does_not_know_is_refused(
    api: stripe.StripeClient, params: Any, code: str, param: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.customers.create(params)
    assert refused.value.code == code
    assert refused.value.http_status == 400
    assert param is None or refused.value.param == param


def test_what_is_not_there_is_missing(api: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.payment_intents.retrieve("pi_none")
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        credit_session(api, "cus_none")
    assert (refused.value.http_status, refused.value.param) == (400, "customer")


def test_another_version_of_the_api_is_refused(api: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="2026-10-28"):
        api.v1.customers.list(options={"stripe_version": "2024-06-20"})


def test_the_same_request_twice_happens_once(sandbox: Sandbox) -> None:
    first, second = (post(sandbox, "/v1/customers", "name=A&email=b", idempotency_key="k1") for _ in range(2))
    assert first.body == second.body
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert len(sandbox.state.table("customer").rows) == 1
    other = post(sandbox, "/v1/customers", "name=B", idempotency_key="k1")
    assert (other.status, json.loads(other.body)["error"]["type"]) == (400, "idempotency_error")
    elsewhere = post(sandbox, "/v1/products", "name=A&email=b", idempotency_key="k1")
    assert elsewhere.status == 400


def test_a_request_that_could_not_be_read_leaves_its_key_free(sandbox: Sandbox) -> None:
    assert post(sandbox, "/v1/customers", "nmae=A", idempotency_key="k1").status == 400
    assert post(sandbox, "/v1/customers", "name=A", idempotency_key="k1").status == 200


def test_a_declined_payment_stays_declined_under_its_key(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    params: Any = {
        "amount": 500,
        "currency": "usd",
        "payment_method": "pm_card_chargeDeclined",
        "confirm": True,
    }
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refused:
            api.v1.payment_intents.create(params, {"idempotency_key": "k1"})
        assert refused.value.error is not None
        assert refused.value.error.decline_code == "generic_decline"
    assert kinds(api).count("charge.failed") == 1


def test_a_key_is_forgotten_after_a_day(sandbox: Sandbox, hands: Hands) -> None:
    post(sandbox, "/v1/customers", "name=A", idempotency_key="k1")
    hands.pass_days(1.1)
    assert post(sandbox, "/v1/customers", "name=B", idempotency_key="k1").status == 200


def test_a_request_whose_twin_is_on_its_way_is_a_conflict(sandbox: Sandbox) -> None:
    sandbox.hold("k1")
    refused = post(sandbox, "/v1/customers", "name=A", idempotency_key="k1")
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (409, "idempotency_key_in_use")
    sandbox.release("k1")
    assert post(sandbox, "/v1/customers", "name=A", idempotency_key="k1").status == 200


def test_a_lost_answer_is_got_by_asking_again(sandbox: Sandbox) -> None:
    carry_out(sandbox, "trouble", {"lose_next": "1"})
    with pytest.raises(stripe.APIConnectionError):
        client(sandbox).v1.customers.create({"name": "A"}, {"idempotency_key": "k1"})
    again = client(sandbox).v1.customers.create({"name": "A"}, {"idempotency_key": "k1"})
    assert list(sandbox.state.table("customer").rows) == [again.id]


def test_too_many_requests(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    carry_out(sandbox, "trouble", {"refuse_next": "1"})
    with pytest.raises(stripe.RateLimitError):
        api.v1.customers.create({"name": "A"})
    assert api.v1.customers.create({"name": "A"}).name == "A"


def test_lists_come_in_pages_newest_first(api: stripe.StripeClient, hands: Hands) -> None:
    made = []
    for number in range(7):
        made.append(api.v1.customers.create({"name": str(number)}).id)
        hands.pass_days(1)
    newest = made[::-1]
    first = api.v1.customers.list({"limit": 3})
    assert ([one.id for one in first.data], first.has_more) == (newest[:3], True)
    second = api.v1.customers.list({"limit": 4, "starting_after": newest[2]})
    assert ([one.id for one in second.data], second.has_more) == (newest[3:], False)
    back = api.v1.customers.list({"limit": 2, "ending_before": newest[4]})
    assert ([one.id for one in back.data], back.has_more) == (newest[2:4], True)
    assert [one.id for one in first.auto_paging_iter()] == newest
    third = api.v1.customers.retrieve(made[2]).created
    for sent, expected in (
        ({"gte": third}, newest[:5]),
        ({"gt": third}, newest[:4]),
        ({"lte": third}, newest[4:]),
        ({"lt": third}, newest[5:]),
        ({"gte": third, "lt": third + 1}, newest[4:5]),
    ):
        params: Any = {"created": sent}
        assert [one.id for one in api.v1.customers.list(params).data] == expected
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.customers.list({"limit": 101})


def test_lists_of_one_customer(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    mine, other = (api.v1.customers.create().id for _ in range(2))
    wanted = [buy_credit(sandbox, api, mine).id for _ in range(3)]
    buy_credit(sandbox, api, other)
    found = api.v1.payment_intents.list({"customer": mine, "limit": 2})
    assert ([one.id for one in found.data], found.has_more) == (wanted[:0:-1], True)
    rest = api.v1.payment_intents.list({"customer": mine, "starting_after": wanted[1]})
    assert [one.id for one in rest.data] == wanted[:1]


def test_what_is_expanded_is_there_whole(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    customer = api.v1.customers.create({"email": "a@example.com"}).id
    subscribe(sandbox, api, customer, monthly(api, 2000).id)
    listed = api.v1.subscriptions.list({"expand": ["data.customer", "data.items.data.price.product"]}).data[0]
    assert isinstance(listed.customer, stripe.Customer)
    assert isinstance(item_of(listed).price.product, stripe.Product)
    assert "subscriptions" not in api.v1.customers.retrieve(customer)
    whole = api.v1.customers.retrieve(customer, {"expand": ["subscriptions"]})
    assert whole.subscriptions is not None
    assert whole.subscriptions.data[0].id == listed.id
    for path in ("colour", "email", "customer"):
        with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
            api.v1.customers.retrieve(customer, {"expand": [path]})


def test_customers_prices_and_the_rest_of_the_catalogue(api: stripe.StripeClient) -> None:
    customer = api.v1.customers.create({"metadata": {"a": "1", "b": "2"}, "address": {"country": "NO"}})
    changed = api.v1.customers.update(
        customer.id, {"metadata": {"a": "", "c": "3"}, "address": {"city": "Oslo"}, "name": "N"}
    )
    assert changed.metadata is not None
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}
    assert changed.address is not None
    assert (changed.address.country, changed.address.city) == ("NO", "Oslo")
    api.v1.customers.delete(customer.id)
    assert api.v1.customers.retrieve(customer.id).deleted
    assert api.v1.customers.list().data == []
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.customers.update(customer.id, {"name": "B"})
    product = api.v1.products.create({"name": "Pro"})
    sent: Any = {"product": product.id, "currency": "usd", "unit_amount": 2000, "lookup_key": "pro"}
    first = api.v1.prices.create(sent)
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.prices.create(sent)
    moved: Any = {**sent, "unit_amount": 2500, "transfer_lookup_key": True}
    second = api.v1.prices.create(moved)
    assert [one.id for one in api.v1.prices.list({"lookup_keys": ["pro"]}).data] == [second.id]
    api.v1.prices.update(first.id, {"active": False})
    assert [one.id for one in api.v1.prices.list({"active": True}).data] == [second.id]
    api.v1.products.update(product.id, {"name": "Professional"})
    assert api.v1.products.list({"ids": [product.id]}).data[0].name == "Professional"
    account = api.v1.accounts.retrieve_current()
    assert (account.country, account.default_currency) == ("NO", "usd")
    assert api.v1.webhook_endpoints.list().data[0].url == "http://site.test/webhooks"


def test_intents_are_cancelled_and_cannot_be_paid_then(api: stripe.StripeClient) -> None:
    intent = api.v1.payment_intents.create({"amount": 500, "currency": "usd"}).id
    assert api.v1.payment_intents.cancel(intent).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.payment_intents.cancel(intent)
    assert refused.value.code == "payment_intent_unexpected_state"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    assert refused.value.code == "payment_intent_unexpected_state"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.payment_intents.create({"amount": 49, "currency": "usd"})
    assert refused.value.code == "amount_too_small"


def test_the_async_methods_come_here_too(sandbox: Sandbox) -> None:
    import asyncio

    made = asyncio.run(client(sandbox).v1.customers.create_async({"name": "A"}))
    assert asyncio.run(client(sandbox).v1.customers.retrieve_async(made.id)).name == "A"


def test_a_restart_forgets_nothing(hands: Hands, tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite"

    def start() -> Sandbox:
        chosen = settings(webhook_url="http://site.test/webhooks", seed=None)
        return Sandbox(chosen, clock=hands, receivers_clock=hands, path=path)

    sandbox = start()
    api = client(sandbox)
    customer = api.v1.customers.create({"name": "A"}, {"idempotency_key": "k1"}).id
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    session = credit_session(api, customer)
    before = [event.id for event in api.v1.events.list({"limit": 100}).data]
    waiting = [delivery.body for delivery in sandbox.deliveries()]
    carry_out(sandbox, "clock", {"seconds": "7200"})
    sandbox.close()

    sandbox = start()
    api = client(sandbox)
    assert [event.id for event in api.v1.events.list({"limit": 100}).data] == before
    assert [delivery.body for delivery in sandbox.deliveries()] == waiting
    assert sandbox.clock.now() == int(hands()) + 7200
    assert api.v1.customers.create({"name": "A"}, {"idempotency_key": "k1"}).id == customer
    assert api.v1.customers.create({"name": "B"}).id != customer
    assert sandbox.pay_session(session.id, Buyer(PAYS)).url
    hands.pass_days(32)
    assert api.v1.invoices.list({"subscription": made.id}).data[0].billing_reason == "subscription_cycle"
    assert api.v1.payouts.list().data
