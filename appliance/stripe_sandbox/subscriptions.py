"""Subscriptions. https://docs.stripe.com/api/subscriptions"""

from __future__ import annotations

from typing import Any

from appliance.stripe_sandbox.cards import Outcome
from appliance.stripe_sandbox.catalog import plan_of, price_for
from appliance.stripe_sandbox.changes import PRORATIONS
from appliance.stripe_sandbox.collection import OVER, bill_period
from appliance.stripe_sandbox.customers import existing
from appliance.stripe_sandbox.errors import CardError, InvalidRequest
from appliance.stripe_sandbox.invoicing import finalize, pay
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import (
    Group,
    Many,
    Need,
    OneOf,
    Params,
    Schema,
    flag,
    merged_metadata,
    metadata,
    text,
    whole,
)
from appliance.stripe_sandbox.paying import foreseen
from appliance.stripe_sandbox.payment_methods import of_customer
from appliance.stripe_sandbox.periods import boundary
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.taxing import rates_named
from appliance.stripe_sandbox.world import World, refuse_if

INCOMPLETE_SECONDS = 23 * 3600
"""How long a first payment, or that of a pending update, may be outstanding."""
PAYMENT = OneOf("allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete")
CANCELLATION = Group({"comment": text, "feedback": text})
PLAIN: Schema = {
    "automatic_tax": Group({"enabled": Need(flag)}),
    "cancel_at_period_end": flag,
    "default_payment_method": text,
    "default_tax_rates": Many(text),
    "description": text,
    "metadata": metadata,
    "off_session": flag,
    "payment_behavior": PAYMENT,
    "proration_behavior": PRORATIONS,
}
CREATED: Schema = {
    **PLAIN,
    "customer": Need(text),
    "items": Need(Many(Group({"price": Need(text), "quantity": whole, "metadata": metadata}))),
}
CANCELED: Schema = {"invoice_now": flag, "prorate": flag, "cancellation_details": CANCELLATION}
STATUSES = ("active", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "trialing", "paused")
LISTED: Schema = {
    **PAGE,
    "customer": text,
    "price": text,
    "status": OneOf(*STATUSES, "all", "ended"),
}


def new_subscription(world: World, customer: str, prices: list[tuple[Object, int]], params: Params) -> Object:
    """Begins now, incomplete; each price with a quantity. Not told of yet. Raises InvalidRequest."""
    for price, _ in prices:
        refuse_if(price["recurring"] is None, "Subscriptions take recurring prices only.", param="items")
    recurring = prices[0][0]["recurring"]
    name = world.new_id("sub")
    ends = boundary(world.now, recurring["interval"], recurring["interval_count"], 1)
    automatic = (params.get("automatic_tax") or {}).get("enabled", False)
    row: Object = {
        "id": name,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": automatic,
            "liability": {"type": "self"} if automatic else None,
        },
        "billing_cycle_anchor": world.now,
        "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": params.get("cancel_at_period_end", False),
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": world.now,
        "currency": prices[0][0]["currency"],
        "customer": customer,
        "days_until_due": None,
        "default_payment_method": params.get("default_payment_method"),
        "default_source": None,
        "default_tax_rates": rates_named(world, params.get("default_tax_rates"), "default_tax_rates"),
        "description": params.get("description"),
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": {
            "object": "list",
            "data": [_item(world, name, price, quantity, ends) for price, quantity in prices],
            "has_more": False,
            "total_count": len(prices),
            "url": f"/v1/subscription_items?subscription={name}",
        },
        "latest_invoice": None,
        "livemode": False,
        "metadata": merged_metadata({}, params),
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": world.now,
        "status": "incomplete",
        "test_clock": world.get("customer", customer).get("test_clock"),
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
        "_debits": {},
        "_pending": None,
    }
    return world.add("subscription", row)


def begin(world: World, row: Object) -> Object:
    """Tells of it and makes its first invoice, which is due."""
    world.emit("customer.subscription.created", row)
    world.later(row["items"]["data"][0]["current_period_end"], "renew", row["id"])
    invoice = bill_period(world, row, reason="subscription_create", period=(world.now, world.now))
    finalize(world, invoice)
    if invoice["status"] == "open":
        world.later(world.now + INCOMPLETE_SECONDS, "give_up_incomplete", row["id"])
    return invoice


