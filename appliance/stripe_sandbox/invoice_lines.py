"""The lines of an invoice and what they come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.tax import Payer
from appliance.stripe_sandbox.taxing import (
    as_invoice_taxes,
    automatic_rates,
    is_inclusive,
    rates_named,
    taxes_on,
)
from appliance.stripe_sandbox.world import World


@dataclass(frozen=True, slots=True)
class Draft:
    """A line before it is on an invoice. ``amount`` in cents, ``start`` and ``end`` in seconds since 1970."""

    amount: int
    description: str
    start: int
    end: int
    price: Object | None = None
    quantity: int = 1
    subscription: str | None = None
    item: str | None = None
    """The subscription's item whose time it is."""
    invoice_item: str | None = None
    proration: bool = False
    credited: dict[str, Any] | None = None
    """Of a credit: which lines of which invoice it takes back."""
    tax_rates: tuple[str, ...] = ()
    tax_behavior: str | None = None
    """Of a line without a price."""
    metadata: dict[str, str] = field(default_factory=dict)


def for_period(world: World, subscription: Object, item: Object, start: int, end: int) -> Draft:
    """An item's whole period."""
    price, quantity = item["price"], item["quantity"]
    recurring = price["recurring"]
    every = recurring["interval"]
    if recurring["interval_count"] > 1:
        every = f"every {recurring['interval_count']} {every}s"
    each = f"${price['unit_amount'] / 100:.2f}"
    return Draft(
        price["unit_amount"] * quantity,
        f"{quantity} x {product_name(world, price)} (at {each} / {every})",
        start,
        end,
        price,
        quantity,
        subscription["id"],
        item["id"],
        tax_rates=tuple(rate["id"] for rate in subscription["default_tax_rates"]),
        metadata=dict(subscription["metadata"]),
    )


def of_item(row: Object) -> Draft:
    """An invoice item that waits for its invoice."""
    return Draft(
        row["amount"],
        row["description"] or "",
        row["period"]["start"],
        row["period"]["end"],
        row["_price"],
        row["quantity"],
        row["_subscription"],
        row["_item"],
        row["id"],
        row["proration"],
        row["_credited"],
        tuple(rate["id"] for rate in row["tax_rates"]),
        row["_tax_behavior"],
        dict(row["metadata"]),
    )


def product_name(world: World, price: Object) -> str:
    return str(world.get("product", price["product"])["name"])


def day(instant: int) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%d %b %Y")


def line_of(world: World, invoice: str, draft: Draft, *, payer: Payer, automatic: bool) -> Object:
    rates = rates_named(world, list(draft.tax_rates), "tax_rates")
    if automatic:
        rates = automatic_rates(world, payer, inclusive=is_inclusive(draft.price, draft.tax_behavior))
    price = draft.price
    return {
        "id": world.new_id("il"),
        "object": "line_item",
        "amount": draft.amount,
        "currency": world.settings.sold_in,
        "description": draft.description,
        "discount_amounts": [],
        "discountable": not draft.proration,
        "discounts": [],
        "invoice": invoice,
        "livemode": False,
        "metadata": draft.metadata,
        "parent": _parent(draft),
        "period": {"start": draft.start, "end": draft.end},
        "pretax_credit_amounts": [],
        "pricing": None
        if price is None
        else {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": str(price["unit_amount"]),
        },
        "quantity": draft.quantity,
        "quantity_decimal": str(draft.quantity),
        "subtotal": draft.amount,
        "taxes": as_invoice_taxes(taxes_on(draft.amount, rates)),
    }


def totals(lines: list[Object]) -> dict[str, Any]:
    """The sums on an invoice with these lines, before the customer's balance."""
    taxes: dict[str, Object] = {}
    added = 0
    for line in lines:
        for one in line["taxes"]:
            added += one["amount"] if one["tax_behavior"] == "exclusive" else 0
            whole = taxes.setdefault(
                one["tax_rate_details"]["tax_rate"] + one["tax_behavior"],
                {**one, "amount": 0, "taxable_amount": 0},
            )
            whole["amount"] += one["amount"]
            whole["taxable_amount"] += one["taxable_amount"]
    subtotal = sum(line["amount"] for line in lines)
    total = subtotal + added
    tax = sum(one["amount"] for one in taxes.values())
    return {
        "subtotal": subtotal,
        "subtotal_excluding_tax": total - tax,
        "total": total,
        "total_excluding_tax": total - tax,
        "total_taxes": list(taxes.values()),
    }


def _parent(draft: Draft) -> dict[str, Any] | None:
    details = {"credited_items": draft.credited}
    if draft.invoice_item is not None:
        return {
            "invoice_item_details": {
                "invoice_item": draft.invoice_item,
                "proration": draft.proration,
                "proration_details": details,
                "subscription": draft.subscription,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        }
    if draft.item is None:
        return None
    return {
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": None,
            "proration": draft.proration,
            "proration_details": details,
            "subscription": draft.subscription,
            "subscription_item": draft.item,
        },
        "type": "subscription_item_details",
    }
