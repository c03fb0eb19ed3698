"""What is told of changes: signed, again until it is taken, and astray as often as one likes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import stripe

from appliance.stripe_sandbox.control import carry_out
from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.webhooks import WAITS_SECONDS
from tests.stripe_sandbox.buying import buy_credit
from tests.stripe_sandbox.conftest import Hands
from tests.stripe_sandbox.inprocess import SECRET, client, settings


def taken(sandbox: Sandbox, status: int = 200) -> list[str]:
    """The events sent now, in order, all of them answered so."""
    found = []
    for delivery in sandbox.deliveries():
        found.append(json.loads(delivery.body)["id"])
        sandbox.delivered(delivery.id, status)
    return found


def told(api: stripe.StripeClient) -> list[str]:
    return [event.id for event in reversed(api.v1.events.list({"limit": 100}).data)]


def test_the_sdk_accepts_the_signature_and_no_other(hands: Hands) -> None:
    sandbox = Sandbox(settings(webhook_url="http://site.test/webhooks"), clock=hands, receivers_clock=time.time)
    api = client(sandbox)
    api.v1.customers.create({"name": "A"})
    (delivery,) = sandbox.deliveries()
    signature = delivery.headers["stripe-signature"]
    event = api.construct_event(delivery.body, signature, SECRET)
    assert (event.type, event.data.object["name"]) == ("customer.created", "A")
    for body, secret in ((delivery.body, "whsec_other"), (delivery.body.replace(b'"A"', b'"B"'), SECRET)):
        with pytest.raises(stripe.SignatureVerificationError):
            api.construct_event(body, signature, secret)


def test_all_is_sent_once_and_in_order(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    buy_credit(sandbox, api, api.v1.customers.create().id)
    assert taken(sandbox) == told(api)
    assert taken(sandbox) == []
    assert {event.pending_webhooks for event in api.v1.events.list().data} == {0}


def test_what_is_not_taken_comes_again_ever_later_and_not_for_ever(
    sandbox: Sandbox, api: stripe.StripeClient, hands: Hands
) -> None:
    api.v1.customers.create()
    tries = len(taken(sandbox, 500))
    for wait in WAITS_SECONDS:
        hands.go_to(int(hands()) + wait - 1)
        assert taken(sandbox, 0) == []
        hands.go_to(int(hands()) + 1)
        tries += len(taken(sandbox, 0))
    assert tries == 1 + len(WAITS_SECONDS)
    hands.pass_days(30)
    (row,) = [one for one in sandbox.outbox.log(100) if one["type"] == "customer.created"]
    assert (row["status"], row["last_status"]) == ("given up", 0)


def test_a_dropped_one_is_found_in_the_list_of_events(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    carry_out(sandbox, "misbehave", {"fault": "drop", "count": "1"})
    began = sandbox.clock.now()
    for _ in range(2):
        api.v1.customers.create()
    everything = told(api)
    assert taken(sandbox) == everything[1:]
    for kinds in ({"types": ["customer.created", "refund.failed"]}, {"type": "customer.*"}):
        params: Any = {"created": {"gte": began}, **kinds}
        assert [event.id for event in api.v1.events.list(params).data] == everything[::-1]
    assert api.v1.events.list({"type": "refund.*"}).data == []
    carry_out(sandbox, "resend", {"event": everything[0]})
    assert taken(sandbox) == everything[:1]


def test_one_comes_twice(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    carry_out(sandbox, "misbehave", {"fault": "duplicate", "count": "1"})
    for _ in range(2):
        api.v1.customers.create()
    first, second = told(api)
    assert taken(sandbox) == [first, first, second]


def test_one_comes_after_the_next(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    carry_out(sandbox, "misbehave", {"fault": "reorder", "count": "1"})
    api.v1.customers.create()
    assert taken(sandbox) == []
    api.v1.customers.create()
    first, second = told(api)
    assert taken(sandbox) == [second, first]


def test_one_that_nothing_overtakes_comes_after_a_minute(
    sandbox: Sandbox, api: stripe.StripeClient, hands: Hands
) -> None:
    carry_out(sandbox, "misbehave", {"fault": "reorder", "count": "1"})
    api.v1.customers.create()
    hands.go_to(int(hands()) + 60)
    assert taken(sandbox) == told(api)


def test_one_comes_late(sandbox: Sandbox, api: stripe.StripeClient, hands: Hands) -> None:
    carry_out(sandbox, "misbehave", {"fault": "delay", "count": "1", "seconds": "600"})
    for _ in range(2):
        api.v1.customers.create()
    first, second = told(api)
    assert taken(sandbox) == [second]
    hands.go_to(int(hands()) + 600)
    assert taken(sandbox) == [first]


def test_chance_is_the_same_in_each_run(hands: Hands) -> None:
    def sent() -> tuple[list[str], list[str]]:
        sandbox = Sandbox(settings(webhook_url="http://site.test/"), clock=hands, receivers_clock=hands)
        api = client(sandbox)
        for fault in ("drop", "duplicate", "reorder"):
            carry_out(sandbox, "misbehave", {"fault": fault, "probability": "0.3"})
        for _ in range(40):
            api.v1.customers.create()
        return taken(sandbox), told(api)

    first, everything = sent()
    assert sent() == (first, everything)
    assert first != everything
    assert 10 < len(set(first)) < 40


def test_without_an_address_nothing_is_sent(hands: Hands) -> None:
    sandbox = Sandbox(settings(), clock=hands)
    api = client(sandbox)
    api.v1.customers.create()
    assert sandbox.deliveries() == []
    assert api.v1.webhook_endpoints.list().data == []
    assert len(told(api)) == 1


def test_an_event_is_what_was_then(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    made: Any = api.v1.customers.create({"name": "A"}, {"idempotency_key": "k1"})
    api.v1.customers.update(made.id, {"name": "B"})
    created, updated = reversed(api.v1.events.list().data)
    assert (created.data.object["name"], updated.data.object["name"]) == ("A", "B")
    assert updated.data.previous_attributes is not None
    assert updated.data.previous_attributes.to_dict() == {"name": "A"}
    assert created.request is not None
    assert created.request.idempotency_key == "k1"
