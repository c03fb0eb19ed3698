"""One try to pay an intent with a method: what the card makes of it, and what becomes of the intent.

A payment of an invoice and one of Checkout go this way too.
"""

from __future__ import annotations

from appliance.stripe_sandbox.cards import (
    AUTHENTICATION_FAILED,
    AUTHENTICATION_REQUIRED,
    DECLINES,
    Behaviour,
    Outcome,
    outcome,
)
from appliance.stripe_sandbox.charges import Decline, charge
from appliance.stripe_sandbox.errors import CardError
from appliance.stripe_sandbox.payment_methods import attached, behaviour
from appliance.stripe_sandbox.rendering import shown
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.tax_transactions import intent_paid
from appliance.stripe_sandbox.world import World

CUSTOMER_DECLINES = {code: (code, decline, message) for code, decline, message in DECLINES.values()} | {
    str(decline): (code, decline, message) for code, decline, message in DECLINES.values()
}


def foreseen(
    world: World, customer: str | None, method: Object, *, off_session: bool, authenticated: bool = False
) -> Outcome:
    """What a try would give; nothing happens."""
    if customer is not None and world.get("customer", customer).get("_decline_next", 0) > 0:
        return Outcome.DECLINED
    return outcome(
        behaviour(method), off_session=off_session, authenticated=authenticated, set_up=method["_set_up"]
    )


def try_to_pay(
    world: World, intent: Object, method: Object, *, off_session: bool, authenticated: bool = False
) -> Outcome:
    """Changes the intent and tells of it. PAID, DECLINED, or ACTION if its owner has to confirm it now."""
    result = foreseen(world, intent["customer"], method, off_session=off_session, authenticated=authenticated)
    intent["payment_method"] = method["id"]
    if result is Outcome.PAID:
        _paid(world, intent, method, authenticated=authenticated)
        return result
    if result is Outcome.ACTION and not off_session:
        _ask_owner(world, intent)
        return result
    decline = AUTHENTICATION_REQUIRED if result is Outcome.ACTION else _decline(world, intent, method)
    failed = charge(world, intent, method, decline)
    _unpaid(world, intent, method, decline, failed["id"])
    return Outcome.DECLINED


def debit_succeeded(world: World, intent: Object, method: Object) -> None:
    """Of a payment that took days."""
    _paid(world, intent, method, authenticated=False)


def debit_failed(world: World, intent: Object, method: Object, decline: Decline) -> None:
    """Of a payment that took days."""
    _unpaid(world, intent, method, decline, charge(world, intent, method, decline)["id"])


def authentication_failed(world: World, intent: Object) -> None:
    """Its owner did not confirm it."""
    _unpaid(world, intent, world.get("payment_method", intent["payment_method"]), AUTHENTICATION_FAILED, None)


def card_error(intent: Object) -> CardError:
    """What a request is answered whose payment just failed."""
    failure = intent["last_payment_error"]
    return CardError(
        failure["message"],
        code=failure["code"],
        decline_code=failure.get("decline_code"),
        charge=failure.get("charge"),
        payment_intent=shown(intent),
        payment_method=failure["payment_method"],
        payment_method_type="card",
    )


def _paid(world: World, intent: Object, method: Object, *, authenticated: bool) -> None:
    if intent["setup_future_usage"] is not None and intent["customer"] is not None:
        attached(world, method["id"], intent["customer"])
        method["_set_up"] = method["_set_up"] or intent["setup_future_usage"] == "off_session"
        world.touch(method)
    made = charge(world, intent, method, None, authenticated=authenticated)
    intent.update(
        status="succeeded",
        amount_received=intent["amount"],
        latest_charge=made["id"],
        last_payment_error=None,
        next_action=None,
    )
    world.touch(intent)
    intent_paid(world, intent)
    world.emit("payment_intent.succeeded", intent)
    if behaviour(method) is Behaviour.DISPUTED:
        world.later(world.now, "dispute", made["id"])


def _ask_owner(world: World, intent: Object) -> None:
    url = f"{world.settings.address}/3ds/{intent['id']}"
    intent.update(
        status="requires_action",
        next_action={
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": intent["_return_url"], "url": url},
        },
    )
    world.touch(intent)
    world.emit("payment_intent.requires_action", intent)


def _decline(world: World, intent: Object, method: Object) -> Decline:
    if intent["customer"] is not None:
        customer = world.get("customer", intent["customer"])
        if customer.get("_decline_next", 0) > 0:
            customer["_decline_next"] -= 1
            world.touch(customer)
            return CUSTOMER_DECLINES.get(customer["_decline_as"], DECLINES[Behaviour.DECLINED])
    return DECLINES[behaviour(method)]


def _unpaid(world: World, intent: Object, method: Object, decline: Decline, failed: str | None) -> None:
    code, decline_code, message = decline
    intent.update(
        status="requires_payment_method",
        payment_method=None,
        latest_charge=failed or intent["latest_charge"],
        next_action=None,
        last_payment_error={
            **({"charge": failed} if failed else {}),
            "code": code,
            **({"decline_code": decline_code} if decline_code else {}),
            "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
            "message": message,
            "payment_method": shown(method),
            "type": "card_error" if failed else "invalid_request_error",
        },
    )
    world.touch(intent)
    world.emit("payment_intent.payment_failed", intent)
