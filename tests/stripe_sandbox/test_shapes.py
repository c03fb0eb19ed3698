"""The checker of shapes finds what is wrong; that the sandbox's answers are right, every test looks."""

from __future__ import annotations

import json
from typing import Any

import pytest
import stripe

from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.endpoints import ENDPOINTS
from appliance.stripe_sandbox.hosted import Buyer
from tests.stripe_sandbox.buying import PAYS, credit_session, monthly, subscribe
from tests.stripe_sandbox.inprocess import KEY
from tests.stripe_sandbox.shapes import problems


@pytest.fixture
def invoice(sandbox: Sandbox, api: stripe.StripeClient) -> dict[str, Any]:
    customer = api.v1.customers.create({"email": "a@example.com"}).id
    made = subscribe(sandbox, api, customer, monthly(api, 2000).id)
    answer = sandbox.request(
        "GET", f"/v1/invoices/{made.latest_invoice}?expand[]=payments", {"authorization": f"Bearer {KEY}"}
    )
    body: dict[str, Any] = json.loads(answer.body)
    return body


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("created",), "soon"),
        (("lines", "data", 0, "period", "start"), None),
        (("lines", "data", 0, "quantity_decimal"), 1),
        (("lines", "data", 0, "colour"), "blue"),
        (("payments", "data", 0, "payment", "type"), "cash"),
        (("status"), "settled"),
        (("parent", "subscription_details", "subscription"), 7),
        (("currency"), ...),
        (("automatic_tax", "enabled"), ...),
    ],
)
def test_what_is_wrong_is_found(invoice: dict[str, Any], path: tuple[Any, ...] | str, value: Any) -> None:
    assert problems(invoice) == []
    *way, last = (path,) if isinstance(path, str) else path
    inner: Any = invoice
    for step in way:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    assert problems(invoice)


def test_a_wrong_object_in_an_event_is_found(sandbox: Sandbox, api: stripe.StripeClient) -> None:
    session = credit_session(api)
    sandbox.pay_session(session.id, Buyer(PAYS))
    event = next(iter(sandbox.state.table("event").rows.values()))
    copy = json.loads(json.dumps(event))
    assert problems(copy) == []
    copy["data"]["object"]["amount"] = "10"
    assert problems(copy)


def test_no_two_endpoints_are_the_same() -> None:
    ways = [(one.method, one.path) for one in ENDPOINTS]
    assert len(ways) == len(set(ways))
