"""Invoices, and what was paid of them. https://docs.stripe.com/api/invoices"""

from __future__ import annotations

from appliance.stripe_sandbox.cards import Outcome
from appliance.stripe_sandbox.changes import ITEMS, PRORATIONS, planned
from appliance.stripe_sandbox.customers import existing, payer_of
from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.invoice_drafts import draft_invoice, sum_up
from appliance.stripe_sandbox.invoice_items import pending, put_on
from appliance.stripe_sandbox.invoice_lines import Draft, for_period, line_of, of_item
from appliance.stripe_sandbox.invoicing import finalize, method_for, pay, void
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import (
    Group,
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
from appliance.stripe_sandbox.paying import card_error
from appliance.stripe_sandbox.payment_methods import resolve
from appliance.stripe_sandbox.periods import next_boundary
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World, refuse_if

LISTED: Schema = {
    **PAGE,
    "customer": text,
    "subscription": text,
    "status": OneOf("draft", "open", "paid", "uncollectible", "void"),
    "collection_method": OneOf("charge_automatically", "send_invoice"),
}
CREATED: Schema = {
    "customer": Need(text),
    "auto_advance": flag,
    "automatic_tax": Group({"enabled": Need(flag)}),
    "collection_method": OneOf("charge_automatically"),
    "currency": currency,
    "default_payment_method": text,
    "description": text,
    "metadata": metadata,
    "pending_invoice_items_behavior": OneOf("include", "exclude"),
    "subscription": text,
}
FINALIZED: Schema = {"auto_advance": flag}
PAID: Schema = {"payment_method": text, "off_session": flag}
PREVIEWED: Schema = {
    "automatic_tax": Group({"enabled": Need(flag)}),
    "customer": text,
    "subscription": text,
    "subscription_details": Group(
        {
            "items": ITEMS,
            "proration_behavior": PRORATIONS,
            "proration_date": whole,
            "cancel_at_period_end": flag,
        }
    ),
}
PAYMENTS_LISTED: Schema = {**PAGE, "invoice": text, "status": OneOf("canceled", "open", "paid")}


def create(world: World, params: Params) -> Object:
    customer = existing(world, params["customer"])
    subscription = None
    if params.get("subscription"):
        subscription = world.get("subscription", params["subscription"], "subscription")
    drafts = []
    if params.get("pending_invoice_items_behavior") == "include":
        drafts = [of_item(row) for row in pending(world, customer["id"], params.get("subscription"))]
    row = draft_invoice(
        world,
        customer,
        drafts,
        reason="manual",
        subscription=subscription,
        automatic_tax=(params.get("automatic_tax") or {}).get("enabled", False),
        metadata=merged_metadata({}, params),
    )
    row.update(
        auto_advance=params.get("auto_advance", False),
        default_payment_method=params.get("default_payment_method"),
        description=params.get("description"),
    )
    world.touch(row)
    return row


def add_to_draft(world: World, row: Object, item: Object) -> None:
    refuse_if(row["status"] != "draft", "This invoice is no longer editable", code="invoice_not_editable")
    customer = world.get("customer", row["customer"])
    automatic = row["automatic_tax"]["enabled"]
    line = line_of(world, row["id"], of_item(item), payer=payer_of(world, customer), automatic=automatic)
    row["lines"]["data"].append(line)
    row["lines"]["total_count"] += 1
    sum_up(row, customer)
    world.touch(row)
    put_on(world, item, row["id"])
    world.emit("invoice.updated", row)


def finalize_now(world: World, params: Params, name: str) -> Object:
    row = world.get("invoice", name)
    if "auto_advance" in params:
        row["auto_advance"] = params["auto_advance"]
    finalize(world, row)
    return row


def pay_now(world: World, params: Params, name: str) -> Object:
    """Raises CardError; the invoice stays open then."""
    row = world.get("invoice", name)
    existing(world, row["customer"])
    if row["status"] == "draft":
        finalize(world, row)
    elif row["status"] != "open":
        raise InvalidRequest(f"Invoice is already {row['status']}", code="invoice_not_open")
    if row["status"] == "paid":
        return row
    chosen = params.get("payment_method")
    method = resolve(world, chosen) if chosen else method_for(world, row)
    refuse_if(
        method is None,
        "There is no `default_payment_method` set on this Customer or Invoice. Please attach a payment method.",
        code="invoice_no_payment_method_types",
    )
    outcome = pay(world, row, method, off_session=params.get("off_session", True))
    intent = world.get("payment_intent", row["_intent"])
    if outcome is Outcome.DECLINED:
        raise card_error(intent)
    if outcome is Outcome.ACTION:
        raise InvalidRequest(
            "This payment requires additional user action before it can be completed successfully.",
            code="invoice_payment_intent_requires_action",
            status=402,
        )
    return row


def void_now(world: World, _params: Params, name: str) -> Object:
    row = world.get("invoice", name)
    void(world, row)
    return row


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("invoice", name)


def listed(world: World, params: Params) -> Object:
    renamed = {**params, "_subscription": params.get("subscription")}
    return page_of(
        world, "invoice", "/v1/invoices", renamed, by=("_subscription", "customer", "status", "collection_method")
    )


def create_preview(world: World, params: Params) -> Object:
    """What the next invoice would be, or the one that a change would make. Nothing is kept."""
    refuse_if(not params.get("subscription"), "Missing required param: subscription.", param="subscription")
    row = world.get("subscription", params["subscription"], "subscription")
    refuse_if(
        row["status"] == "canceled", "A canceled subscription has no next invoice.", code="invoice_upcoming_none"
    )
    details = params.get("subscription_details") or {}
    change = planned(world, row, details, "subscription_details.") if details.get("items") else None
    waiting = [of_item(one) for one in pending(world, row["customer"], row["id"])]
    at_once = details.get("proration_behavior") == "always_invoice"
    drafts = [*waiting, *(change.drafts if change else [])]
    items = change.items if change else row["items"]["data"]
    first = row["items"]["data"][0]
    ends = details.get("cancel_at_period_end", row["cancel_at_period_end"])
    if not (change and (at_once or change.restarts)) and not ends:
        drafts += [_next_period(world, row, item) for item in items]
    return draft_invoice(
        world,
        world.get("customer", row["customer"]),
        drafts,
        reason="upcoming",
        subscription=row,
        automatic_tax=(params.get("automatic_tax") or row["automatic_tax"])["enabled"],
        period=(first["current_period_start"], first["current_period_end"]),
        proration_date=change.since if change else None,
        preview=True,
    )


def list_payments(world: World, params: Params) -> Object:
    return page_of(world, "invoice_payment", "/v1/invoice_payments", params, by=("invoice", "status"))


def retrieve_payment(world: World, _params: Params, name: str) -> Object:
    return world.get("invoice_payment", name)


def _next_period(world: World, row: Object, item: Object) -> Draft:
    recurring, ends = item["price"]["recurring"], item["current_period_end"]
    after = next_boundary(row["billing_cycle_anchor"], recurring["interval"], recurring["interval_count"], ends)
    return for_period(world, row, item, ends, after)