def create(world: World, params: Params) -> Object:
    """Raises CardError, with nothing made, if it was to fail unless it is paid at once."""
    customer = existing(world, params["customer"])
    prices = [(price_for(world, one, "items"), one.get("quantity", 1)) for one in params["items"]]
    refuse_if(not prices, "Missing required param: items.", param="items", code="parameter_missing")
    if params.get("default_payment_method"):
        of_customer(world, params["default_payment_method"], customer["id"], "default_payment_method")
    name = params.get("default_payment_method") or customer["invoice_settings"]["default_payment_method"]
    method = None if name is None else world.get("payment_method", name)
    behavior = params.get("payment_behavior", "allow_incomplete")
    refuse_if(
        method is None and behavior != "default_incomplete",
        "This customer has no attached payment source or default payment method. Please consider adding a default "
        "payment method.",
        code="resource_missing",
    )
    off_session = params.get("off_session", False)
    if behavior == "error_if_incomplete":
        fail_unless_paid(world, customer["id"], method, off_session=off_session)
    row = new_subscription(world, customer["id"], prices, params)
    invoice = begin(world, row)
    if behavior != "default_incomplete" and invoice["status"] == "open":
        pay(world, invoice, method, off_session=off_session)
    return row


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("subscription", name)


def listed(world: World, params: Params) -> Object:
    """Without a ``status``, all but the canceled."""
    wanted, price = params.get("status"), params.get("price")

    def fits(row: Object) -> bool:
        if price and all(item["price"]["id"] != price for item in row["items"]["data"]):
            return False
        if wanted == "all":
            return True
        if wanted == "ended":
            return row["status"] in OVER
        return bool(row["status"] != "canceled" if wanted is None else row["status"] == wanted)

    plain = {name: value for name, value in params.items() if name != "status"}
    return page_of(world, "subscription", "/v1/subscriptions", plain, by=("customer",), also=fits)


def cancel(world: World, params: Params, name: str) -> Object:
    row = world.get("subscription", name)
    if row["status"] in OVER:
        raise InvalidRequest(f"No such subscription: '{name}'", code="resource_missing", param="id", status=404)
    details = params.get("cancellation_details") or {}
    end(world, row, reason="cancellation_requested", details=details)
    return row


def end(world: World, row: Object, *, reason: str, details: dict[str, Any] | None = None) -> None:
    """At once and for good. Its open invoices stay open, but are not tried any more."""
    row.update(
        status="canceled",
        canceled_at=row["canceled_at"] or world.now,
        ended_at=world.now,
        cancellation_details={**row["cancellation_details"], **(details or {}), "reason": reason},
        pending_update=None,
        _pending=None,
    )
    world.touch(row)
    for invoice in world.having("invoice", "_subscription", row["id"]):
        if invoice["status"] in ("draft", "open"):
            invoice.update(auto_advance=False, next_payment_attempt=None)
            world.touch(invoice)
    world.emit("customer.subscription.deleted", row)


def fail_unless_paid(world: World, customer: str, method: Object | None, *, off_session: bool) -> None:
    """Raises CardError, as the payment would fail; nothing else has happened."""
    outcome = Outcome.DECLINED
    if method is not None:
        outcome = foreseen(world, customer, method, off_session=off_session)
    if outcome is Outcome.PAID:
        return
    row = world.get("customer", customer)
    row["_decline_next"] = max(0, row["_decline_next"] - 1)
    world.touch(row)
    if outcome is Outcome.ACTION:
        raise CardError(
            "Payment for this subscription requires additional user action before it can be completed "
            "successfully.",
            code="subscription_payment_intent_requires_action",
        )
    raise CardError("Your card was declined.", code="card_declined", decline_code="generic_decline")


def _item(world: World, subscription: str, price: Object, quantity: int, ends: int) -> Object:
    return {
        "id": world.new_id("si"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": world.now,
        "current_period_end": ends,
        "current_period_start": world.now,
        "discounts": [],
        "metadata": {},
        "plan": plan_of(price),
        "price": price,
        "quantity": quantity,
        "subscription": subscription,
        "tax_rates": [],
    }
