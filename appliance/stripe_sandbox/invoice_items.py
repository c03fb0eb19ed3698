"""What waits for a customer's next invoice. https://docs.stripe.com/api/invoiceitems"""

from __future__ import annotations

from appliance.stripe_sandbox.catalog import TAX_BEHAVIORS
from appliance.stripe_sandbox.customers import existing
from appliance.stripe_sandbox.invoice_lines import Draft
from appliance.stripe_sandbox.lists import PAGE, page_of
from appliance.stripe_sandbox.params import (
    Group,
    Many,
    Need,
    Params,
    Schema,
    currency,
    flag,
    merged_metadata,
    metadata,
    text,
    whole,
)
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.taxing import rates_named
from appliance.stripe_sandbox.world import World, refuse_if

CREATED: Schema = {
    "customer": Need(text),
    "amount": whole,
    "currency": currency,
    "description": text,
    "invoice": text,
    "metadata": metadata,
    "period": Group({"start": Need(whole), "end": Need(whole)}),
    "pricing": Group({"price": Need(text)}),
    "quantity": whole,
    "subscription": text,
    "tax_behavior": TAX_BEHAVIORS,
    "tax_code": text,
    "tax_rates": Many(text),
}
LISTED: Schema = {**PAGE, "customer": text, "invoice": text, "pending": flag}


def create(world: World, params: Params) -> Object:
    """For the next invoice of the customer, or for a draft. Raises InvalidRequest."""
    from appliance.stripe_sandbox.invoices import add_to_draft

    customer = existing(world, params["customer"])
    chosen = (params.get("pricing") or {}).get("price")
    price = world.get("price", chosen, "pricing[price]") if chosen else None
    refuse_if(price is None and "amount" not in params, "You must provide an amount or a price.", param="amount")
    quantity = params.get("quantity", 1)
    amount = params["amount"] if price is None else price["unit_amount"] * quantity
    span = params.get("period") or {"start": world.now, "end": world.now}
    draft = Draft(
        amount,
        params.get("description") or "",
        span["start"],
        span["end"],
        price,
        quantity,
        params.get("subscription"),
        tax_rates=tuple(params.get("tax_rates", ())),
        tax_behavior=params.get("tax_behavior"),
        metadata=merged_metadata({}, params),
    )
    row = added(world, customer["id"], draft)
    if params.get("invoice"):
        add_to_draft(world, world.get("invoice", params["invoice"], "invoice"), row)
    return row


def added(world: World, customer: str, draft: Draft) -> Object:
    """Tells of it."""
    price = draft.price
    row: Object = {
        "id": world.new_id("ii"),
        "object": "invoiceitem",
        "amount": draft.amount,
        "currency": world.settings.sold_in,
        "customer": customer,
        "date": world.now,
        "description": draft.description or None,
        "discountable": not draft.proration,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": draft.metadata,
        "net_amount": draft.amount,
        "parent": None
        if draft.subscription is None
        else {
            "subscription_details": {"subscription": draft.subscription, "subscription_item": draft.item},
            "type": "subscription_details",
        },
        "period": {"start": draft.start, "end": draft.end},
        "pricing": None
        if price is None
        else {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": str(price["unit_amount"]),
        },
        "proration": draft.proration,
        "proration_details": {"credited_items": None, "discount_amounts": []} if draft.proration else None,
        "quantity": draft.quantity,
        "quantity_decimal": str(draft.quantity),
        "tax_rates": rates_named(world, list(draft.tax_rates), "tax_rates"),
        "test_clock": world.get("customer", customer).get("test_clock"),
        "_price": price,
        "_subscription": draft.subscription,
        "_item": draft.item,
        "_credited": draft.credited,
        "_tax_behavior": draft.tax_behavior,
    }
    world.add("invoiceitem", row)
    world.state.put("_pending", row["id"], {"customer": customer})
    world.emit("invoiceitem.created", row)
    return row


def pending(world: World, customer: str, subscription: str | None) -> list[Object]:
    """The oldest first: those of the subscription and those of none."""
    names = [one for one, row in world.state.table("_pending").rows.items() if row["customer"] == customer]
    rows = [world.get("invoiceitem", name) for name in names]
    return [row for row in rows if row["_subscription"] in (None, subscription)]


def put_on(world: World, row: Object, invoice: str) -> None:
    row["invoice"] = invoice
    world.touch(row)
    world.state.remove("_pending", row["id"])


def retrieve(world: World, _params: Params, name: str) -> Object:
    return world.get("invoiceitem", name)


def listed(world: World, params: Params) -> Object:
    waits = params.get("pending")
    return page_of(
        world,
        "invoiceitem",
        "/v1/invoiceitems",
        params,
        by=("customer", "invoice"),
        also=lambda row: waits is None or (row["invoice"] is None) == waits,
    )
