"""Payment intents: one sum to be paid, through all its tries. https://docs.stripe.com/api/payment_intents"""

from __future__ import annotations

from appliance.stripe_sandbox.cards import Outcome
from appliance.stripe_sandbox.customers import existing
from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import (
    Group,
    Many,
    Need,
    OneOf,
    Params,
    Schema,
    currency,
    flag,
    merged_metadata,
    metadata,
    text,
    whole,
)
from appliance.stripe_sandbox.paying import card_error, try_to_pay
from appliance.stripe_sandbox.payment_methods import of_customer, resolve
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World, refuse_if

LEAST_CENTS, MOST_CENTS = 50, 99_999_999
FUTURE_USAGE = OneOf("on_session", "off_session")
CREATED: Schema = {
    "amount": Need(whole),
    "currency": Need(currency),
    "automatic_payment_methods": Group({"enabled": Need(flag), "allow_redirects": OneOf("always", "never")}),
    "confirm": flag,
    "customer": text,
    "description": text,
    "error_on_requires_action": flag,
    "hooks": Group({"inputs": Group({"tax": Group({"calculation": Need(text)})})}),
    "metadata": metadata,
    "off_session": flag,
    "payment_method": text,
    "allowed_payment_method_types": Many(OneOf("card")),
    "receipt_email": text,
    "return_url": text,
    "setup_future_usage": FUTURE_USAGE,
    "statement_descriptor_suffix": text,
}
CONFIRMED: Schema = {"payment_method": text, "off_session": flag, "return_url": text}
CANCELED: Schema = {"cancellation_reason": OneOf("abandoned", "duplicate", "fraudulent", "requested_by_customer")}
LISTED: Schema = {**PAGE, "customer": text}
OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


def new_intent(world: World, amount: int, kind: str, customer: str | None, params: Params) -> Object:
    """Tells of it. ``params`` may have what a request may say of an intent. Raises InvalidRequest."""
    refuse_if(
        amount < LEAST_CENTS,
        "Amount must be at least $0.50 usd",
        param="amount",
        code="amount_too_small",
    )
    refuse_if(
        amount > MOST_CENTS, "Amount must be no more than $999,999.99", param="amount", code="amount_too_large"
    )
    name = world.new_id("pi")
    row: Object = {
        "id": name,
        "object": "payment_intent",
        "allowed_payment_method_types": params.get("allowed_payment_method_types"),
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": f"{name}_secret_sandbox",
        "confirmation_method": "automatic",
        "created": world.now,
        "currency": kind,
        "customer": customer,
        "description": params.get("description"),
        "hooks": _hooks(world, params),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": merged_metadata({}, params),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": params.get("receipt_email"),
        "review": None,
        "setup_future_usage": params.get("setup_future_usage"),
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": params.get("statement_descriptor_suffix"),
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
        "_return_url": params.get("return_url"),
        "_session": params.get("_session"),
        "_invoice": params.get("_invoice"),
    }
    world.add("payment_intent", row)
    world.emit("payment_intent.created", row)
    return row


def _hooks(world: World, params: Params) -> Object | None:
    """Raises InvalidRequest if there is no such calculation."""
    sent: Object | None = params.get("hooks")
    tax = ((sent or {}).get("inputs") or {}).get("tax")
    if tax is not None:
        world.get("tax.calculation", tax["calculation"], "hooks[inputs][tax][calculation]")
    return sent


def create(world: World, params: Params) -> Object:
    """Raises CardError if it was to be confirmed and was not paid; the intent is there all the same."""
    customer = params.get("customer")
    confirm, off_session = params.get("confirm", False), params.get("off_session", False)
    refuse_if(
        off_session and not confirm, "`off_session` can only be passed when `confirm=true`.", param="off_session"
    )
    if customer is not None:
        existing(world, customer)
    refuse_if(
        confirm and params.get("payment_method") is None,
        "You cannot confirm this PaymentIntent because it's missing a payment method.",
        code="payment_intent_unexpected_state",
    )
    method = None
    if params.get("payment_method") is not None:
        method = _method(world, params["payment_method"], customer)
    row = new_intent(world, params["amount"], params["currency"], customer, params)
    automatic = params.get("automatic_payment_methods")
    if automatic is not None:
        row["automatic_payment_methods"] = {"allow_redirects": "always", **automatic}
    if method is not None:
        row.update(payment_method=method["id"], status="requires_confirmation")
    world.touch(row)
    if confirm and method is not None:
        _confirm(world, row, method, off_session=off_session)
    return row


def confirm(world: World, params: Params, name: str) -> Object:
    """Raises CardError, InvalidRequest."""
    row = world.get("payment_intent", name, "intent")
    refuse_if(
        row["status"] not in OPEN,
        f"This PaymentIntent's status is {row['status']}; it cannot be confirmed.",
        code="payment_intent_unexpected_state",
    )
    chosen = params.get("payment_method") or row["payment_method"]
    refuse_if(
        chosen is None,
        "You cannot confirm this PaymentIntent because it's missing a payment method.",
        code="payment_intent_unexpected_state",
    )
    row["_return_url"] = params.get("return_url", row["_return_url"])
    _confirm(world, row, _method(world, chosen, row["customer"]), off_session=params.get("off_session", False))
    return row


def cancel(world: World, params: Params, name: str) -> Object:
    row = world.get("payment_intent", name, "intent")
    if row["status"] not in OPEN:
        raise InvalidRequest(
            f"You cannot cancel this PaymentIntent because it has a status of {row['status']}. Only a "
            "PaymentIntent with one of the following statuses may be canceled: requires_payment_method, "
            "requires_capture, requires_reauthorization, requires_confirmation, requires_action, processing.",
            code="payment_intent_unexpected_state",
        )
    cancel_intent(world, row, params.get("cancellation_reason"))
    return row


def cancel_intent(world: World, row: Object, reason: str | None) -> None:
    row.update(status="canceled", canceled_at=world.now, cancellation_reason=reason, next_action=None)
    world.touch(row)
    world.emit("payment_intent.canceled", row)


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("payment_intent", name, "intent")


def listed(world: World, params: Params) -> Object:
    return page_of(world, "payment_intent", "/v1/payment_intents", params, by=("customer",))


def _method(world: World, name: str, customer: str | None) -> Object:
    method = resolve(world, name)
    if method["customer"] is not None and method["customer"] != customer:
        return of_customer(world, name, customer or "", "payment_method")
    return method


def _confirm(world: World, row: Object, method: Object, *, off_session: bool) -> None:
    if try_to_pay(world, row, method, off_session=off_session) is Outcome.DECLINED:
        raise card_error(row)
