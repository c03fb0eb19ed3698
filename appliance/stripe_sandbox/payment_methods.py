"""Saved cards. https://docs.stripe.com/api/payment_methods"""

from __future__ import annotations

import hashlib

from appliance.stripe_sandbox.cards import CARDS, TEST_METHODS, Behaviour, Card
from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.lists import UNDATED, page_of
from appliance.stripe_sandbox.params import Need, OneOf, Params, Schema, text
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

TYPES = OneOf("card")
LISTED: Schema = {**UNDATED, "customer": text, "type": TYPES}
LISTED_OF_CUSTOMER: Schema = {**UNDATED, "type": TYPES}
ATTACHED: Schema = {"customer": Need(text)}
NEVER_AGAIN = (
    "This PaymentMethod was previously used without being attached to a Customer or was detached from a Customer, "
    "and may not be used again."
)


def new_method(world: World, card: Card, *, name: str | None = None, email: str | None = None) -> Object:
    """Nobody's yet."""
    row = bare_method(world, "card", name=name, email=email)
    row["card"] = {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": card.country,
        "display_brand": card.brand,
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": hashlib.blake2b(card.number.encode(), digest_size=8).hexdigest(),
        "funding": "credit",
        "generated_from": None,
        "last4": card.last4,
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }
    row["_number"] = card.number
    return world.add("payment_method", row)


def bare_method(world: World, kind: str, *, name: str | None, email: str | None) -> Object:
    """What all kinds have in common; not kept yet."""
    return {
        "id": world.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state")),
            "email": email,
            "name": name,
            "phone": None,
            "tax_id": None,
        },
        "created": world.now,
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": kind,
        "_set_up": False,
        "_detached": False,
    }


def behaviour(method: Object) -> Behaviour:
    return CARDS[method["_number"]].behaviour if method["type"] == "card" else Behaviour.PAYS


def resolve(world: World, name: str | None, param: str = "payment_method") -> Object:
    """A method, or a new one of those that Stripe's test mode always has. Raises InvalidRequest."""
    if name in TEST_METHODS:
        return new_method(world, CARDS[TEST_METHODS[name]])
    row = world.get("payment_method", name, param)
    if row["_detached"]:
        raise InvalidRequest(NEVER_AGAIN, param=param)
    return row


def of_customer(world: World, name: str, customer: str, param: str) -> Object:
    """Raises InvalidRequest if it is not this customer's."""
    row = resolve(world, name, param)
    if row["customer"] != customer:
        raise InvalidRequest(
            f"The customer does not have a payment method with the ID {name}. The payment method must be attached "
            "to the customer.",
            code="resource_missing",
            param=param,
        )
    return row


def attached(world: World, name: str, customer: str) -> Object:
    """Also when it is that customer's already. Raises InvalidRequest if it is another's."""
    row = resolve(world, name)
    if row["customer"] == customer:
        return row
    if row["customer"] is not None:
        raise InvalidRequest(
            "The payment method you provided has already been attached to a customer.", param="payment_method"
        )
    row["customer"] = customer
    world.touch(row)
    world.emit("payment_method.attached", row)
    return row


def attach(world: World, params: Params, name: str) -> Object:
    world.get("customer", params["customer"], "customer")
    return attached(world, name, params["customer"])


def detach(world: World, _params: Params, name: str) -> Object:
    """No default of anybody any more. Raises InvalidRequest if it is nobody's."""
    row = world.get("payment_method", name)
    owner = row["customer"]
    if owner is None:
        raise InvalidRequest(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            param="payment_method",
        )
    customer = world.get("customer", owner)
    if (customer.get("invoice_settings") or {}).get("default_payment_method") == name:
        customer["invoice_settings"] = {**customer["invoice_settings"], "default_payment_method": None}
        world.touch(customer)
    for subscription in world.having("subscription", "customer", owner):
        if subscription["default_payment_method"] == name:
            subscription["default_payment_method"] = None
            world.touch(subscription)
    row.update(customer=None, _detached=True)
    world.touch(row)
    world.emit("payment_method.detached", row, customer=owner)
    return row


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("payment_method", name)


def retrieve_of_customer(world: World, _params: Params, customer: str, name: str) -> Object:
    return of_customer(world, name, customer, "payment_method")


def listed(world: World, params: Params) -> Object:
    if params.get("customer"):
        return _of(world, "/v1/payment_methods", params, params["customer"])
    return page_of(world, "payment_method", "/v1/payment_methods", params, also=lambda _: False)


def listed_of_customer(world: World, params: Params, customer: str) -> Object:
    world.get("customer", customer, "customer")
    return _of(world, f"/v1/customers/{customer}/payment_methods", params, customer)


def _of(world: World, url: str, params: Params, customer: str) -> Object:
    return page_of(world, "payment_method", url, {**params, "customer": customer}, by=("customer",))
